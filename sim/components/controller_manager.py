"""kube-controller-manager: one process with many controllers, of which one leader works.

**Modelled:** leader election; one informer (one watch) per resource shared by all controllers of
the process; one client and so one token bucket per controller (20 qps / 30 burst; garbage collector
40 / 30; namespace 400 / 3000); workqueues and workers per controller; CPU of requests, syncs and
watch events on the process's host; crash and take-over by another replica, whose caches start
empty.
**Not modelled:** attach-detach, volume binder, resource quota, resource claim, certificate, service
and route controllers; discovery calls of garbage collector and quota (two GETs per 30 s each).
**Source:** `facts/model.md` 0, a, g; `facts/defaults.csv`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from sim.components.client import Client, ClientFactory
from sim.components.controllers.base import Controller, ControllerContext, identity
from sim.components.controllers.cronjob import CronJobController
from sim.components.controllers.daemonset import DaemonSetController
from sim.components.controllers.deployment import DeploymentController
from sim.components.controllers.endpointslice import (
    EndpointsController,
    EndpointSliceController,
)
from sim.components.controllers.garbage_collector import GarbageCollector
from sim.components.controllers.hpa import HorizontalPodAutoscalerController, MetricSource
from sim.components.controllers.job import JobController, TTLAfterFinishedController
from sim.components.controllers.membership import ServiceMembership
from sim.components.controllers.namespace import (
    NamespaceController,
    root_ca_publisher,
    service_account_controller,
)
from sim.components.controllers.node_ipam import NodeIPAMController
from sim.components.controllers.node_lifecycle import NodeLifecycleController
from sim.components.controllers.node_lifecycle_params import NodeLifecycleParams
from sim.components.controllers.node_pods import NodePods
from sim.components.controllers.pod_gc import NodeTTLController, PodGarbageCollector
from sim.components.controllers.replicaset import ReplicaSetController
from sim.components.controllers.statefulset import StatefulSetController
from sim.components.controllers.taint_eviction import TaintEvictionController
from sim.components.informer import Informer
from sim.components.leader_election import LeaderElector
from sim.components.leader_election_params import LeaderElectionParams
from sim.costs.controllers import ControllerManagerLaw
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder

USER = "system:kube-controller-manager"
_POLL_SECONDS = 0.1
"""client-go polls every 100 ms whether informers have synced. **Source:** WaitForCacheSync."""
_NODE_TTL_WORKER_COUNT = 5
"""**Source:** upstream: the TTL controller runs with 5 workers."""
_IDLE_PERIOD_SECONDS = 1.0
_BUSY_PERIOD_SECONDS = 0.1
_BUSY_EVENTS_PER_SECOND = 20.0
"""How often the CPU of informers and background is spent: short against a burst of pods, rare in
an idle cluster. Choices of the model; results do not depend on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerManagerParams:
    """Flags of kube-controller-manager, by their upstream names.

    **Source:** `facts/defaults.csv`, component kube-controller-manager.
    """

    kube_api_qps: Annotated[float, Gt(0)] = 20.0
    """Token refill of each controller's own client."""
    kube_api_burst: Annotated[int, Gt(0)] = 30
    """Token bucket size of each controller's own client."""
    leader_elect: bool = True
    """Whether a replica must hold the lease before it works."""
    leader_election: LeaderElectionParams = LeaderElectionParams()
    """Lease handling."""
    controllers: tuple[str, ...] = ("*",)
    """Controllers to run: ``*`` for all, ``-name`` to leave one out, ``name`` for one alone."""
    concurrent_deployment_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the deployment controller."""
    concurrent_replicaset_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the replica set controller."""
    concurrent_endpoint_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the legacy endpoints controller."""
    concurrent_service_endpoint_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the endpoint slice controller."""
    max_endpoints_per_slice: Annotated[int, Interval(ge=1, le=1000)] = 100
    """Endpoints in one slice."""
    endpointslice_updates_batch_period_seconds: Annotated[float, Ge(0)] = 0.0
    """Delay before a service is synced, to gather pod changes."""
    concurrent_daemonset_syncs: Annotated[int, Gt(0)] = 2
    """Workers of the daemon set controller."""
    concurrent_statefulset_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the stateful set controller."""
    concurrent_job_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the job controller."""
    concurrent_cron_job_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the cron job controller."""
    concurrent_ttl_after_finished_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the controller that deletes finished jobs."""
    concurrent_horizontal_pod_autoscaler_syncs: Annotated[int, Gt(0)] = 5
    """Workers of the autoscaler controller."""
    concurrent_gc_syncs: Annotated[int, Gt(0)] = 20
    """Workers of the garbage collector."""
    concurrent_namespace_syncs: Annotated[int, Gt(0)] = 10
    """Workers of the namespace controller."""
    node_lifecycle: NodeLifecycleParams = NodeLifecycleParams()
    """Monitoring of nodes and taints."""
    terminated_pod_gc_threshold: Annotated[int, Ge(0)] = 12_500
    """Terminated pods that are kept; 0 keeps all."""
    allocate_node_cidrs: bool = True
    """Whether node IPAM runs."""
    cluster_cidr: str = "10.244.0.0/16"
    """Range of all pod addresses (kubeadm's podSubnet)."""
    node_cidr_mask_size_ipv4: Annotated[int, Interval(ge=8, le=30)] = 24
    cluster_cidr_ipv6: str = ""
    """Second half of a dual-stack cluster CIDR; empty: IPv4 only."""
    node_cidr_mask_size_ipv6: Annotated[int, Interval(ge=48, le=126)] = 64
    """Prefix length of one node's range."""
    node_cidr_workers_count: Annotated[int, Gt(0)] = 30
    """Workers of node IPAM."""


