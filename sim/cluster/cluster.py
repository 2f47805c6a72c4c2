"""One cluster at run time: start, progress, invariants and gauges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from sim.base.objects import Node, Pod
from sim.cluster.actions import Actions
from sim.cluster.addresses import AddressBlock
from sim.cluster.bootstrap import InitialState
from sim.cluster.gauges import GaugeSampler
from sim.cluster.invariants import InvariantMonitor
from sim.cluster.placement import RESOURCES, Placement
from sim.components.apiserver import APIServer
from sim.components.client import ClientFactory
from sim.components.controller_manager import ControllerManager
from sim.components.coredns import CoreDNS
from sim.components.endpoint import LoadBalancer
from sim.components.etcd import Etcd
from sim.components.kube_proxy_fleet import KubeProxyFleet
from sim.components.kubelet_fleet import KubeletFleet
from sim.components.node_cpu import NodeCPUs
from sim.components.overlay import Overlay
from sim.components.ports import WatchEvent
from sim.components.scheduler import Scheduler
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from sim.workload.driver import WorkloadDriver
from sim.workload.object_reader import ObjectReader
from sim.workload.operations import Operation, expected_pod_count
from sim.workload.pod_templates import PodTemplates

GAUGE_INTERVAL_SECONDS = 1.0
_SERVICE_ADDRESSES_FROM = 255
"""Lower addresses are for Services with fixed ones (kubernetes, kube-dns)."""
MONITOR_INTERVAL_SECONDS = 30.0
MONITOR_PODS_PER_SECOND = 500.0
"""The monitor's own cost is bounded: it looks less often at a cluster with many pods."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    time_seconds: float
    pods_total_count: int
    pods_running_count: int
    request_count: int


