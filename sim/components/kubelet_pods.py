"""Pod workers of a fleet: from the watch event to Running.

**Modelled:** first sync with Pending status, network readiness, pods per node, the wait for volumes
(populator and reconciler loops, the token request, the first LIST of a namespace's CA bundle, the
300 ms poll), sandbox, CNI ADD, then per container in order: image, create, start; init containers
one by one with a sync in between, sidecars before the main containers; the PLEG request at the end.
**Not modelled:** volume plugins other than projected, config and empty volumes; attach; devices;
resize in place.
**Source:** `facts/model.md` a.1 step 5, h.1, h.2.

Streams: ``kubelet/worker-backoff``.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Final

from sim.base.api_object import APIObject
from sim.base.objects import Pod
from sim.components.image import PRESENT, PULLED, PULLING
from sim.components.kubelet_containers import ContainerRuns
from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_record import (
    NETWORK,
    OBSERVED,
    RUNNING,
    SANDBOX,
    STARTING,
    STOPPED,
    STOPPING,
    VOLUMES,
    PodRecord,
)
from sim.components.ports import Request

CA_BUNDLE: Final = "kube-root-ca.crt"
_TOLERANCE: Final = 1e-9


def _is_ca_bundle(item: APIObject) -> bool:
    return item.name == CA_BUNDLE


def list_ca_bundle(
    context: KubeletContext, known_namespaces: set[tuple[int, str]], record: PodRecord
) -> None:
    """LIST a namespace's CA bundle unless the node watches it already."""
    key = (record.node, record.key[0])
    if key not in known_namespaces:
        known_namespaces.add(key)
        context.client.submit(
            record.node,
            Request(
                "list", "configmaps", record.key[0], CA_BUNDLE, list_mode="cache",
                selector=_is_ca_bundle,
            ),
        )  # fmt: skip


