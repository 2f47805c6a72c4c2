"""A readable kubelet of one node: what the fleet must agree with, pod by pod and time by time.

One process per pod worker, one for PLEG, one for the status manager, one for the event sink; real
lists and loops where the fleet computes times. It covers the life of a pod whose images are
present: start with init containers, sidecars and several containers, readiness, completion,
graceful deletion. Tests drive both with the same pods and constant laws.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from math import ceil
from typing import Any

from sim.base.api_object import APIObject
from sim.base.objects import EventRecord, Node, Pod
from sim.base.pod_template import ContainerSpec
from sim.components.client import Client
from sim.components.kubelet_params import KubeletParams
from sim.components.overlay_ipam import AddressPool
from sim.components.ports import APIEndpoint, Request, Watcher, WatchEvent
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.costs.kubelet import KubeletLawParams
from sim.costs.overlay import PodNetworkParams
from sim.engine.engine import Engine, Event
from sim.engine.tables import Recorder
from sim.engine.tasks import Waitable

Steps = Generator[Waitable, Any, None]
_TOLERANCE = 1e-9


class ReferencePod:
    """What this kubelet knows of one pod."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.phase = pod.phase
        self.reason = ""
        self.ready_names: set[str] = set()
        self.sandbox_ready = False
        self.ip = ""
        self.start_seconds = -1.0
        self.finished_seconds = -1.0
        self.ready_seconds = -1.0
        self.exited_count = 0
        self.started: list[ContainerSpec] = []
        self.started_seconds: dict[str, float] = {}
        self.has_sandbox = False
        self.operating = False
        self.adding_network = False
        self.volumes_mounted = False
        self.stopping = False
        self.removing = False
        self.deletable = False
        self.version = 0
        self.event_tokens = 25.0
        self.event_seconds = 0.0

    def ended(self) -> bool:
        """Whether its worker has to give up (asked after every wait)."""
        return self.stopping

    @property
    def containers(self) -> tuple[ContainerSpec, ...]:
        """Init containers and sidecars first."""
        return self.pod.template.containers

    @property
    def serving(self) -> list[ContainerSpec]:
        """Containers that count for readiness."""
        return [item for item in self.containers if item.is_sidecar or not item.is_init]


