"""A cost profile: the parameters of every law, for one class of machines.

Each parameter names its source in the ``metadata`` of its field: a measurement, a published
figure, an upstream file, or ``assumed``. Users pick a profile by name or write one (a file holds
only what differs from the profile it is based on). The profile of the measured machine is the
defaults of the laws; the other built-in ones are such files in ``profiles``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

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
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Sources of the parameters that a file has changed, by dotted name."""


PROFILES: dict[str, Profile] = {"measured-2-core": Profile()}
"""Profiles that are made of the laws' defaults, by name; the first is the default."""

PROFILE_FOLDER: Final = Path(__file__).with_name("profiles")
"""Built-in profiles that are files."""

MARKS: Final = ("measured", "published", "upstream", "assumed")
"""What a parameter can rest on: a measurement on the machine it stands for, a published figure,
a constant in an upstream program, or nobody's measurement."""


def profile_names() -> tuple[str, ...]:
    """Return the names of all built-in profiles; the first is the default."""
    return (*PROFILES, *sorted(path.stem for path in PROFILE_FOLDER.glob("*.yaml")))


def mark_of(source: str) -> str:
    """Return what a source says a parameter rests on, one of `MARKS`."""
    word = source.partition(":")[0].partition(" ")[0].lower()
    if word in {"fitted", "measured"} or word.startswith("groundtruth/"):
        return "measured"
    return word if word in MARKS else "assumed"


def parameters(part: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted name, value, source) of every parameter of a profile or of a part of it."""
    changed = part.sources if isinstance(part, Profile) else {}
    common = getattr(part, "source", "")
    for item in fields(part):
        value = getattr(part, item.name)
        name = f"{prefix}{item.name}"
        if isinstance(part, Profile) and item.name == "sources":
            continue
        if is_dataclass(value):
            for inner, inner_value, source in parameters(value, f"{name}."):
                yield inner, inner_value, changed.get(inner, source)
        else:
            source = item.metadata.get("source", "" if item.name == "source" else common)
            yield name, value, changed.get(name, source)
