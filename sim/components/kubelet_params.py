"""Parameters of the kubelet fleet, by the names of the KubeletConfiguration where it has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletParams:
    """Configuration shared by all kubelets. **Source:** `facts/defaults.csv`, rows kubelet."""

    container_runtime: Literal["containerd", "cri-dockerd"] = "containerd"
    """containerd: the profile's. cri-dockerd: Docker Engine behind one more daemon, at a published
    multiple of its CPU."""
    kube_api_qps: Annotated[float, Ge(0)] = 50.0
    """Refill of the main client's bucket; 0 means no limit."""
    kube_api_burst: Annotated[int, Gt(0)] = 100
    event_record_qps: Annotated[float, Ge(0)] = 50.0
    event_burst: Annotated[int, Gt(0)] = 100
    max_pods_count: Annotated[int, Gt(0)] = 110
    """Written into the Node objects that are made from these settings; what a kubelet admits is
    its Node's allocatable pods."""
    node_lease_duration_seconds: Annotated[float, Gt(0)] = 40.0
    node_lease_renew_ratio: Annotated[float, Gt(0), Le(1)] = 0.25
    """Renewal interval over the lease's duration."""
    heartbeat_jitter_ratio: Annotated[float, Ge(0)] = 0.04
    node_status_update_seconds: Annotated[float, Gt(0)] = 10.0
    node_status_report_seconds: Annotated[float, Gt(0)] = 300.0
    node_status_get: bool = False
    """GET the Node from the cache before each status PATCH (the measured kubelets do)."""
    lease_retry_count: Annotated[int, Ge(0)] = 5
    pleg_on_demand_relist: bool = True
    """Feature gate PLEGOnDemandRelist."""
    pleg_relist_seconds: Annotated[float, Gt(0)] = 1.0
    """Pause between two listings."""
    volume_wait_seconds: Annotated[float, Gt(0)] = 0.3
    """Poll of WaitForAttachAndMount; the first check is immediate."""
    volume_loop_seconds: Annotated[float, Gt(0)] = 0.1
    """Sleep of the volume populator and of the reconciler."""
    worker_backoff_seconds: Annotated[float, Gt(0)] = 10.0
    """Retry of a pod worker after an error (with 50 % jitter)."""
    worker_backoff_jitter_ratio: Annotated[float, Ge(0)] = 0.5
    network_retry_seconds: Annotated[float, Gt(0)] = 1.0
    """Retry of a pod while the node's network is not ready."""
    crash_loop_base_seconds: Annotated[float, Gt(0)] = 10.0
    crash_loop_max_seconds: Annotated[float, Gt(0)] = 300.0
    status_retry_seconds: Annotated[float, Gt(0)] = 10.0
    """Full pass of the status manager: when a failed status is tried again."""
    sandbox_ready_status: bool = True
    """Report PodReadyToStartContainers as soon as the sandbox is up."""
    probe_race_lost_ratio: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of first readiness runs that come too early and wait a full period (assumed)."""
    spam_burst: Annotated[float, Ge(0)] = 25.0
    """Events about one pod that pass at once."""
    spam_qps: Annotated[float, Ge(0)] = 1.0 / 300.0
    event_queue_count_max: Annotated[int, Gt(0)] = 1000
    fast_status_seconds: Annotated[float, Gt(0)] = 0.1
    """Loop of a fresh node until it is Ready for the first time."""
    register_backoff_seconds: Annotated[float, Gt(0)] = 0.1
    register_backoff_max_seconds: Annotated[float, Gt(0)] = 7.0
    network_agent_label: str = ""
    """``key=value`` of the overlay agent's pods: a fresh node's network waits for one of them.
    Empty: the agent starts by itself once the node has its CIDR."""
    simulated_start_seconds: float = -1.0
    """Not negative: behave as the simulated kubelets of the measurements, which report Running
    after this delay and make their requests pod by pod instead of through a status manager."""
