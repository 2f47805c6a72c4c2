"""Why nodes were rejected, and the texts upstream makes of it.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/types.go`` (``FitError``), error texts in
``pkg/scheduler/framework/plugins/*``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.scheduling import dynamic
from sim.scheduling import resource_kernels as kernels
from sim.scheduling.columns import port_conflicts
from sim.scheduling.dynamic import Selection
from sim.scheduling.plan import Plan, PreFilterRejection
from sim.scheduling.statuses import (
    REASON_AFFINITY,
    REASON_ENFORCED,
    REASON_EXISTING_ANTI_AFFINITY,
    REASON_NAME,
    REASON_POD_AFFINITY,
    REASON_POD_ANTI_AFFINITY,
    REASON_PORTS,
    REASON_SPREAD,
    REASON_SPREAD_LABEL,
    REASON_TAINT,
    REASON_TOO_MANY_PODS,
    REASON_UNSCHEDULABLE,
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Status,
)
from sim.scheduling.user_plugins import Candidates, run_filter
from sim.scheduling.volumes import volume_statuses
from sim.scheduling.what_if import nominated_rejections

if TYPE_CHECKING:
    from sim.scheduling.core import SchedulingCore


class PluginResult(NamedTuple):
    """One filter plugin's verdict over a selection of nodes."""

    numbers: NDArray[np.int64]
    """0 where the node passes, else 1 + index into ``statuses``."""
    statuses: tuple[Status, ...]


def fit_error_text(node_count: int, reasons: Iterable[tuple[str, int]]) -> str:
    """``0/N nodes are available: ...`` with the sorted histogram of reasons."""
    text = f"0/{node_count} nodes are available:"
    parts = sorted(f"{count} {reason}" for reason, count in reasons)
    return f"{text} {', '.join(parts)}." if parts else text


class Diagnosis:
    """Statuses of all nodes after a failed cycle.

    ``numbers`` holds, per evaluated position, 1 + index into ``statuses`` of the first rejection.
    """

    def __init__(
        self,
        node_count: int,
        rows: NDArray[np.int64],
        numbers: NDArray[np.int64],
        statuses: tuple[Status, ...],
        absent: Status | None = None,
        pre_filter: PreFilterRejection | None = None,
    ) -> None:
        self.node_count = node_count
        self.rows = rows
        self.numbers = numbers
        self.statuses = statuses
        self.absent = absent
        self.pre_filter = pre_filter

    @classmethod
    def no_nodes(cls) -> Diagnosis:
        """There is no node at all."""
        empty = np.zeros(0, np.int64)
        return cls(0, empty, empty, ())

    @classmethod
    def rejected(cls, node_count: int, rejection: PreFilterRejection) -> Diagnosis:
        """PreFilter rejected the pod."""
        empty = np.zeros(0, np.int64)
        absent = Status(rejection.plugin, rejection.code, rejection.reasons)
        return cls(node_count, empty, empty, (), absent, rejection)

    def fit_error(self) -> str:
        """The FitError's text, without what PostFilter plugins add."""
        if self.node_count == 0:
            return "no nodes available to schedule pods"
        if self.pre_filter is not None:
            message = ", ".join(self.pre_filter.reasons)
            return f"0/{self.node_count} nodes are available: {message}."
        reasons: Counter[str] = Counter()
        counts = np.bincount(self.numbers, minlength=len(self.statuses) + 1)
        for status, count in zip(self.statuses, counts[1:].tolist(), strict=True):
            if count:
                for reason in status.reasons:
                    reasons[reason] += count
        missing = self.node_count - len(self.rows)
        if missing and self.absent is not None:
            for reason in self.absent.reasons:
                reasons[reason] += missing
        return fit_error_text(self.node_count, reasons.items())

    def plugins(self) -> frozenset[str]:
        """Plugins that rejected at least one node (or the pod in PreFilter)."""
        names = {self.statuses[i - 1].plugin for i in np.unique(self.numbers).tolist() if i}
        if self.absent is not None:
            names.add(self.absent.plugin)
        return frozenset(names)

    def status_of_row(self, row: int) -> Status | None:
        """Status of a node by its row in the state; None when it passed every filter."""
        found = (self.rows == row).nonzero()[0]
        if len(found) == 0:
            return self.absent
        number = self.numbers.item(int(found[0]))
        return self.statuses[number - 1] if number else None

    def rows_unschedulable(self) -> list[int]:
        """Rows whose status is Unschedulable, hence worth a preemption dry run, in order."""
        resolvable = np.array([False, *(s.code == UNSCHEDULABLE for s in self.statuses)])
        rows: list[int] = self.rows[resolvable[self.numbers]].tolist()
        return rows