Factory = Callable[[], Controller]


class ControllerManager:
    """One replica of kube-controller-manager."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        clients: ClientFactory,
        host_process: HostProcess,
        params: ControllerManagerParams,
        law: ControllerManagerLaw,
        *,
        name: str = "kube-controller-manager",
        metric_source: MetricSource | None = None,
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._clients = clients
        self._process = host_process
        self._params = params
        self._law = law
        self._metric_source = metric_source
        self._client = clients.client(
            USER,
            purpose=name,
            groups=("system:authenticated",),
            process=host_process,
            cpu_per_request_seconds=law.request_cpu_seconds,
        )
        self._made_clients: dict[str, Client] = {}
        self._context: ControllerContext | None = None
        self._leadership_count = 0
        self._elector = LeaderElector(
            engine, self._client, "kube-controller-manager", name, params.leader_election,
            self._lead, self._lose,
        )  # fmt: skip
        self.name = name
        self.controllers: dict[str, Controller] = {}
        """Controllers of the current leadership, by name."""
        self.synced_seconds = -1.0
        """When the caches of the current leadership had synced."""

    @property
    def leading(self) -> bool:
        """Whether this replica is the leader."""
        return self._context is not None

    def start(self) -> None:
        """Take part in the election (after start-up, and again after `stop`)."""
        if self._params.leader_elect:
            self._elector.start()
        else:
            self._lead()

    def stop(self) -> None:
        """The process has died: nothing it held survives."""
        self._elector.stop()
        self._lose()

    def _lose(self) -> None:
        if self._context is not None:
            self._context.running = False
            self._context = None
        self.controllers = {}

    def _lead(self) -> None:
        self._leadership_count += 1
        context = ControllerContext(
            engine=self._engine,
            recorder=self._recorder,
            process=self._process,
            law=self._law,
            make_client=self._make_client,
            make_informer=self._make_informer,
            running=True,
            epoch=f"{self.name}/{self._leadership_count}",
        )
        self._context = context
        self.controllers = self._make_controllers(context)
        for informer in context.informers.values():
            informer.start()
        self._await_sync(context)
        self._spend((context, 0.0, 0))

    def _spend(self, argument: tuple[ControllerContext, float, int]) -> None:
        """Spend what informers and the background took since the last time."""
        context, elapsed_seconds, former_count = argument
        if not context.running:
            return
        count = context.event_count()
        demand = self._law.informer_seconds(elapsed_seconds, count - former_count)
        self._process.run(demand, lambda _: None)
        busy = (count - former_count) >= _BUSY_EVENTS_PER_SECOND * elapsed_seconds
        period = _BUSY_PERIOD_SECONDS if busy else _IDLE_PERIOD_SECONDS
        self._engine.call_later(period, self._spend, (context, period, count))

    def _await_sync(self, context: ControllerContext) -> None:
        if not context.running:
            return
        if all(informer.synced for informer in context.informers.values()):
            self.synced_seconds = self._engine.now
            for controller in self.controllers.values():
                controller.start()
        else:
            self._engine.call_later(_POLL_SECONDS, self._await_sync, context)

    def _make_client(self, name: str, service_account: str, qps: float, burst: int) -> Client:
        """Return a controller's client; a replica that leads again uses its clients again."""
        found = self._made_clients.get(name)
        if found is None:
            user, groups = identity(service_account)
            found = self._made_clients[name] = self._clients.client(
                user,
                purpose=f"{self.name}/{name}",
                groups=groups,
                qps=qps or self._params.kube_api_qps,
                burst=burst or self._params.kube_api_burst,
                process=self._process,
                cpu_per_request_seconds=(
                    self._law.request_cpu_seconds - self._law.answer_cpu_seconds
                ),
            )
        return found

    def _make_informer(self, resource: str) -> Informer[Any]:
        return Informer(
            self._engine, self._clients.endpoint, self._client, resource, process=self._process
        )

    def _enabled(self, name: str) -> bool:
        listed = self._params.controllers
        return name in listed or ("*" in listed and f"-{name}" not in listed)

    def _make_controllers(self, context: ControllerContext) -> dict[str, Controller]:
        factories = {**self._workload_factories(context), **self._node_factories(context)}
        return {name: factory() for name, factory in factories.items() if self._enabled(name)}

    def _workload_factories(self, c: ControllerContext) -> dict[str, Factory]:
        p = self._params
        membership = ServiceMembership(c)
        qps, burst = p.kube_api_qps, p.kube_api_burst
        return {
            "deployment": lambda: DeploymentController(c, p.concurrent_deployment_syncs),
            "replicaset": lambda: ReplicaSetController(c, p.concurrent_replicaset_syncs),
            "endpoint_slice": lambda: EndpointSliceController(
                c,
                p.concurrent_service_endpoint_syncs,
                membership,
                endpoint_count_max=p.max_endpoints_per_slice,
                batch_period_seconds=p.endpointslice_updates_batch_period_seconds,
            ),
            "endpoint": lambda: EndpointsController(c, p.concurrent_endpoint_syncs, membership),
            "daemonset": lambda: DaemonSetController(c, p.concurrent_daemonset_syncs),
            "statefulset": lambda: StatefulSetController(c, p.concurrent_statefulset_syncs),
            "job": lambda: JobController(c, p.concurrent_job_syncs),
            "cronjob": lambda: CronJobController(c, p.concurrent_cron_job_syncs),
            "ttl_after_finished": lambda: TTLAfterFinishedController(
                c, p.concurrent_ttl_after_finished_syncs
            ),
            "horizontal_pod_autoscaler": lambda: HorizontalPodAutoscalerController(
                c, p.concurrent_horizontal_pod_autoscaler_syncs, self._metric_source
            ),
            "garbage_collector": lambda: GarbageCollector(c, p.concurrent_gc_syncs, qps, burst),
            "namespace": lambda: NamespaceController(c, p.concurrent_namespace_syncs, qps, burst),
            "root_ca_cert_publisher": lambda: root_ca_publisher(c),
            "service_account": lambda: service_account_controller(c),
        }

    def _node_factories(self, c: ControllerContext) -> dict[str, Factory]:
        p = self._params
        node_pods = NodePods(c.informer("pods"))
        factories: dict[str, Factory] = {
            "node_lifecycle": lambda: NodeLifecycleController(c, p.node_lifecycle, node_pods),
            "taint_eviction": lambda: TaintEvictionController(c, node_pods),
            "pod_gc": lambda: PodGarbageCollector(c, node_pods, p.terminated_pod_gc_threshold),
            "node_ttl": lambda: NodeTTLController(c, _NODE_TTL_WORKER_COUNT),
        }
        if p.allocate_node_cidrs:
            factories["node_ipam"] = lambda: NodeIPAMController(
                c,
                p.node_cidr_workers_count,
                cluster_cidr=p.cluster_cidr,
                node_mask_bits=p.node_cidr_mask_size_ipv4,
                second=(p.cluster_cidr_ipv6, p.node_cidr_mask_size_ipv6),
            )
        return factories