class PodWorkers:
    """Starts pods; every method is one step of one pod's worker."""

    def __init__(self, context: KubeletContext, runs: ContainerRuns) -> None:
        self._context = context
        self._engine = context.engine
        self._runs = runs
        self._row = context.transitions.append
        self._backoff = context.engine.stream("kubelet/worker-backoff")
        self._known_namespaces: set[tuple[int, str]] = set()
        self.started_count = 0
        """Pods whose containers have all been started."""
        self.rejected_count = 0
        """Pods refused because the node was full."""

    def observe(self, node: int, pod: Pod) -> PodRecord:
        """A pod has appeared on the node's watch."""
        context = self._context
        record = PodRecord(pod, node, context.plan(pod.template))
        context.by_node[node][pod.uid] = record
        context.active_counts[node] += 1
        self._row((self._engine.now, pod.uid, "observed", context.names[node]))
        record.call = self._engine.call_later(context.law.dispatch_seconds, self.sync, record)
        return record

    def forget_namespaces(self, node: int) -> None:
        """The kubelet restarts: it watches no ConfigMaps any more."""
        known = self._known_namespaces
        for key in [key for key in known if key[0] == node]:
            known.discard(key)

    def sync(self, record: PodRecord) -> None:
        """Bring a pod one attempt further, from wherever it is."""
        record.call = None
        if record.stage >= RUNNING:
            return
        context = self._context
        node = record.node
        now = self._engine.now
        if record.start_seconds < 0.0:
            record.start_seconds = now
            record.phase = "Pending"
            context.cpu_seconds[node] += context.law.pod_start_cpu_seconds
            if context.active_counts[node] > context.nodes[node].pods_allocatable_count:
                self._reject(record)
                return
            context.publish(record)
        if not record.plan.template.host_network and not (
            context.overlay.agent_ready[node] and context.overlay.has_cidr(node)
        ):
            record.call = self._engine.call_later(
                context.params.network_retry_seconds, self.sync, record
            )
            return
        if record.has_sandbox:
            if record.volumes_mounted:
                context.begin(record)
                self._next_container(record)
                return
        elif record.volumes_mounted:
            self._create_sandbox(record)
            return
        self._wait_for_volumes(record, now)

    def _reject(self, record: PodRecord) -> None:
        self.rejected_count += 1
        self._context.active_counts[record.node] -= 1
        record.placed = False
        record.stage = STOPPED
        record.phase = "Failed"
        record.reason = "OutOfpods"
        record.finished_seconds = self._engine.now
        self._context.events.report(
            record, "OutOfpods", "Node didn't have enough resource: pods", type_="Warning"
        )
        self._context.publish(record)

    def _fail(self, record: PodRecord, reason: str, message: str) -> None:
        """A sync ended with an error: the worker tries again after its back-off."""
        context = self._context
        if record.event_counts is None:
            record.event_counts = {}
        context.events.report(record, reason, message, type_="Warning")
        params = context.params
        jitter = 1.0 + params.worker_backoff_jitter_ratio * self._backoff.uniform()
        record.stage = OBSERVED
        record.call = self._engine.call_later(
            params.worker_backoff_seconds * jitter, self.sync, record
        )

    # volumes

    def _wait_for_volumes(self, record: PodRecord, now: float) -> None:
        context = self._context
        record.stage = VOLUMES
        template = record.plan.template
        first_check = now + context.law.pod_directories_seconds
        record.step_seconds = first_check
        if record.plan.mount_count == 0:
            record.call = self._engine.call_later(
                context.law.pod_directories_seconds, self._mounted, record
            )
            return
        node = record.node
        begin = context.reconciled_seconds(node, context.populated_seconds(node, now))
        if template.service_account_token:
            record.call = self._engine.call_later(begin - now, self._request_token, record)
        else:
            self._mount(record, begin)

    def _request_token(self, record: PodRecord) -> None:
        context = self._context
        record.call = None
        namespace = record.key[0]
        node = record.node
        list_ca_bundle(context, self._known_namespaces, record)
        request = Request(
            "create", "serviceaccounts", namespace, "default", subresource="token",
            then=partial(self._token, record),
        )  # fmt: skip
        record.request = request
        context.client.submit(node, request)

    def _token(self, record: PodRecord, request: Request) -> None:
        if record.request is not request or record.stage != VOLUMES:
            return
        record.request = None
        if request.ok:
            self._context.token_granted(record)
            self._mount(record, self._engine.now)
        else:
            self._fail(record, "FailedMount", "MountVolume.SetUp failed: token request failed")

    def _mount(self, record: PodRecord, begin_seconds: float) -> None:
        """Mount all volumes from a time on; the poll that notices comes every 300 ms."""
        context = self._context
        done = begin_seconds + context.law.mount_per_volume_seconds * record.plan.mount_count
        period = context.params.volume_wait_seconds
        first = record.step_seconds
        checks = ceil((done - first) / period - _TOLERANCE)
        noticed = first + period * checks if checks > 0 else first
        record.call = self._engine.call_at(noticed, self._mounted, record)

    def _mounted(self, record: PodRecord) -> None:
        record.volumes_mounted = True
        self._row((self._engine.now, record.uid, "volumes_mounted", ""))
        if record.has_sandbox:
            self._context.begin(record)
            self._next_container(record)
        else:
            self._create_sandbox(record)

    # sandbox and network

    def _create_sandbox(self, record: PodRecord) -> None:
        record.stage = SANDBOX
        runtime = self._context.runtime
        self._context.begin(record)
        record.call = self._engine.call_later(
            runtime.sandbox_seconds(record.node), self._sandbox_created, record
        )

    def _sandbox_created(self, record: PodRecord) -> None:
        context = self._context
        node = record.node
        record.has_sandbox = True
        context.pleg.pod_counts[node] += 1
        self._row((self._engine.now, record.uid, "sandbox_created", ""))
        record.stage = NETWORK
        if record.plan.template.host_network:
            record.ip = context.host_ips[node]
            self._network_ready(record)
            return
        seconds, record.ip, record.ip6 = context.overlay.cni_add(node)
        then = self._network_added if record.ip else self._network_failed
        record.call = self._engine.call_later(seconds, then, record)

    def _network_added(self, record: PodRecord) -> None:
        self._context.overlay.cni_added(record.node)
        self._network_ready(record)

    def _network_failed(self, record: PodRecord) -> None:
        context = self._context
        node = record.node
        context.overlay.cni_added(node)
        context.end(record)
        context.pleg.pod_counts[node] -= 1
        record.has_sandbox = False
        context.faults.append(
            (self._engine.now, f"ipam/{context.names[node]}", "address range exhausted", "")
        )
        self._fail(
            record,
            "FailedCreatePodSandBox",
            "failed to set up sandbox network: no IP addresses available in range set",
        )

    def _network_ready(self, record: PodRecord) -> None:
        context = self._context
        detail = f"{record.ip},{record.ip6}" if record.ip6 else record.ip
        self._row((self._engine.now, record.uid, "network_ready", detail))
        record.sandbox_ready = True
        if context.params.sandbox_ready_status:
            context.publish(record)
        self._next_container(record)

    # containers

    def _next_container(self, record: PodRecord) -> None:
        record.stage = STARTING
        record.call = None
        if record.container_index == len(record.plan.containers):
            self._all_started(record)
            return
        container = record.plan.containers[record.container_index]
        self._context.images.ensure(
            record.node, record.uid, container.image, container.image_pull_policy,
            self._image_answer, record,
        )  # fmt: skip

    def _image_answer(self, record: PodRecord, outcome: str, message: str) -> None:
        """The image is there, or an attempt has begun, failed or been put off."""
        if record.stage != STARTING:
            return
        context = self._context
        index = record.container_index
        if outcome in {PRESENT, PULLED}:
            context.events.report(record, "Pulled", message, container_index=index)
            if index == len(record.plan.containers) - 1:
                self._row((self._engine.now, record.uid, "images_pulled", ""))
            runtime = context.runtime
            record.call = self._engine.call_later(
                runtime.status_call_seconds + runtime.create_seconds(record.node),
                self._container_created,
                record,
            )
        elif outcome == PULLING:
            context.events.report(record, "Pulling", message, container_index=index)
        else:
            context.end(record)
            self._image_failed(record, outcome, message)

    def _image_failed(self, record: PodRecord, reason: str, message: str) -> None:
        context = self._context
        if record.event_counts is None:
            record.event_counts = {("Pulling", record.container_index): 1}
        images = context.images.params
        backoff = max(images.backoff_base_seconds, 2.0 * record.image_backoff_seconds)
        backoff = min(backoff, images.backoff_max_seconds)
        record.image_backoff_seconds = backoff
        context.events.report(
            record, "Failed", message, container_index=record.container_index, type_="Warning"
        )
        if record.reason != reason:
            record.reason = reason
            context.publish(record)
        # The worker comes back every 10 s (+50 %), and pulls once the image's back-off is over.
        params = context.params
        waited = 0.0
        while waited < backoff:
            jitter = 1.0 + params.worker_backoff_jitter_ratio * self._backoff.uniform()
            waited += params.worker_backoff_seconds * jitter
        record.call = self._engine.call_later(waited, self._pull_again, record)

    def _pull_again(self, record: PodRecord) -> None:
        self._context.begin(record)
        self._next_container(record)

    def _container_created(self, record: PodRecord) -> None:
        context = self._context
        index = record.container_index
        name = record.plan.containers[index].name
        context.events.report(
            record, "Created", f"Container created: {name}", container_index=index
        )
        record.call = self._engine.call_later(
            context.runtime.start_seconds(record.node), self._container_started, record
        )

    def _container_started(self, record: PodRecord) -> None:
        context = self._context
        plan = record.plan
        index = record.container_index
        container = plan.containers[index]
        context.events.report(
            record, "Started", f"Container started: {container.name}", container_index=index
        )
        record.container_index = index + 1
        node = record.node
        now = self._engine.now
        if container.is_init and not container.is_sidecar:
            run_seconds = container.run_seconds
            if run_seconds < 0.0:
                run_seconds = context.law.init_run_seconds
            record.call = self._engine.call_later(run_seconds, self._init_exited, record)
            return
        record.started_count += 1
        if plan.followed:
            self._runs.started(record, index)
        if index < plan.first_main_index:
            noticed = context.pleg.requested_seconds(node, now)
            record.call = self._engine.call_at(noticed, self._next_container, record)
        elif index + 1 < len(plan.containers):
            self._next_container(record)
        else:
            self._all_started(record)

    def _init_exited(self, record: PodRecord) -> None:
        noticed = self._context.pleg.noticed_seconds(record.node, self._engine.now)
        record.call = self._engine.call_at(noticed, self._next_container, record)

    def _all_started(self, record: PodRecord) -> None:
        context = self._context
        node = record.node
        now = self._engine.now
        self._row((now, record.uid, "containers_started", ""))
        self.started_count += 1
        context.count_running(record)
        record.reason = ""
        record.stage = RUNNING
        context.end(record)
        if record.plan.network_agent:
            context.network_agent_started(node)
        noticed = context.pleg.requested_seconds(node, now)
        record.call = self._engine.call_at(noticed, self.running, record)

    def running(self, record: PodRecord) -> None:
        """The sync that sees the containers running."""
        record.call = None
        if record.stage >= STOPPING:
            return
        record.phase = "Running"
        if record.plan.followed:
            self._runs.seen_running(record)
        else:
            record.ready = True
            record.ready_seconds = self._engine.now
            record.ready_container_count = record.plan.serving_count
        self._context.publish(record)