@dataclass(slots=True, kw_only=True)
class Cluster:
    """The parts of one cluster; made by `assemble.build`."""

    engine: Engine
    recorder: Recorder
    hosts: list[Host]
    etcd: Etcd
    replicas: list[APIServer]
    endpoint: LoadBalancer
    clients: ClientFactory
    schedulers: list[Scheduler]
    controller_managers: list[ControllerManager]
    kubelets: KubeletFleet
    overlay: Overlay
    proxies: KubeProxyFleet
    coredns: CoreDNS
    cpus: NodeCPUs
    node_block: AddressBlock
    templates: PodTemplates
    state: InitialState
    service_block: AddressBlock
    joined_count: int = 0
    service_count: int = 0
    driver: WorkloadDriver = field(init=False)
    operations: Sequence[Operation] = ()
    pods_announced_count: int = field(init=False)
    """Pods that the workload will ask for in all, as far as it says so beforehand."""
    sampler: GaugeSampler = field(init=False)
    placement: Placement = field(init=False)
    monitor: InvariantMonitor = field(init=False)

    def __post_init__(self) -> None:
        self.sampler = GaugeSampler(self.engine, self.recorder, GAUGE_INTERVAL_SECONDS)
        self.placement = Placement(self.engine, self.schedulers)
        self.monitor = InvariantMonitor(
            self.engine, self.recorder, self.etcd, lambda: self.replicas[0].group.facts.revision
        )
        self.driver = WorkloadDriver(
            self.engine,
            self.recorder,
            self.clients,
            self.operations,
            ObjectReader(self.templates, service_address=self.next_service_address),
            Actions(self),
        )
        self.pods_announced_count = sum(expected_pod_count(item) for item in self.operations)
        self._declare_gauges()

    # The life of a run.

    def start(self) -> None:
        """Bring everything up from the initial state; nothing happens before."""
        self.etcd.start()
        for replica in self.replicas:
            replica.preload(self.state.objects)
            replica.start()
        self.replicas[0].group.facts.batch(
            [
                WatchEvent("ADDED", item.resource, item.key, item, None, item.resource_version, 0.0)
                for item in self.state.objects
            ]
        )
        self._write_initial_transitions()
        self.kubelets.start()
        self.proxies.start()
        self.coredns.start()
        for manager in self.controller_managers:
            manager.start()
        for scheduler in self.schedulers:
            scheduler.start()
        self.sampler.start()
        self.engine.after(MONITOR_INTERVAL_SECONDS, self._observe)
        self.driver.start()

    def _write_initial_transitions(self) -> None:
        append = self.recorder["pod_transitions"].append
        for pod in self.state.pods:
            append((0.0, pod.uid, "network_ready", pod.pod_ip))
            append((0.0, pod.uid, "running", ""))
            append((0.0, pod.uid, "ready", ""))

    def _observe(self, _: None) -> None:
        self.monitor.observe()
        pods_count = len(self.etcd.objects("pods"))
        self.engine.after(
            max(MONITOR_INTERVAL_SECONDS, pods_count / MONITOR_PODS_PER_SECOND), self._observe
        )

    def settled(self) -> bool:
        """Whether the workload is done and no pod is on its way anywhere."""
        if not self.driver.done:
            return False
        queues_empty = all(
            scheduler.queue.active_count == 0
            and scheduler.queue.backoff_count == 0
            and scheduler.binding_count == 0
            for scheduler in self.schedulers
        )
        return queues_empty and self._pods_at_rest()

    def _pods_at_rest(self) -> bool:
        for item in self.etcd.objects("pods").values():
            assert isinstance(item, Pod)
            if item.deletion_seconds >= 0.0 or (
                item.node_name and not item.is_terminal and not item.ready
            ):
                return False
        return True

    @property
    def pods_running_count(self) -> int:
        """Pods whose containers run."""
        return self.kubelets.running_count

    def progress(self) -> Progress:
        """Return how far the run is."""
        return Progress(
            self.engine.now,
            max(
                len(self.etcd.objects("pods")),
                len(self.state.pods)
                + max(self.driver.pods_expected_count, self.pods_announced_count),
            ),
            self.pods_running_count,
            sum(replica.request_count for replica in self.replicas),
        )

    def next_service_address(self) -> str:
        """Return a cluster address for a Service whose author gave none."""
        self.service_count += 1
        return self.service_block.address(_SERVICE_ADDRESSES_FROM + self.service_count)

    def next_node_address(self) -> str:
        """Return an address for a machine that joins."""
        self.joined_count += 1
        return self.node_block.address(10 + len(self.state.nodes) + self.joined_count)

    def check(self) -> list[str]:
        """Return the invariants that are broken; empty if the run is valid."""
        problems = self.monitor.check()
        problems += self.etcd.check()
        for host in self.hosts:
            problems += host.check()
        for scheduler in self.schedulers:
            problems += scheduler.check()
        problems += self.kubelets.check()
        problems += self.proxies.check()
        problems += self.coredns.check()
        problems += self.cpus.check()
        return problems

    def finish(self) -> None:
        """Take the last sample."""
        self.placement.expire()
        self.sampler.sample()

    # Gauges.

    def _declare_gauges(self) -> None:
        level, rate = self.sampler.level, self.sampler.rate
        for host in self.hosts:
            cores = float(max(1, host.core_count))
            read = partial(_work_seconds, host)
            rate("host_utilization_ratio", host.name, read, per=cores, limit=1.0)
            for name, process in host.processes.items():
                level("process_cpu_seconds", name, partial(getattr, process, "cpu_seconds"))
        single = len(self.schedulers) == 1
        for index, scheduler in enumerate(self.schedulers):
            for queue in ("active", "backoff", "unschedulable"):
                name = queue if single else f"{queue}/{index}"
                read = partial(getattr, scheduler.queue, f"{queue}_count")
                level("scheduler_pending_pods", name, read)
        single = len(self.replicas) == 1
        for replica in self.replicas:
            count = partial(getattr, replica, "in_flight_count")
            level("apiserver_inflight_requests", str(replica.index), count)
            for key, seats in replica.fairness.levels.items():
                name = key if single else f"{key}/{replica.index}"
                level("flowcontrol_executing_seats", name, partial(getattr, seats, "seats_in_use"))
                level("flowcontrol_limit_seats", name, partial(getattr, seats, "current_seats"))
        extended = {name for node in self.state.nodes for name in _capacity(node)}
        self.placement.declare(self.sampler, [name for name in RESOURCES if name in extended])
        level("running_pods", "cluster", lambda: self.pods_running_count)
        level("cpu_saturated_nodes", "cluster", self.cpus.saturated_count)
        level("etcd_database_bytes", "etcd", lambda: self.etcd.store.database_bytes)
        level("storage_objects_count", "pods", lambda: len(self.etcd.objects("pods")))
        for key, client in self.clients.clients.items():
            if client.bucket is not None:
                read = partial(getattr, client.bucket, "wait_sum_seconds")
                rate("client_limiter_wait_ratio", key, read)


def _capacity(node: Node) -> Mapping[str, object]:
    status = (node.manifest or {}).get("status") or {}
    found: Mapping[str, object] = status.get("allocatable") or status.get("capacity") or {}
    return found


def _work_seconds(host: Host) -> float:
    host.settle()
    return host.work_seconds
