"""Plain objects and matching rules for the readable twin of the scheduling core.

Everything works on v1 JSON dicts, one pod and one node at a time, and shares nothing with the fast
path but the reading of quantities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sim.scheduling.quantities import parse_nano

Json: TypeAlias = Mapping[str, Any]
Rejection: TypeAlias = "tuple[str, list[str]]"
"""``(code, reasons)`` in upstream's words."""

UNSCHEDULABLE = "Unschedulable"
UNRESOLVABLE = "UnschedulableAndUnresolvable"


@dataclass(slots=True)
class ReferenceNode:
    """A node dict with the pod dicts bound to it."""

    document: Json
    pods: list[Json] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Node name."""
        return str(self.document["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        """Node labels."""
        return self.document["metadata"].get("labels") or {}

    @property
    def taints(self) -> list[Json]:
        """Node taints."""
        return list((self.document.get("spec") or {}).get("taints") or ())

    @property
    def unschedulable(self) -> bool:
        """Whether the node is cordoned."""
        return bool((self.document.get("spec") or {}).get("unschedulable"))

    def allocatable(self, resource: str) -> int:
        """Allocatable amount of a resource."""
        given = (self.document.get("status") or {}).get("allocatable") or {}
        return amount(resource, parse_nano(given.get(resource, 0)))


@dataclass(slots=True)
class ReferenceCluster:
    """Nodes in the order they were added, and everything else decisions depend on."""

    nodes: list[ReferenceNode] = field(default_factory=list)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    objects: list[Json] = field(default_factory=list)

    def node(self, name: str) -> ReferenceNode:
        """The node of that name. Raises ``StopIteration`` if unknown."""
        return next(n for n in self.nodes if n.name == name)

    def of_kind(self, kind: str) -> list[Json]:
        """Other objects of a kind."""
        return [o for o in self.objects if o.get("kind") == kind]

    def visiting_order(self) -> list[ReferenceNode]:
        """Round robin over zones in order of first appearance."""
        zones: dict[tuple[str, str], list[ReferenceNode]] = {}
        for node in self.nodes:
            zones.setdefault(_zone(node.labels), []).append(node)
        order: list[ReferenceNode] = []
        turn = 0
        while len(order) < len(self.nodes):
            order.extend(members[turn] for members in zones.values() if turn < len(members))
            turn += 1
        return order


def _zone(labels: Mapping[str, str]) -> tuple[str, str]:
    beta = "failure-domain.beta.kubernetes.io/"
    return (
        labels.get("topology.kubernetes.io/region", labels.get(beta + "region", "")),
        labels.get("topology.kubernetes.io/zone", labels.get(beta + "zone", "")),
    )


def amount(resource: str, nano: int) -> int:
    """Whole units (millicores for cpu), rounded up."""
    unit = 10**6 if resource == "cpu" else 10**9
    return -(-nano // unit)


def labels_of(pod: Json) -> Mapping[str, str]:
    """A pod's labels."""
    return pod["metadata"].get("labels") or {}


def namespace_of(pod: Json) -> str:
    """A pod's namespace."""
    return str(pod["metadata"].get("namespace") or "default")


def is_terminating(pod: Json) -> bool:
    """Whether a pod has a deletion timestamp."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def priority_of(pod: Json) -> int:
    """A pod's priority."""
    return int(pod["spec"].get("priority") or 0)


def expression_matches(expression: Json, labels: Mapping[str, str]) -> bool:
    """One entry of matchExpressions."""
    key, operator = expression["key"], expression["operator"]
    values = list(expression.get("values") or ())
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if key not in labels or len(values) != 1:
        return False
    try:
        left, right = int(labels[key]), int(values[0])
    except ValueError:
        return False
    if not all(-(2**63) <= number < 2**63 for number in (left, right)):
        return False  # Go's ParseInt refuses what does not fit into 64 bits
    return left > right if operator == "Gt" else left < right


