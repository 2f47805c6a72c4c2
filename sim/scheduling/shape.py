"""Pods compiled to shapes: everything about a pod that can influence a decision, interned.

Two pods of one template are one shape. A shape is made of parts that many shapes share (labels,
node constraints, requests, images), so that pods which differ only in requests share the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.scheduling.affinity_terms import PodAffinity
from sim.scheduling.labels import (
    NodeSelectorTerm,
    Requirement,
    Selector,
    canonical,
    compile_label_selector,
    compile_node_selector,
    compile_node_selector_term,
    from_match_labels,
)
from sim.scheduling.requests import Requests


class Toleration(NamedTuple):
    """A compiled toleration. **Source:** ``core/v1/toleration.go`` ``ToleratesTaint``."""

    key: str
    operator: str
    value: str
    effect: str

    def tolerates(self, taint: Taint) -> bool:
        """Whether this toleration covers a taint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator in ("", "Equal"):
            return self.value == taint.value
        return self.operator == "Exists"


class Taint(NamedTuple):
    """A node taint."""

    key: str
    value: str
    effect: str


UNSCHEDULABLE_TAINT = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeConstraints(NamedTuple):
    """What a pod demands of nodes themselves, whatever else runs there."""

    node_name: str
    tolerations: tuple[Toleration, ...]
    node_selector: tuple[Requirement, ...]
    has_node_selector: bool
    affinity: tuple[NodeSelectorTerm, ...] | None
    preferred: tuple[tuple[NodeSelectorTerm, int], ...]
    has_preferred: bool


def compile_node_constraints(spec: Mapping[str, Any]) -> NodeConstraints:
    """The node-only demands of a pod spec."""
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    preferred = node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution")
    return NodeConstraints(
        node_name=spec.get("requestedNodeName") or "",
        tolerations=tuple(
            sorted(
                {
                    Toleration(
                        t.get("key") or "",
                        t.get("operator") or "",
                        t.get("value") or "",
                        t.get("effect") or "",
                    )
                    for t in spec.get("tolerations") or ()
                }
            )
        ),
        node_selector=from_match_labels(spec.get("nodeSelector")),
        has_node_selector=spec.get("nodeSelector") is not None,
        affinity=compile_node_selector(
            node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        ),
        preferred=compile_preferred_terms(preferred),
        has_preferred=preferred is not None,
    )


def compile_preferred_terms(
    terms: Any,
) -> tuple[tuple[NodeSelectorTerm, int], ...]:
    """``(term, weight)`` of preferred scheduling terms; empty ones and zero weights never count."""
    compiled = (
        (compile_node_selector_term(t.get("preference")), int(t.get("weight", 0)))
        for t in terms or ()
    )
    return tuple((t, w) for t, w in compiled if w and (t.expressions or t.fields))


class SpreadConstraint(NamedTuple):
    """A compiled topology spread constraint (its selector None: selects no pod)."""

    max_skew: int
    topology_key: str
    hard: bool
    selector: Selector
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


def compile_spread_constraint(
    constraint: Mapping[str, Any], labels: Mapping[str, str]
) -> SpreadConstraint:
    """Compile one constraint of a pod with the given labels (``matchLabelKeys`` merged)."""
    selector = compile_label_selector(constraint.get("labelSelector"))
    keys = constraint.get("matchLabelKeys")
    if keys:
        merged = [Requirement(k, "In", (labels[k],)) for k in keys if k in labels]
        if merged and selector is not None:
            selector = canonical((*selector, *merged))
    return SpreadConstraint(
        max_skew=int(constraint["maxSkew"]),
        topology_key=constraint["topologyKey"],
        hard=constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        selector=selector,
        min_domains=int(constraint.get("minDomains") or 1),
        honor_affinity=(constraint.get("nodeAffinityPolicy") or "Honor") == "Honor",
        honor_taints=(constraint.get("nodeTaintsPolicy") or "Ignore") == "Honor",
    )


class HostPort(NamedTuple):
    """A requested host port."""

    ip: str
    protocol: str
    port: int


def compile_host_ports(spec: Mapping[str, Any]) -> tuple[HostPort, ...]:
    """Host ports of containers and restartable init containers.

    **Source:** ``pkg/scheduler/util/utils.go`` ``GetHostPorts``.
    """
    found: list[HostPort] = []
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            ports = container.get("ports")
            if not ports or (
                kind == "initContainers" and container.get("restartPolicy") != "Always"
            ):
                continue
            found.extend(
                HostPort(p.get("hostIP") or "0.0.0.0", p.get("protocol") or "TCP", p["hostPort"])  # noqa: S104
                for p in ports
                if p.get("hostPort")
            )
    return tuple(found)


def normalized_image_name(name: str) -> str:
    """Image name with ``:latest`` where it has neither tag nor digest.

    **Source:** ``imagelocality/image_locality.go``.
    """
    return name if name.rfind(":") > name.rfind("/") else name + ":latest"


def compile_images(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Normalized images of init containers, containers and image volumes, with repetitions."""
    names = [
        c.get("image") or ""
        for kind in ("initContainers", "containers")
        for c in spec.get(kind) or ()
    ]
    names.extend(
        v["image"].get("reference") or "" for v in spec.get("volumes") or () if v.get("image")
    )
    return tuple(sorted(normalized_image_name(n) for n in names))


class Labels:
    """Namespace and labels of a kind of pod, what selectors look at; one object per pair."""

    __slots__ = (
        "index",
        "labels",
        "matching_carried",
        "matching_tallies",
        "namespace",
        "pod_count",
    )

    def __init__(self, index: int, namespace: str, labels: Mapping[str, str]) -> None:
        self.index = index
        self.namespace = namespace
        self.labels = dict(labels)
        self.pod_count = 0
        self.matching_tallies: list[Any] = []
        self.matching_carried: list[Any] = []


class ResourceDemand:
    """Requests of a pod with their column numbers in the state; one object per distinct value."""

    __slots__ = ("additions", "balanced_cache", "filter_columns", "index", "requests", "score")

    def __init__(
        self,
        index: int,
        requests: Requests,
        additions: tuple[tuple[int, int], ...],
        filter_columns: tuple[tuple[int, int, str], ...],
    ) -> None:
        self.index = index
        self.requests = requests
        self.additions = additions
        """``(column, amount)`` a bound pod adds to its node's used amounts."""
        self.filter_columns = filter_columns
        """``(column, amount, resource)`` of every nonzero request, in the filter's order."""
        self.score = dict(requests.score_request)


class PodShape:
    """A compiled pod. Compare by identity: equal pods of one state are one object."""

    __slots__ = (
        "affinity",
        "carried",
        "claims",
        "demand",
        "host_ports",
        "images",
        "index",
        "labels",
        "node",
        "node_index",
        "owner",
        "plans",
        "preemption_policy",
        "priority",
        "raw",
        "scheduler_name",
        "spread",
        "spread_given",
    )

    index: int
    labels: Labels
    node: NodeConstraints
    node_index: int
    demand: ResourceDemand
    images: tuple[str, ...]
    host_ports: tuple[HostPort, ...]
    affinity: PodAffinity
    carried: tuple[Any, ...]
    spread: tuple[SpreadConstraint, ...]
    spread_given: bool
    priority: int
    preemption_policy: str
    owner: tuple[str, str, str] | None
    scheduler_name: str
    claims: tuple[Any, ...]
    plans: dict[int, Any]
    raw: Mapping[str, Any]

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return self.labels.namespace

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """The pod's labels."""
        return self.labels.labels
