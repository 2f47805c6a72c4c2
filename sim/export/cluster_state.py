"""What existed at one moment of a run, put together again from its facts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from sim.metrics.facts_view import Facts

NEVER: Final = -1.0
_KUBELET_STEPS: Final = (
    "observed", "volumes_mounted", "sandbox_created", "network_ready", "images_pulled",
    "containers_started",
)  # fmt: skip


@dataclass(slots=True)
class PodState:
    """A pod as kubectl would list it."""

    uid: int
    namespace: str
    name: str
    created_seconds: float
    container_count: int
    owner_kind: str
    owner_name: str
    cpu_requested_millicores: int
    memory_requested_bytes: int
    priority: int
    labels: dict[str, str] = field(default_factory=dict)
    phase: str = "Pending"
    reason: str = ""
    ready: bool = False
    node_name: str = ""
    pod_ip: str = ""
    deleting: bool = False
    deleted: bool = False
    changed_seconds: float = NEVER
    restart_count: int = 0

    @property
    def status(self) -> str:
        """The STATUS column."""
        if self.deleting:
            return "Terminating"
        if self.phase == "Succeeded":
            return "Completed"
        if self.phase == "Failed":
            return self.reason or "Error"
        if self.phase == "Pending" and self.node_name:
            return "ContainerCreating"
        return self.phase

    @property
    def ready_count(self) -> int:
        """Containers that are ready."""
        return self.container_count if self.ready else 0


@dataclass(slots=True)
class ObjectState:
    """Any other object: its columns as they were committed last."""

    resource: str
    namespace: str
    name: str
    created_seconds: float
    changed_seconds: float
    detail: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class EventState:
    """An Event as it was written last."""

    namespace: str
    type: str
    reason: str
    involved_kind: str
    involved_name: str
    source: str
    message: str
    count: int
    first_seconds: float
    last_seconds: float

    @property
    def name(self) -> str:
        """Name of the Event object: of what it is about, and its reason."""
        return f"{self.involved_name}.{self.reason.lower()}"


def labels_of(text: str) -> dict[str, str]:
    """Return the labels written ``key=value,…``."""
    return dict(item.split("=", 1) for item in text.split(",")) if text else {}


def pods_at(facts: Facts, at_seconds: float) -> list[PodState]:
    """Return the pods that existed at a time, by namespace and name."""
    table = facts["pods"]
    columns = {name: table.column(name).tolist() for name in table.spec.column_names()}
    texts = {
        name: table.categories(name) for name in ("namespace", "name", "owner_kind", "owner_name")
    }
    labels = [labels_of(text) for text in table.categories("labels")]
    pods: dict[int, PodState] = {}
    for index, created in enumerate(columns["time_seconds"]):
        if created <= at_seconds:
            uid = columns["pod_uid"][index]
            pods[uid] = PodState(
                uid=uid,
                namespace=texts["namespace"][columns["namespace"][index]],
                name=texts["name"][columns["name"][index]],
                created_seconds=created,
                container_count=columns["container_count"][index],
                owner_kind=texts["owner_kind"][columns["owner_kind"][index]],
                owner_name=texts["owner_name"][columns["owner_name"][index]],
                cpu_requested_millicores=columns["cpu_requested_millicores"][index],
                memory_requested_bytes=columns["memory_requested_bytes"][index],
                priority=columns["priority"][index],
                labels=labels[columns["labels"][index]],
            )
    _replay(facts, pods, at_seconds)
    alive = [pod for pod in pods.values() if not pod.deleted]
    return sorted(alive, key=lambda pod: (pod.namespace, pod.name))


def _replay(facts: Facts, pods: dict[int, PodState], at_seconds: float) -> None:
    table = facts["pod_transitions"]
    times = table.column("time_seconds")
    rows = np.flatnonzero(times <= at_seconds)
    rows = rows[np.argsort(times[rows], kind="stable")]
    names, details = table.categories("transition"), table.categories("detail")
    seen_by_kubelet: set[int] = set()
    steps = zip(
        times[rows].tolist(),
        table.column("pod_uid")[rows].tolist(),
        table.column("transition")[rows].tolist(),
        table.column("detail")[rows].tolist(),
        strict=True,
    )
    for time, uid, code, detail_code in steps:
        pod = pods.get(uid)
        if pod is not None:
            name = names[code]
            _apply(pod, name, details[detail_code], time)
            if name in _KUBELET_STEPS:
                seen_by_kubelet.add(uid)
    for uid, pod in pods.items():
        # What exists from the first instant on a node was running before the run began.
        if pod.created_seconds == 0.0 and pod.changed_seconds == 0.0 and pod.node_name:
            if pod.phase == "Pending" and uid not in seen_by_kubelet:
                pod.phase, pod.ready = "Running", True


def _apply(pod: PodState, transition: str, detail: str, time: float) -> None:
    pod.changed_seconds = time
    match transition:
        case "scheduled":
            pod.node_name = detail
        case "network_ready":
            pod.pod_ip = detail or pod.pod_ip
        case "running":
            pod.phase, pod.pod_ip = "Running", detail or pod.pod_ip
        case "ready":
            pod.ready, pod.pod_ip = True, detail or pod.pod_ip
        case "succeeded" | "failed":
            pod.phase, pod.reason, pod.ready = transition.capitalize(), detail, False
        case "deleting":
            pod.deleting = True
        case "stopped":
            pod.ready = False
        case "deleted":
            pod.deleted = True


def objects_at(facts: Facts, resource: str, at_seconds: float) -> list[ObjectState]:
    """Return the objects of one resource that existed at a time, by namespace and name."""
    table = facts["objects"]
    resources = table.categories("resource")
    if resource not in resources:
        return []
    times = table.column("time_seconds")
    wanted = (table.column("resource") == resources.index(resource)) & (times <= at_seconds)
    namespaces, names = table.categories("namespace"), table.categories("name")
    types, details = table.categories("type"), table.categories("detail")
    labels = [labels_of(text) for text in table.categories("labels")]
    found: dict[tuple[str, str], ObjectState] = {}
    for row in np.flatnonzero(wanted).tolist():
        key = (
            namespaces[table.column("namespace")[row]],
            names[table.column("name")[row]],
        )
        time = float(times[row])
        kind = types[table.column("type")[row]]
        if kind == "DELETED":
            found.pop(key, None)
            continue
        text = details[table.column("detail")[row]]
        detail: dict[str, Any] = json.loads(text) if text else {}
        own = labels[table.column("labels")[row]]
        known = found.get(key)
        if known is None or kind == "ADDED":
            found[key] = ObjectState(resource, *key, time, time, detail, own)
        else:
            known.changed_seconds, known.detail, known.labels = time, detail, own
    return [found[key] for key in sorted(found)]


def resources_recorded(facts: Facts) -> list[str]:
    """Return the resources of which the run recorded objects."""
    return sorted({*facts["objects"].categories("resource"), "pods", "events"})


def events_at(facts: Facts, at_seconds: float) -> list[EventState]:
    """Return the events written up to a time, repetitions folded, by time of the last one."""
    table = facts["events"]
    names = ("namespace", "type", "reason", "involved_kind", "involved_name", "source", "message")
    texts = {name: table.categories(name) for name in names}
    columns = {name: table.column(name).tolist() for name in names}
    times, counts = table.column("time_seconds").tolist(), table.column("count").tolist()
    found: dict[tuple[str, ...], EventState] = {}
    for index, time in enumerate(times):
        if time > at_seconds:
            continue
        key = tuple(texts[name][columns[name][index]] for name in names)
        known = found.get(key)
        if known is None or counts[index] <= 1:
            found.pop(key, None)
            namespace, kind, reason, about_kind, about_name, source, message = key
            found[key] = EventState(
                namespace, kind, reason, about_kind, about_name, source, message,
                counts[index], time, time,
            )  # fmt: skip
        else:
            known.count, known.last_seconds = counts[index], time
    return sorted(found.values(), key=lambda event: (event.last_seconds, event.involved_name))
