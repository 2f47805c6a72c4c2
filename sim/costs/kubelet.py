"""Laws of the kubelet: what it spends on a pod besides the container runtime and the network.

Durations are wall time on the node; CPU demands are for the node's own cores. Everything is a
constant of a profile: the spread of pod start-up comes from polls, relists, queues and the laws of
the runtime (listings included) and the network. The reasoning is in ``docs/model/kubelet.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


def _sourced(default: float, source: str) -> Any:
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletLawParams:
    """Times and CPU demands of one kubelet."""

    dispatch_seconds: float = _sourced(
        0.013, "published: pleg-scheduled-first 14 ms, less 1 ms for the delivery of the binding"
    )
    """Watch event to the first sync of the pod's worker."""
    pod_directories_seconds: float = _sourced(
        0.012, "assumed: pod cgroup and directories (facts/model.md h.2 step 2: milliseconds)"
    )
    mount_per_volume_seconds: float = _sourced(
        0.012, "published: stor1-emptydir, 100 volumes in 2,380 ms less a pod with one volume"
    )
    unmount_per_volume_seconds: float = _sourced(0.012, "assumed: as the mount")
    config_first_use_seconds: float = _sourced(
        0.0, "assumed: the wait is that of the LIST and WATCH requests themselves"
    )
    probe_seconds: float = _sourced(0.004, "assumed: one HTTP probe inside a node")
    application_ready_seconds: float = _sourced(
        0.0, "assumed: the process answers its probe as soon as it has started"
    )
    """Start of the process until its probe can succeed."""
    init_run_seconds: float = _sourced(
        0.1, "assumed: an init container that does not say how long it runs"
    )
    cgroup_removal_seconds: float = _sourced(0.01, "assumed: milliseconds class")
    register_seconds: float = _sourced(0.5, "assumed: process start to POST nodes")
    restart_seconds: float = _sourced(2.0, "assumed: service restart until the first LIST")
    network_agent_start_seconds: float = _sourced(
        3.0, "assumed: agent pod's image present, start and write of the CNI configuration"
    )
    pod_start_cpu_seconds: float = _sourced(0.06, "assumed: kubelet share of starting a pod")
    pod_stop_cpu_seconds: float = _sourced(0.03, "assumed: kubelet share of stopping a pod")
    idle_cpu_ratio: float = _sourced(0.02, "assumed: cores used by an idle kubelet and runtime")
    idle_cpu_per_pod_ratio: float = _sourced(
        0.0015, "assumed: cores per running pod for listings, statistics and shims"
    )


def simulated_kubelet_law() -> KubeletLawParams:
    """A kubelet that spends nothing, as the simulated kubelets of the measurements.

    **Source:** groundtruth README, "Simulated kubelets".
    """
    return replace(
        KubeletLawParams(),
        dispatch_seconds=0.0,
        pod_directories_seconds=0.0,
        mount_per_volume_seconds=0.0,
        unmount_per_volume_seconds=0.0,
        probe_seconds=0.0,
        cgroup_removal_seconds=0.0,
        pod_start_cpu_seconds=0.0,
        pod_stop_cpu_seconds=0.0,
    )
