"""kube-controller-manager: one process with many controllers, of which one leader works.

**Modelled:** leader election; one informer (one watch) per resource shared by all controllers of
the process; one client and so one token bucket per controller (20 qps / 30 burst; garbage collector
40 / 30; namespace 400 / 3000); workqueues and workers per controller; CPU on the process's host;
crash and take-over by another replica, whose caches start empty.
**Not modelled:** attach-detach, volume binder, resource quota, resource claim, certificate, service
and route controllers; discovery calls of garbage collector and quota (two GETs per 30 s each).
**Source:** `facts/model.md` 0, a, g; `facts/defaults.csv`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

from sim.components.client import Client, ClientFactory
from sim.components.controllers.base import Controller, ControllerContext, identity
from sim.components.controllers.deployment import DeploymentController
from sim.components.controllers.endpointslice import (
    EndpointsController,
    EndpointSliceController,
    ServiceMembership,
)
from sim.components.controllers.leader_election import LeaderElectionParams, LeaderElector
from sim.components.controllers.node_ipam import NodeIPAMController
from sim.components.controllers.replicaset import ReplicaSetController
from sim.components.informer import Informer
from sim.costs.controllers import ControllerManagerLaw
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder

USER = "system:kube-controller-manager"
_POLL_SECONDS = 0.1
"""client-go polls every 100 ms whether informers have synced. **Source:** WaitForCacheSync."""
_IDLE_PERIOD_SECONDS = 1.0
"""How often the background CPU is spent; any period long against a request does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerManagerParams:
    """Flags of kube-controller-manager, by their upstream names.

    **Source:** `facts/defaults.csv`, component kube-controller-manager.
    """

    kube_api_qps: Annotated[float, Gt(0)] = 20.0
    """Token refill of each controller's own client."""
    kube_api_burst: Annotated[int, Gt(0)] = 30
    """Token bucket size of each controller's own client."""
    leader_election: LeaderElectionParams = field(default_factory=LeaderElectionParams)
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
    allocate_node_cidrs: bool = True
    """Whether node IPAM runs."""
    cluster_cidr: str = "10.244.0.0/16"
    """Range of all pod addresses (kubeadm's podSubnet)."""
    node_cidr_mask_size_ipv4: Annotated[int, Interval(ge=8, le=30)] = 24
    """Prefix length of one node's range."""
    node_cidr_workers_count: Annotated[int, Gt(0)] = 30
    """Workers of node IPAM."""


Factory = Callable[[ControllerContext], Controller]


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
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._clients = clients
        self._process = host_process
        self._params = params
        self._law = law
        self._client = clients.client(
            USER,
            purpose=name,
            groups=("system:authenticated",),
            process=host_process,
            cpu_per_request_seconds=law.request_cpu_seconds,
        )
        self._made_clients: dict[str, Client] = {}
        self._context: ControllerContext | None = None
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
        return self._elector.leading

    def start(self) -> None:
        """Take part in the election (after start-up, and again after `stop`)."""
        self._elector.start()

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
        context = ControllerContext(
            engine=self._engine,
            recorder=self._recorder,
            process=self._process,
            law=self._law,
            make_client=self._make_client,
            make_informer=self._make_informer,
            running=True,
        )
        self._context = context
        self.controllers = self._make_controllers(context)
        for informer in context.informers.values():
            informer.start()
        self._await_sync(context)
        self._idle(context)

    def _idle(self, context: ControllerContext) -> None:
        """Spend, once per second, what the process uses whatever it does."""
        if context.running:
            self._process.run(_IDLE_PERIOD_SECONDS * self._law.background_cpu_ratio, lambda _: None)
            self._engine.call_later(_IDLE_PERIOD_SECONDS, self._idle, context)

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
                cpu_per_request_seconds=self._law.request_cpu_seconds,
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
        params = self._params
        membership = ServiceMembership(context)
        factories: dict[str, Factory] = {
            "deployment": lambda c: DeploymentController(c, params.concurrent_deployment_syncs),
            "replicaset": lambda c: ReplicaSetController(c, params.concurrent_replicaset_syncs),
            "endpoint_slice": lambda c: EndpointSliceController(
                c,
                params.concurrent_service_endpoint_syncs,
                membership,
                endpoint_count_max=params.max_endpoints_per_slice,
                batch_period_seconds=params.endpointslice_updates_batch_period_seconds,
            ),
            "endpoint": lambda c: EndpointsController(
                c, params.concurrent_endpoint_syncs, membership
            ),
        }
        if params.allocate_node_cidrs:
            factories["node_ipam"] = lambda c: NodeIPAMController(
                c,
                params.node_cidr_workers_count,
                cluster_cidr=params.cluster_cidr,
                node_mask_bits=params.node_cidr_mask_size_ipv4,
            )
        return {
            name: factory(context) for name, factory in factories.items() if self._enabled(name)
        }