def diagnose(core: SchedulingCore, plan: Plan, among: NDArray[np.int64] | None) -> Diagnosis:
    """Status of every node (or of the positions ``among``), first rejecting plugin in order."""
    count = core.state.node_count
    positions = np.arange(count) if among is None else among
    results = filter_results(core, plan, positions)
    numbers = np.zeros(len(positions), np.int64)
    statuses: list[Status] = []
    for result in results.values():
        fresh = (numbers == 0) & (result.numbers != 0)
        numbers[fresh] = result.numbers[fresh] + len(statuses)
        statuses.extend(result.statuses)
    if core.state.nominated:
        extra = nominated_rejections(plan, positions, numbers == 0)
        for index, status in extra:
            statuses.append(status)
            numbers[index] = len(statuses)
    rows = core.state.by_position(None)[positions]
    absent = None
    if among is not None:
        absent = narrowed_status()
    return Diagnosis(count, rows, numbers, tuple(statuses), absent)


def narrowed_status() -> Status:
    """Status of nodes outside the set PreFilter narrowed the search to."""
    return Status(
        "NodeAffinity", UNRESOLVABLE, ("node(s) didn't satisfy plugin(s) [NodeAffinity]",)
    )


def filter_results(
    core: SchedulingCore, plan: Plan, selection: NDArray[np.int64]
) -> dict[str, PluginResult]:
    """Verdict of every filter plugin that runs for this pod, in profile order."""
    results: dict[str, PluginResult] = {}
    plan.verdict.refresh()
    for name in core.profile.plugins["filter"]:
        result = plugin_result(core, plan, name, selection)
        if result is not None:
            results[name] = result
    return results


def _simple(rejected: NDArray[np.bool_], plugin: str, code: str, reason: str) -> PluginResult:
    return PluginResult(rejected.astype(np.int64), (Status(plugin, code, (reason,)),))


def plugin_result(
    core: SchedulingCore, plan: Plan, name: str, selection: NDArray[np.int64]
) -> PluginResult | None:
    """Verdict of one filter plugin, None when it does not run for this pod."""
    rows = core.state.by_position(None)[selection]
    verdict = plan.verdict
    if name == "NodeUnschedulable":
        return _simple(verdict.rejected[name][rows], name, UNRESOLVABLE, REASON_UNSCHEDULABLE)
    if name == "NodeName":
        if name not in verdict.rejected:
            return None
        return _simple(verdict.rejected[name][rows], name, UNRESOLVABLE, REASON_NAME)
    if name == "TaintToleration":
        return _simple(verdict.rejected[name][rows], name, UNRESOLVABLE, REASON_TAINT)
    if name == "NodeAffinity":
        enforced = verdict.enforced[rows]
        numbers = np.where(enforced, 1, np.where(verdict.rejected[name][rows], 2, 0))
        return PluginResult(
            numbers,
            (
                Status(name, UNRESOLVABLE, (REASON_ENFORCED,)),
                Status(name, UNRESOLVABLE, (REASON_AFFINITY,)),
            ),
        )
    if name == "NodePorts":
        if not plan.shape.host_ports:
            return None
        conflicts = port_conflicts(core.state, plan.shape.host_ports)[rows]
        return _simple(conflicts, name, UNSCHEDULABLE, REASON_PORTS)
    if name == "NodeResourcesFit":
        return _fit_result(core, plan, rows)
    if name == "PodTopologySpread":
        return _spread_result(plan, selection) if plan.hard else None
    if name == "InterPodAffinity":
        return _affinity_result(plan, selection)
    if name in core.volume_filters:
        return _from_list(volume_statuses(plan, name, rows)) if plan.claims else None
    plugin = core.user_plugins.by_name.get(name)
    if plugin is None:
        return None
    accepted = run_filter(plugin, plan.shape, Candidates(core.state, rows))
    return _simple(~accepted, name, UNSCHEDULABLE, f"node(s) didn't satisfy plugin {name}")


