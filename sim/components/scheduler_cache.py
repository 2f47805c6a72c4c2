"""kube-scheduler's cache: what its informers saw, plus the pods it assumes to be bound.

It feeds the numpy core's `ClusterState` with v1 JSON and keeps the few facts needed to undo an
assumption. Assumed pods never expire; they are confirmed by the watch or forgotten after a failed
binding. **Source:** `facts/model.md` e.2 step 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sim.base.api_object import RESOURCE_TYPES, APIObject, OwnerReference
from sim.base.objects import (
    LabelSelector,
    Node,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    Service,
    StatefulSet,
)
from sim.base.pod_template import PodTemplate
from sim.costs.scheduler import CycleShape, PodsPresent
from sim.scheduling import ClusterState

_SPREADING_OWNERS: Final = frozenset({"ReplicaSet", "StatefulSet"})
"""Controllers whose pods the default constraints spread. **Source:**
pkg/scheduler/framework/plugins/helper/spread.go :: DefaultSelector."""


class SchedulerCache:
    """Keeps a `ClusterState` in step with informers and assumptions."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._node_of: dict[int, str] = {}
        """uid → node of every pod in the state."""
        self._waiting: dict[str, list[Pod]] = {}
        """Bound pods whose node has not been seen yet, by node name."""
        self._node_names: set[str] = set()
        self._cycle_shapes: dict[tuple[PodTemplate, bool], CycleShape] = {}
        self._owned_manifests: dict[tuple[PodTemplate, str], Mapping[str, Any]] = {}
        """Manifests with the owner that decides over spreading, by template and owner's name."""
        self._required_count = 0
        self._preferred_count = 0
        self.placed_counts: dict[PodTemplate, int] = {}
        """Pods ever put on a node, by template."""

    @property
    def pods_present(self) -> PodsPresent:
        """Pods on nodes, assumed ones included."""
        return PodsPresent(len(self._node_of), self._required_count, self._preferred_count)

    def cycle_shape(self, pod: Pod) -> CycleShape:
        """Return which expensive plugins a pod sets to work."""
        spreads = pod.owner is not None and pod.owner.kind in _SPREADING_OWNERS
        key = (pod.template, spreads)
        found = self._cycle_shapes.get(key)
        if found is None:
            found = _cycle_shape(pod.template.manifest.get("spec", {}), spreads)
            self._cycle_shapes[key] = found
        return found

    def _count(self, pod: Pod, change: int) -> None:
        shape = self.cycle_shape(pod)
        if shape.required_affinity:
            self._required_count += change
        if shape.preferred_affinity:
            self._preferred_count += change

    def shape(self, pod: Pod) -> Any:
        """Return the compiled shape of a pod (one dictionary look-up for a known template)."""
        owner = pod.owner
        manifest = pod.template.manifest
        if owner is not None and owner.kind in _SPREADING_OWNERS:
            key = (pod.template, owner.name)
            manifest = self._owned_manifests.get(key) or self._owned(key, owner)
        return self._state.pod_shape(manifest, namespace=pod.namespace)

    def _owned(self, key: tuple[PodTemplate, str], owner: OwnerReference) -> Mapping[str, Any]:
        """Return a template's manifest with its owner, once per template and owner."""
        manifest = key[0].manifest
        reference = {
            "apiVersion": "apps/v1",
            "kind": owner.kind,
            "name": owner.name,
            "controller": True,
        }
        metadata = {**(manifest.get("metadata") or {}), "ownerReferences": [reference]}
        made = self._owned_manifests[key] = {**manifest, "metadata": metadata}
        return made

    def assume(self, pod: Pod, shape: Any, node_name: str) -> bool:
        """Count a pod on a node before its binding is known; False if the node is gone."""
        if node_name not in self._node_names:
            return False
        self._put(pod, shape, node_name)
        return True

    def confirm(self, pod: Pod) -> None:
        """The watch shows the pod bound."""
        known = self._node_of.get(pod.uid)
        if known == pod.node_name:
            return
        if known is not None:
            self.forget(pod)
        if pod.node_name not in self._node_names:
            self._waiting.setdefault(pod.node_name, []).append(pod)
            return
        self._put(pod, self.shape(pod), pod.node_name)

    def _put(self, pod: Pod, shape: Any, node_name: str) -> None:
        self._state.add_pod(
            f"{pod.namespace}/{pod.name}",
            shape,
            node_name,
            terminating=pod.deletion_seconds >= 0.0,
            preempted=pod.deletion_seconds >= 0.0 and pod.disruption_target,
            start_time_seconds=max(0.0, pod.start_seconds),
        )
        self._node_of[pod.uid] = node_name
        self._count(pod, 1)
        self.placed_counts[pod.template] = self.placed_counts.get(pod.template, 0) + 1

    def forget(self, pod: Pod) -> None:
        """Undo an assumption (or drop a bound pod)."""
        if self._node_of.pop(pod.uid, None) is not None:
            self._state.remove_pod(f"{pod.namespace}/{pod.name}")
            self._count(pod, -1)

    def remove(self, pod: Pod) -> bool:
        """Drop a pod that is gone or terminal; return whether it held a node."""
        if pod.uid in self._node_of:
            self.forget(pod)
            return True
        waiting = self._waiting.get(pod.node_name)
        if waiting is not None:
            waiting[:] = [item for item in waiting if item.uid != pod.uid]
        return bool(pod.node_name) and waiting is not None

    def mark_terminating(self, pod: Pod) -> None:
        """A bound pod is being deleted gracefully: spreading no longer counts it."""
        if pod.uid in self._node_of:
            self._state.set_terminating(
                f"{pod.namespace}/{pod.name}", preempted=pod.disruption_target
            )

    def note_start(self, pod: Pod) -> None:
        """The kubelet has acknowledged a bound pod; preemption prefers late starters."""
        if pod.uid in self._node_of:
            known = self._state.pods[f"{pod.namespace}/{pod.name}"]
            known.start_time_seconds = max(0.0, pod.start_seconds)

    def nominate(self, pod: Pod, shape: Any, node_name: str) -> None:
        """Keep room on a node for a pod that is not there yet; an empty name gives it up."""
        if not node_name and not self._state.nominated:
            return
        key = f"{pod.namespace}/{pod.name}"
        self._state.clear_nomination(key)
        if node_name:
            self._state.nominate(key, shape, node_name)

    def nominated_below(self, node_name: str, priority: int) -> list[str]:
        """Return keys of the pods nominated to a node whose priority is lower."""
        return [
            key
            for key, (shape, node) in self._state.nominated.items()
            if node.name == node_name and shape.priority < priority
        ]

    # Nodes.

    def add_node(self, node: Node) -> None:
        """A node has appeared."""
        self._node_names.add(node.name)
        self._state.add_node(node_json(node))
        for pod in self._waiting.pop(node.name, ()):
            self._put(pod, self.shape(pod), node.name)

    def update_node(self, node: Node, old: Node) -> bool:
        """Return whether anything changed that scheduling can see (heartbeats do not)."""
        if (
            node.manifest is old.manifest
            and node.taints == old.taints
            and node.unschedulable == old.unschedulable
            and node.labels == old.labels
        ):
            return False
        self._state.update_node(node_json(node))
        return True

    def remove_node(self, node: Node) -> None:
        """A node is gone; pods still bound to it wait for it (or for their own deletion)."""
        if node.name in self._node_names:
            self._node_names.discard(node.name)
            self._state.remove_node(node.name)

    # Everything else.

    def update_other(self, kind: str, new: APIObject, old: APIObject | None) -> bool:
        """Namespaces, services, owners, budgets, volumes: return whether the core cares."""
        if kind == "MODIFIED" and old is not None and _same_for_scheduling(new, old):
            return False
        if new.resource == "namespaces":
            if kind != "DELETED":
                self._state.set_namespace(new.name, dict(new.labels))
            return True
        manifest = object_json(new)
        if kind == "DELETED":
            self._state.remove_object(manifest)
        else:
            self._state.add_object(manifest)
        return True

    def check(self) -> list[str]:
        """Return what is broken: the core must hold exactly the pods that this cache placed."""
        if len(self._state.pods) == len(self._node_of):
            return []
        placed, held = len(self._node_of), len(self._state.pods)
        return [f"scheduler cache: {placed} pods placed, {held} in the core's state"]


