"""Readable twins of the filter plugins: one pod, one node, plain loops.

Each plugin has a ``prepare`` step over the whole cluster (upstream's PreFilter) whose result its
``filter`` step reads per node.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/plugins``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.scheduling.plugin_arguments import PluginArguments
from sim.scheduling.reference_objects import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Json,
    ReferenceCluster,
    ReferenceNode,
    Rejection,
    amount,
    counts_for_scheduling,
    is_scalar,
    is_terminating,
    label_selector_matches,
    labels_of,
    namespace_of,
    node_affinity_matches,
    node_selector_matches,
    pod_requests,
    requested,
    required_node_affinity,
    untolerated,
)

Pair = tuple[str, str]


# ---------------------------------------------------------------------------------- node facts
def unschedulable(pod: Json, node: ReferenceNode) -> Rejection | None:
    """NodeUnschedulable."""
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if node.unschedulable and untolerated(pod, [taint], ("NoSchedule",)):
        return UNRESOLVABLE, ["node(s) were unschedulable"]
    return None


def taints(pod: Json, node: ReferenceNode) -> Rejection | None:
    """TaintToleration."""
    if untolerated(pod, node.taints, ("NoSchedule", "NoExecute")):
        return UNRESOLVABLE, ["node(s) had untolerated taint(s)"]
    return None


def node_affinity(pod: Json, node: ReferenceNode, added: Json | None) -> Rejection | None:
    """NodeAffinity, with the profile's addedAffinity."""
    enforced = (added or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not node_selector_matches(enforced, node):
        return UNRESOLVABLE, ["node(s) didn't match scheduler-enforced node affinity"]
    if not node_affinity_matches(pod, node):
        return UNRESOLVABLE, ["node(s) didn't match Pod's node affinity/selector"]
    return None


def named_nodes(pod: Json) -> set[str] | None:
    """Nodes every term of required node affinity names; None if some term names none."""
    selector = required_node_affinity(pod)
    terms = (selector or {}).get("nodeSelectorTerms") or ()
    if not terms:
        return None
    names: set[str] = set()
    for term in terms:
        sets = [
            set(f["values"])
            for f in term.get("matchFields") or ()
            if f["key"] == "metadata.name" and f["operator"] == "In"
        ]
        if not sets:
            return None
        names |= set.intersection(*sets)
    return names


# ---------------------------------------------------------------------------------- ports
def host_ports(pod: Json) -> set[tuple[str, str, int]]:
    """``(ip, protocol, port)`` of containers and restartable init containers."""
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return {
        (p.get("hostIP") or "0.0.0.0", p.get("protocol") or "TCP", p["hostPort"])  # noqa: S104
        for c in (*(spec.get("containers") or ()), *sidecars)
        for p in c.get("ports") or ()
        if p.get("hostPort")
    }


def ports(pod: Json, taken: set[tuple[str, str, int]]) -> Rejection | None:
    """NodePorts, given the ports taken on the node."""
    for ip, protocol, port in host_ports(pod):
        for other_ip, other_protocol, other_port in taken:
            same = (protocol, port) == (other_protocol, other_port)
            if same and (ip == other_ip or "0.0.0.0" in (ip, other_ip)):  # noqa: S104
                return UNSCHEDULABLE, ["node(s) didn't have free ports for the requested pod ports"]
    return None


# ---------------------------------------------------------------------------------- resources
def resources(pod: Json, node: ReferenceNode, arguments: PluginArguments) -> Rejection | None:
    """NodeResourcesFit."""
    reasons: list[str] = []
    never = False
    if len(node.pods) + 1 > node.allocatable("pods"):
        reasons.append("Too many pods")
    wanted = {
        name: amount(name, nano)
        for name, nano in pod_requests(pod).items()
        if counts_for_scheduling(name)
    }
    first = ("cpu", "memory", "ephemeral-storage")
    for name in (*first, *sorted(n for n in wanted if n not in first)):
        if not wanted.get(name) or _ignored(name, arguments):
            continue
        if wanted[name] > node.allocatable(name) - requested(node, name):
            reasons.append(f"Insufficient {name}")
            never |= wanted[name] > node.allocatable(name)
    if not reasons:
        return None
    return (UNRESOLVABLE if never else UNSCHEDULABLE), reasons


def _ignored(name: str, arguments: PluginArguments) -> bool:
    extended = is_scalar(name) and "/" in name and "kubernetes.io/" not in name
    return extended and (
        name in arguments.ignored_resources
        or name.split("/", maxsplit=1)[0] in arguments.ignored_resource_groups
    )


# ---------------------------------------------------------------------------------- spread
def selector_of(constraint: Json, pod: Json) -> Json | None:
    """A constraint's selector with matchLabelKeys merged in."""
    selector = constraint.get("labelSelector")
    keys = [k for k in constraint.get("matchLabelKeys") or () if k in labels_of(pod)]
    if selector is None or not keys:
        found: Json | None = selector
        return found
    extra = [{"key": k, "operator": "In", "values": [labels_of(pod)[k]]} for k in keys]
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *extra]}


