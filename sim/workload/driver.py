"""Executes a workload: operations one after another, each through clients and a watch of its own.

**Modelled:** everything goes the one road, as an administrator's or a load generator's requests;
barriers look at the driver's own informer of pods. **Not modelled:** the driver's own CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from sim.base.objects import (
    APIObject,
    Job,
    Namespace,
    OwnerReference,
    Pod,
    PodTemplate,
    Workload,
)
from sim.components.client import ClientFactory
from sim.components.ports import Request
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.workload.faults import ClusterActions
from sim.workload.load import GROUPS, LoadGenerator, sized_object
from sim.workload.manifests import Manifests, load_manifests
from sim.workload.object_reader import ObjectReader
from sim.workload.openb import TracePod, load_pods
from sim.workload.openb import pod_manifest as trace_pod_manifest
from sim.workload.operations import (
    ApplyManifests,
    Barrier,
    Churn,
    CreateDeployments,
    CreateNamespaces,
    CreateNodes,
    CreateObjects,
    CreatePods,
    CreatePodSets,
    CreateServices,
    DeleteObjects,
    DeletePods,
    Drain,
    Fault,
    Load,
    Operation,
    PodShape,
    ReplayTrace,
    RolloutRestart,
    Scale,
    Sleep,
    StartCollectingMetrics,
    StopCollectingMetrics,
    Submitting,
    Uncordon,
)
from sim.workload.pod_tracker import SYSTEM_NAMESPACES, PodTracker
from sim.workload.shaping import (
    deployment_manifest,
    namespace_manifest,
    node_manifest,
    pod_manifest,
    restarted,
    service_manifest,
)
from sim.workload.submission import Steps, Submission

USER = "kubernetes-admin"
_DRAIN_POLL_SECONDS = 1.0
"""kubectl drain looks once per second whether an evicted pod is gone."""
O = TypeVar("O", bound=Operation)  # noqa: E741 - stands for an operation
_Key = tuple[str, str]


class WorkloadDriver:
    """Runs the operations of one experiment.

    Raises:
        UserError: at construction, if a file that an operation names cannot be read or is wrong.
    """

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        clients: ClientFactory,
        operations: Sequence[Operation],
        reader: ObjectReader,
        actions: ClusterActions,
    ) -> None:
        self._engine = engine
        self._clients = clients
        self._operations = list(operations)
        self._reader = reader
        self._actions = actions
        self._facts = recorder["faults"]
        self._client = clients.client(USER, groups=GROUPS["admin"])
        self.tracker = PodTracker(engine, clients.endpoint, self._client)
        self._namespaces = {"default", *SYSTEM_NAMESPACES}
        self._created: dict[str, list[_Key]] = {}
        self._name_counts: dict[_Key, int] = {}
        self._refused: dict[tuple[str, str, int], int] = {}
        self._running_count = 0
        self._main_done = False
        self.windows: dict[str, list[float]] = {}
        """Measured part → its start and, once it has ended, its end."""
        self.request_count = 0
        self._inputs: dict[int, Any] = {
            index: loaded
            for index, operation in enumerate(self._operations)
            if (loaded := self._read(operation)) is not None
        }

    def _read(self, operation: Operation) -> Any:
        """Read the files of an operation before anything runs."""
        if isinstance(operation, ApplyManifests):
            return load_manifests(*operation.manifests)
        if isinstance(operation, ReplayTrace):
            pods = load_pods(operation.pods_csv)
            return pods[: operation.limit] if operation.limit else pods
        shape = getattr(operation, "pod", None)
        if isinstance(shape, PodShape) and shape.manifest:
            return pod_manifest(shape, {}, "default")
        return None

    @property
    def done(self) -> bool:
        """Whether every operation has ended."""
        return self._main_done and self._running_count == 0

    @property
    def pods_expected_count(self) -> int:
        """Pods asked for so far."""
        return self.tracker.expected_total_count

    def start(self) -> None:
        """Begin with the first operation."""
        if any(isinstance(item, Barrier | DeletePods) for item in self._operations):
            for operation in self._operations:
                if isinstance(operation, Barrier):
                    self.tracker.counter(operation.namespaces, operation.labels)
            self.tracker.informer.start()
        self._engine.process(self._main())

    def _main(self) -> Steps:
        for index, operation in enumerate(self._operations):
            if operation.background:
                self._running_count += 1
                self._engine.process(self._in_background(index, operation))
            else:
                yield from self._execute(index, operation)
        self._main_done = True

    def _in_background(self, index: int, operation: Operation) -> Steps:
        yield from self._execute(index, operation)
        self._running_count -= 1

    def _execute(self, index: int, operation: Operation) -> Steps:
        step = _STEPS[type(operation)]
        yield from step(self, index, operation)
        for (verb, resource, code), count in self._refused.items():
            self._note("requests refused", f"{count} x {verb} {resource}: {code}")
        self._refused.clear()

    def _note(self, what: str, detail: str) -> None:
        self._facts.append((self._engine.now, "workload", what, detail))

    # sending

    def _submit(self, index: int, operation: Submitting, requests: Iterator[Request]) -> Steps:
        submission = Submission(self._engine, self._client, requests, self._answered)
        rate = operation.rate
        if rate.per_second > 0.0 or rate.end_per_second > 0.0:
            stream = self._engine.stream(f"workload/{index}/arrivals")
            yield from submission.at_rate(rate, stream)
        else:
            yield from submission.in_parallel(operation.parallelism)

    def _answered(self, request: Request) -> None:
        self.request_count += 1
        if not request.ok:
            key = (request.verb, request.resource, request.code)
            self._refused[key] = self._refused.get(key, 0) + 1

    def _call(self, request: Request) -> Steps:
        response = yield self._client.call(request)
        self._answered(response)
        return response

    def _creation(self, new: APIObject) -> Request:
        """Return the POST of an object; note what it will mean for barriers and later steps."""
        if isinstance(new, Namespace):
            new.finalizers = new.finalizers or ("kubernetes",)
            self._namespaces.add(new.name)
        elif isinstance(new, Pod):
            self.tracker.expect(new.namespace, new.labels, 1)
        elif isinstance(new, Job):
            self.tracker.expect(new.namespace, new.template.labels, new.completion_count)
        elif isinstance(new, Workload) and new.resource != "daemonsets":
            self.tracker.expect(new.namespace, new.template.labels, new.replica_count)
        if not isinstance(new, Pod):
            self._created.setdefault(new.resource, []).append(new.key)
        return Request("create", new.resource, new.namespace, new.name, api_object=new)

    def _ensure_namespaces(self, names: list[str]) -> Steps:
        """Create namespaces that objects need and nobody has created."""
        for name in dict.fromkeys(names):
            if name and name not in self._namespaces:
                (new,) = self._reader.read([namespace_manifest(name)])
                yield from self._call(self._creation(new))

    def _next_name(self, namespace: str, prefix: str) -> str:
        key = (namespace, prefix)
        number = self._name_counts.get(key, 0)
        self._name_counts[key] = number + 1
        return f"{prefix}-{number}"

    def _chosen(self, resource: str, namespace: str, names: tuple[str, ...]) -> list[_Key]:
        if names:
            return [(namespace, name) for name in names]
        return [key for key in self._created.get(resource, []) if key[0] == namespace]

    # creating

    def create_nodes(self, index: int, operation: CreateNodes) -> Steps:
        """Switch machines on, at the rate or all at once."""
        rate = operation.rate
        start_seconds = self._engine.now
        times: Iterator[float] = (0.0 for _ in range(operation.count))
        if rate.per_second > 0.0 or rate.end_per_second > 0.0:
            times = rate.times(self._engine.stream(f"workload/{index}/arrivals"))
        for number, time_seconds in zip(range(operation.count), times, strict=False):
            wait_seconds = start_seconds + time_seconds - self._engine.now
            if wait_seconds > 0.0:
                yield self._engine.sleep(wait_seconds)
            self._actions.join_node(node_manifest(operation, number))

    def create_namespaces(self, index: int, operation: CreateNamespaces) -> Steps:
        """POST namespaces."""
        manifests = [
            namespace_manifest(f"{operation.prefix}-{number}") for number in range(operation.count)
        ]
        objects = self._reader.read(manifests)
        yield from self._submit(index, operation, map(self._creation, objects))

    def _template(self, shape: PodShape, namespace: str) -> PodTemplate:
        manifest = pod_manifest(shape, {}, namespace)
        (pod,) = self._reader.read([manifest])
        assert isinstance(pod, Pod)
        return pod.template

    def _pods(
        self, template: PodTemplate, namespace: str, prefix: str, count: int
    ) -> Iterator[Request]:
        for _ in range(count):
            yield self._creation(
                Pod(
                    name=self._next_name(namespace, prefix),
                    namespace=namespace,
                    labels=template.labels,
                    template=template,
                    node_name=template.node_name,
                    size_bytes=template.size_bytes,
                )
            )

    def create_pods(self, index: int, operation: CreatePods) -> Steps:
        """POST pods of one shape."""
        yield from self._ensure_namespaces([operation.namespace])
        template = self._template(operation.pod, operation.namespace)
        if operation.collect:
            self._begin("measured")
        yield from self._submit(
            index,
            operation,
            self._pods(template, operation.namespace, operation.name_prefix, operation.count),
        )

    def create_pod_sets(self, index: int, operation: CreatePodSets) -> Steps:
        """POST sets of pods, set after set."""
        names = [f"{operation.namespace_prefix}-{number}" for number in range(operation.count)]
        yield from self._ensure_namespaces(names)

        def requests() -> Iterator[Request]:
            for name in names:
                template = self._template(operation.pod, name)
                yield from self._pods(template, name, "pod", operation.count_per_set)

        yield from self._submit(index, operation, requests())

    def create_deployments(self, index: int, operation: CreateDeployments) -> Steps:
        """POST Deployments, each after its Service if it has one."""
        spread = operation.namespace_count
        namespaces = [operation.namespace]
        if spread > 1:
            namespaces = [f"{operation.namespace}-{number}" for number in range(spread)]
        yield from self._ensure_namespaces(namespaces)

        def requests() -> Iterator[Request]:
            for number in range(operation.count):
                namespace = namespaces[number % spread]
                name = self._next_name(namespace, operation.name_prefix)
                pod = pod_manifest(operation.pod, {}, namespace)
                manifests = [deployment_manifest(operation, name, namespace, pod)]
                if operation.service:
                    manifests.insert(0, service_manifest(name, namespace, {"app": name}))
                yield from map(self._creation, self._reader.read(manifests))

        yield from self._submit(index, operation, requests())

    def create_services(self, index: int, operation: CreateServices) -> Steps:
        """POST Services."""
        yield from self._ensure_namespaces([operation.namespace])
        manifests = []
        for number in range(operation.count):
            name = self._next_name(operation.namespace, operation.name_prefix)
            selector = {
                key: value.replace("{index}", str(number))
                for key, value in operation.selector.items()
            }
            manifests.append(service_manifest(name, operation.namespace, selector))
        objects = self._reader.read(manifests)
        yield from self._submit(index, operation, map(self._creation, objects))

    def create_objects(self, index: int, operation: CreateObjects) -> Steps:
        """POST objects without behaviour."""
        yield from self._ensure_namespaces([operation.namespace])

        def requests() -> Iterator[Request]:
            for _ in range(operation.count):
                name = self._next_name(operation.namespace, operation.name_prefix)
                yield self._creation(
                    sized_object(
                        operation.resource, operation.namespace, name, operation.object_bytes
                    )
                )

        yield from self._submit(index, operation, requests())

    def apply_manifests(self, index: int, operation: ApplyManifests) -> Steps:
        """POST everything in the files; namespaces that nobody defines are created first."""
        manifests: Manifests = self._inputs[index]
        objects = [
            item
            for item in self._reader.read(manifests)
            if not (operation.skip_nodes and item.resource == "nodes")
        ]
        defined = [item for item in objects if item.resource == "namespaces"]
        others = [item for item in objects if item.resource != "namespaces"]
        for item in defined:
            yield from self._call(self._creation(item))
        yield from self._ensure_namespaces([item.namespace for item in others])
        yield from self._submit(index, operation, map(self._creation, others))

    def replay_trace(self, index: int, operation: ReplayTrace) -> Steps:
        """POST and DELETE the pods of a trace at their scaled times."""
        yield from self._ensure_namespaces([operation.namespace])
        pods: list[TracePod] = self._inputs[index]
        start_seconds = self._engine.now
        moments: list[tuple[float, int, int]] = []
        for number, pod in enumerate(pods):
            moments.append((pod.creation_seconds, 0, number))
            if operation.deletions and pod.deletion_seconds >= 0.0:
                moments.append((pod.deletion_seconds, 1, number))
        moments.sort()
        templates: dict[Any, PodTemplate] = {}
        for time_seconds, is_deletion, number in moments:
            wait_seconds = start_seconds + time_seconds / operation.time_scale - self._engine.now
            if wait_seconds > 0.0:
                yield self._engine.sleep(wait_seconds)
            pod = pods[number]
            template = templates.get(pod.shape)
            if template is None:
                manifest = trace_pod_manifest(pod.shape, operation.namespace, operation.gpu)
                template = self._reader.templates.template(manifest, operation.namespace)
                templates[pod.shape] = template
            if is_deletion:
                self.tracker.expect(operation.namespace, template.labels, -1)
                request = Request("delete", "pods", operation.namespace, pod.name)
            else:
                request = self._creation(
                    Pod(
                        name=pod.name,
                        namespace=operation.namespace,
                        labels=template.labels,
                        template=template,
                        size_bytes=template.size_bytes,
                    )
                )
            request.then = self._answered
            self._client.submit(request)

    # changing and deleting

    def _patches(
        self, resource: str, keys: list[_Key], mutate: Callable[[APIObject], APIObject]
    ) -> Iterator[Request]:
        for namespace, name in keys:
            yield Request("patch", resource, namespace, name, mutate=mutate)

    def scale(self, index: int, operation: Scale) -> Steps:
        """PATCH spec.replicas."""

        def mutate(current: APIObject) -> APIObject:
            assert isinstance(current, Workload)
            if current.replica_count == operation.replicas:
                return current
            new = current.clone()
            new.replica_count = operation.replicas
            new.generation += 1
            change = operation.replicas - current.replica_count
            self.tracker.expect(current.namespace, current.template.labels, change)
            return new

        keys = self._chosen(operation.resource, operation.namespace, operation.names)
        yield from self._submit(
            index, operation, self._patches(operation.resource, keys, _once(mutate))
        )

    def rollout_restart(self, index: int, operation: RolloutRestart) -> Steps:
        """PATCH the template's annotation."""
        now = self._engine.now

        def mutate(current: APIObject) -> APIObject:
            assert isinstance(current, Workload)
            new = current.clone()
            new.template = restarted(current.template, now)
            new.generation += 1
            return new

        keys = self._chosen(operation.resource, operation.namespace, operation.names)
        yield from self._submit(index, operation, self._patches(operation.resource, keys, mutate))

    def delete_objects(self, index: int, operation: DeleteObjects) -> Steps:
        """DELETE objects; what they own follows by garbage collection."""
        keys = self._chosen(operation.resource, operation.namespace, operation.names)
        created = self._created.get(operation.resource, [])
        gone = dict.fromkeys(keys)
        self._created[operation.resource] = [key for key in created if key not in gone]

        def requests() -> Iterator[Request]:
            for namespace, name in keys:
                yield Request("delete", operation.resource, namespace, name)

        yield from self._submit(index, operation, self._forgetting(requests()))

    def _forgetting(self, requests: Iterator[Request]) -> Iterator[Request]:
        """Take the pods of deleted workloads off what is expected."""
        for request in requests:
            yield request
            if isinstance(request.result, Workload):
                item = request.result
                self.tracker.expect(item.namespace, item.template.labels, -item.replica_count)

    def delete_pods(self, index: int, operation: DeletePods) -> Steps:
        """DELETE pods that the driver's informer knows; wait for their end if asked to."""
        wanted = tuple(operation.labels.items())
        chosen = [
            pod
            for pod in self.tracker.informer.objects.values()
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
                    self.tracker.expect(pod.namespace, pod.labels, -1)
                yield Request(
                    "delete", "pods", pod.namespace, pod.name,
                    grace_seconds=operation.grace_seconds,
                )  # fmt: skip

        yield from self._submit(index, operation, requests())
        if operation.wait:
            left = {pod.uid for pod in chosen}
            yield from self._until(
                lambda: left.isdisjoint(pod.uid for pod in self.tracker.informer.objects.values()),
            )

    def churn(self, index: int, operation: Churn) -> Steps:
        """Create (and delete) pods, round after round."""
        yield from self._ensure_namespaces([operation.namespace])
        template = self._template(operation.pod, operation.namespace)
        start_seconds = self._engine.now
        rounds = 0
        former: list[Request] = []
        while not operation.rounds or rounds < operation.rounds:
            if operation.background and self._main_done:
                break
            for request in former if operation.mode == "recreate" else ():
                self._fire(Request("delete", "pods", request.namespace, request.name))
                self.tracker.expect(request.namespace, template.labels, -1)
            former = list(
                self._pods(template, operation.namespace, f"churn-{index}", operation.number)
            )
            for request in former:
                self._fire(request)
            rounds += 1
            due_seconds = start_seconds + rounds * operation.interval_seconds
            yield self._engine.sleep(max(0.0, due_seconds - self._engine.now))

    def _fire(self, request: Request) -> None:
        request.then = self._answered
        self._client.submit(request)

    # waiting and marking

    def _until(self, reached: Callable[[], bool], timeout_seconds: float = -1.0) -> Steps:
        """Wait until a condition on the tracked pods holds; return whether it does."""
        if reached():
            return True
        event = self._engine.event()

        def look() -> None:
            if not event.triggered and reached():
                event.succeed()

        def give_up(_: None) -> None:
            if not event.triggered:
                event.succeed()

        self.tracker.listeners.append(look)
        timer = None
        if timeout_seconds >= 0.0:
            timer = self._engine.call_later(timeout_seconds, give_up)
        yield event
        if timer is not None:
            timer.cancel()
        self.tracker.listeners.remove(look)
        return reached()

    def barrier(self, index: int, operation: Barrier) -> Steps:
        """Wait for the pods asked for so far."""
        counter = self.tracker.counter(operation.namespaces, operation.labels)
        expected = operation.count or max(0, self.tracker.expected_count(counter))

        def reached() -> bool:
            if operation.stage == "gone":
                return counter.counts["existing"] == 0
            return counter.counts[operation.stage] >= expected

        good = yield from self._until(reached, operation.timeout_seconds)
        if not good:
            found = counter.counts["existing" if operation.stage == "gone" else operation.stage]
            self._note("barrier timed out", f"{operation.stage}: {found} of {expected} pods")

    def sleep(self, index: int, operation: Sleep) -> Steps:
        """Wait."""
        yield self._engine.sleep(operation.duration_seconds)

    def _begin(self, name: str) -> None:
        self.windows[name] = [self._engine.now]
        self._note("measurement starts", name)

    def start_collecting(self, index: int, operation: StartCollectingMetrics) -> Steps:
        """Mark the start of a measured part."""
        self._begin(operation.name)
        return
        yield

    def stop_collecting(self, index: int, operation: StopCollectingMetrics) -> Steps:
        """Mark the end of a measured part."""
        window = self.windows.get(operation.name)
        if window is not None:
            window[1:] = [self._engine.now]
        self._note("measurement ends", operation.name)
        return
        yield

    # nodes, faults, load

    def _set_unschedulable(self, name: str, *, value: bool) -> Steps:
        def mutate(current: APIObject) -> APIObject:
            new = current.clone()
            new.unschedulable = value  # type: ignore[attr-defined]
            return new

        return (yield from self._call(Request("patch", "nodes", "", name, mutate=mutate)))

    def drain(self, index: int, operation: Drain) -> Steps:
        """Cordon each node, evict its pods, wait until they are gone."""
        deadline_seconds = self._engine.now + operation.timeout_seconds
        for name in operation.nodes:
            yield from self._call(Request("get", "nodes", "", name))
            yield from self._set_unschedulable(name, value=True)
            response = yield from self._call(
                Request("list", "pods", selector=partial(_is_on, name))
            )
            workers = [
                self._engine.process(self._evict(pod, operation, deadline_seconds))
                for pod in response.result or ()
                if _is_evictable(pod)
            ]
            if workers:
                yield self._engine.all_of(list(workers))

    def _evict(self, pod: Pod, operation: Drain, deadline_seconds: float) -> Steps:
        while self._engine.now < deadline_seconds:
            response = yield from self._call(
                Request("create", "pods", pod.namespace, pod.name, subresource="eviction")
            )
            if response.ok or response.code == 404:
                break
            yield self._engine.sleep(operation.retry_seconds)
        while self._engine.now < deadline_seconds:
            response = yield self._client.call(Request("get", "pods", pod.namespace, pod.name))
            if response.code == 404 or (response.ok and response.result.uid != pod.uid):
                return
            yield self._engine.sleep(_DRAIN_POLL_SECONDS)
        self._note("drain timed out", f"{pod.namespace}/{pod.name}")

    def uncordon(self, index: int, operation: Uncordon) -> Steps:
        """PATCH nodes schedulable."""
        for name in operation.nodes:
            yield from self._set_unschedulable(name, value=False)

    def fault(self, index: int, operation: Fault) -> Steps:
        """Break something at its time; mend it after its duration."""
        if operation.after_seconds > 0.0:
            yield self._engine.sleep(operation.after_seconds)
        self._actions.fault(operation)
        if operation.duration_seconds > 0.0:
            yield self._engine.sleep(operation.duration_seconds)
            self._actions.mend(operation)

    def load(self, index: int, operation: Load) -> Steps:
        """Run a load generator."""
        if operation.namespace:
            yield from self._ensure_namespaces([operation.namespace])
        name = f"workload/{index}"
        generator = LoadGenerator(self._engine, self._clients, operation, name)
        yield from generator.run()
        self.request_count += generator.request_count


def _once(
    mutate: Callable[[APIObject], APIObject],
) -> Callable[[APIObject], APIObject]:
    """Let a mutation that a conflict repeats count only once per object."""
    return mutate


def _is_on(node_name: str, item: APIObject) -> bool:
    return isinstance(item, Pod) and item.node_name == node_name


def _is_evictable(pod: Pod) -> bool:
    owner: OwnerReference | None = pod.owner
    return owner is None or owner.kind not in {"DaemonSet", "Node"}


_STEPS: dict[type[Operation], Callable[[WorkloadDriver, int, Any], Steps]] = {
    CreateNodes: WorkloadDriver.create_nodes,
    CreateNamespaces: WorkloadDriver.create_namespaces,
    CreatePods: WorkloadDriver.create_pods,
    CreatePodSets: WorkloadDriver.create_pod_sets,
    CreateDeployments: WorkloadDriver.create_deployments,
    CreateServices: WorkloadDriver.create_services,
    CreateObjects: WorkloadDriver.create_objects,
    ApplyManifests: WorkloadDriver.apply_manifests,
    ReplayTrace: WorkloadDriver.replay_trace,
    DeletePods: WorkloadDriver.delete_pods,
    DeleteObjects: WorkloadDriver.delete_objects,
    Scale: WorkloadDriver.scale,
    RolloutRestart: WorkloadDriver.rollout_restart,
    Churn: WorkloadDriver.churn,
    Barrier: WorkloadDriver.barrier,
    Sleep: WorkloadDriver.sleep,
    StartCollectingMetrics: WorkloadDriver.start_collecting,
    StopCollectingMetrics: WorkloadDriver.stop_collecting,
    Drain: WorkloadDriver.drain,
    Uncordon: WorkloadDriver.uncordon,
    Fault: WorkloadDriver.fault,
    Load: WorkloadDriver.load,
}
