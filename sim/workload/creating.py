"""Operations that create things."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sim.base.api_object import APIObject
from sim.base.objects import Pod
from sim.base.pod_template import PodTemplate
from sim.components.ports import Request
from sim.workload.driver_core import DriverCore
from sim.workload.load import sized_object
from sim.workload.openb import TracePod
from sim.workload.openb import pod_manifest as trace_pod_manifest
from sim.workload.operations import (
    ApplyManifests,
    CreateDeployments,
    CreateNamespaces,
    CreateNodes,
    CreateObjects,
    CreatePods,
    CreatePodSets,
    CreateServices,
    ReplayTrace,
)
from sim.workload.shaping import (
    deployment_manifest,
    namespace_manifest,
    node_manifest,
    service_manifest,
)
from sim.workload.submission import Steps


def create_nodes(core: DriverCore, index: int, operation: CreateNodes) -> Steps:
    """Switch machines on, at the rate or all at once."""
    rate = operation.rate
    start_seconds = core.engine.now
    times: Iterator[float] = (0.0 for _ in range(operation.count))
    if rate.per_second > 0.0 or rate.end_per_second > 0.0:
        times = rate.times(core.engine.stream(f"workload/{index}/arrivals"))
    for number, time_seconds in zip(range(operation.count), times, strict=False):
        wait_seconds = start_seconds + time_seconds - core.engine.now
        if wait_seconds > 0.0:
            yield core.engine.sleep(wait_seconds)
        core.actions.join_node(node_manifest(operation, number))


def create_namespaces(core: DriverCore, index: int, operation: CreateNamespaces) -> Steps:
    """POST namespaces."""
    manifests = [
        namespace_manifest(f"{operation.prefix}-{number}") for number in range(operation.count)
    ]
    objects = core.reader.read(manifests)
    yield from core.submit(index, operation, map(core.creation, objects))


def shape_template(core: DriverCore, index: int, namespace: str) -> PodTemplate:
    """Return the template of an operation's pod shape in a namespace."""
    manifest = core.inputs[index]
    return core.reader.templates.template(manifest, namespace)


def new_pods(
    core: DriverCore, template: PodTemplate, namespace: str, prefix: str, count: int
) -> Iterator[Request]:
    """Yield the POSTs of pods of one template."""
    model = Pod(
        name="",
        namespace=namespace,
        labels=template.labels,
        template=template,
        node_name=template.node_name,
        size_bytes=template.size_bytes,
    )
    for _ in range(count):
        pod = model.clone()
        pod.name = core.next_name(namespace, prefix)
        yield core.creation(pod)


def create_pods(core: DriverCore, index: int, operation: CreatePods) -> Steps:
    """POST pods of one shape."""
    yield from core.ensure_namespaces([operation.namespace])
    template = shape_template(core, index, operation.namespace)
    if operation.collect:
        core.begin("measured")
    yield from core.submit(
        index,
        operation,
        new_pods(core, template, operation.namespace, operation.name_prefix, operation.count),
    )


def create_pod_sets(core: DriverCore, index: int, operation: CreatePodSets) -> Steps:
    """POST sets of pods, set after set."""
    names = [f"{operation.namespace_prefix}-{number}" for number in range(operation.count)]
    yield from core.ensure_namespaces(names)

    def requests() -> Iterator[Request]:
        for name in names:
            template = shape_template(core, index, name)
            yield from new_pods(core, template, name, "pod", operation.count_per_set)

    yield from core.submit(index, operation, requests())


def create_deployments(core: DriverCore, index: int, operation: CreateDeployments) -> Steps:
    """POST Deployments, each after its Service if it has one."""
    spread = operation.namespace_count
    namespaces = [operation.namespace]
    if spread > 1:
        namespaces = [f"{operation.namespace}-{number}" for number in range(spread)]
    yield from core.ensure_namespaces(namespaces)

    pod = core.inputs[index]

    def requests() -> Iterator[Request]:
        for number in range(operation.count):
            namespace = namespaces[number % spread]
            name = core.next_name(namespace, operation.name_prefix)
            manifests = [deployment_manifest(operation, name, namespace, pod)]
            if operation.service:
                manifests.insert(0, service_manifest(name, namespace, {"app": name}))
            yield from map(core.creation, core.reader.read(manifests))

    yield from core.submit(index, operation, requests())


def create_services(core: DriverCore, index: int, operation: CreateServices) -> Steps:
    """POST Services."""
    yield from core.ensure_namespaces([operation.namespace])
    manifests = []
    for number in range(operation.count):
        name = core.next_name(operation.namespace, operation.name_prefix)
        selector = {
            key: value.replace("{index}", str(number)) for key, value in operation.selector.items()
        }
        manifests.append(service_manifest(name, operation.namespace, selector))
    objects = core.reader.read(manifests)
    yield from core.submit(index, operation, map(core.creation, objects))


def create_objects(core: DriverCore, index: int, operation: CreateObjects) -> Steps:
    """POST objects without behaviour."""
    yield from core.ensure_namespaces([operation.namespace])

    def requests() -> Iterator[Request]:
        for _ in range(operation.count):
            name = core.next_name(operation.namespace, operation.name_prefix)
            yield core.creation(
                sized_object(operation.resource, operation.namespace, name, operation.object_bytes)
            )

    yield from core.submit(index, operation, requests())


def apply_manifests(core: DriverCore, index: int, operation: ApplyManifests) -> Steps:
    """POST everything in the files; namespaces that nobody defines are created first."""
    objects: list[APIObject] = [
        item
        for item in core.inputs[index]
        if not (operation.skip_nodes and item.resource == "nodes")
    ]
    defined = [item for item in objects if item.resource == "namespaces"]
    others = [item for item in objects if item.resource != "namespaces"]
    for item in defined:
        yield from core.call(core.creation(item))
    yield from core.ensure_namespaces([item.namespace for item in others])
    yield from core.submit(index, operation, map(core.creation, others))


def replay_trace(core: DriverCore, index: int, operation: ReplayTrace) -> Steps:
    """POST and DELETE the pods of a trace at their scaled times."""
    yield from core.ensure_namespaces([operation.namespace])
    pods: list[TracePod] = core.inputs[index]
    start_seconds = core.engine.now
    moments: list[tuple[float, int, int]] = []
    for number, pod in enumerate(pods):
        moments.append((pod.creation_seconds, 0, number))
        if operation.deletions and pod.deletion_seconds >= 0.0:
            moments.append((pod.deletion_seconds, 1, number))
    moments.sort()
    templates: dict[Any, PodTemplate] = {}
    for time_seconds, is_deletion, number in moments:
        wait_seconds = start_seconds + time_seconds / operation.time_scale - core.engine.now
        if wait_seconds > 0.0:
            yield core.engine.sleep(wait_seconds)
        pod = pods[number]
        template = templates.get(pod.shape)
        if template is None:
            manifest = trace_pod_manifest(pod.shape, operation.namespace, operation.gpu)
            template = core.reader.templates.template(manifest, operation.namespace)
            templates[pod.shape] = template
        if is_deletion:
            core.tracker.expect(operation.namespace, template.labels, -1)
            request = Request("delete", "pods", operation.namespace, pod.name)
        else:
            request = core.creation(
                Pod(
                    name=pod.name,
                    namespace=operation.namespace,
                    labels=template.labels,
                    template=template,
                    size_bytes=template.size_bytes,
                )
            )
        core.fire(request)