def node_included(constraint: Json, pod: Json, node: ReferenceNode) -> bool:
    """NodeAffinityPolicy and nodeTaintsPolicy of a constraint."""
    if (constraint.get("nodeAffinityPolicy") or "Honor") == "Honor" and not (
        node_affinity_matches(pod, node)
    ):
        return False
    honor_taints = constraint.get("nodeTaintsPolicy") == "Honor"
    return not (honor_taints and taints(pod, node))


def count_matching(node: ReferenceNode, selector: Json | None, namespace: str) -> int:
    """Pods on a node that a spread selector counts."""
    return sum(
        namespace_of(p) == namespace
        and not is_terminating(p)
        and label_selector_matches(selector, labels_of(p))
        for p in node.pods
    )


@dataclass(slots=True)
class SpreadState:
    """Counts per constraint and domain over the nodes the constraint looks at."""

    constraints: list[Json]
    counts: list[dict[str, int]] = field(default_factory=list)


def prepare_spread(cluster: ReferenceCluster, pod: Json, constraints: list[Json]) -> SpreadState:
    """PreFilter of PodTopologySpread for DoNotSchedule constraints."""
    state = SpreadState(constraints, [{} for _ in constraints])
    for node in cluster.nodes:
        if any(c["topologyKey"] not in node.labels for c in constraints):
            continue
        for constraint, counts in zip(constraints, state.counts, strict=True):
            if node_included(constraint, pod, node):
                domain = node.labels[constraint["topologyKey"]]
                number = count_matching(node, selector_of(constraint, pod), namespace_of(pod))
                counts[domain] = counts.get(domain, 0) + number
    return state


def spread(state: SpreadState, pod: Json, node: ReferenceNode) -> Rejection | None:
    """PodTopologySpread."""
    text = "node(s) didn't match pod topology spread constraints"
    for constraint, counts in zip(state.constraints, state.counts, strict=True):
        domain = node.labels.get(constraint["topologyKey"])
        if domain is None:
            return UNRESOLVABLE, [text + " (missing required label)"]
        lowest = min(counts.values(), default=2**31 - 1)
        if len(counts) < (constraint.get("minDomains") or 1):
            lowest = 0
        own = label_selector_matches(selector_of(constraint, pod), labels_of(pod))
        if counts.get(domain, 0) + own - lowest > constraint["maxSkew"]:
            return UNSCHEDULABLE, [text]
    return None


# ---------------------------------------------------------------------------------- pod affinity
def affinity_terms(pod: Json, kind: str, when: str) -> list[Json]:
    """Terms of ``podAffinity`` or ``podAntiAffinity``; ``when`` is required or preferred."""
    group = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return list(group.get(f"{when}DuringSchedulingIgnoredDuringExecution") or ())