def label_selector_matches(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """A LabelSelector; an absent one matches nothing, an empty one everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(k) == v for k, v in wanted.items()) and all(
        expression_matches(e, labels) for e in selector.get("matchExpressions") or ()
    )


def node_term_matches(term: Json, node: ReferenceNode) -> bool:
    """One term of a node selector; an empty one matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(expression_matches(e, node.labels) for e in expressions) and all(
        e["key"] == "metadata.name" and expression_matches(e, {"metadata.name": node.name})
        for e in fields
    )


def required_node_affinity(pod: Json) -> Json | None:
    """``requiredDuringSchedulingIgnoredDuringExecution`` of node affinity."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    found: Json | None = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return found


def node_selector_matches(selector: Json | None, node: ReferenceNode) -> bool:
    """A NodeSelector; absent means no restriction."""
    if selector is None:
        return True
    return any(node_term_matches(t, node) for t in selector.get("nodeSelectorTerms") or ())


def node_affinity_matches(pod: Json, node: ReferenceNode) -> bool:
    """NodeSelector and required node affinity of a pod."""
    wanted = pod["spec"].get("nodeSelector") or {}
    return all(node.labels.get(k) == v for k, v in wanted.items()) and node_selector_matches(
        required_node_affinity(pod), node
    )


def tolerates(toleration: Json, taint: Json) -> bool:
    """Whether one toleration covers one taint."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(pod: Json, taints: Iterable[Json], effects: tuple[str, ...]) -> list[Json]:
    """Taints of the given effects that no toleration of the pod covers."""
    tolerations = pod["spec"].get("tolerations") or ()
    return [
        taint
        for taint in taints
        if taint.get("effect") in effects and not any(tolerates(t, taint) for t in tolerations)
    ]


DEFAULTS = {"cpu": 100 * 10**6, "memory": 200 * 2**20 * 10**9}
"""Requests assumed for scoring where a container names none, nano units."""


def pod_requests(
    pod: Json, *, defaults: Mapping[str, int] | None = None, pod_level: bool = True
) -> dict[str, int]:
    """Requests of a pod in nano units; ``defaults`` fill in what a container leaves out.

    The pod needs, at any moment, its restartable init containers started so far plus either the
    init container that is running or all of its containers.
    """
    spec = pod["spec"]
    sidecars: dict[str, int] = {}
    moments: list[dict[str, int]] = []
    for container in spec.get("initContainers") or ():
        own = _container_requests(pod, container, defaults)
        if container.get("restartPolicy") == "Always":
            _plus(sidecars, own)
            moments.append(dict(sidecars))
        else:
            _plus(own, sidecars)
            moments.append(own)
    running = dict(sidecars)
    for container in spec.get("containers") or ():
        _plus(running, _container_requests(pod, container, defaults))
    moments.append(running)
    total = {name: max(m.get(name, 0) for m in moments) for m in moments for name in m}
    if pod_level:
        total.update(pod_level_requests(pod))
    for name, quantity in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + parse_nano(quantity)
    return total


def pod_level_requests(pod: Json) -> dict[str, int]:
    """``spec.resources.requests`` of cpu, memory and hugepages, with a resize in place counted."""
    given = (pod["spec"].get("resources") or {}).get("requests") or {}
    own = {n: parse_nano(q) for n, q in given.items() if _allowed_at_pod_level(n)}
    status = pod.get("status") or {}
    if not own:
        return {}
    actual = (status.get("resources") or {}).get("requests") or {}
    allocated = status.get("allocatedResources") or {}
    return _resized(pod, own, actual, allocated)


def _allowed_at_pod_level(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _resized(pod: Json, wanted: dict[str, int], actual: Json, allocated: Json) -> dict[str, int]:
    """Largest of wanted, actual and allocated; wanted does not count if the resize cannot be."""
    if not actual and not allocated:
        return wanted
    conditions = (pod.get("status") or {}).get("conditions") or ()
    infeasible = any(
        c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible" for c in conditions
    )
    sources = [
        {} if infeasible else wanted,
        {n: parse_nano(q) for n, q in actual.items()},
        {n: parse_nano(q) for n, q in allocated.items()},
    ]
    return {name: max(s.get(name, 0) for s in sources) for s in sources for name in s}


def _container_requests(
    pod: Json, container: Json, defaults: Mapping[str, int] | None
) -> dict[str, int]:
    given = (container.get("resources") or {}).get("requests") or {}
    requests = {n: parse_nano(q) for n, q in given.items()}
    ordinary = container in (pod["spec"].get("containers") or ())
    if ordinary or container.get("restartPolicy") == "Always":
        status = pod.get("status") or {}
        for entry in (
            *(status.get("containerStatuses") or ()),
            *(status.get("initContainerStatuses") or ()),
        ):
            if entry["name"] == container["name"] and entry.get("resources") is not None:
                actual = entry["resources"].get("requests") or {}
                allocated = entry.get("allocatedResources") or {}
                requests = _resized(pod, requests, actual, allocated)
    return {**(defaults or {}), **requests}


def _plus(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def counts_for_scheduling(resource: str) -> bool:
    """Whether the scheduler keeps a resource at all."""
    native = "/" not in resource or "kubernetes.io/" in resource
    return (
        resource in ("cpu", "memory", "ephemeral-storage")
        or (not native and not resource.startswith("requests."))
        or resource.startswith(("hugepages-", "attachable-volumes-"))
        or "kubernetes.io/" in resource
    )


def is_scalar(resource: str) -> bool:
    """Whether a resource is kept among the scalar ones."""
    return counts_for_scheduling(resource) and resource not in (
        "cpu",
        "memory",
        "ephemeral-storage",
    )


def requested(node: ReferenceNode, resource: str, *, nonzero: bool = False) -> int:
    """Sum of what the pods on a node request; ``nonzero`` as NodeResourcesFit scoring counts."""
    return sum(bound_request(p, resource, nonzero=nonzero) for p in node.pods)


def bound_request(pod: Json, resource: str, *, nonzero: bool) -> int:
    """What one bound pod counts for on its node."""
    plain = pod_requests(pod)
    if not nonzero:
        return amount(resource, plain.get(resource, 0))
    missing = dict(DEFAULTS)
    if pod_level_requests(pod):
        missing = {n: q for n, q in DEFAULTS.items() if not plain.get(n)}
    return amount(resource, pod_requests(pod, defaults=missing).get(resource, 0))
