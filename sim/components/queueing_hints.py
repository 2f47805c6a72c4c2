"""Queueing hints: which cluster events may help a pod that a given plugin rejected.

A hint answers True (queue) or False (skip). Plugins without an entry here, and plugins of users,
are woken by every event, as upstream does when no hint is registered.
**Source:** the EventsToRegister of the v1.36 default plugins (`facts/model.md` e.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sim.base.objects import Node, Pod
from sim.base.pod_template import PodTemplate
from sim.components.scheduling_queue import ClusterEvent, Hint, QueuedPod
from sim.scheduling.labels import (
    NodeSelectorTerm,
    Selector,
    compile_label_selector,
    compile_node_selector,
    selector_matches,
)

_TEMPLATES_KEPT_MAX: Final = 4096


class _Term(NamedTuple):
    """A required affinity term or a hard spread constraint: which pods it is about."""

    selector: Selector
    topology_key: str
    namespaces: tuple[str, ...]
    any_namespace: bool


class _Wishes(NamedTuple):
    """What the hints need of a pod's spec."""

    affinity: tuple[_Term, ...]
    anti_affinity: tuple[_Term, ...]
    spread: tuple[_Term, ...]
    node_labels: Mapping[str, str]
    node_terms: tuple[NodeSelectorTerm, ...] | None
    host_ports: frozenset[tuple[str, int]]


@lru_cache(maxsize=_TEMPLATES_KEPT_MAX)
def _wishes(template: PodTemplate) -> _Wishes:
    spec: Mapping[str, Any] = template.manifest.get("spec", {})
    affinity = spec.get("affinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return _Wishes(
        affinity=_terms((affinity.get("podAffinity") or {}).get(required)),
        anti_affinity=_terms((affinity.get("podAntiAffinity") or {}).get(required)),
        spread=_terms(
            item
            for item in spec.get("topologySpreadConstraints") or ()
            if item.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        ),
        node_labels=spec.get("nodeSelector") or {},
        node_terms=compile_node_selector((affinity.get("nodeAffinity") or {}).get(required)),
        host_ports=frozenset(
            (port.get("protocol", "TCP"), port["hostPort"])
            for container in spec.get("containers", ())
            for port in container.get("ports") or ()
            if port.get("hostPort")
        ),
    )


def _terms(items: Any) -> tuple[_Term, ...]:
    return tuple(
        _Term(
            compile_label_selector(item.get("labelSelector")),
            item.get("topologyKey", ""),
            tuple(item.get("namespaces") or ()),
            item.get("namespaceSelector") is not None,
        )
        for item in items or ()
    )


def _concerns(term: _Term, owner: Pod, other: Pod) -> bool:
    """Whether a term of ``owner`` is about ``other``."""
    if not term.any_namespace:
        own = (owner.namespace,) if not term.namespaces else term.namespaces
        if other.namespace not in own:
            return False
    return selector_matches(term.selector, other.template.labels)


def _is_node_change(event: ClusterEvent) -> bool:
    return event.resource == "node" and event.action in {"add", "update"}


def _is_own_update(event: ClusterEvent) -> bool:
    return event.resource == "pod" and event.action == "update"


