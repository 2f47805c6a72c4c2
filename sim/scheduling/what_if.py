"""One node with some pods taken away or added: does the incoming pod pass the filters there?

Used by preemption's dry runs and for pods nominated to a node. Counts that reach beyond the node
(topology spread, pod affinity) are adjusted by differences, as upstream's AddPod and RemovePod
extensions do; like those, spread counts a removed terminating pod although it was never counted.

**Source:** Kubernetes v1.36 ``framework/runtime/framework.go``
(``RunFilterPluginsWithNominatedPods``),
``podtopologyspread/filtering.go`` and ``interpodaffinity/filtering.go`` (``updateWithPod``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.scheduling import resource_kernels as kernels
from sim.scheduling import statuses as texts
from sim.scheduling.dynamic import Selection
from sim.scheduling.labels import selector_matches
from sim.scheduling.plan import HardSpread, Plan
from sim.scheduling.shape import HostPort, PodShape
from sim.scheduling.statuses import Status
from sim.scheduling.tallies import Tally

if TYPE_CHECKING:
    from sim.scheduling.nodes import Node


class NodeWhatIf:
    """A node as the incoming pod of ``plan`` would find it after the changes made so far."""

    def __init__(self, plan: Plan, node: Node) -> None:
        self._plan = plan
        self._node = node
        self.used = list(node.used)
        self._ports: set[HostPort] = set()
        if plan.shape.host_ports:
            for (protocol, port), addresses in (node.ports or {}).items():
                self._ports.update(HostPort(a, protocol, port) for a in addresses)
        self._spread_change = [0] * len(plan.hard)
        self._change: dict[Tally, int] = {}
        self._spread_facts: list[tuple[int, int, bool, int, int] | None] = [None] * len(plan.hard)

    def add(self, shape: PodShape) -> None:
        """Put a pod on the node."""
        self._apply(shape, 1)

    def remove(self, shape: PodShape) -> None:
        """Take a pod off the node."""
        self._apply(shape, -1)

    def _apply(self, shape: PodShape, delta: int) -> None:
        plan, node = self._plan, self._node
        for column, amount in shape.demand.additions:
            self.used[column] += delta * amount
        if plan.shape.host_ports and delta > 0:
            self._ports.update(shape.host_ports)
        elif plan.shape.host_ports:
            self._ports.difference_update(shape.host_ports)
        labels = shape.labels
        for i, (constraint, tally, _) in enumerate(plan.hard):
            if (
                labels.namespace == plan.shape.namespace
                and selector_matches(constraint.selector, labels.labels)
                and self._spread_eligible(tally, node.row)
            ):
                self._spread_change[i] += delta
        if plan.filters_affinity:
            for tally in {id(t): t for t in (*plan.required, *plan.required_anti)}.values():
                assert tally.predicate is not None
                if self._domain(tally) and tally.predicate.matches(plan.core.state, labels):
                    self._change[tally] = self._change.get(tally, 0) + delta
            for carried in shape.carried:
                if (
                    carried.kind == "anti"
                    and carried in plan.carried_anti()
                    and (self._domain(carried))
                ):
                    self._change[carried] = self._change.get(carried, 0) + delta

    def _spread_eligible(self, tally: Tally, row: int) -> bool:
        if self._domain(tally) == 0:
            return False
        return tally.eligibility is None or bool(tally.eligibility.mask[row])

    def _domain(self, tally: Tally) -> int:
        assert tally.column is not None
        domain: int = tally.column.ids.item(self._node.row)
        return domain

    def status(self) -> Status | None:
        """The first rejection in profile order, None when the pod passes."""
        plan, row = self._plan, self._node.row
        core = plan.core
        for name in core.profile.plugins["filter"]:
            if name in plan.verdict.rejected:
                if plan.verdict.rejected[name][row]:
                    return _static_status(plan, name, row)
            elif name == "NodePorts":
                if self._port_conflict():
                    return texts.Status(name, texts.UNSCHEDULABLE, (texts.REASON_PORTS,))
            elif name == "NodeResourcesFit":
                status = self._fit_status()
                if status is not None:
                    return status
            elif name == "PodTopologySpread":
                status = self._spread_status()
                if status is not None:
                    return status
            elif name == "InterPodAffinity":
                status = self._affinity_status()
                if status is not None:
                    return status
            else:
                status = self._other_status(name)
                if status is not None:
                    return status
        return None

    def _other_status(self, name: str) -> Status | None:
        """Volume and user plugins: judged on the node as it is."""
        from sim.scheduling.diagnosis import plugin_result  # diagnosis needs this module

        plan = self._plan
        position = plan.core.columns(plan).position(self._node.row)
        result = plugin_result(plan.core, plan, name, np.array([position], np.int64))
        if result is None or not result.numbers[0]:
            return None
        return result.statuses[result.numbers.item(0) - 1]

    def _port_conflict(self) -> bool:
        for ip, protocol, port in self._plan.shape.host_ports:
            for ip2, protocol2, port2 in self._ports:
                same = protocol == protocol2 and port == port2
                if same and ("0.0.0.0" in (ip, ip2) or ip == ip2):  # noqa: S104
                    return True
        return False

    def _fit_status(self) -> Status | None:
        plan, allocatable = self._plan, self._node.allocatable
        reasons: list[str] = []
        never = False
        if self.used[kernels.PODS_COLUMN] >= allocatable[kernels.PODS_COLUMN]:
            reasons.append(texts.REASON_TOO_MANY_PODS)
        arguments = plan.core.profile.arguments
        for column, amount, name in kernels.filter_columns(plan.shape.demand, arguments):
            if allocatable[column] - self.used[column] < amount:
                reasons.append(f"Insufficient {name}")
                never |= allocatable[column] < amount
        if not reasons:
            return None
        code = texts.UNRESOLVABLE if never else texts.UNSCHEDULABLE
        return texts.Status("NodeResourcesFit", code, tuple(reasons))

    def _facts(self, index: int, entry: HardSpread) -> tuple[int, int, bool, int, int]:
        """``(domain, count, domain present, minimum elsewhere, domains present)``."""
        known = self._spread_facts[index]
        if known is None:
            counts = entry.tally.sized()
            present = entry.tally.present()
            domain = self._domain(entry.tally)
            elsewhere = present.copy()
            elsewhere[domain] = False
            others = counts[elsewhere]
            minimum = int(others.min()) if len(others) else 2**31 - 1
            here = bool(present[domain])
            known = (domain, int(counts[domain]), here, minimum, len(others) + here)
            self._spread_facts[index] = known
        return known

    def _spread_status(self) -> Status | None:
        name = "PodTopologySpread"
        for i, entry in enumerate(self._plan.hard):
            domain, count, here, minimum, domains = self._facts(i, entry)
            if domain == 0:
                return texts.Status(name, texts.UNRESOLVABLE, (texts.REASON_SPREAD_LABEL,))
            count += self._spread_change[i]
            if here:
                minimum = min(minimum, count)
            constraint = entry.constraint
            if domains < constraint.min_domains:
                minimum = 0
            if count + entry.self_match - minimum > constraint.max_skew:
                return texts.Status(name, texts.UNSCHEDULABLE, (texts.REASON_SPREAD,))
        return None

    def _count(self, tally: Tally) -> int:
        return int(tally.sized()[self._domain(tally)]) + self._change.get(tally, 0)

    def _affinity_status(self) -> Status | None:
        plan, name = self._plan, "InterPodAffinity"
        if plan.required:
            if any(self._domain(t) == 0 for t in plan.required):
                return texts.Status(name, texts.UNRESOLVABLE, (texts.REASON_POD_AFFINITY,))
            if any(self._count(t) <= 0 for t in plan.required):
                first = plan.self_affine and all(
                    t.total + self._change.get(t, 0) == 0 for t in plan.required
                )
                if not first:
                    return texts.Status(name, texts.UNRESOLVABLE, (texts.REASON_POD_AFFINITY,))
        for tally in plan.required_anti:
            if self._domain(tally) and self._count(tally) > 0:
                return texts.Status(name, texts.UNSCHEDULABLE, (texts.REASON_POD_ANTI_AFFINITY,))
        for carried in plan.carried_anti():
            if self._domain(carried) and self._count(carried) > 0:
                return texts.Status(
                    name, texts.UNSCHEDULABLE, (texts.REASON_EXISTING_ANTI_AFFINITY,)
                )
        return None

    def status_with_nominated(self) -> Status | None:
        """Rejection with the pods nominated to the node counted in, then without them."""
        nominated = nominated_shapes(self._plan, self._node)
        if nominated:
            for shape in nominated:
                self.add(shape)
            status = self.status()
            for shape in nominated:
                self.remove(shape)
            if status is not None:
                return status
        return self.status()


def _static_status(plan: Plan, name: str, row: int) -> Status:
    reason = {
        "NodeUnschedulable": texts.REASON_UNSCHEDULABLE,
        "NodeName": texts.REASON_NAME,
        "TaintToleration": texts.REASON_TAINT,
        "NodeAffinity": texts.REASON_AFFINITY,
    }[name]
    if name == "NodeAffinity" and plan.verdict.enforced[row]:
        reason = texts.REASON_ENFORCED
    return texts.Status(name, texts.UNRESOLVABLE, (reason,))


def nominated_shapes(plan: Plan, node: Node) -> list[PodShape]:
    """Pods nominated to a node whose priority is at least the incoming pod's, itself excepted."""
    core = plan.core
    return [
        shape
        for key, (shape, where) in core.state.nominated.items()
        if where is node and shape.priority >= plan.shape.priority and key != core.pod_key
    ]


