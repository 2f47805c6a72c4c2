"""Assembly: settings and a cost profile become the components of one cluster, wired together.

Hosts first (CPU is a place), then etcd, the apiserver replicas behind their endpoint, and whoever
talks to them. No component is given another one: they get clients, watches, and laws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sim.cluster.addresses import AddressBlock
from sim.cluster.bootstrap import Bootstrap
from sim.cluster.cluster import Cluster
from sim.cluster.params import ClusterParams
from sim.cluster.scheduler_settings import scheduler_settings
from sim.cluster.worker_nodes import worker_manifests
from sim.components.apiserver import APIServer
from sim.components.client import ClientFactory
from sim.components.container_runtime import ContainerRuntime
from sim.components.controller_manager import ControllerManager
from sim.components.coredns import CoreDNS
from sim.components.endpoint import LoadBalancer
from sim.components.etcd import Etcd
from sim.components.image import Images
from sim.components.kube_proxy_fleet import KubeProxyFleet
from sim.components.kubelet_fleet import KubeletFleet
from sim.components.node_cpu import NodeCPUs
from sim.components.overlay import Overlay
from sim.components.scheduler import Scheduler
from sim.costs.container_runtime import ContainerRuntimeParams, docker_params
from sim.costs.disk import DISKS
from sim.costs.etcd import EtcdLaw
from sim.costs.network import LINKS
from sim.costs.profile import Profile
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from sim.workload.operations import CreateNodes
from sim.workload.pod_templates import PodTemplates


def build(
    params: ClusterParams,
    operations: Sequence[Any],
    engine: Engine,
    recorder: Recorder,
    profile: Profile,
) -> Cluster:
    """Return a cluster that is ready to `start`.

    Raises:
        UserError: a file named in the settings, or the KubeSchedulerConfiguration, is wrong.
    """
    return _Assembly(params, operations, engine, recorder, profile).cluster()


class _Assembly:
    """The steps of `build`; holds what later steps need of earlier ones."""

    def __init__(
        self,
        params: ClusterParams,
        operations: Sequence[Any],
        engine: Engine,
        recorder: Recorder,
        profile: Profile,
    ) -> None:
        self.params = params
        self.operations = operations
        self.engine = engine
        self.recorder = recorder
        self.profile = profile
        self.templates = PodTemplates()
        self.hosts: list[Host] = []
        self.state = Bootstrap(
            params,
            self.templates,
            worker_manifests(params.nodes),
        ).build()

    def cluster(self) -> Cluster:
        control_hosts = self._control_hosts()
        etcd = self._etcd(control_hosts)
        replicas = self._apiservers(control_hosts, etcd)
        endpoint = LoadBalancer(self.engine, replicas)
        clients = ClientFactory(self.engine, endpoint)
        schedulers = self._schedulers(control_hosts, clients)
        managers = self._controller_managers(control_hosts, clients)
        node_count = len(self.state.nodes) + self._joining_count()
        overlay = Overlay(
            self.engine,
            self.recorder,
            endpoint,
            self.params.network.overlay,
            self.profile.pod_network,
            self.profile.remote_node,
            node_count,
        )
        cpus = overlay.cpus = NodeCPUs(
            self._runtime_law().cpu_per_wall_ratio,
            self.params.nodes.pod_cpu_usage_ratio,
        )
        kubelets = self._kubelets(clients, endpoint, overlay, cpus)
        proxies = self._proxies(clients, endpoint, cpus)
        coredns = CoreDNS(
            self.engine,
            self.recorder,
            clients,
            self.params.coredns,
            self.profile.coredns,
            running_pod_count=lambda: int(sum(kubelets.context.active_counts)),
        )
        return Cluster(
            engine=self.engine,
            recorder=self.recorder,
            hosts=self.hosts,
            etcd=etcd,
            replicas=replicas,
            endpoint=endpoint,
            clients=clients,
            schedulers=schedulers,
            controller_managers=managers,
            kubelets=kubelets,
            overlay=overlay,
            proxies=proxies,
            coredns=coredns,
            cpus=cpus,
            node_block=AddressBlock(self.params.network.node_cidr),
            service_block=AddressBlock(self.params.network.service_cidr),
            templates=self.templates,
            state=self.state,
            operations=self.operations,
        )

    def _joining_count(self) -> int:
        return sum(item.count for item in self.operations if isinstance(item, CreateNodes))

    def _host(self, name: str, core_count: int) -> Host:
        host = Host(self.engine, name, core_count)
        self.hosts.append(host)
        return host

    def _control_hosts(self) -> list[Host]:
        control = self.params.control_plane
        return [
            self._host(f"control-plane-{index}", control.host.core_count)
            for index in range(control.node_count)
        ]

    def _etcd(self, control_hosts: list[Host]) -> Etcd:
        control = self.params.control_plane
        count = control.etcd.member_count
        if control.etcd_topology == "external":
            hosts = [
                self._host(f"etcd-{index}", control.etcd_host.core_count) for index in range(count)
            ]
        else:
            hosts = control_hosts
        disk = DISKS[control.etcd_disk] if control.etcd_disk else self.profile.disk
        stacked = control.etcd_topology == "stacked"
        etcd = Etcd(
            self.engine,
            self.recorder,
            control.etcd,
            EtcdLaw(self.profile.etcd),
            hosts,
            disks=[disk],
            link=LINKS["loopback" if count == 1 else control.etcd_link],
            client_link=LINKS["loopback" if stacked else control.etcd_link],
        )
        etcd.preload(self.state.objects)
        return etcd

    def _apiservers(self, control_hosts: list[Host], etcd: Etcd) -> list[APIServer]:
        control = self.params.control_plane
        replicas = []
        for index, host in enumerate(control_hosts):
            stacked = control.etcd_topology == "stacked"
            storage = etcd.endpoint(index) if stacked and index < len(etcd.members) else etcd
            replicas.append(
                APIServer(
                    self.engine,
                    self.recorder,
                    control.apiserver,
                    self.profile.apiserver,
                    storage,
                    host.process(f"kube-apiserver-{index}"),
                    index,
                    watch_law=self.profile.watch,
                )
            )
        replicas[0].group.start_uids_after(self.state.last_uid)
        return replicas

    def _schedulers(self, control_hosts: list[Host], clients: ClientFactory) -> list[Scheduler]:
        control = self.params.control_plane
        settings = scheduler_settings(control)
        return [
            Scheduler(
                self.engine,
                self.recorder,
                clients,
                control.scheduler,
                settings.configuration,
                self.profile.scheduler,
                host.process(f"kube-scheduler-{index}"),
                index=index,
                user_plugins=settings.user_plugins,
            )
            for index, host in enumerate(control_hosts)
        ]

    def _controller_managers(
        self, control_hosts: list[Host], clients: ClientFactory
    ) -> list[ControllerManager]:
        network = self.params.network
        settings = replace(
            self.params.control_plane.controller_manager,
            cluster_cidr=network.pod_cidr,
            node_cidr_mask_size_ipv4=network.node_cidr_mask_size,
            cluster_cidr_ipv6=network.pod_cidr_ipv6,
            node_cidr_mask_size_ipv6=network.node_cidr_mask_size_ipv6,
        )
        return [
            ControllerManager(
                self.engine,
                self.recorder,
                clients,
                host.process(f"kube-controller-manager-{index}"),
                settings,
                self.profile.controller_manager,
                name=f"kube-controller-manager-{index}",
            )
            for index, host in enumerate(control_hosts)
        ]

    def _runtime_law(self) -> ContainerRuntimeParams:
        law = self.profile.container_runtime
        docker = self.params.kubelet.container_runtime == "cri-dockerd"
        return docker_params(law) if docker else law

    def _kubelets(
        self,
        clients: ClientFactory,
        endpoint: LoadBalancer,
        overlay: Overlay,
        cpus: NodeCPUs,
    ) -> KubeletFleet:
        law = self._runtime_law()
        runtime = ContainerRuntime(self.engine, law, cpus)
        kubelets = KubeletFleet(
            self.engine,
            self.recorder,
            endpoint,
            self.params.kubelet,
            self.profile.kubelet,
            runtime,
            overlay,
            Images(self.engine, self.recorder, self.params.images, law),
        )
        kubelets.add_nodes(self.state.nodes)
        kubelets.preload_running(self.state.pods)
        return kubelets

    def _proxies(
        self, clients: ClientFactory, endpoint: LoadBalancer, cpus: NodeCPUs
    ) -> KubeProxyFleet:
        proxies = KubeProxyFleet(
            self.engine,
            self.recorder,
            endpoint,
            self.params.kube_proxy,
            self.profile.kube_proxy,
            len(self.state.nodes),
            client=clients.client(
                "system:serviceaccount:kube-system:kube-proxy",
                groups=("system:serviceaccounts", "system:serviceaccounts:kube-system"),
            ),
            cpus=cpus,
        )
        proxies.preload(self.state.services)
        return proxies
