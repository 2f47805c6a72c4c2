"""The facts that commits of API objects leave behind: pods, transitions, objects, events.

Every replica hands over the batches that etcd's watch brings it; the first replica to bring a
revision writes the rows, so a crash of one replica loses nothing as long as another lives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from sim.base.api_object import APIObject
from sim.base.objects import (
    CronJob,
    DaemonSet,
    Deployment,
    Endpoints,
    EndpointSlice,
    EventRecord,
    Generic,
    HorizontalPodAutoscaler,
    Job,
    Namespace,
    Node,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    Service,
    StatefulSet,
)
from sim.components.ports import WatchEvent
from sim.engine.tables import Recorder

_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""`json.dumps` with arguments makes an encoder at every call."""
_ENDPOINTS_SHOWN_COUNT: Final = 3
"""kubectl shows three addresses and then "+ n more"."""


def _node(item: Node) -> dict[str, Any]:
    return {
        "ready": item.ready,
        "unschedulable": item.unschedulable,
        "taints": [f"{taint.key}={taint.value}:{taint.effect}" for taint in item.taints],
        "internal_ip": item.internal_ip,
        "pod_cidr": item.pod_cidr,
    }


def _service(item: Service) -> dict[str, Any]:
    return {
        "type": item.type,
        "cluster_ip": "None" if item.headless else item.cluster_ip,
        "ports": [
            f"{port.port}:{port.node_port}/{port.protocol}"
            if port.node_port
            else f"{port.port}/{port.protocol}"
            for port in item.ports
        ],
        "selector": dict(item.selector.match_labels) if item.selector is not None else None,
    }


def _slice(item: EndpointSlice) -> dict[str, Any]:
    return {
        "address_type": item.address_type,
        "service": item.service_name,
        "ports": [port.port for port in item.ports],
        "endpoints": [row.address for row in item.endpoints[:_ENDPOINTS_SHOWN_COUNT]],
        "endpoint_count": len(item.endpoints),
        "ready_count": sum(row.ready for row in item.endpoints),
    }


def _endpoints(item: Endpoints) -> dict[str, Any]:
    return {
        "endpoints": list(item.ready_addresses[:_ENDPOINTS_SHOWN_COUNT]),
        "endpoint_count": len(item.ready_addresses),
    }


def _deployment(item: Deployment) -> dict[str, Any]:
    return {
        "desired": item.replica_count,
        "ready": item.ready_count,
        "up_to_date": item.updated_count,
        "available": item.available_count,
    }


def _replicaset(item: ReplicaSet) -> dict[str, Any]:
    return {
        "desired": item.replica_count,
        "current": item.current_count,
        "ready": item.ready_count,
    }


def _statefulset(item: StatefulSet) -> dict[str, Any]:
    return {"desired": item.replica_count, "ready": item.ready_count}


def _daemonset(item: DaemonSet) -> dict[str, Any]:
    return {
        "desired": item.desired_count,
        "current": item.current_count,
        "ready": item.ready_count,
        "up_to_date": item.updated_count,
        "available": item.available_count,
    }


def _job(item: Job) -> dict[str, Any]:
    return {
        "completions": item.completion_count,
        "succeeded": item.succeeded_count,
        "failed": item.failed_count,
        "active": item.active_count,
        "condition": item.condition,
    }


def _cronjob(item: CronJob) -> dict[str, Any]:
    return {
        "schedule": item.schedule,
        "suspend": item.suspend,
        "active": len(item.active),
        "last_schedule": item.last_schedule_seconds,
    }


def _autoscaler(item: HorizontalPodAutoscaler) -> dict[str, Any]:
    return {
        "reference": f"{item.target_kind}/{item.target_name}",
        "min": item.replica_count_min,
        "max": item.replica_count_max,
        "current": item.current_count,
        "desired": item.desired_count,
    }


def _budget(item: PodDisruptionBudget) -> dict[str, Any]:
    return {
        "min_available": item.min_available,
        "max_unavailable": item.max_unavailable,
        "allowed": item.disruptions_allowed_count,
    }


def _namespace(item: Namespace) -> dict[str, Any]:
    return {"phase": item.phase}


_COLUMNS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "nodes": _node,
    "services": _service,
    "endpointslices": _slice,
    "endpoints": _endpoints,
    "deployments": _deployment,
    "replicasets": _replicaset,
    "statefulsets": _statefulset,
    "daemonsets": _daemonset,
    "jobs": _job,
    "cronjobs": _cronjob,
    "horizontalpodautoscalers": _autoscaler,
    "poddisruptionbudgets": _budget,
    "namespaces": _namespace,
}


_READINESS: Final = {"True": "ready", "False": "not_ready", "Unknown": "unknown"}


def _same_columns_of_node(new: Node, old: Node) -> bool:
    return (
        new.ready == old.ready
        and new.unschedulable == old.unschedulable
        and new.taints == old.taints
        and new.internal_ip == old.internal_ip
        and new.pod_cidr == old.pod_cidr
    )


def _labels_text(labels: Mapping[str, str]) -> str:
    """Labels as kubectl shows them; neither keys nor values may hold a comma or equals sign."""
    return ",".join([f"{key}={value}" for key, value in sorted(labels.items())])


