"""The kubelets of all nodes: n identical agents held as arrays, one record per live pod.

**Modelled:** the watch of the own pods and the own Node, pod workers, status managers, events,
heartbeats, registration, static pods and their mirror pods, restarts with relist, crashes.
**Not modelled:** eviction under pressure, device and CPU managers, logs, exec.
**Source:** `facts/model.md` h, a.1-a.3, a.6. The page is ``docs/model/kubelet.md``.

Streams: ``kubelet/phases``, ``kubelet/restart`` and those of the parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.base.api_object import APIObject
from sim.base.objects import Node, Pod
from sim.base.pod_template import PodTemplate
from sim.components.container_runtime import ContainerRuntime
from sim.components.image import Images
from sim.components.image_params import ImageParams
from sim.components.kubelet_check import KubeletSnapshot, check_kubelets, take_snapshot
from sim.components.kubelet_client import FleetClient, FleetIdentities
from sim.components.kubelet_containers import ContainerRuns
from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_events import EventRecorders
from sim.components.kubelet_faults import KubeletFaults
from sim.components.kubelet_nodes import NodeLoops
from sim.components.kubelet_params import KubeletParams
from sim.components.kubelet_pods import PodWorkers
from sim.components.kubelet_record import (
    RUNNING,
    ContainerRun,
    PodRecord,
    PodStatus,
)
from sim.components.kubelet_simulated import SimulatedPods
from sim.components.kubelet_status import StatusManagers
from sim.components.kubelet_stop import PodTerminators
from sim.components.kubelet_tokens import TokenRenewals
from sim.components.overlay import Overlay
from sim.components.ports import APIEndpoint, FleetWatcher, Request, WatchEvent
from sim.costs.kubelet import KubeletLawParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder

PHASE_ROWS: Final = 5
"""Rows of the phases: volume populator, volume reconciler, PLEG, lease, node status."""


def draw_phases(engine: Engine, count: int) -> npt.NDArray[np.float64]:
    """Phases of the nodes' timers: (5, n_nodes) float64 in [0, 1), equal for equal seeds."""
    return engine.stream("kubelet/phases").uniforms(PHASE_ROWS * count).reshape(PHASE_ROWS, count)