def _same_for_scheduling(new: APIObject, old: APIObject) -> bool:
    if new.resource == "poddisruptionbudgets":
        return False
    return (
        getattr(new, "selector", None) == getattr(old, "selector", None)
        and new.labels == old.labels
        and new.manifest is old.manifest
    )


def node_json(node: Node) -> dict[str, Any]:
    """Return the v1 Node that the scheduling core reads: manifest with the live spec fields."""
    manifest = dict(node.manifest or {})
    metadata = dict(manifest.get("metadata", {}))
    metadata["name"] = node.name
    metadata["labels"] = dict(node.labels)
    spec = dict(manifest.get("spec") or {})
    spec["taints"] = [
        {"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in node.taints
    ]
    spec["unschedulable"] = node.unschedulable
    manifest["metadata"] = metadata
    manifest["spec"] = spec
    return manifest


def selector_json(selector: LabelSelector) -> dict[str, Any]:
    """Return a LabelSelector as JSON."""
    return {
        "matchLabels": dict(selector.match_labels),
        "matchExpressions": [
            {"key": key, "operator": operator, "values": list(values)}
            for key, operator, values in selector.match_expressions
        ],
    }


def object_json(item: APIObject) -> dict[str, Any]:
    """Return what the scheduling core reads of an object as v1 JSON."""
    row = RESOURCE_TYPES[item.resource]
    result: dict[str, Any] = dict(item.manifest or {})
    result["apiVersion"] = row.api_version
    result["kind"] = row.kind
    result["metadata"] = {
        **result.get("metadata", {}),
        "name": item.name,
        "namespace": item.namespace,
        "labels": dict(item.labels),
    }
    spec = dict(result.get("spec") or {})
    if isinstance(item, Service):
        spec["selector"] = dict(item.selector.match_labels) if item.selector else {}
    elif isinstance(item, ReplicaSet | StatefulSet | PodDisruptionBudget):
        spec["selector"] = selector_json(item.selector)
    result["spec"] = spec
    if isinstance(item, PodDisruptionBudget):
        result["status"] = {
            **(result.get("status") or {}),
            "disruptionsAllowed": item.disruptions_allowed_count,
        }
    return result


def _cycle_shape(spec: Mapping[str, Any], spreads: bool) -> CycleShape:
    affinity = spec.get("affinity") or {}
    terms = [affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}]
    return CycleShape(
        node_affinity=bool(affinity.get("nodeAffinity") or spec.get("nodeSelector")),
        spread=bool(spec.get("topologySpreadConstraints")) or spreads,
        preferred_affinity=any(
            term.get("preferredDuringSchedulingIgnoredDuringExecution") for term in terms
        ),
        required_affinity=any(
            term.get("requiredDuringSchedulingIgnoredDuringExecution") for term in terms
        ),
    )
