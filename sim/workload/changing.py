"""Operations that change and delete things, and those on nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from sim.base.api_object import APIObject
from sim.base.objects import Node, Pod, Workload
from sim.components.ports import Request
from sim.workload.creating import new_pods, shape_template
from sim.workload.driver_core import DriverCore, Key
from sim.workload.operations import (
    Churn,
    DeleteObjects,
    DeletePods,
    Drain,
    RolloutRestart,
    Scale,
    Uncordon,
)
from sim.workload.pod_tracker import SYSTEM_NAMESPACES
from sim.workload.shaping import restarted
from sim.workload.submission import Steps

_DRAIN_POLL_SECONDS = 1.0
"""kubectl drain looks once per second whether an evicted pod is gone."""


def _patches(
    resource: str, keys: list[Key], mutate: Callable[[APIObject], APIObject]
) -> Iterator[Request]:
    for namespace, name in keys:
        yield Request("patch", resource, namespace, name, mutate=mutate)


def scale(core: DriverCore, index: int, operation: Scale) -> Steps:
    """PATCH spec.replicas."""

    def mutate(current: APIObject) -> APIObject:
        assert isinstance(current, Workload)
        if current.replica_count == operation.replicas:
            return current
        new = current.clone()
        new.replica_count = operation.replicas
        new.generation += 1
        return new

    keys = core.chosen(operation.resource, operation.namespace, operation.names)
    for key in keys:
        core.want(operation.resource, key, operation.replicas)
    yield from core.submit(index, operation, _patches(operation.resource, keys, mutate))


def rollout_restart(core: DriverCore, index: int, operation: RolloutRestart) -> Steps:
    """PATCH the template's annotation."""
    now = core.engine.now

    def mutate(current: APIObject) -> APIObject:
        assert isinstance(current, Workload)
        new = current.clone()
        new.template = restarted(current.template, now)
        new.generation += 1
        return new

    keys = core.chosen(operation.resource, operation.namespace, operation.names)
    yield from core.submit(index, operation, _patches(operation.resource, keys, mutate))


def delete_objects(core: DriverCore, index: int, operation: DeleteObjects) -> Steps:
    """DELETE objects; what they own follows by garbage collection."""
    keys = core.chosen(operation.resource, operation.namespace, operation.names)
    core.forget(operation.resource, keys)

    def requests() -> Iterator[Request]:
        for namespace, name in keys:
            yield Request("delete", operation.resource, namespace, name)

    yield from core.submit(index, operation, requests())


def delete_pods(core: DriverCore, index: int, operation: DeletePods) -> Steps:
    """DELETE pods that the driver's informer knows; wait for their end if asked to."""
    wanted = tuple(operation.labels.items())
    chosen = [
        pod
        for pod in core.tracker.informer.objects.values()
        if pod.deletion_seconds < 0.0
        and (
            pod.namespace == operation.namespace
            if operation.namespace
            else pod.namespace not in SYSTEM_NAMESPACES
        )
        and all(pod.labels.get(key) == value for key, value in wanted)
    ]
    if operation.limit:
        chosen = chosen[: operation.limit]

    def requests() -> Iterator[Request]:
        for pod in chosen:
            if pod.owner is None:
                core.tracker.expect(pod.namespace, pod.labels, -1)
            yield Request(
                "delete", "pods", pod.namespace, pod.name,
                grace_seconds=operation.grace_seconds,
            )  # fmt: skip

    left = core.tracker.leaving(chosen)
    yield from core.submit(index, operation, requests())
    if operation.wait:
        yield from core.until(lambda: not left)


def churn(core: DriverCore, index: int, operation: Churn) -> Steps:
    """Create (and delete) pods, round after round."""
    yield from core.ensure_namespaces([operation.namespace])
    template = shape_template(core, index, operation.namespace)
    start_seconds = core.engine.now
    rounds = 0
    former: list[Request] = []
    while not operation.rounds or rounds < operation.rounds:
        if operation.background and core.main_done:
            break
        for request in former if operation.mode == "recreate" else ():
            _fire(core, Request("delete", "pods", request.namespace, request.name))
            core.tracker.expect(request.namespace, template.labels, -1)
        former = list(
            new_pods(core, template, operation.namespace, f"churn-{index}", operation.number)
        )
        for request in former:
            _fire(core, request)
        rounds += 1
        due_seconds = start_seconds + rounds * operation.interval_seconds
        yield core.engine.sleep(max(0.0, due_seconds - core.engine.now))


def _fire(core: DriverCore, request: Request) -> None:
    request.then = core.answered
    core.client.submit(request)


def _set_unschedulable(core: DriverCore, name: str, *, value: bool) -> Steps:
    def mutate(current: APIObject) -> APIObject:
        assert isinstance(current, Node)
        if current.unschedulable == value:
            return current
        new = current.clone()
        new.unschedulable = value
        return new

    return (yield from core.call(Request("patch", "nodes", "", name, mutate=mutate)))


def drain(core: DriverCore, _: int, operation: Drain) -> Steps:
    """Cordon each node, evict its pods, wait until they are gone."""
    deadline_seconds = core.engine.now + operation.timeout_seconds
    for name in operation.nodes:
        core.note("drain", f"drain {name}")
        yield from core.call(Request("get", "nodes", "", name))
        yield from _set_unschedulable(core, name, value=True)
        response = yield from core.call(Request("list", "pods", selector=partial(_is_on, name)))
        workers = [
            core.engine.process(_evict(core, pod, operation, deadline_seconds))
            for pod in response.result or ()
            if _is_evictable(pod)
        ]
        if workers:
            yield core.engine.all_of(list(workers))


def _evict(core: DriverCore, pod: Pod, operation: Drain, deadline_seconds: float) -> Steps:
    while core.engine.now < deadline_seconds:
        response = yield from core.call(
            Request("create", "pods", pod.namespace, pod.name, subresource="eviction")
        )
        if response.ok or response.code == 404:
            break
        yield core.engine.sleep(operation.retry_seconds)
    while core.engine.now < deadline_seconds:
        response = yield core.client.call(Request("get", "pods", pod.namespace, pod.name))
        if response.code == 404 or (response.ok and response.result.uid != pod.uid):
            return
        yield core.engine.sleep(_DRAIN_POLL_SECONDS)
    core.note("drain timed out", f"{pod.namespace}/{pod.name}")


def uncordon(core: DriverCore, _: int, operation: Uncordon) -> Steps:
    """PATCH nodes schedulable."""
    for name in operation.nodes:
        yield from _set_unschedulable(core, name, value=False)


def _is_on(node_name: str, item: APIObject) -> bool:
    return isinstance(item, Pod) and item.node_name == node_name


def _is_evictable(pod: Pod) -> bool:
    return pod.owner is None or pod.owner.kind not in {"DaemonSet", "Node"}