def _nominated_nodes(plan: Plan) -> list[Node]:
    nodes: dict[int, Node] = {}
    for _, node in plan.core.state.nominated.values():
        if node.present:
            nodes[node.row] = node
    return [node for node in nodes.values() if nominated_shapes(plan, node)]


def _nominated_statuses(
    plan: Plan, rows: NDArray[np.int64], passing: NDArray[np.bool_]
) -> Iterable[tuple[int, Status]]:
    for node in _nominated_nodes(plan):
        for i in (rows == node.row).nonzero()[0].tolist():
            if passing[i]:
                status = NodeWhatIf(plan, node).status_with_nominated()
                if status is not None:
                    yield i, status


def nominated_mask(plan: Plan, selection: Selection, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without nodes where nominated pods leave no room."""
    rows = plan.core.state.by_position(None)[selection]
    rejected = [i for i, _ in _nominated_statuses(plan, rows, mask)]
    if rejected:
        mask = mask.copy()
        mask[rejected] = False
    return mask


def nominated_rejections(
    plan: Plan, positions: NDArray[np.int64], passing: NDArray[np.bool_]
) -> list[tuple[int, Status]]:
    """``(index into positions, status)`` of nodes rejected only because of nominated pods."""
    rows = plan.core.state.by_position(None)[positions]
    return list(_nominated_statuses(plan, rows, passing))
