"""The measured cluster of the recipe files: everything on one 2-core host, simulated kubelets.

etcd, apiserver, scheduler, controller manager, the process that holds all simulated kubelets and
the driver share two cores, as on the measured machine. The driver asks for Deployments, Services
and Jobs through the API and sees pods through one watch.
**Source:** groundtruth/README.md, "Simulated kubelets" and "Files and methods".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from sim.base.api_object import APIObject
from sim.base.objects import Generic, LabelSelector, Lease, Namespace, Node, Pod
from sim.base.pod_template import PodTemplate
from sim.components import facts
from sim.components.client import ClientFactory
from sim.components.container_runtime import ContainerRuntime
from sim.components.controller_manager import USER as MANAGER_USER
from sim.components.controller_manager import ControllerManager, ControllerManagerParams
from sim.components.controllers.pod_gc import TTL_ANNOTATION, ttl_text
from sim.components.informer import Informer
from sim.components.kubelet_client import FleetIdentities
from sim.components.kubelet_fleet import KubeletFleet
from sim.components.kubelet_params import KubeletParams
from sim.components.overlay import Overlay
from sim.components.overlay_params import OverlayParams
from sim.components.ports import Request
from sim.components.scheduler import Scheduler, SchedulerParams
from sim.components.scheduler_process import GoProcess
from sim.costs.kubelet import simulated_kubelet_law
from sim.costs.profile import Profile
from sim.costs.scheduler import SchedulerLaw
from sim.experiment.accuracy_apiserver_bench import Machine
from sim.experiment.accuracy_recipe_surroundings import Surroundings, TokenEndpoint
from sim.scheduling import SchedulerConfiguration
from sim.workload.pod_templates import PodTemplates

MASTERS: Final = ("system:masters",)
_NODE_BYTES: Final = 6000
_POD_BYTES: Final = 1600
"""**Source:** groundtruth/README.md: nodes with 20 images; a pod without status is half of a
running one (assumed)."""
_HIGH_QPS: Final = 1000.0
_HIGH_SCHEDULER_QPS: Final = 5000.0
_REGISTERED_SECONDS: Final = 8.0
SETTLE_SECONDS: Final = 12.0
"""From the start of the processes to the first request of the driver (assumed)."""
_TICK_SECONDS: Final = 0.02
_DEADLINE_SECONDS: Final = 900.0
_KUBELET_CPU_SECONDS: Final = 0.35e-3
"""Per request of a simulated kubelet: client-go, TLS, its share of the watch events.
**Source:** fitted: recipe_density_cpu.csv, kubelets_cpu_s over the requests."""
_SYNC_STALL_SECONDS: Final = 8e-3
"""Until etcd's raft loop, back from fdatasync, gets a processor while six processes want two: the
others' slices of 3 ms each. Fitted: groundtruth/metrics, etcd: 14,488 proposals in 2,170 syncs."""
_DRIVER_CPU_SECONDS: Final = 0.3e-3
"""Per request of the driver. **Source:** as the load generator's (`LoadClientLaw`)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The conditions that belong to a whole cluster."""

    nodes_count: int
    shared_watch: bool = False
    high_qps: bool = True


class RequestRow(NamedTuple):
    """One answered request."""

    user: str
    verb: str
    resource: str
    """With its subresource."""
    code: int


