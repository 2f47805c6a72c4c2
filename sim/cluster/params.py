"""What a cluster consists of: every setting, with its default and Kubernetes' own name.

The tree is plain frozen dataclasses; the experiment loader checks files against them and expands
defaults. Settings of one part live beside that part and are only composed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from sim.components.apiserver import APIServerParams
from sim.components.controller_manager import ControllerManagerParams
from sim.components.coredns import CoreDNSParams
from sim.components.etcd import EtcdParams
from sim.components.image_params import ImageParams
from sim.components.kube_proxy_fleet import KubeProxyFleetParams
from sim.components.kubelet_params import KubeletParams
from sim.components.overlay_params import OverlayParams
from sim.components.scheduler_params import SchedulerParams


@dataclass(frozen=True, slots=True, kw_only=True)
class HostParams:
    """A machine."""

    core_count: Annotated[int, Ge(1), Le(1024)] = 8
    """Cores that the processes placed here share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneParams:
    """The machines of the control plane and what runs on them."""

    node_count: Annotated[int, Ge(1), Le(9)] = 1
    """Control-plane nodes; each runs one apiserver, controller manager and scheduler."""
    host: HostParams = HostParams()
    """The machine of each control-plane node."""
    etcd_topology: Literal["stacked", "external"] = "stacked"
    """Stacked: etcd members run on the control-plane nodes. External: on machines of their own."""
    etcd_host: HostParams = HostParams(core_count=4)
    """The machine of each external etcd member."""
    etcd: EtcdParams = EtcdParams()
    etcd_disk: Literal["", "measured", "tmpfs", "nvme", "sata_ssd", "hdd", "network_volume"] = ""
    """The disk under each member; empty: the cost profile's."""
    etcd_link: Literal["loopback", "same_rack", "same_zone", "cross_zone", "cross_region"] = (
        "same_zone"
    )
    """Between members on different machines."""
    apiserver: APIServerParams = APIServerParams()
    controller_manager: ControllerManagerParams = ControllerManagerParams()
    scheduler: SchedulerParams = SchedulerParams()
    scheduler_configuration: Mapping[str, Any] = field(default_factory=dict)
    """A KubeSchedulerConfiguration (v1), as an object."""
    scheduler_configuration_file: str = ""
    """A KubeSchedulerConfiguration (v1) in a file of its own, instead of the object."""
    scheduler_plugins_file: str = ""
    """A Python file with Filter and Score plugins of your own (docs/scheduler-plugins.md)."""
    flow_control: tuple[Mapping[str, Any], ...] = ()
    """FlowSchema and PriorityLevelConfiguration objects beside the built-in ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePoolParams:
    """A group of equal worker nodes."""

    name: str = "node"
    count: Annotated[int, Ge(0)] = 10
    cpu_millicores: Annotated[int, Gt(0)] = 8000
    """Capacity."""
    memory_bytes: Annotated[int, Gt(0)] = 32 * 2**30
    """Capacity."""
    cpu_reserved_millicores: Annotated[int, Ge(0)] = 0
    """Kept from pods (kube-reserved and system-reserved)."""
    memory_reserved_bytes: Annotated[int, Ge(0)] = 100 * 2**20
    """Kept from pods (the eviction threshold's default)."""
    max_pods_count: Annotated[int, Gt(0), Le(1024)] = 110
    """kubelet's maxPods."""
    extended_resources: Mapping[str, int] = field(default_factory=dict)
    """Capacity of extended resources, such as nvidia.com/gpu."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    """As kubectl writes them: key=value:Effect."""
    zones: tuple[str, ...] = ("zone-a", "zone-b", "zone-c")
    """Zones over which the nodes are spread round robin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesParams:
    """The worker nodes: generated pools, or read from real input."""

    pools: tuple[NodePoolParams, ...] = ()
    manifests: tuple[str, ...] = ()
    """Files of v1 Node manifests."""
    openb_csv: str = ""
    """An openb node list."""
    bootstrap: Literal["running", "join"] = "running"
    """running: the nodes are Ready with their system pods at time 0. join: they register at the
    rate below, and everything that a join costs is spent."""
    join_per_second: Annotated[float, Gt(0)] = 10.0
    pod_cpu_usage_ratio: Annotated[float, Ge(0)] = field(
        default=0.5, metadata={"source": "assumed"}
    )
    """Share of their CPU requests that running pods use. Together with pod operations and
    kube-proxy's sync it may exceed a node's cores; these two then take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkParams:
    """Addresses and links."""

    pod_cidr: str = "10.0.0.0/8"
    """clusterCIDR: divided into one block per node."""
    node_cidr_mask_size: Annotated[int, Ge(16), Le(30)] = 24
    pod_cidr_ipv6: str = ""
    """The second half of a dual-stack clusterCIDR, such as fd00:10::/48; empty: IPv4 only."""
    node_cidr_mask_size_ipv6: Annotated[int, Ge(48), Le(126)] = 64
    service_cidr: str = "172.16.0.0/12"
    node_cidr: str = "192.168.0.0/16"
    """Addresses of the nodes themselves."""
    overlay: OverlayParams = OverlayParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterParams:
    """A whole cluster."""

    control_plane: ControlPlaneParams = ControlPlaneParams()
    nodes: NodesParams = NodesParams(pools=(NodePoolParams(),))
    network: NetworkParams = NetworkParams()
    kubelet: KubeletParams = KubeletParams()
    images: ImageParams = ImageParams()
    kube_proxy: KubeProxyFleetParams = KubeProxyFleetParams()
    coredns: CoreDNSParams = CoreDNSParams()
