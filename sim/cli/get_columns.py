"""kubectl's columns of every resource that can be listed.

**Source:** kubernetes/pkg/printers/internalversion/printers.go, column names and their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sim.base.duration import human_duration
from sim.export.cluster_state import EventState, ObjectState, PodState

NONE: Final = "<none>"
UNSET: Final = "<unset>"
VERSION: Final = "v1.36.2"
"""Version of Kubernetes whose behaviour is modelled."""

_ROLE: Final = "node-role.kubernetes.io/"

Cells = Callable[[Any, float], list[str]]


@dataclass(frozen=True, slots=True)
class Columns:
    """How one resource is printed."""

    header: tuple[str, ...]
    cells: Cells
    wide_header: tuple[str, ...] = ()
    wide_cells: Cells | None = None
    namespaced: bool = True
    wide_replaces: bool = False
    """Whether the wide columns stand instead of the others, not after them."""


def age(created_seconds: float, now_seconds: float) -> str:
    """Return the AGE column."""
    return human_duration(max(0.0, now_seconds - created_seconds))


def _pod(pod: PodState, now: float) -> list[str]:
    ready = f"{pod.ready_count}/{pod.container_count}"
    return [pod.name, ready, pod.status, str(pod.restart_count), age(pod.created_seconds, now)]


def _pod_wide(pod: PodState, _now: float) -> list[str]:
    return [pod.pod_ip or NONE, pod.node_name or NONE, NONE, NONE]


def _node(item: ObjectState, now: float) -> list[str]:
    ready = {"True": "Ready", "False": "NotReady"}.get(
        str(item.detail.get("ready", "True")), "NotReady"
    )
    if item.detail.get("unschedulable"):
        ready += ",SchedulingDisabled"
    taints = [str(taint).partition("=")[0] for taint in item.detail.get("taints", ())]
    marks = (*item.labels, *taints)
    roles = {mark.removeprefix(_ROLE) for mark in marks if mark.startswith(_ROLE)}
    return [
        item.name, ready, ",".join(sorted(roles)) or NONE, age(item.created_seconds, now), VERSION
    ]  # fmt: skip


def _node_wide(item: ObjectState, _now: float) -> list[str]:
    unknown = "<unknown>"
    return [item.detail.get("internal_ip") or NONE, NONE, unknown, unknown, unknown]


def _service(item: ObjectState, now: float) -> list[str]:
    detail = item.detail
    kind = detail.get("type", "ClusterIP")
    external = "<pending>" if kind == "LoadBalancer" else NONE
    ports = _joined(detail.get("ports")) or NONE
    cluster_ip = detail.get("cluster_ip") or NONE
    return [item.name, kind, cluster_ip, external, ports, age(item.created_seconds, now)]


def _service_wide(item: ObjectState, _now: float) -> list[str]:
    selector = item.detail.get("selector") or {}
    return [",".join(f"{key}={value}" for key, value in selector.items()) or NONE]


def _joined(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(str(part) for part in value or ())


def _slice(item: ObjectState, now: float) -> list[str]:
    detail = item.detail
    return [
        item.name, detail.get("address_type", "IPv4"), _joined(detail.get("ports")) or UNSET,
        _addresses(detail), age(item.created_seconds, now),
    ]  # fmt: skip


def _addresses(detail: Mapping[str, Any]) -> str:
    shown = [str(address) for address in detail.get("endpoints", ())]
    more = int(detail.get("endpoint_count", len(shown))) - len(shown)
    text = ",".join(shown) or UNSET
    return f"{text} + {more} more..." if more > 0 else text


def _endpoints(item: ObjectState, now: float) -> list[str]:
    text = _addresses(item.detail)
    return [item.name, NONE if text == UNSET else text, age(item.created_seconds, now)]


def _event(event: EventState, now: float) -> list[str]:
    seen = age(event.last_seconds, now)
    if event.count > 1:
        seen += f" (x{event.count} over {age(event.first_seconds, now)})"
    target = f"{event.involved_kind.lower()}/{event.involved_name}"
    return [seen, event.type, event.reason, target, event.message]


def _event_wide(event: EventState, now: float) -> list[str]:
    seen, kind, reason, target, message = _event(event, now)
    first = age(event.first_seconds, now)
    return [
        seen, kind, reason, target, "", event.source, message, first, str(event.count), event.name
    ]  # fmt: skip


def _counts(*names: str) -> Cells:
    def cells(item: ObjectState, now: float) -> list[str]:
        counts = [str(item.detail.get(name, 0)) for name in names]
        return [item.name, *counts, age(item.created_seconds, now)]

    return cells


def _deployment(item: ObjectState, now: float) -> list[str]:
    detail = item.detail
    return [
        item.name, f"{detail.get('ready', 0)}/{detail.get('desired', 0)}",
        str(detail.get("up_to_date", 0)), str(detail.get("available", 0)),
        age(item.created_seconds, now),
    ]  # fmt: skip


def _statefulset(item: ObjectState, now: float) -> list[str]:
    ready = f"{item.detail.get('ready', 0)}/{item.detail.get('desired', 0)}"
    return [item.name, ready, age(item.created_seconds, now)]


def _daemonset(item: ObjectState, now: float) -> list[str]:
    names = ("desired", "current", "ready", "up_to_date", "available")
    counts = [str(item.detail.get(name, 0)) for name in names]
    return [item.name, *counts, NONE, age(item.created_seconds, now)]


def _job(item: ObjectState, now: float) -> list[str]:
    detail = item.detail
    done = f"{detail.get('succeeded', 0)}/{detail.get('completions', 1)}"
    end = item.changed_seconds if detail.get("condition") else now
    return [
        item.name, detail.get("condition") or "Running", done,
        human_duration(max(0.0, end - item.created_seconds)), age(item.created_seconds, now),
    ]  # fmt: skip


def _cronjob(item: ObjectState, now: float) -> list[str]:
    detail = item.detail
    last = float(detail.get("last_schedule", -1.0))
    return [
        item.name, str(detail.get("schedule", "")), NONE, str(bool(detail.get("suspend"))),
        str(detail.get("active", 0)), age(last, now) if last >= 0.0 else NONE,
        age(item.created_seconds, now),
    ]  # fmt: skip


def _autoscaler(item: ObjectState, now: float) -> list[str]:
    detail = item.detail
    return [
        item.name, str(detail.get("reference", "")), "<unknown>", str(detail.get("min", "")),
        str(detail.get("max", "")), str(detail.get("current", 0)), age(item.created_seconds, now),
    ]  # fmt: skip


def _budget(item: ObjectState, now: float) -> list[str]:
    detail = item.detail
    return [
        item.name, str(detail.get("min_available") or "N/A"),
        str(detail.get("max_unavailable") or "N/A"), str(detail.get("allowed", 0)),
        age(item.created_seconds, now),
    ]  # fmt: skip


def _namespace(item: ObjectState, now: float) -> list[str]:
    return [item.name, str(item.detail.get("phase", "Active")), age(item.created_seconds, now)]


def _generic(item: ObjectState, now: float) -> list[str]:
    return [item.name, age(item.created_seconds, now)]


COLUMNS: Final[Mapping[str, Columns]] = MappingProxyType({
    "pods": Columns(
        ("NAME", "READY", "STATUS", "RESTARTS", "AGE"), _pod,
        ("IP", "NODE", "NOMINATED NODE", "READINESS GATES"), _pod_wide),
    "nodes": Columns(
        ("NAME", "STATUS", "ROLES", "AGE", "VERSION"), _node,
        ("INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"),
        _node_wide, namespaced=False),
    "services": Columns(
        ("NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"), _service,
        ("SELECTOR",), _service_wide),
    "endpointslices": Columns(("NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"), _slice),
    "endpoints": Columns(("NAME", "ENDPOINTS", "AGE"), _endpoints),
    "events": Columns(
        ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"), _event,
        ("LAST SEEN", "TYPE", "REASON", "OBJECT", "SUBOBJECT", "SOURCE", "MESSAGE", "FIRST SEEN",
         "COUNT", "NAME"), _event_wide, wide_replaces=True),
    "deployments": Columns(("NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"), _deployment),
    "replicasets": Columns(
        ("NAME", "DESIRED", "CURRENT", "READY", "AGE"), _counts("desired", "current", "ready")),
    "statefulsets": Columns(("NAME", "READY", "AGE"), _statefulset),
    "daemonsets": Columns(
        ("NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE SELECTOR",
         "AGE"), _daemonset),
    "jobs": Columns(("NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"), _job),
    "cronjobs": Columns(
        ("NAME", "SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST SCHEDULE", "AGE"), _cronjob),
    "horizontalpodautoscalers": Columns(
        ("NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"), _autoscaler),
    "poddisruptionbudgets": Columns(
        ("NAME", "MIN AVAILABLE", "MAX UNAVAILABLE", "ALLOWED DISRUPTIONS", "AGE"), _budget),
    "namespaces": Columns(("NAME", "STATUS", "AGE"), _namespace, namespaced=False),
})  # fmt: skip
"""Columns by plural resource name."""

GENERIC: Final = Columns(("NAME", "AGE"), _generic)

ALIASES: Final = MappingProxyType({
    "po": "pods", "no": "nodes", "svc": "services", "ep": "endpoints", "ev": "events",
    "deploy": "deployments", "rs": "replicasets", "sts": "statefulsets", "ds": "daemonsets",
    "cj": "cronjobs", "hpa": "horizontalpodautoscalers", "pdb": "poddisruptionbudgets",
    "ns": "namespaces", "cm": "configmaps", "sa": "serviceaccounts", "pc": "priorityclasses",
    "pv": "persistentvolumes", "pvc": "persistentvolumeclaims",
    "quota": "resourcequotas", "limits": "limitranges", "sc": "storageclasses",
    "ip": "ipaddresses",
})  # fmt: skip
"""kubectl's short names."""

CATEGORY_ALL: Final = (
    "pods", "services", "daemonsets", "deployments", "replicasets", "statefulsets",
    "horizontalpodautoscalers", "cronjobs", "jobs",
)  # fmt: skip
"""What ``all`` stands for, in kubectl's order."""
