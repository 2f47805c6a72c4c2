"""What the apiserver's registries do to an object on create, update and delete.

Pure functions on objects: no clock, no storage. The request pipeline in `apiserver` calls them
with the current object (from the watch cache or handed back by a conflicting transaction).

**Modelled:** uid and creation time, default sizes, generation, immutable metadata, the test
whether a write changes anything, graceful deletion of pods, finalizers.
**Not modelled:** field validation, defaulting of specs, admission plugins other than the refusal
to create in a terminating namespace.
**Source:** `facts/model.md` 0.1, a.2; pkg/registry/core/pod/strategy.go :: CheckGracefulDelete;
staging/src/k8s.io/apiserver/pkg/registry/rest/delete.go :: BeforeDelete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

from sim.base.api_object import RESOURCE_TYPES, APIObject
from sim.base.objects import Lease, Node, Pod

_TYPES: Final = RESOURCE_TYPES
"""A name of its own: compiled code looks up what it has imported at every use."""
NO_CHANGE: Final = 0
CONFLICT: Final = 1
PUT: Final = 2
REMOVE: Final = 3
PUT_THEN_REMOVE: Final = 4
"""What a registry decides for an update or delete; the storage then does it."""

_SPEC_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "deployments": ("replica_count", "template", "max_surge", "max_unavailable", "paused",
                    "strategy", "min_ready_seconds", "revision_history_limit_count"),
    "replicasets": ("replica_count", "template", "min_ready_seconds"),
    "statefulsets": ("replica_count", "template", "partition_index", "update_strategy",
                     "min_ready_seconds"),
    "daemonsets": ("template", "max_unavailable", "max_surge", "min_ready_seconds"),
    "jobs": ("template", "completion_count", "parallelism_count", "suspend",
             "backoff_limit_count"),
    "cronjobs": ("schedule", "job_template", "suspend", "concurrency_policy"),
    "poddisruptionbudgets": ("selector", "min_available", "max_unavailable"),
}  # fmt: skip
"""Fields whose change makes a new generation, of the kinds whose controllers observe it."""

_BOOKKEEPING: Final = {"resource_version", "manifest", "stored_key"}


def _same_metadata(a: APIObject, b: APIObject) -> bool:
    return (
        a.name == b.name
        and a.namespace == b.namespace
        and a.uid == b.uid
        and a.generation == b.generation
        and (a.labels is b.labels or a.labels == b.labels)
        and (a.annotations is b.annotations or a.annotations == b.annotations)
        and (a.owner is b.owner or a.owner == b.owner)
        and (a.finalizers is b.finalizers or a.finalizers == b.finalizers)
        and a.creation_seconds == b.creation_seconds
        and a.deletion_seconds == b.deletion_seconds
        and a.size_bytes == b.size_bytes
    )


def _same_lease(a: Lease, b: Lease) -> bool:
    return (
        a.renew_seconds == b.renew_seconds
        and a.holder == b.holder
        and a.duration_seconds == b.duration_seconds
        and a.transition_count == b.transition_count
        and _same_metadata(a, b)
    )


def _same_pod(a: Pod, b: Pod) -> bool:
    return (
        (a.template is b.template or a.template == b.template)
        and a.node_name == b.node_name
        and a.nominated_node_name == b.nominated_node_name
        and a.phase == b.phase
        and a.ready == b.ready
        and a.reason == b.reason
        and a.message == b.message
        and a.pod_ip == b.pod_ip
        and a.host_ip == b.host_ip
        and a.scheduled_seconds == b.scheduled_seconds
        and a.start_seconds == b.start_seconds
        and a.sandbox_ready == b.sandbox_ready
        and a.ready_seconds == b.ready_seconds
        and a.finished_seconds == b.finished_seconds
        and a.deletion_grace_seconds == b.deletion_grace_seconds
        and a.ready_container_count == b.ready_container_count
        and a.restart_count == b.restart_count
        and a.disruption_target == b.disruption_target
        and _same_metadata(a, b)
    )


def _same_node(a: Node, b: Node) -> bool:
    return (
        a.heartbeat_seconds == b.heartbeat_seconds
        and (a.taints is b.taints or a.taints == b.taints)
        and a.unschedulable == b.unschedulable
        and a.pod_cidr == b.pod_cidr
        and (a.pod_cidrs is b.pod_cidrs or a.pod_cidrs == b.pod_cidrs)
        and a.internal_ip == b.internal_ip
        and a.ready == b.ready
        and a.ready_reason == b.ready_reason
        and a.ready_transition_seconds == b.ready_transition_seconds
        and a.cpu_allocatable_millicores == b.cpu_allocatable_millicores
        and a.memory_allocatable_bytes == b.memory_allocatable_bytes
        and a.pods_allocatable_count == b.pods_allocatable_count
        and a.backend_annotated == b.backend_annotated
        and _same_metadata(a, b)
    )


def compile_same(cls: type[APIObject]) -> Callable[[Any, Any], bool]:
    """Return a comparison of all fields that are stored, made from the class's own list."""
    base = {item.name for item in fields(APIObject)}
    names = [item.name for item in fields(cls) if item.name not in _BOOKKEEPING]
    names.sort(key=lambda name: name in base)  # what changes most often first
    tests = " and ".join(f"(a.{name} is b.{name} or a.{name} == b.{name})" for name in names)
    scope: dict[str, Any] = {}
    exec(f"def same(a, b):\n    return {tests}\n", scope)  # noqa: S102 - the class's own fields
    same: Callable[[Any, Any], bool] = scope["same"]
    return same