class ReferenceKubelet:
    """The kubelet of one node."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        endpoint: APIEndpoint,
        params: KubeletParams,
        law: KubeletLawParams,
        runtime: ContainerRuntimeParams,
        network: PodNetworkParams,
        node: Node,
        phases: tuple[float, float, float],
    ) -> None:
        self.engine = engine
        self.params = params
        self.law = law
        self.runtime = runtime
        self.network = network
        self.node = node
        self.endpoint = endpoint
        user = f"system:node:{node.name}"
        self.client = Client(
            engine, endpoint, user=user, qps=params.kube_api_qps, burst=params.kube_api_burst
        )
        self.event_client = Client(
            engine, endpoint, user=user, qps=params.event_record_qps, burst=params.event_burst
        )
        self.rows = recorder["pod_transitions"]
        self.populator_phase = phases[0] * params.volume_loop_seconds
        self.reconciler_phase = phases[1] * params.volume_loop_seconds
        self.pleg_phase = phases[2] * params.pleg_relist_seconds
        self.pods: dict[int, ReferencePod] = {}
        self.addresses = AddressPool(node.pod_cidr)
        self.operation_count = 0
        self.adding_count = 0
        self.namespaces: set[str] = set()
        self.status_queue: deque[ReferencePod] = deque()
        self.status_wake: Event | None = None
        self.event_queue: deque[Request] = deque()
        self.event_wake: Event | None = None
        self.changed: list[Event] = []
        self.listing_until_seconds = 0.0
        self.inspected_until_seconds = 0.0

    def start(self) -> None:
        """Open the watch and begin the loops."""
        watcher = Watcher("pods", self.deliver, field_node_name=self.node.name)
        self.endpoint.watch(self.client, watcher, lambda _objects, _revision: None)
        self.engine.process(self.run_pleg())
        self.engine.process(self.run_status_manager())
        self.engine.process(self.run_event_sink())

    def write(self, pod: ReferencePod, transition: str, detail: str = "") -> None:
        """Append a fact."""
        self.rows.append((self.engine.now, pod.pod.uid, transition, detail))

    # watch

    def deliver(self, events: list[WatchEvent]) -> None:
        """Dispatch watch events to pod workers."""
        for event in events:
            new = event.new
            assert isinstance(new, Pod)
            pod = self.pods.get(new.uid)
            if event.type == "DELETED":
                self.pods.pop(new.uid, None)
            elif pod is None:
                pod = self.pods[new.uid] = ReferencePod(new)
                self.write(pod, "observed", self.node.name)
                self.engine.process(self.start_pod(pod))
            elif new.deletion_seconds >= 0.0 and not pod.removing:
                pod.removing = True
                if not pod.ended():
                    self.engine.process(self.stop_pod(pod, new.deletion_grace_seconds))
                elif new.is_terminal:
                    pod.deletable = True
                    self.report(pod)

    # pod worker

    def next_pass(self, phase_seconds: float, time_seconds: float) -> float:
        """Next pass of a volume loop after a time."""
        period = self.params.volume_loop_seconds
        return phase_seconds + period * ((time_seconds - phase_seconds) // period + 1.0)

    def until(self, time_seconds: float) -> Event:
        """Sleep until a time."""
        return self.engine.sleep(max(0.0, time_seconds - self.engine.now))

    def begin_operation(self, pod: ReferencePod) -> None:
        """The runtime works on a pod."""
        pod.operating = True
        self.operation_count += 1

    def end_operation(self, pod: ReferencePod) -> None:
        """The runtime has nothing to do for a pod."""
        if pod.operating:
            pod.operating = False
            self.operation_count -= 1

    def start_pod(self, pod: ReferencePod) -> Steps:
        """SyncPod, from the first sync to Running."""
        yield self.engine.sleep(self.law.dispatch_seconds)
        if pod.ended():
            return
        pod.start_seconds = self.engine.now
        pod.phase = "Pending"
        self.report(pod)
        yield from self.wait_for_volumes(pod)
        if pod.ended():
            return
        yield from self.create_sandbox(pod)
        if pod.ended():
            return
        for index, container in enumerate(pod.containers):
            yield from self.start_container(pod, container, index)
            if pod.ended():
                return
        self.end_operation(pod)
        self.write(pod, "containers_started")
        yield self.request_relist()
        if pod.ended():
            return
        pod.phase = "Running"
        for container in pod.serving:
            if container.readiness_probe is None:
                pod.ready_names.add(container.name)
            else:
                self.engine.process(self.probe(pod, container))
        self.judge_ready(pod)
        self.report(pod)

    def wait_for_volumes(self, pod: ReferencePod) -> Steps:
        """WaitForAttachAndMount: check, and check again every 300 ms."""
        now = self.engine.now
        first_check = now + self.law.pod_directories_seconds
        template = pod.pod.template
        mount_count = max(template.volume_count, int(template.service_account_token))
        mounted_seconds = first_check
        if mount_count:
            populated = self.next_pass(self.populator_phase, now)
            reconciled = self.next_pass(self.reconciler_phase, populated)
            if template.service_account_token:
                yield self.until(reconciled)
                if pod.ended():
                    return
                yield self.request_token(pod)
                reconciled = self.engine.now
            mounted_seconds = reconciled + self.law.mount_per_volume_seconds * mount_count
        check = first_check
        while check < mounted_seconds - _TOLERANCE:
            check += self.params.volume_wait_seconds
        yield self.until(check)
        if not pod.ended():
            pod.volumes_mounted = True
            self.write(pod, "volumes_mounted")

    def request_token(self, pod: ReferencePod) -> Waitable:
        """POST serviceaccounts/token; the first pod of a namespace also lists its CA bundle."""
        namespace = pod.pod.namespace
        if namespace not in self.namespaces:
            self.namespaces.add(namespace)
            self.client.submit(
                Request("list", "configmaps", namespace, "kube-root-ca.crt", list_mode="cache")
            )
        return self.client.call(
            Request("create", "serviceaccounts", namespace, "default", subresource="token")
        )

    def create_sandbox(self, pod: ReferencePod) -> Steps:
        """RunPodSandbox, then CNI ADD."""
        self.begin_operation(pod)
        seconds = self.runtime.run_pod_sandbox_seconds(float(self.operation_count))
        yield self.engine.sleep(float(seconds))
        if pod.ended():
            return
        pod.has_sandbox = True
        self.write(pod, "sandbox_created")
        if pod.pod.template.host_network:
            pod.ip = self.node.internal_ip
        else:
            self.adding_count += 1
            pod.adding_network = True
            existing = float(self.addresses.taken_count)
            seconds = self.network.cni_add_seconds(existing, float(self.adding_count), 0.5)
            pod.ip = self.addresses.allocate()
            yield self.engine.sleep(float(seconds))
            if pod.ended():
                return
            pod.adding_network = False
            self.adding_count -= 1
        self.write(pod, "network_ready", pod.ip)
        pod.sandbox_ready = True
        if self.params.sandbox_ready_status:
            self.report(pod)

    def start_container(self, pod: ReferencePod, container: ContainerSpec, index: int) -> Steps:
        """Image, create, start; then what has to happen before the next container."""
        self.tell(pod, "Pulled", index)
        if index == len(pod.containers) - 1:
            self.write(pod, "images_pulled")
        seconds = self.runtime.create_container_seconds(float(self.operation_count))
        yield self.engine.sleep(self.runtime.status_call_seconds + float(seconds))
        if pod.ended():
            return
        self.tell(pod, "Created", index)
        seconds = self.runtime.start_container_seconds(float(self.operation_count))
        yield self.engine.sleep(float(seconds))
        if pod.ended():
            return
        self.tell(pod, "Started", index)
        if container.is_init and not container.is_sidecar:
            run_seconds = container.run_seconds
            if run_seconds < 0.0:
                run_seconds = self.law.init_run_seconds
            yield self.engine.sleep(run_seconds)
            if not pod.ended():
                yield self.next_relist()
            return
        pod.started.append(container)
        pod.started_seconds[container.name] = self.engine.now
        if container.run_seconds >= 0.0:
            self.engine.process(self.run_container(pod, container))
        if container.is_sidecar:
            yield self.request_relist()

    def run_container(self, pod: ReferencePod, container: ContainerSpec) -> Steps:
        """A process that ends by itself; the pod completes with its last one."""
        yield self.engine.sleep(container.run_seconds)
        if pod.ended():
            return
        yield self.next_relist()
        if pod.ended():
            return
        pod.ready_names.discard(container.name)
        pod.exited_count += 1
        pod.started.remove(container)
        main_count = sum(not (item.is_init or item.is_sidecar) for item in pod.containers)
        self.judge_ready(pod)
        if pod.exited_count == main_count:
            self.engine.process(self.complete_pod(pod))
        elif pod.phase == "Running":
            self.report(pod)

    def probe(self, pod: ReferencePod, container: ContainerSpec) -> Steps:
        """Readiness runs until enough of them have succeeded."""
        probe = container.readiness_probe
        assert probe is not None
        yield self.until(pod.started_seconds[container.name] + probe.initial_delay_seconds)
        yield self.engine.sleep(probe.period_seconds * (probe.success_threshold_count - 1))
        yield self.engine.sleep(self.law.probe_seconds)
        if pod.ended() or container not in pod.started:
            return
        pod.ready_names.add(container.name)
        self.judge_ready(pod)
        self.report(pod)

    def judge_ready(self, pod: ReferencePod) -> None:
        """Note when the pod becomes Ready."""
        if len(pod.ready_names) == len(pod.serving):
            pod.ready_seconds = self.engine.now

    # the end

    def complete_pod(self, pod: ReferencePod) -> Steps:
        """All main containers have ended: report, then take the sandbox down."""
        pod.stopping = True
        self.end_operation(pod)
        pod.phase = "Succeeded"
        pod.reason = "Completed"
        pod.ready_names.clear()
        pod.finished_seconds = self.engine.now
        self.report(pod)
        yield from self.take_down(pod, 0.0, with_containers=False)

    def stop_pod(self, pod: ReferencePod, grace_seconds: float) -> Steps:
        """Killing, SIGTERM, and so on."""
        pod.stopping = True
        self.end_operation(pod)
        if pod.adding_network:
            self.adding_count -= 1
        for index, container in enumerate(pod.containers):
            if container in pod.started:
                self.tell(pod, "Killing", index)
        template = pod.pod.template
        running = bool(pod.started)
        killed = running and template.stop_seconds > grace_seconds
        pod.phase = "Failed" if killed or not running else "Succeeded"
        exit_seconds = min(template.stop_seconds, grace_seconds) if running else 0.0
        yield from self.take_down(pod, exit_seconds, with_containers=running)

    def take_down(self, pod: ReferencePod, exit_seconds: float, with_containers: bool) -> Steps:
        """Containers, sandbox, network; terminal status; volumes; then the final DELETE."""
        self.begin_operation(pod)
        concurrency = float(self.operation_count)
        seconds = exit_seconds
        if with_containers:
            seconds += float(self.runtime.stop_container_seconds(concurrency))
        if pod.has_sandbox:
            seconds += float(self.runtime.stop_pod_sandbox_seconds(concurrency))
            if not pod.pod.template.host_network:
                seconds += float(self.network.cni_del_seconds(0.5))
        yield self.engine.sleep(seconds)
        self.end_operation(pod)
        pod.has_sandbox = False
        if pod.ip and not pod.pod.template.host_network:
            self.addresses.release(pod.ip)
        self.write(pod, "stopped", self.node.name)
        yield self.request_relist()
        pod.ready_names.clear()
        pod.sandbox_ready = False
        if pod.finished_seconds < 0.0:
            pod.finished_seconds = self.engine.now
            self.report(pod)
        yield from self.unmount(pod)
        if pod.removing:
            pod.deletable = True
            self.report(pod, changed=False)

    def unmount(self, pod: ReferencePod) -> Steps:
        """Volumes, polled every 100 ms, and the cgroup."""
        now = self.engine.now
        template = pod.pod.template
        mount_count = max(template.volume_count, int(template.service_account_token))
        seconds = self.law.cgroup_removal_seconds
        if mount_count and pod.volumes_mounted:
            unmounted = self.next_pass(self.reconciler_phase, now)
            unmounted += self.law.unmount_per_volume_seconds * mount_count
            period = self.params.volume_loop_seconds
            seconds += period * ceil((unmounted - now) / period - _TOLERANCE)
        yield self.engine.sleep(seconds)

    # PLEG

    def next_relist(self) -> Event:
        """Return an event for when the next listing has shown a change that happened now."""
        event = self.engine.event()
        self.changed.append(event)
        return event

    def request_relist(self) -> Event:
        """Ask PLEG to look at one pod now; an event for when it has."""
        if not self.params.pleg_on_demand_relist:
            return self.next_relist()
        begin = max(self.engine.now, self.inspected_until_seconds, self.listing_until_seconds)
        self.inspected_until_seconds = begin + self.runtime.inspect_pod_seconds()
        return self.until(self.inspected_until_seconds)

    def run_pleg(self) -> Steps:
        """List everything, look at what has changed, pause for a second."""
        yield self.until(self.pleg_phase)
        while True:
            changed, self.changed = self.changed, []
            pods_count = sum(pod.has_sandbox for pod in self.pods.values())
            listing_seconds = float(self.runtime.relist_seconds(pods_count, 0))
            each_seconds = self.runtime.inspect_pod_seconds()
            self.listing_until_seconds = (
                self.engine.now + listing_seconds + each_seconds * len(changed)
            )
            yield self.engine.sleep(listing_seconds)
            for event in changed:
                yield self.engine.sleep(each_seconds)
                event.succeed()
            yield self.engine.sleep(self.params.pleg_relist_seconds)

    # status manager

    def status_of(self, pod: ReferencePod) -> dict[str, Any]:
        """The status fields as they are now."""
        ready = len(pod.ready_names) == len(pod.serving) and not pod.finished_seconds >= 0.0
        return {
            "phase": pod.phase,
            "reason": pod.reason,
            "ready": ready,
            "sandbox_ready": pod.sandbox_ready,
            "pod_ip": pod.ip,
            "host_ip": self.node.internal_ip,
            "start_seconds": pod.start_seconds,
            "ready_seconds": pod.ready_seconds,
            "finished_seconds": pod.finished_seconds,
            "ready_container_count": len(pod.ready_names),
        }

    def report(self, pod: ReferencePod, *, changed: bool = True) -> None:
        """Let the status manager look at a pod."""
        pod.version += changed
        if pod not in self.status_queue:
            self.status_queue.append(pod)
        if self.status_wake is not None:
            self.status_wake.succeed()
            self.status_wake = None

    def run_status_manager(self) -> Steps:
        """One pod at a time: GET, PATCH if it differs, DELETE if everything is gone."""
        while True:
            while self.status_queue:
                pod = self.status_queue.popleft()
                namespace, name = pod.pod.key
                status, version = self.status_of(pod), pod.version
                response = yield self.client.call(Request("get", "pods", namespace, name))
                stored = response.result
                if not response.ok or stored.uid != pod.pod.uid:
                    continue
                if any(getattr(stored, key) != value for key, value in status.items()):

                    def mutate(current: APIObject, status: dict[str, Any] = status) -> APIObject:
                        new = current.clone()
                        for key, value in status.items():
                            setattr(new, key, value)
                        return new

                    yield self.client.call(
                        Request(
                            "patch", "pods", namespace, name, subresource="status", mutate=mutate
                        )
                    )
                if pod.deletable and pod.version == version:
                    yield self.client.call(
                        Request(
                            "delete",
                            "pods",
                            namespace,
                            name,
                            grace_seconds=0.0,
                            precondition_uid=pod.pod.uid,
                        )
                    )
            self.status_wake = self.engine.event()
            yield self.status_wake

    # events

    def tell(self, pod: ReferencePod, reason: str, index: int) -> None:
        """Queue an event unless the spam filter keeps it back."""
        now = self.engine.now
        params = self.params
        refill = (now - pod.event_seconds) * params.spam_qps
        pod.event_tokens = min(params.spam_burst, pod.event_tokens + refill)
        pod.event_seconds = now
        if pod.event_tokens < 1.0:
            return
        pod.event_tokens -= 1.0
        namespace, name = pod.pod.key
        event = EventRecord(
            name=f"{name}.{pod.pod.uid:x}.{reason}{index}",
            namespace=namespace,
            involved_kind="Pod",
            involved_name=name,
            reason=reason,
            source="kubelet",
            first_seconds=now,
        )
        self.event_queue.append(
            Request("create", "events", namespace, event.name, api_object=event)
        )
        if self.event_wake is not None:
            self.event_wake.succeed()
            self.event_wake = None

    def run_event_sink(self) -> Steps:
        """One event at a time."""
        while True:
            while self.event_queue:
                yield self.event_client.call(self.event_queue.popleft())
            self.event_wake = self.engine.event()
            yield self.event_wake