def resources_fit(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a pod leaving a node, or on a node whose allocatable admits the request."""
    template = queued.template
    if event.resource == "assigned_pod":
        return event.action == "delete"
    if _is_own_update(event):
        old: PodTemplate = event.old.template
        return (
            template.cpu_requested_millicores < old.cpu_requested_millicores
            or template.memory_requested_bytes < old.memory_requested_bytes
        )
    if not _is_node_change(event):
        return False
    node: Node = event.new
    if (
        node.cpu_allocatable_millicores < template.cpu_requested_millicores
        or node.memory_allocatable_bytes < template.memory_requested_bytes
    ):
        return False
    before: Node | None = event.old
    return (
        before is None
        or node.cpu_allocatable_millicores > before.cpu_allocatable_millicores
        or node.memory_allocatable_bytes > before.memory_allocatable_bytes
        or node.pods_allocatable_count > before.pods_allocatable_count
        or node.manifest is not before.manifest
    )


def node_unschedulable(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a node that is, or has just become, schedulable; on new tolerations."""
    if _is_own_update(event):
        return _tolerations_changed(event)
    if not _is_node_change(event) or event.new.unschedulable:
        return False
    return event.old is None or bool(event.old.unschedulable)


def _tolerations_changed(event: ClusterEvent) -> bool:
    return bool(event.new.template.tolerations != event.old.template.tolerations)


def _tolerates(template: PodTemplate, key: str, value: str, effect: str) -> bool:
    for item in template.tolerations:
        if item.get("effect") and item["effect"] != effect:
            continue
        if item.get("operator", "Equal") == "Exists":
            if not item.get("key") or item["key"] == key:
                return True
        elif item.get("key") == key and item.get("value", "") == value:
            return True
    return False


def _untolerated(queued: QueuedPod, node: Node) -> bool:
    return any(
        taint.effect in {"NoSchedule", "NoExecute"}
        and not _tolerates(queued.template, taint.key, taint.value, taint.effect)
        for taint in node.taints
    )


def taint_toleration(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a node whose taints the pod tolerates and did not tolerate before."""
    if _is_own_update(event):
        return _tolerations_changed(event)
    if not _is_node_change(event) or _untolerated(queued, event.new):
        return False
    return event.old is None or _untolerated(queued, event.old)


def _wants_node(queued: QueuedPod, node: Node) -> bool:
    wishes = _wishes(queued.template)
    labels = node.labels
    if any(labels.get(key) != value for key, value in wishes.node_labels.items()):
        return False
    terms = wishes.node_terms
    return terms is None or any(term.matches(labels, node.name) for term in terms)


def node_affinity(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a node that the pod's selector admits and did not admit before."""
    if not _is_node_change(event) or not _wants_node(queued, event.new):
        return False
    return event.old is None or not _wants_node(queued, event.old)


def node_name(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue when the node the pod names appears."""
    return (
        event.resource == "node"
        and event.action == "add"
        and event.new.name == queued.template.node_name
    )


def node_ports(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a new node, or when a pod that held one of the wanted host ports goes."""
    if event.resource == "node":
        return event.action == "add"
    if event.resource != "assigned_pod" or event.action != "delete":
        return False
    held = _wishes(event.new.template).host_ports
    return not _wishes(queued.template).host_ports.isdisjoint(held)


def _has_topology(node: Node, terms: tuple[_Term, ...]) -> bool:
    return all(term.topology_key in node.labels for term in terms)


def _topology_helps(event: ClusterEvent, terms: tuple[_Term, ...]) -> bool:
    """Whether a node event adds, takes away or moves one of the terms' topology domains."""
    node: Node = event.new
    if event.action != "update":
        return _has_topology(node, terms)
    old: Node = event.old
    return any(
        node.labels.get(term.topology_key) != old.labels.get(term.topology_key) for term in terms
    )


def pod_topology_spread(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on nodes with other topology and on assigned pods that a constraint counts."""
    terms = _wishes(queued.template).spread
    if _is_own_update(event):
        return bool(event.new.labels != event.old.labels)
    if event.resource == "node":
        return not terms or _topology_helps(event, terms)
    if event.resource != "assigned_pod":
        return False
    if not terms:
        return True  # default constraints of the profile, whose selectors are the Services'
    if event.action == "update" and event.new.deletion_seconds < 0.0:
        return False
    return any(_concerns(term, queued.pod, event.new) for term in terms)


def inter_pod_affinity(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on other topology, on pods that match the affinity, on leaving ones that were in
    the way (by the waiting pod's terms or by their own).
    """
    if event.resource == "namespace":
        return event.action != "delete"
    if _is_own_update(event):
        return bool(event.new.labels != event.old.labels)
    wishes = _wishes(queued.template)
    if event.resource == "node":
        return _topology_helps(event, (*wishes.affinity, *wishes.anti_affinity)) or (
            event.action == "add"
        )
    if event.resource != "assigned_pod":
        return False
    other: Pod = event.new
    if event.action == "add":
        return bool(wishes.affinity) and all(
            _concerns(term, queued.pod, other) for term in wishes.affinity
        )
    if event.action == "delete":
        return any(_concerns(term, queued.pod, other) for term in wishes.anti_affinity) or any(
            _concerns(term, other, queued.pod) for term in _wishes(other.template).anti_affinity
        )
    return False


def scheduling_gates(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue only on an update of the pod itself."""
    return _is_own_update(event)


_VOLUME_OBJECTS: Final = frozenset({"persistentvolumeclaim", "persistentvolume", "storageclass"})


def volume_binding(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on claims, volumes and classes that come or change, and on nodes."""
    return event.resource in _VOLUME_OBJECTS | {"csinode"} or _is_node_change(event)


def volume_zone(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on claims, volumes and classes that come or change, and on nodes."""
    return event.resource in _VOLUME_OBJECTS or _is_node_change(event)


def volume_limits(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on CSI nodes, on claims, and when a pod leaves a node."""
    if event.resource == "assigned_pod":
        return event.action == "delete"
    return event.resource in {"csinode", "persistentvolumeclaim"} or (
        event.resource == "node" and event.action == "add"
    )


def volume_restrictions(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue when a pod leaves a node, on new nodes and on claims."""
    if event.resource == "assigned_pod":
        return event.action == "delete"
    return event.resource == "persistentvolumeclaim" or (
        event.resource == "node" and event.action == "add"
    )


HINTS: dict[str, Hint] = {
    "NodeResourcesFit": resources_fit,
    "NodeUnschedulable": node_unschedulable,
    "TaintToleration": taint_toleration,
    "NodeAffinity": node_affinity,
    "NodeName": node_name,
    "NodePorts": node_ports,
    "PodTopologySpread": pod_topology_spread,
    "InterPodAffinity": inter_pod_affinity,
    "SchedulingGates": scheduling_gates,
    "VolumeBinding": volume_binding,
    "VolumeZone": volume_zone,
    "NodeVolumeLimits": volume_limits,
    "VolumeRestrictions": volume_restrictions,
}
