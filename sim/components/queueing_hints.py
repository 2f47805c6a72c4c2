"""Queueing hints: which cluster events may help a pod that a given plugin rejected.

A hint answers True (queue) or False (skip). Plugins without an entry here, and plugins of users,
are woken by every event, as upstream does when no hint is registered.
**Source:** the EventsToRegister of the v1.36 default plugins (`facts/model.md` e.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.base.objects import Node, Pod
from sim.components.scheduling_queue import ClusterEvent, Hint, QueuedPod


def _is_node_change(event: ClusterEvent) -> bool:
    return event.resource == "node" and event.action in {"add", "update"}


def _spec(queued: QueuedPod) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = queued.template.manifest.get("spec", {})
    return spec


def resources_fit(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a pod leaving a node, or on a node whose allocatable admits the request."""
    template = queued.template
    if event.resource == "assigned_pod" and event.action == "delete":
        return True
    if event.resource == "pod" and event.action == "update":
        return True
    if not _is_node_change(event):
        return False
    node: Node = event.new
    if (
        node.cpu_allocatable_millicores < template.cpu_requested_millicores
        or node.memory_allocatable_bytes < template.memory_requested_bytes
    ):
        return False
    if event.action == "add":
        return True
    old: Node = event.old
    return (
        node.cpu_allocatable_millicores > old.cpu_allocatable_millicores
        or node.memory_allocatable_bytes > old.memory_allocatable_bytes
        or node.pods_allocatable_count > old.pods_allocatable_count
        or node.manifest is not old.manifest
    )


def node_unschedulable(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a node that is, or has just become, schedulable."""
    if not _is_node_change(event) or event.new.unschedulable:
        return False
    return event.action == "add" or bool(event.old.unschedulable)


def tolerates(tolerations: Sequence[Mapping[str, Any]], key: str, value: str, effect: str) -> bool:
    """Return whether any toleration covers a taint."""
    for item in tolerations:
        if item.get("effect") and item["effect"] != effect:
            continue
        if item.get("operator", "Equal") == "Exists":
            if not item.get("key") or item["key"] == key:
                return True
        elif item.get("key") == key and item.get("value", "") == value:
            return True
    return False


def _untolerated(queued: QueuedPod, node: Node) -> bool:
    tolerations = queued.template.tolerations
    return any(
        taint.effect in {"NoSchedule", "NoExecute"}
        and not tolerates(tolerations, taint.key, taint.value, taint.effect)
        for taint in node.taints
    )


def taint_toleration(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a node whose taints the pod tolerates and did not tolerate before."""
    if event.resource == "pod":
        return True
    if not _is_node_change(event) or _untolerated(queued, event.new):
        return False
    return event.action == "add" or _untolerated(queued, event.old)


def node_affinity(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on a new node or one whose labels changed."""
    if not _is_node_change(event):
        return False
    return event.action == "add" or event.new.labels != event.old.labels


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
    leaving: Pod = event.new
    return bool(_host_ports(_spec(queued)) & _host_ports(leaving.template.manifest["spec"]))


def _host_ports(spec: Mapping[str, Any]) -> set[tuple[str, int]]:
    return {
        (port.get("protocol", "TCP"), port["hostPort"])
        for container in spec.get("containers", ())
        for port in container.get("ports", ())
        if port.get("hostPort")
    }


def pod_topology_spread(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on nodes with new topology and on assigned pods that come, go or change labels."""
    if event.resource == "node":
        return event.action != "update" or event.new.labels != event.old.labels
    if event.resource in {"assigned_pod", "pod"}:
        return event.action != "update" or event.new.labels != event.old.labels
    return False


def inter_pod_affinity(queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue on new nodes or topologies and on assigned pods that come, go or change labels."""
    if event.resource == "namespace":
        return event.action == "update"
    return pod_topology_spread(queued, event)


def default_preemption(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue when an assigned pod (a victim) is gone."""
    return event.resource == "assigned_pod" and event.action == "delete"


def scheduling_gates(_queued: QueuedPod, event: ClusterEvent) -> bool:
    """Queue only on an update of the pod itself."""
    return event.resource == "pod" and event.action == "update"


HINTS: dict[str, Hint] = {
    "NodeResourcesFit": resources_fit,
    "NodeUnschedulable": node_unschedulable,
    "TaintToleration": taint_toleration,
    "NodeAffinity": node_affinity,
    "NodeName": node_name,
    "NodePorts": node_ports,
    "PodTopologySpread": pod_topology_spread,
    "InterPodAffinity": inter_pod_affinity,
    "DefaultPreemption": default_preemption,
    "SchedulingGates": scheduling_gates,
}