class CommitFacts:
    """Writes the rows of committed changes, each revision once."""

    def __init__(self, recorder: Recorder) -> None:
        self._pods = recorder["pods"]
        self._transitions = recorder["pod_transitions"]
        self._nodes = recorder["node_transitions"]
        self._objects = recorder["objects"]
        self._events = recorder["events"]
        self._last_revision = 0
        self._pod_labels: Mapping[str, str] = {}
        self._pod_labels_text = ""

    @property
    def revision(self) -> int:
        """Newest revision whose rows have been written."""
        return self._last_revision

    def batch(self, events: list[WatchEvent]) -> None:
        """Write the rows of one apply batch unless another replica has already done so."""
        newest = events[-1]
        last = self._last_revision
        if newest.revision <= last:
            return
        for event in events:
            if event.revision <= last:
                continue
            resource = event.resource
            if resource == "leases":
                continue
            if resource == "pods":
                self._pod(event)
            elif resource == "events":
                self._event(event)
            else:
                if resource == "nodes":
                    self._node(event)
                if self._objects.enabled:
                    self._object(event, resource)
        self._last_revision = newest.revision

    def preloaded(self, objects: list[APIObject], now_seconds: float) -> None:
        """Write the rows of objects that exist before the run begins."""
        for item in objects:
            version = item.resource_version
            event = WatchEvent("ADDED", item.resource, item.key, item, None, version, now_seconds)
            self.batch([event])

    def _pod(self, event: WatchEvent) -> None:
        new = cast(Pod, event.new)
        append = self._transitions.append
        now = event.commit_seconds
        uid = new.uid
        if event.type == "DELETED":
            append((now, uid, "deleted", new.node_name))
            return
        old = cast("Pod | None", event.old)
        if old is None:
            self._created(new, now)
            if new.node_name:
                append((now, uid, "scheduled", new.node_name))
            return
        if new.node_name and not old.node_name:
            append((now, uid, "scheduled", new.node_name))
        if new.phase != old.phase:
            if new.phase == "Running":
                append((now, uid, "running", new.pod_ip))
            elif new.phase in {"Succeeded", "Failed"}:
                append((now, uid, new.phase.lower(), new.reason))
        if new.ready and not old.ready:
            append((now, uid, "ready", new.pod_ip))
        if new.deletion_seconds >= 0.0 and old.deletion_seconds < 0.0:
            append((now, uid, "deleting", new.node_name))

    def _node(self, event: WatchEvent) -> None:
        new = cast(Node, event.new)
        now = event.commit_seconds
        append = self._nodes.append
        if event.type == "DELETED":
            append((now, new.name, "deleted", ""))
            return
        old = cast("Node | None", event.old)
        if old is None:
            if now <= 0.0:  # there before the run began
                return
            append((now, new.name, "registered", new.internal_ip))
        if new.pod_cidr and (old is None or not old.pod_cidr):
            append((now, new.name, "cidr_allocated", new.pod_cidr))
        if old is None:
            return
        if new.ready != old.ready:
            append((now, new.name, _READINESS[new.ready], new.ready_reason))
        if new.unschedulable != old.unschedulable:
            append((now, new.name, "cordoned" if new.unschedulable else "uncordoned", ""))

    def _created(self, new: Pod, now: float) -> None:
        template = new.template
        owner = new.owner
        if new.labels is not self._pod_labels:  # pods of one template share one labels object
            self._pod_labels, self._pod_labels_text = new.labels, _labels_text(new.labels)
        self._pods.append(
            (
                now,
                new.uid,
                new.namespace,
                new.name,
                owner.kind if owner is not None else "",
                owner.name if owner is not None else "",
                sum(not item.is_init for item in template.containers),
                template.cpu_requested_millicores,
                template.memory_requested_bytes,
                template.priority,
                self._pod_labels_text,
            )
        )
        self._transitions.append((now, new.uid, "created", new.name))

    def _event(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            return
        new = cast(EventRecord, event.new)
        self._events.append(
            (
                event.commit_seconds,
                new.namespace,
                new.type,
                new.reason,
                new.involved_kind,
                new.involved_name,
                new.source,
                new.count,
                new.message,
            )
        )

    def _object(self, event: WatchEvent, resource: str) -> None:
        new = event.new
        old = event.old
        changed = event.type == "MODIFIED" and old is not None
        columns = None if isinstance(new, Generic) else _COLUMNS.get(resource)
        relabelled = changed and old is not None and new.labels != old.labels
        if changed and columns is None and not relabelled:
            return
        detail: dict[str, Any] = {}
        if columns is not None:
            if (
                changed
                and resource == "nodes"
                and not relabelled
                and _same_columns_of_node(cast(Node, new), cast(Node, old))
            ):
                return
            detail = columns(new)
            if changed and not relabelled and detail == columns(old):
                return
        text = _encode(detail)
        self._objects.append(
            (
                event.commit_seconds,
                resource,
                new.namespace,
                new.name,
                event.type,
                text,
                _labels_text(new.labels),
            )
        )