class Cluster:
    """The components, started and settled; what the driver does is up to the caller."""

    def __init__(
        self, setting: Setting, profile: Profile, seed: int, namespaces: tuple[str, ...] = ()
    ) -> None:
        """Start everything; ``namespaces`` are there from the beginning."""
        self.setting = setting
        crowded = replace(
            profile.etcd, sync_stall_ratio=1.0, sync_stall_seconds=_SYNC_STALL_SECONDS
        )
        profile = replace(profile, etcd=crowded)
        kept = frozenset({facts.REQUESTS.name})
        self.machine = machine = Machine(profile, seed, kept_tables=kept)
        self.engine = machine.engine
        self.requests = machine.recorder[facts.REQUESTS.name]
        self.surroundings = Surroundings(machine)
        self._templates = PodTemplates()
        self.node_objects = [self._node(index) for index in range(setting.nodes_count)]
        self._preload(namespaces)
        front = TokenEndpoint(machine.endpoint)
        clients = ClientFactory(machine.engine, front)
        self._clients = clients
        self._scheduler(profile, clients)
        self._controller_manager(profile, clients)
        front.issuer = next(
            client for client in clients.clients.values() if client.user == MANAGER_USER
        )
        self._kubelets(profile)
        process = machine.host.process("driver")
        self.driver = clients.client(
            "driver",
            groups=MASTERS,
            process=process,
            cpu_per_request_seconds=_DRIVER_CPU_SECONDS,
        )
        self.pods: Informer[Pod] = Informer(
            machine.engine, machine.endpoint, self.driver, "pods", process=process
        )
        self._start()

    def _node(self, index: int) -> Node:
        name = f"node-{index}"
        amounts = {"cpu": "32", "memory": "256Gi", "pods": "110"}
        labels = {"kubernetes.io/hostname": name}
        return Node(
            name=name,
            labels=labels,
            ready="True",
            ready_reason="KubeletReady",
            internal_ip=f"172.16.{index >> 8}.{index & 255}",
            pod_cidr=f"10.{index >> 8}.{index & 255}.0/24",
            cpu_allocatable_millicores=32_000,
            memory_allocatable_bytes=256 * 2**30,
            size_bytes=_NODE_BYTES,
            backend_annotated=True,
            annotations={
                TTL_ANNOTATION: ttl_text(self.setting.nodes_count)
            },
            manifest={
                "metadata": {"name": name, "labels": labels},
                "status": {"capacity": amounts, "allocatable": amounts},
            },
        )

    def _preload(self, namespaces: tuple[str, ...]) -> None:
        objects: list[APIObject] = []
        for name in ("default", "kube-system", "kube-node-lease", *namespaces):
            objects += namespace_objects(name)
        objects += self.surroundings.objects()
        for node in self.node_objects:
            objects.append(node)
            objects.append(Lease(name=node.name, namespace="kube-node-lease", holder=node.name))
        self.machine.preload(objects)

    def _scheduler(self, profile: Profile, clients: ClientFactory) -> None:
        qps = _HIGH_SCHEDULER_QPS if self.setting.high_qps else 50.0
        burst = int(_HIGH_SCHEDULER_QPS) if self.setting.high_qps else 100
        self.scheduler = Scheduler(
            self.engine,
            self.machine.recorder,
            clients,
            SchedulerParams(kube_api_qps=qps, kube_api_burst=burst, leader_elect=False),
            SchedulerConfiguration.from_dict({}),
            profile.scheduler,
            self.machine.host.process("kube-scheduler"),
        )

    def _controller_manager(self, profile: Profile, clients: ClientFactory) -> None:
        high = self.setting.high_qps
        self.manager = ControllerManager(
            self.engine,
            self.machine.recorder,
            clients,
            GoProcess(
                self.engine,
                self.machine.host.process("kube-controller-manager"),
                SchedulerLaw(profile.scheduler),
            ),
            ControllerManagerParams(
                kube_api_qps=_HIGH_QPS if high else 20.0,
                kube_api_burst=int(_HIGH_QPS) if high else 30,
                leader_elect=False,
                allocate_node_cidrs=False,
            ),
            profile.controller_manager,
        )

    def _kubelets(self, profile: Profile) -> None:
        machine, setting = self.machine, self.setting
        runtime = ContainerRuntime(self.engine, profile.container_runtime)
        overlay = Overlay(
            self.engine,
            machine.recorder,
            machine.endpoint,
            OverlayParams(backend="cloud-routes"),
            profile.pod_network,
            profile.remote_node,
            setting.nodes_count,
        )
        identities = FleetIdentities(
            self.engine,
            machine.endpoint,
            name="system:nodes",
            user_prefix="shared" if setting.shared_watch else "system:node:",
            groups=MASTERS if setting.shared_watch else ("system:nodes",),
            process=GoProcess(
                self.engine, machine.host.process("kubelets"), SchedulerLaw(profile.scheduler)
            ),
            cpu_per_request_seconds=_KUBELET_CPU_SECONDS,
        )
        self.kubelets = KubeletFleet(
            self.engine,
            machine.recorder,
            machine.endpoint,
            KubeletParams(
                kube_api_qps=0.0,
                event_record_qps=0.0,
                node_status_get=True,
                simulated_start_seconds=0.0,
            ),
            simulated_kubelet_law(),
            runtime,
            overlay,
            identities=identities,
        )
        self.kubelets.add_nodes(self.node_objects)

    def _share_one_watch(self) -> None:
        """All kubelets of the shared mode hang on one watch of the assigned pods."""
        self.kubelets.leave_pod_watches()
        client = self._clients.client("shared-kubelets", groups=MASTERS)
        shared: Informer[Pod] = Informer(
            self.engine,
            self.machine.endpoint,
            client,
            "pods",
            selector=_is_assigned,
            process=self.machine.host.process("kubelets"),
        )
        shared.add_handler(self.kubelets.pod_changed)
        shared.start()

    def _start(self) -> None:
        self.kubelets.start()
        if self.setting.shared_watch:
            self._share_one_watch()
        self.pods.add_handler(self.surroundings.pod_changed)
        self.surroundings.start()
        self.pods.start()
        self.manager.start()
        self.scheduler.start()
        self.wait(_REGISTERED_SECONDS)
        self._register()
        self.wait(SETTLE_SECONDS - _REGISTERED_SECONDS)
        assert self.scheduler.leading
        assert self.pods.synced

    def _register(self) -> None:
        """All kubelets connect at once: what they ask for moves the limits of their levels.

        **Source:** groundtruth/metrics, apiserver-before: seats that the levels asked for at most.
        """
        kubelets = self.kubelets
        for index, node in enumerate(self.node_objects):
            kubelets.heartbeat_client.submit(
                index, Request("get", "nodes", "", node.name, list_mode="cache")
            )
            for resource in ("services", "runtimeclasses", "csidrivers"):
                kubelets.client.submit(index, Request("list", resource, list_mode="cache"))

    # what the driver does

    def template(
        self, name: str, namespace: str, *, run_seconds: float = -1.0, image_tag: str = "3.10"
    ) -> PodTemplate:
        """Return the template of a pod with one container that asks for little."""
        metadata: dict[str, Any] = {"namespace": namespace, "labels": {"app": name}}
        if run_seconds >= 0.0:
            metadata["annotations"] = {"sim/run-seconds": f"{run_seconds}s"}
        spec = {
            "restartPolicy": "Always" if run_seconds < 0.0 else "Never",
            "containers": [
                {
                    "name": "pause",
                    "image": f"registry.k8s.io/pause:{image_tag}",
                    "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}},
                }
            ],
        }
        made = self._templates.template({"metadata": metadata, "spec": spec})
        return replace(made, size_bytes=_POD_BYTES)

    def set_start_delay(self, seconds: float) -> None:
        """Let pods take that long to start from now on."""
        context = self.kubelets.context
        context.params = replace(context.params, simulated_start_seconds=seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.engine.run(self.engine.now + seconds)

    def until(self, done: Callable[[], bool]) -> None:
        """Let time pass until something is so, to 20 ms."""
        deadline_seconds = self.engine.now + _DEADLINE_SECONDS
        while not done():
            assert self.engine.now < deadline_seconds, "a scenario that never ends"
            self.wait(_TICK_SECONDS)

    def call(self, request: Request) -> Request:
        """Send one request of the driver and wait for its answer."""
        answers: list[Request] = []
        request.then = answers.append
        self.driver.submit(request)
        while not answers:
            self.wait(0.001)
        return request

    def rows(self, start_index: int) -> list[RequestRow]:
        """Return the requests answered since the table had ``start_index`` rows."""
        table = self.requests
        columns = [
            [table.categories(name)[code] for code in table.column(name)[start_index:]]
            for name in ("user", "verb", "resource", "subresource")
        ]
        codes = table.column("code")[start_index:].tolist()
        return [
            RequestRow(user, verb, f"{resource}/{part}" if part else resource, code)
            for user, verb, resource, part, code in zip(*columns, codes, strict=True)
        ]

    def check(self) -> None:
        """Stop if a conservation law is broken."""
        self.machine.check()
        problems = [*self.scheduler.check(), *self.kubelets.check()]
        assert not problems, problems


def _is_assigned(item: APIObject) -> bool:
    assert isinstance(item, Pod)
    return bool(item.node_name)


def namespace_objects(name: str) -> list[APIObject]:
    """Return a namespace with what controllers put into every namespace."""
    return [
        Namespace(name=name),
        Generic(name="default", namespace=name, kind_plural="serviceaccounts"),
        Generic(name="kube-root-ca.crt", namespace=name),
    ]


def selector_of(name: str) -> LabelSelector:
    """Return the selector of the pods of `Cluster.template`."""
    return LabelSelector((("app", name),))

