"""The readable twin of the scheduling core: one pod, one node, one plugin at a time.

It repeats kube-scheduler's cycle on v1 JSON dicts without any index, cache or array. Volumes and
user plugins are outside it.

**Source:** Kubernetes v1.36 ``pkg/scheduler/schedule_one.go``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sim.scheduling import reference_filters as filters
from sim.scheduling import reference_scores as scores
from sim.scheduling.configuration import SchedulerProfile
from sim.scheduling.reference_objects import (
    UNRESOLVABLE,
    Json,
    ReferenceCluster,
    ReferenceNode,
    Rejection,
    labels_of,
    namespace_of,
)


@dataclass(slots=True)
class ReferenceDecision:
    """Outcome of one cycle, with everything that led to it."""

    node_name: str | None = None
    feasible: list[str] = field(default_factory=list)
    rejections: dict[str, tuple[str, str, list[str]]] = field(default_factory=dict)
    """``(plugin, code, reasons)`` per rejected node: the first plugin that rejects it."""
    raw: dict[str, list[int]] = field(default_factory=dict)
    normalized: dict[str, list[int]] = field(default_factory=dict)
    total: list[int] = field(default_factory=list)
    processed_nodes: int = 0
    fit_error: str | None = None


class ReferenceScheduler:
    """Decides as kube-scheduler does, slowly."""

    def __init__(self, cluster: ReferenceCluster, profile: SchedulerProfile) -> None:
        self.cluster = cluster
        self.profile = profile
        self.next_start_index = 0

    def schedule(self, pod: Json) -> ReferenceDecision:
        """One scheduling cycle; the cluster is not changed."""
        result = ReferenceDecision()
        order = self.cluster.visiting_order()
        if not order:
            result.fit_error = "no nodes available to schedule pods"
            return result
        names = self._named_nodes(pod)
        if names is not None and not names:
            text = "pod affinity terms conflict"
            result.fit_error = f"0/{len(order)} nodes are available: {text}."
            return result
        searched = [n for n in order if names is None or n.name in names]
        self._filter(pod, searched, result)
        self.next_start_index = (self.next_start_index + result.processed_nodes) % len(order)
        if not result.feasible:
            result.fit_error = self._fit_error(len(order), result)
            return result
        self._score(pod, result)
        best = heap_root(result.total)
        result.node_name = result.feasible[best]
        return result

    def bind(self, pod: Json, node_name: str) -> None:
        """Put a pod on a node."""
        self.cluster.node(node_name).pods.append(pod)

    def _named_nodes(self, pod: Json) -> set[str] | None:
        if "NodeAffinity" not in self.profile.plugins["preFilter"]:
            return None
        return filters.named_nodes(pod)

    # ------------------------------------------------------------------------------ filter
    def _filter(self, pod: Json, nodes: list[ReferenceNode], result: ReferenceDecision) -> None:
        """Visit nodes in turn until one more feasible node than wanted is met."""
        wanted = self._nodes_to_find(len(nodes))
        check = NodeCheck(self.cluster, self.profile, pod)
        for step in range(len(nodes)):
            node = nodes[(self.next_start_index + step) % len(nodes)]
            rejection = check.first_rejection(node)
            if rejection is not None:
                result.rejections[node.name] = rejection
            elif len(result.feasible) == wanted:
                break
            else:
                result.feasible.append(node.name)
        result.processed_nodes = len(result.feasible) + len(result.rejections)

    def _nodes_to_find(self, count: int) -> int:
        if not self.profile.plugins["score"]:
            return 1
        percentage = self.profile.percentage_of_nodes_to_score
        if count < 100 or percentage >= 100:
            return count
        if percentage == 0:
            percentage = max(5, 50 - count // 125)
        return max(100, count * percentage // 100)

    @staticmethod
    def _fit_error(node_count: int, result: ReferenceDecision) -> str:
        reasons: Counter[str] = Counter()
        for _, _, texts in result.rejections.values():
            reasons.update(texts)
        outside = node_count - len(result.rejections)
        if outside:
            reasons["node(s) didn't satisfy plugin(s) [NodeAffinity]"] += outside
        parts = sorted(f"{count} {text}" for text, count in reasons.items())
        return f"0/{node_count} nodes are available: {', '.join(parts)}."

    # ------------------------------------------------------------------------------ score
    def _score(self, pod: Json, result: ReferenceDecision) -> None:
        feasible = [self.cluster.node(n) for n in result.feasible]
        result.total = [0] * len(feasible)
        for plugin in self.profile.plugins["score"]:
            scored = self._plugin_scores(plugin, pod, feasible)
            if scored is None:
                continue
            result.raw[plugin], result.normalized[plugin] = scored
            weight = self.profile.score_weights[plugin]
            result.total = [t + weight * s for t, s in zip(result.total, scored[1], strict=True)]

    def _plugin_scores(
        self, plugin: str, pod: Json, feasible: list[ReferenceNode]
    ) -> scores.Scores | None:
        arguments = self.profile.arguments
        if plugin == "TaintToleration":
            return scores.taint_toleration(pod, feasible)
        if plugin == "NodeAffinity":
            return scores.node_affinity(pod, feasible, arguments)
        if plugin == "NodeResourcesFit":
            return scores.fit(pod, feasible, arguments)
        if plugin == "NodeResourcesBalancedAllocation":
            return scores.balanced(pod, feasible, arguments)
        if plugin == "ImageLocality":
            return scores.images(self.cluster, pod, feasible)
        if plugin == "PodTopologySpread":
            constraints = spread_constraints(self.cluster, self.profile, pod, "ScheduleAnyway")
            given = bool(pod["spec"].get("topologySpreadConstraints"))
            require_all = given or not arguments.spread_system_defaulted
            return scores.spread(self.cluster, pod, feasible, constraints, require_all)
        if plugin == "InterPodAffinity":
            return scores.pod_affinity(self.cluster, pod, feasible, arguments)
        return None


class NodeCheck:
    """The filter plugins of a profile, prepared for one pod."""

    def __init__(self, cluster: ReferenceCluster, profile: SchedulerProfile, pod: Json) -> None:
        self.cluster = cluster
        self.profile = profile
        self.pod = pod
        constraints = spread_constraints(cluster, profile, pod, "DoNotSchedule")
        self.spread = filters.prepare_spread(cluster, pod, constraints)
        self.affinity = filters.prepare_affinity(cluster, pod)

    def first_rejection(
        self, node: ReferenceNode, taken_ports: set[tuple[str, str, int]] | None = None
    ) -> tuple[str, str, list[str]] | None:
        """``(plugin, code, reasons)`` of the first plugin that rejects, None if all pass."""
        if taken_ports is None:
            taken_ports = {port for p in node.pods for port in filters.host_ports(p)}
        for plugin in self.profile.plugins["filter"]:
            rejection = self._filter(plugin, node, taken_ports)
            if rejection is not None:
                return (plugin, *rejection)
        return None

    def _filter(
        self, plugin: str, node: ReferenceNode, taken_ports: set[tuple[str, str, int]]
    ) -> Rejection | None:
        pod, arguments = self.pod, self.profile.arguments
        if plugin == "NodeUnschedulable":
            return filters.unschedulable(pod, node)
        if plugin == "TaintToleration":
            return filters.taints(pod, node)
        if plugin == "NodeAffinity":
            return filters.node_affinity(pod, node, arguments.added_affinity)
        if plugin == "NodePorts":
            return filters.ports(pod, taken_ports)
        if plugin == "NodeResourcesFit":
            return filters.resources(pod, node, arguments)
        if plugin == "PodTopologySpread":
            return filters.spread(self.spread, pod, node)
        if plugin == "InterPodAffinity":
            return filters.pod_affinity(self.affinity, self.cluster, pod, node)
        return None


def spread_constraints(
    cluster: ReferenceCluster, profile: SchedulerProfile, pod: Json, action: str
) -> list[Json]:
    """The pod's constraints of one kind, or the profile's defaults for pods that have none."""
    given = pod["spec"].get("topologySpreadConstraints")
    if given:
        return [c for c in given if c.get("whenUnsatisfiable", "DoNotSchedule") == action]
    selector = default_selector(cluster, pod)
    if selector is None:
        return []
    return [
        {**c, "labelSelector": selector}
        for c in profile.arguments.spread_constraints
        if c["whenUnsatisfiable"] == action
    ]


def default_selector(cluster: ReferenceCluster, pod: Json) -> Json | None:
    """Selector deduced from the pod's services and controlling owner; None if there is none."""
    space = namespace_of(pod)
    labels: dict[str, str] = {}
    for service in cluster.of_kind("Service"):
        wanted = (service.get("spec") or {}).get("selector")
        same = (service["metadata"].get("namespace") or "") == space
        if same and wanted is not None and wanted.items() <= labels_of(pod).items():
            labels.update(wanted)
    expressions: list[Any] = []
    owner = next(
        (o for o in pod["metadata"].get("ownerReferences") or () if o.get("controller")), None
    )
    if owner is not None:
        for document in cluster.of_kind(owner["kind"]):
            metadata = document["metadata"]
            if (metadata.get("namespace") or "", metadata["name"]) != (space, owner["name"]):
                continue
            given = document["spec"].get("selector") or {}
            if (owner["kind"], owner["apiVersion"]) == ("ReplicationController", "v1"):
                labels.update(given)
            elif owner["apiVersion"] == "apps/v1" and owner["kind"] in (
                "ReplicaSet",
                "StatefulSet",
            ):
                pairs = given.get("matchLabels") or {}
                expressions += [
                    {"key": k, "operator": "In", "values": [v]} for k, v in pairs.items()
                ]
                expressions += given.get("matchExpressions") or []
    if not labels and not expressions:
        return None
    return {"matchLabels": labels, "matchExpressions": expressions}


def heap_root(totals: list[int]) -> int:
    """Index of the entry that Go's ``heap.Init`` brings to the root of a max-heap of scores."""
    heap = list(range(len(totals)))

    def better(i: int, j: int) -> bool:
        return totals[heap[i]] > totals[heap[j]]

    for start in range(len(heap) // 2 - 1, -1, -1):
        i = start
        while True:
            child = 2 * i + 1
            if child >= len(heap):
                break
            if child + 1 < len(heap) and better(child + 1, child):
                child += 1
            if not better(child, i):
                break
            heap[i], heap[child] = heap[child], heap[i]
            i = child
    return heap[0]


__all__ = ["UNRESOLVABLE", "NodeCheck", "ReferenceDecision", "ReferenceScheduler", "heap_root"]