def _from_list(found: list[tuple[str, str, str] | None]) -> PluginResult:
    table: dict[tuple[str, str, str], int] = {}
    numbers = [0 if f is None else table.setdefault(f, len(table) + 1) for f in found]
    statuses = tuple(Status(plugin, code, (reason,)) for plugin, code, reason in table)
    return PluginResult(np.array(numbers, np.int64), statuses)


def _fit_result(core: SchedulingCore, plan: Plan, rows: NDArray[np.int64]) -> PluginResult:
    """Every insufficient resource of each node; unresolvable if the node could never offer it."""
    state = core.state
    allocatable, used = state.allocatable, state.used()
    pods = kernels.PODS_COLUMN
    keys = (used[pods][rows] >= allocatable[pods][rows]).astype(np.int64)
    never = np.zeros(len(rows), np.bool_)
    names = [REASON_TOO_MANY_PODS]
    for column, amount, name in kernels.filter_columns(plan.shape.demand, core.profile.arguments):
        capacity = allocatable[column][rows]
        keys |= (capacity - used[column][rows] < amount).astype(np.int64) << len(names)
        never |= capacity < amount
        names.append(f"Insufficient {name}")
    keys |= never.astype(np.int64) << len(names)
    distinct, inverse = np.unique(keys, return_inverse=True)
    statuses = tuple(
        Status(
            "NodeResourcesFit",
            UNRESOLVABLE if key >> len(names) else UNSCHEDULABLE,
            tuple(n for i, n in enumerate(names) if key >> i & 1),
        )
        for key in distinct.tolist()
    )
    numbers = np.where(keys == 0, 0, inverse + 1)
    return PluginResult(numbers, statuses)


def _spread_result(plan: Plan, selection: Selection) -> PluginResult:
    state = plan.core.state
    numbers: NDArray[np.int64] | None = None
    for entry in plan.hard:
        ids = state.by_position(entry.constraint.topology_key)[selection]
        allowed = dynamic.hard_spread_domains(entry)[ids]
        part = np.where(ids == 0, 1, np.where(allowed, 0, 2))
        numbers = part if numbers is None else np.where(numbers == 0, part, numbers)
    assert numbers is not None
    return PluginResult(
        numbers,
        (
            Status("PodTopologySpread", UNRESOLVABLE, (REASON_SPREAD_LABEL,)),
            Status("PodTopologySpread", UNSCHEDULABLE, (REASON_SPREAD,)),
        ),
    )


def affinity_filter_runs(plan: Plan) -> bool:
    """Whether InterPodAffinity's Filter runs (its PreFilter does not skip)."""
    return bool(plan.required or plan.required_anti or any(c.total for c in plan.carried_anti()))


def _affinity_result(plan: Plan, selection: NDArray[np.int64]) -> PluginResult | None:
    if not affinity_filter_runs(plan):
        return None
    name = "InterPodAffinity"
    numbers = np.zeros(len(selection), np.int64)
    for carried in plan.carried_anti():
        if carried.total:
            numbers[dynamic.domain_counts(plan, carried, selection) > 0] = 3
    for tally in plan.required_anti:
        if tally.total:
            numbers[dynamic.domain_counts(plan, tally, selection) > 0] = 2
    if plan.required:
        numbers[~dynamic.required_affinity(plan, selection)] = 1
    return PluginResult(
        numbers,
        (
            Status(name, UNRESOLVABLE, (REASON_POD_AFFINITY,)),
            Status(name, UNSCHEDULABLE, (REASON_POD_ANTI_AFFINITY,)),
            Status(name, UNSCHEDULABLE, (REASON_EXISTING_ANTI_AFFINITY,)),
        ),
    )