class KubeletFleet:
    """All kubelets of a cluster."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        endpoint: APIEndpoint,
        params: KubeletParams,
        law: KubeletLawParams,
        runtime: ContainerRuntime,
        overlay: Overlay,
        images: Images | None = None,
        *,
        identities: FleetIdentities | None = None,
    ) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self.params = params
        self.law = law
        self.overlay = overlay
        self.capacity = overlay.node_count_max
        self.identities = identities or FleetIdentities(
            engine,
            endpoint,
            name="system:nodes",
            user_prefix="system:node:",
            groups=("system:nodes",),
        )
        self.client = FleetClient(self.identities, params.kube_api_qps, params.kube_api_burst)
        self.event_client = FleetClient(
            self.identities, params.event_record_qps, params.event_burst
        )
        self.heartbeat_client = FleetClient(self.identities, 0.0, 1)
        context = KubeletContext(
            engine,
            recorder,
            params,
            law,
            runtime,
            overlay,
            images or Images(engine, recorder, ImageParams(), runtime.law),
            self.client,
            self.event_client,
        )
        self.context = context
        context.events = EventRecorders(engine, params, self.event_client)
        context.status = StatusManagers(engine, params, self.client, self._status_lost)
        self.tokens = TokenRenewals(context)
        context.token_granted = self.tokens.granted
        self.terminators = PodTerminators(context)
        self.runs = ContainerRuns(context, self.terminators.complete)
        self.terminators.runs = self.runs
        self.workers = PodWorkers(context, self.runs)
        self.loops = NodeLoops(context, self.heartbeat_client, self.client, self.capacity)
        self.simulated = (
            SimulatedPods(context, self.terminators, self.identities)
            if params.simulated_start_seconds >= 0.0
            else None
        )
        self.index_by_name: dict[str, int] = {}
        self._phases = draw_phases(engine, self.capacity)
        self._static: list[dict[str, PodTemplate]] = []
        self._started = False
        self._watch_and_mend()

    def _watch_and_mend(self) -> None:
        """Make the two watches, and what takes them down and up again."""
        context = self.context
        self._pod_watcher = FleetWatcher(
            "kubelet", "pods", "own", self.capacity, member_of=self._member_of_pod,
            deliver_own=self._deliver_pod,
        )  # fmt: skip
        self._node_watcher = FleetWatcher(
            "kubelet", "nodes", "own", self.capacity, member_of=self._member_of_node,
            deliver_own=self._deliver_node,
        )  # fmt: skip
        self.faults = KubeletFaults(
            context, self.client, self.workers, self.terminators, self.runs, self.loops,
            (self._pod_watcher, self._node_watcher),
        )  # fmt: skip
        self.faults.observe = self._observe
        self.faults.create_mirror = self._create_mirror
        self.faults.agent_started = self.network_agent_started
        self.faults.static = self._static
        context.network_agent_started = self.network_agent_started
        self._pod_watcher.connected[:] = False
        self._node_watcher.connected[:] = False

    # assembly

    def add_nodes(self, nodes: Iterable[Node]) -> None:
        """Add nodes that are registered, Ready and have their CIDRs."""
        for node in nodes:
            index = self._add(node, running=True)
            self.loops.registered[index] = True
            self.loops.ready[index] = node.ready == "True"
            if self._started:
                self._begin_loops(index)

    def join_node(self, node: Node) -> None:
        """A fresh machine starts its kubelet now: it registers and becomes Ready when it can."""
        index = self._add(node, running=False)
        self._engine.after(self.law.register_seconds, self.loops.register, index)

    def _add(self, node: Node, *, running: bool) -> int:
        context = self.context
        index = len(context.names)
        assert index < self.capacity, "more nodes than were announced"
        assert node.name not in self.index_by_name, f"two nodes named {node.name}"
        self.index_by_name[node.name] = index
        context.names.append(node.name)
        context.host_ips.append(node.internal_ip)
        context.nodes.append(node)
        context.up.append(True)
        context.by_node.append({})
        context.active_counts.append(0)
        context.cpu_seconds.append(0.0)
        phases = self._phases[:, index]
        loop_seconds = self.params.volume_loop_seconds
        context.populator_phases.append(float(phases[0]) * loop_seconds)
        context.reconciler_phases.append(float(phases[1]) * loop_seconds)
        context.pleg.add_node(float(phases[2]) * self.params.pleg_relist_seconds)
        context.status.add_node()
        context.events.add_node()
        context.runtime.add_node()
        if context.runtime.cpus is not None:
            context.runtime.cpus.add_node(node)
        context.images.add_node(node.name)
        cidrs = node.pod_cidrs or ((node.pod_cidr,) if node.pod_cidr else ())
        self.overlay.add_node(node.name, cidrs if running else (), running=running)
        self.identities.add(node.name)
        for client in (self.client, self.event_client, self.heartbeat_client):
            client.add()
        self.loops.add_node(node.name)
        self._static.append({})
        self._pod_watcher.connected[index] = True
        self._node_watcher.connected[index] = True
        return index

    def add_static_pod(self, node_name: str, name: str, template: PodTemplate) -> None:
        """A manifest lies on a node: the kubelet keeps its mirror pod ``name`` in the API."""
        index = self.index_by_name[node_name]
        self._static[index][name] = template
        if self._started:
            self._create_mirror(index, name)

    def preload_running(self, pods: Iterable[Pod]) -> None:
        """Take over pods that run already: Running, Ready and with an address."""
        context = self.context
        for pod in pods:
            node = self.index_by_name[pod.node_name]
            record = PodRecord(pod, node, context.plan(pod.template))
            record.stage = RUNNING
            record.volumes_mounted = True
            record.has_sandbox = True
            record.ip = pod.pod_ip
            record.container_index = len(record.plan.containers)
            record.started_count = record.plan.serving_count
            record.phase = pod.phase
            record.ready = pod.ready
            record.sandbox_ready = pod.sandbox_ready
            record.start_seconds = pod.start_seconds
            record.ready_seconds = pod.ready_seconds
            record.ready_container_count = pod.ready_container_count
            record.restart_count = pod.restart_count
            record.sent = record.status = PodStatus(record, pod.host_ip)
            context.by_node[node][pod.uid] = record
            context.active_counts[node] += 1
            context.count_running(record)
            context.pleg.pod_counts[node] += 1
            if not pod.template.host_network and not self.overlay.take(node, pod.pod_ip):
                raise ValueError(f"pod {pod.name}: address {pod.pod_ip!r} is not free on its node")
            if self.simulated is None and pod.template.service_account_token:
                self.tokens.preloaded(record)
            if record.plan.followed:
                self._preload_runs(record)

    def _preload_runs(self, record: PodRecord) -> None:
        for index, container in enumerate(record.plan.containers):
            if container.is_init and not container.is_sidecar:
                continue
            self.runs.started(record, index)
            assert record.runs is not None
            run: ContainerRun = record.runs[-1]
            run.ready = record.ready

    def start(self) -> None:
        """Open the watches and begin the heartbeats."""
        self._started = True
        self.overlay.start()
        self._endpoint.watch_fleet(self._pod_watcher)
        self._endpoint.watch_fleet(self._node_watcher)
        for index in range(len(self.context.names)):
            if self.loops.registered[index]:
                self._begin_loops(index)
            for name in self._static[index]:
                self._create_mirror(index, name)

    def _begin_loops(self, index: int) -> None:
        params = self.params
        phases = self._phases[:, index]
        renew_seconds = params.node_lease_duration_seconds * params.node_lease_renew_ratio
        self.loops.begin(
            index,
            float(phases[3]) * renew_seconds,
            float(phases[4]) * params.node_status_report_seconds,
        )

    # watches

    def _member_of_pod(self, item: APIObject) -> int:
        assert isinstance(item, Pod)
        return self.index_by_name.get(item.node_name, -1)

    def _member_of_node(self, item: APIObject) -> int:
        return self.index_by_name.get(item.name, -1)

    def pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        """Take a change seen by one informer of all pods, for members that share it."""
        member = self._member_of_pod(new)
        if member >= 0:
            now = self._engine.now
            event = WatchEvent(kind, "pods", new.key, new, old, new.resource_version, now)
            self._deliver_pod(member, event)

    def leave_pod_watches(self) -> None:
        """Close the members' own watches: an informer hands over changes by `pod_changed`."""
        self._pod_watcher.connected[:] = False

    def _deliver_pod(self, node: int, event: WatchEvent) -> None:
        context = self.context
        if not context.up[node]:
            return
        pod = event.new
        assert isinstance(pod, Pod)
        record = context.by_node[node].get(pod.uid)
        if self.simulated is not None:
            self._deliver_simulated(self.simulated, node, event, record)
        elif event.type == "DELETED":
            if record is not None:
                self.terminators.deleted(record)
            if pod.name in self._static[node]:
                self._create_mirror(node, pod.name)
        elif record is None:
            self._observe(node, pod)
        else:
            record.pod = pod
            phase_ratio = context.populator_phases[node] / self.params.volume_loop_seconds
            context.status.overwritten(record, pod, phase_ratio)
            if pod.deletion_seconds >= 0.0 and not record.removing:
                self.terminators.delete(record, pod.deletion_grace_seconds)

    @staticmethod
    def _deliver_simulated(
        simulated: SimulatedPods, node: int, event: WatchEvent, record: PodRecord | None
    ) -> None:
        pod = event.new
        assert isinstance(pod, Pod)
        if event.type == "DELETED":
            if record is not None:
                simulated.deleted(record)
        elif record is None:
            if not pod.is_terminal:
                record = simulated.observe(node, pod)
        else:
            record.pod = pod
        if record is not None and event.type != "DELETED" and pod.deletion_seconds >= 0.0:
            simulated.delete(record)

    def _observe(self, node: int, pod: Pod) -> None:
        if pod.is_terminal:
            return
        record = self.workers.observe(node, pod)
        record.start_seconds = pod.start_seconds
        record.restart_count = pod.restart_count
        if pod.phase == "Running":  # its node has crashed and booted again
            record.restart_count += record.plan.serving_count
        if pod.deletion_seconds >= 0.0:
            self.terminators.delete(record, pod.deletion_grace_seconds)

    def _deliver_node(self, index: int, event: WatchEvent) -> None:
        node = event.new
        assert isinstance(node, Node)
        context = self.context
        if event.type == "DELETED" or not context.up[index]:
            return
        context.nodes[index] = node
        cidrs = node.pod_cidrs or ((node.pod_cidr,) if node.pod_cidr else ())
        if cidrs and not self.overlay.has_cidr(index):
            self.overlay.set_cidrs(index, cidrs)
            if not self.params.network_agent_label:
                self._engine.after(
                    self.law.network_agent_start_seconds, self.network_agent_started, index
                )

    def network_agent_started(self, index: int) -> None:
        """The overlay agent of a node runs: CNI is configured and the node becomes Ready."""
        if self.context.up[index] and not self.overlay.agent_ready[index]:
            self.overlay.start_agent(index)
            self.loops.change(index, ready=True)

    def _status_lost(self, record: PodRecord) -> None:
        """The status manager found no such pod; the watch will say so as well."""
        record.status = None

    def _create_mirror(self, index: int, name: str) -> None:
        template = self._static[index][name]
        mirror = Pod(
            name=name, namespace=template.namespace, labels=template.labels, template=template,
            node_name=self.context.names[index], scheduled_seconds=self._engine.now,
        )  # fmt: skip
        self.client.submit(
            index, Request("create", "pods", mirror.namespace, name, api_object=mirror)
        )

    # faults

    def kill_node(self, name: str) -> None:
        """The machine crashes: everything on it is lost, nobody is told."""
        self.faults.kill_node(self.index_by_name[name])

    def recover_node(self, name: str) -> None:
        """A crashed machine has booted again: its kubelet lists its pods and starts them anew."""
        self.faults.recover_node(self.index_by_name[name])

    def restart_kubelets(self, window_seconds: float) -> None:
        """Restart all kubelets at random moments of a window; their pods keep running."""
        self.faults.restart_kubelets(window_seconds)

    # observation

    def snapshot(self) -> KubeletSnapshot:
        """Counters and per-node arrays of the present moment."""
        return take_snapshot(
            self.context, self.workers, self.terminators, self.runs, self.loops,
            (self.client, self.event_client),
        )  # fmt: skip

    @property
    def running_count(self) -> int:
        """Pods whose containers run, on nodes that are up."""
        return self.context.running_count

    def address_of(self, uid: int, node_name: str) -> tuple[str, str]:
        """Addresses of a pod that is up on a node: (first family, second family or empty)."""
        record = self.context.by_node[self.index_by_name[node_name]].get(uid)
        return (record.ip, record.ip6) if record is not None and record.placed else ("", "")

    def idle_cores(self) -> npt.NDArray[np.float64]:
        """Cores that kubelet and runtime use without starting pods: (n_nodes,) float64."""
        pods = np.array(self.context.active_counts, dtype=np.float64)
        up = np.array(self.context.up, dtype=np.float64)
        return up * (self.law.idle_cpu_ratio + self.law.idle_cpu_per_pod_ratio * pods)

    def lost_pods(self, pods: Iterable[Pod], since_seconds: float) -> list[str]:
        """Return the names of bound pods, created before a time, that no live kubelet knows."""
        found = []
        for pod in pods:
            index = self.index_by_name.get(pod.node_name, -1)
            if index < 0 or pod.is_terminal or not self.context.up[index]:
                continue
            bound_seconds = max(pod.creation_seconds, pod.scheduled_seconds)
            if bound_seconds < since_seconds and pod.uid not in self.context.by_node[index]:
                found.append(f"{pod.namespace}/{pod.name}")
        return found

    def check(self) -> list[str]:
        """Return what is broken: addresses shared, nodes overfull, counters that disagree."""
        return check_kubelets(self.context)