_same_by_class: Final[dict[type[APIObject], Callable[[Any, Any], bool]]] = {}


def same_state(new: APIObject, current: APIObject) -> bool:
    """Return whether writing ``new`` over ``current`` would store the same bytes."""
    if isinstance(new, Lease) and isinstance(current, Lease):
        return _same_lease(new, current)  # what is written most often: by compiled code
    if isinstance(new, Pod) and isinstance(current, Pod):
        return _same_pod(new, current)
    if isinstance(new, Node) and isinstance(current, Node):
        return _same_node(new, current)
    cls = type(new)
    same = _same_by_class.get(cls)
    if same is None:
        same = _same_by_class[cls] = compile_same(cls)
    return same(new, current)


def prepare_create(new: APIObject, uid: int, now_seconds: float) -> None:
    """Fill in what the server assigns at creation, in place."""
    if not new.uid:
        new.uid = uid
    if new.creation_seconds < 0.0:
        new.creation_seconds = now_seconds
    if not new.size_bytes:
        new.size_bytes = default_size_bytes(new)


def default_size_bytes(item: APIObject) -> int:
    """Return the stored size of an object whose author named none."""
    if isinstance(item, Pod):
        return item.template.size_bytes
    row = _TYPES.get(item.resource)
    return row.size_bytes if row is not None else 1024


def prepare_update(new: APIObject, current: APIObject, subresource: str) -> int:
    """Carry over immutable metadata, in place, and decide: no change, put or remove."""
    if new is current:
        return NO_CHANGE
    new.stored_key = current.whole_key()
    new.uid = current.uid
    new.creation_seconds = current.creation_seconds
    if current.deletion_seconds >= 0.0 and new.deletion_seconds < 0.0:
        new.deletion_seconds = current.deletion_seconds
    if not new.size_bytes:
        new.size_bytes = current.size_bytes
    if same_state(new, current):
        return NO_CHANGE
    if not subresource:
        spec = _SPEC_FIELDS.get(new.resource)
        if spec is not None and new.generation == current.generation:
            for name in spec:
                if getattr(new, name) != getattr(current, name):
                    new.generation = current.generation + 1
                    break
    if new.deletion_seconds >= 0.0 and not new.finalizers and _nothing_left_to_wait_for(new):
        return REMOVE
    return PUT


def _nothing_left_to_wait_for(item: APIObject) -> bool:
    return not isinstance(item, Pod) or item.deletion_grace_seconds == 0.0


def prepare_delete(
    current: APIObject, grace_seconds: float, now_seconds: float
) -> tuple[int, APIObject]:
    """Decide what a DELETE does: (decision, object to put or remove).

    A pod is always deleted gracefully, with grace 0 where nothing is left to stop: it is first
    updated with its deletion time and then removed in a second transaction. Measured: a
    DELETE of a pod with grace 0 costs etcd twice what a DELETE of a ConfigMap does.
    """
    if isinstance(current, Pod):
        return _delete_pod(current, grace_seconds, now_seconds)
    if current.finalizers:
        if current.deletion_seconds >= 0.0:
            return NO_CHANGE, current
        new = current.clone()
        new.deletion_seconds = now_seconds
        return PUT, new
    return REMOVE, current


def _delete_pod(current: Pod, grace_seconds: float, now_seconds: float) -> tuple[int, APIObject]:
    grace = grace_seconds
    if grace < 0.0:
        grace = current.template.termination_grace_period_seconds
    if not current.node_name or current.phase in {"Succeeded", "Failed"}:
        grace = 0.0
    deleting = current.deletion_seconds >= 0.0
    if deleting and grace >= current.deletion_grace_seconds:
        if current.deletion_grace_seconds == 0.0 and not current.finalizers:
            return REMOVE, current
        return NO_CHANGE, current  # a longer grace period never replaces a shorter one
    new = current.clone()
    new.deletion_seconds = now_seconds + grace
    new.deletion_grace_seconds = grace
    if not deleting:
        new.generation = current.generation + 1
    if grace == 0.0 and not current.finalizers:
        return PUT_THEN_REMOVE, new
    return PUT, new
