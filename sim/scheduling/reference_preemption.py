"""The readable twin of DefaultPreemption: copies of nodes, pods taken off and put back.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/preemption`` and ``defaultpreemption``. Nodes
and counts are rebuilt from scratch for every step, so upstream's incremental bookkeeping (and its
miscount of terminating pods for topology spread) is not repeated here.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.scheduling import reference_filters as filters
from sim.scheduling.configuration import SchedulerProfile
from sim.scheduling.reference import NodeCheck
from sim.scheduling.reference_objects import (
    Json,
    ReferenceCluster,
    ReferenceNode,
    label_selector_matches,
    labels_of,
    namespace_of,
    priority_of,
)


@dataclass(frozen=True, slots=True)
class ReferenceVictims:
    """Pods to delete on a node (most important first) and how many deletions break a budget."""

    names: tuple[str, ...]
    pdb_violation_count: int


def select_victims(
    cluster: ReferenceCluster, profile: SchedulerProfile, pod: Json, node_name: str
) -> ReferenceVictims | None:
    """What would have to go from a node so that the pod fits; None when nothing helps."""
    original = cluster.node(node_name)
    lower = [p for p in original.pods if priority_of(p) < priority_of(pod)]
    kept = [p for p in original.pods if priority_of(p) >= priority_of(pod)]
    ports = {port for p in original.pods for port in filters.host_ports(p)}
    for other in lower:
        ports -= filters.host_ports(other)
    if not lower or not _fits(cluster, profile, pod, original, kept, ports):
        return None
    lower.sort(key=_importance)
    violating, others = _split(cluster, lower)
    victims: list[Json] = []
    violations = 0
    for group in (violating, others):
        for other in group:
            more = ports | filters.host_ports(other)
            if _fits(cluster, profile, pod, original, [*kept, other], more):
                kept.append(other)
                ports = more
            else:
                ports = more - filters.host_ports(other)
                victims.append(other)
                violations += group is violating
    if violating and others:
        victims.sort(key=_importance)
    names = tuple(f"{namespace_of(v)}/{v['metadata']['name']}" for v in victims)
    return ReferenceVictims(names, violations)


def _fits(
    cluster: ReferenceCluster,
    profile: SchedulerProfile,
    pod: Json,
    original: ReferenceNode,
    pods: list[Json],
    ports: set[tuple[str, str, int]],
) -> bool:
    node = ReferenceNode(original.document, list(pods))
    nodes = [node if n is original else n for n in cluster.nodes]
    changed = ReferenceCluster(nodes, cluster.namespaces, cluster.objects)
    return NodeCheck(changed, profile, pod).first_rejection(node, ports) is None


def _importance(pod: Json) -> tuple[int, str]:
    """Higher priority first, then earlier start (RFC 3339 texts of one format sort by time)."""
    return (-priority_of(pod), str((pod.get("status") or {}).get("startTime") or "~"))


def _split(cluster: ReferenceCluster, pods: list[Json]) -> tuple[list[Json], list[Json]]:
    budgets = cluster.of_kind("PodDisruptionBudget")
    allowed = [int((b.get("status") or {}).get("disruptionsAllowed") or 0) for b in budgets]
    violating: list[Json] = []
    others: list[Json] = []
    for pod in pods:
        violated = False
        for i, budget in enumerate(budgets):
            selector = (budget.get("spec") or {}).get("selector") or {}
            empty = not (selector.get("matchLabels") or selector.get("matchExpressions"))
            same = (budget["metadata"].get("namespace") or "") == namespace_of(pod)
            disrupted = (budget.get("status") or {}).get("disruptedPods") or {}
            if (
                same
                and not empty
                and labels_of(pod)
                and label_selector_matches(selector, labels_of(pod))
                and pod["metadata"]["name"] not in disrupted
            ):
                allowed[i] -= 1
                violated |= allowed[i] < 0
        (violating if violated else others).append(pod)
    return violating, others