def term_matches(
    term: Json,
    owner: Json,
    other: Json,
    namespaces: Mapping[str, Mapping[str, str]],
    *,
    owner_is_incoming: bool,
) -> bool:
    """Whether a term of ``owner`` selects the pod ``other``."""
    own_labels = labels_of(owner)
    named = list(term.get("namespaces") or ())
    by_label = term.get("namespaceSelector")
    if not named and by_label is None:
        named = [namespace_of(owner)]
    space = namespace_of(other)
    if space not in named:
        known = namespaces.get(space)
        unlisted = owner_is_incoming and known is None and _restricts(by_label)
        if unlisted or not label_selector_matches(by_label, known or {}):
            return False
    selector = term.get("labelSelector")
    if selector is None or not label_selector_matches(selector, labels_of(other)):
        return False
    keys = [k for k in term.get("matchLabelKeys") or () if k in own_labels]
    unlike = [k for k in term.get("mismatchLabelKeys") or () if k in own_labels]
    theirs = labels_of(other)
    return all(theirs.get(k) == own_labels[k] for k in keys) and all(
        theirs.get(k) != own_labels[k] for k in unlike
    )


def _restricts(selector: Json | None) -> bool:
    return bool(selector and (selector.get("matchLabels") or selector.get("matchExpressions")))


@dataclass(slots=True)
class AffinityState:
    """Pods per ``(topology key, value)`` that matter to the incoming pod."""

    affinity: Counter[Pair] = field(default_factory=Counter)
    anti_affinity: Counter[Pair] = field(default_factory=Counter)
    existing_anti_affinity: Counter[Pair] = field(default_factory=Counter)


def prepare_affinity(cluster: ReferenceCluster, pod: Json) -> AffinityState:
    """PreFilter of InterPodAffinity."""
    state = AffinityState()
    spaces = cluster.namespaces
    near = affinity_terms(pod, "podAffinity", "required")
    far = affinity_terms(pod, "podAntiAffinity", "required")
    for node in cluster.nodes:
        for other in node.pods:
            if matches_all(near, pod, other, spaces):
                _count(state.affinity, near, node)
            for term in far:
                if term_matches(term, pod, other, spaces, owner_is_incoming=True):
                    _count(state.anti_affinity, [term], node)
            for term in affinity_terms(other, "podAntiAffinity", "required"):
                if term_matches(term, other, pod, spaces, owner_is_incoming=False):
                    _count(state.existing_anti_affinity, [term], node)
    return state


def matches_all(terms: list[Json], pod: Json, other: Json, spaces: Any) -> bool:
    """Whether a pod matches every required affinity term (of which there is one at least)."""
    return bool(terms) and all(
        term_matches(t, pod, other, spaces, owner_is_incoming=True) for t in terms
    )


def _count(counter: Counter[Pair], terms: list[Json], node: ReferenceNode) -> None:
    for term in terms:
        value = node.labels.get(term["topologyKey"])
        if value is not None:
            counter[term["topologyKey"], value] += 1


def pod_affinity(
    state: AffinityState, cluster: ReferenceCluster, pod: Json, node: ReferenceNode
) -> Rejection | None:
    """InterPodAffinity."""
    near = affinity_terms(pod, "podAffinity", "required")
    pairs = [(t["topologyKey"], node.labels.get(t["topologyKey"])) for t in near]
    if any(value is None for _, value in pairs):
        return UNRESOLVABLE, ["node(s) didn't match pod affinity rules"]
    if any(state.affinity[key, str(value)] <= 0 for key, value in pairs):
        alone = not any(state.affinity.values())
        if not (alone and matches_all(near, pod, pod, cluster.namespaces)):
            return UNRESOLVABLE, ["node(s) didn't match pod affinity rules"]
    for term in affinity_terms(pod, "podAntiAffinity", "required"):
        value = node.labels.get(term["topologyKey"])
        if value is not None and state.anti_affinity[term["topologyKey"], value] > 0:
            return UNSCHEDULABLE, ["node(s) didn't match pod anti-affinity rules"]
    for key, value in node.labels.items():
        if state.existing_anti_affinity[key, value] > 0:
            return UNSCHEDULABLE, ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return None
