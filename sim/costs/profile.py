"""A cost profile: the parameters of every law, for one class of machines.

Each parameter names its source in the ``metadata`` of its field: a measurement, a published
figure, an upstream file, or ``assumed``. Users pick a profile by name or write one (a file holds
only what differs from the profile it is based on).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from sim.costs.apiserver import APIServerLaw
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.costs.controllers import ControllerManagerLaw
from sim.costs.disk import DiskParams
from sim.costs.dns import CoreDnsParams
from sim.costs.etcd import EtcdLawParams
from sim.costs.kube_proxy import KubeProxyParams
from sim.costs.kubelet import KubeletLawParams
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams
from sim.costs.scheduler import SchedulerLawParams
from sim.costs.watch import WatchLaw


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The laws of all parts. The defaults are the measured 2-core machine."""

    name: str = "measured-2-core"
    description: str = (
        "AMD EPYC (family 26) virtual machine, 2 vCPU, virtio disk: the machine on which the"
        " ground truth was measured"
    )
    disk: DiskParams = field(default_factory=DiskParams)
    """The disk of etcd members whose settings do not name another one."""
    etcd: EtcdLawParams = field(default_factory=EtcdLawParams)
    apiserver: APIServerLaw = field(default_factory=APIServerLaw)
    watch: WatchLaw = field(default_factory=WatchLaw)
    scheduler: SchedulerLawParams = field(default_factory=SchedulerLawParams)
    controller_manager: ControllerManagerLaw = field(default_factory=ControllerManagerLaw)
    kubelet: KubeletLawParams = field(default_factory=KubeletLawParams)
    container_runtime: ContainerRuntimeParams = field(default_factory=ContainerRuntimeParams)
    pod_network: PodNetworkParams = field(default_factory=PodNetworkParams)
    remote_node: RemoteNodeParams = field(default_factory=RemoteNodeParams)
    kube_proxy: KubeProxyParams = field(default_factory=KubeProxyParams)
    coredns: CoreDnsParams = field(default_factory=CoreDnsParams)


PROFILES: dict[str, Profile] = {"measured-2-core": Profile()}
"""Built-in profiles by name; the first is the default."""


def parameters(part: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted name, value, source) of every parameter of a profile or of a part of it."""
    for item in fields(part):
        value = getattr(part, item.name)
        name = f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from parameters(value, f"{name}.")
        else:
            yield name, value, item.metadata.get("source", "")
