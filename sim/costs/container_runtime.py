"""Laws of the container runtime: sandbox, create, start, stop, relist, image pull.

No runtime was measured here. The parameters are split so that two published figures come out: the
pod start breakdown of Kubernetes 1.36 on kind and the throughput of a batch of pods on one node;
what the split itself rests on is marked ``assumed``. See ``docs/model/container-runtime.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Real: TypeAlias = float | FloatArray

_START = (
    "published: pleg-total-ondemand and pr111250 fix the sum and the contention; "
    "assumed: the split between sandbox, create and start"
)
_RELIST = "published: pleg-first-to minus pleg-total-ondemand; assumed: the split"


def _sourced(default: float, source: str) -> Any:
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRuntimeParams:
    """Wall and CPU time of the runtime's calls on one node, containerd by default.

    Every duration is multiplied by 1 + ``contention_ratio`` x (concurrent pod operations - 1) and
    by a log-normal factor of median 1 with ``jitter_log_sd`` when normals are given.
    """

    sandbox_create_seconds: float = _sourced(0.310, _START)
    container_create_seconds: float = _sourced(0.095, _START)
    container_start_seconds: float = _sourced(0.190, _START)
    container_stop_seconds: float = _sourced(
        0.060, "assumed: kill, reap and task deletion, after the process has exited"
    )
    sandbox_stop_seconds: float = _sourced(
        0.080, "assumed: as container stop plus the pause container, without CNI DEL"
    )
    container_remove_seconds: float = _sourced(0.020, "assumed: snapshot and metadata removal")
    status_call_seconds: float = _sourced(0.004, "assumed: one local CRI status call")
    contention_ratio: float = _sourced(
        0.045, "published: pr111250 (965 pods/min, median 3 s) against pleg-total-ondemand"
    )
    relist_base_seconds: float = _sourced(0.005, _RELIST)
    relist_per_pod_seconds: float = _sourced(0.0001, "assumed: two list calls, 0.1 ms per pod")
    relist_per_changed_pod_seconds: float = _sourced(0.020, _RELIST)
    cpu_per_wall_ratio: float = _sourced(
        0.35, "assumed: the calls mostly wait for the kernel (mounts, cgroups, RCU)"
    )
    jitter_log_sd: float = _sourced(0.15, "assumed")
    resolve_seconds: float = _sourced(
        0.5, "assumed: registry token, manifest and config round trips"
    )
    layer_overhead_seconds: float = _sourced(0.05, "assumed: per layer request, snapshot, commit")
    unpack_bytes_per_second: float = _sourced(
        60e6, "assumed: gunzip and write of compressed bytes, one core, layers in order"
    )
    unpack_cpu_ratio: float = _sourced(0.9, "assumed: unpacking is gunzip-bound")
    concurrent_downloads_count: float = _sourced(
        3.0, "upstream containerd pkg/cri/config (max_concurrent_downloads)"
    )

    def _stretched(self, base_seconds: float, concurrency_count: Real, normals: Real) -> Real:
        stretch = 1.0 + self.contention_ratio * (concurrency_count - 1.0)
        jitter: Real = np.exp(self.jitter_log_sd * normals)
        return base_seconds * stretch * jitter

    def run_pod_sandbox_seconds(self, concurrency_count: Real = 1.0, normals: Real = 0.0) -> Real:
        """RunPodSandbox without CNI ADD (`PodNetworkParams.cni_add_seconds`); broadcasts."""
        return self._stretched(self.sandbox_create_seconds, concurrency_count, normals)

    def create_container_seconds(self, concurrency_count: Real = 1.0, normals: Real = 0.0) -> Real:
        """CreateContainer, seconds; broadcasts its arguments."""
        return self._stretched(self.container_create_seconds, concurrency_count, normals)

    def start_container_seconds(self, concurrency_count: Real = 1.0, normals: Real = 0.0) -> Real:
        """StartContainer, seconds; broadcasts its arguments."""
        return self._stretched(self.container_start_seconds, concurrency_count, normals)

    def stop_container_seconds(self, concurrency_count: Real = 1.0, normals: Real = 0.0) -> Real:
        """StopContainer after its process exited (the grace period is the process's), seconds."""
        return self._stretched(self.container_stop_seconds, concurrency_count, normals)

    def stop_pod_sandbox_seconds(self, concurrency_count: Real = 1.0, normals: Real = 0.0) -> Real:
        """StopPodSandbox without CNI DEL, seconds; broadcasts its arguments."""
        return self._stretched(self.sandbox_stop_seconds, concurrency_count, normals)

    def pod_start_seconds(self, containers_count: Real, concurrency_count: Real = 1.0) -> Real:
        """Median of sandbox plus all containers one after another, without CNI and pulls."""
        one = self.create_container_seconds(concurrency_count) + self.start_container_seconds(
            concurrency_count
        )
        return self.run_pod_sandbox_seconds(concurrency_count) + containers_count * one

    def relist_seconds(self, pods_count: Real, changed_pods_count: Real) -> Real:
        """One PLEG relist: list everything, inspect each changed pod; broadcasts."""
        return (
            self.relist_base_seconds
            + self.relist_per_pod_seconds * pods_count
            + self.relist_per_changed_pod_seconds * changed_pods_count
        )

    def inspect_pod_seconds(self) -> float:
        """An on-demand relist of one pod: its inspection without listing the others."""
        return self.relist_per_changed_pod_seconds

    def download_seconds(self, layer_bytes: Real, bandwidth_bytes_per_second: Real) -> Real:
        """Transfer of one layer at a constant share of the bandwidth, seconds; broadcasts."""
        return self.layer_overhead_seconds + layer_bytes / bandwidth_bytes_per_second

    def unpack_seconds(self, layer_bytes: Real) -> Real:
        """Decompression and write of one layer (compressed bytes), seconds; same shape."""
        return layer_bytes / self.unpack_bytes_per_second

    def unpack_cpu_seconds(self, layer_bytes: Real) -> Real:
        """CPU seconds of unpacking (compressed bytes); same shape."""
        return self.unpack_cpu_ratio * self.unpack_seconds(layer_bytes)

    def pull_seconds(
        self, layers_bytes: Sequence[float], bandwidth_bytes_per_second: float
    ) -> float:
        """Wall time of pulling the missing layers of one image at a constant bandwidth, seconds.

        Downloads share the bandwidth, ``concurrent_downloads_count`` at a time in order of the
        layers; a layer is unpacked when it has arrived and the one below it is unpacked. Layers
        that the node already has are not in ``layers_bytes``.

        Raises:
            ValueError: unless the bandwidth is positive.
        """
        if not bandwidth_bytes_per_second > 0.0:
            raise ValueError(f"bandwidth must be positive, got {bandwidth_bytes_per_second}")
        arrivals = self._arrivals_seconds(layers_bytes, bandwidth_bytes_per_second)
        unpacked = 0.0
        for arrival, size in zip(arrivals, layers_bytes, strict=True):
            begin = arrival if arrival > unpacked else unpacked
            unpacked = begin + float(self.unpack_seconds(size))
        return self.resolve_seconds + unpacked

    def _arrivals_seconds(
        self, layers_bytes: Sequence[float], bandwidth_bytes_per_second: float
    ) -> list[float]:
        """When each layer has arrived, seconds after the first request (processor sharing)."""
        slots = int(self.concurrent_downloads_count)
        waiting = list(range(len(layers_bytes)))
        active: dict[int, float] = {}
        arrivals = [0.0] * len(layers_bytes)
        now = 0.0
        while waiting or active:
            while waiting and len(active) < slots:
                index = waiting.pop(0)
                active[index] = float(layers_bytes[index])
            rate = bandwidth_bytes_per_second / len(active)
            first = min(active, key=lambda index: (active[index], index))
            step = active[first] / rate
            now += step
            for index in active:
                active[index] -= step * rate
            del active[first]
            arrivals[first] = now + self.layer_overhead_seconds
        return arrivals


def containerd_params() -> ContainerRuntimeParams:
    """The containerd profile, through CRI, calibrated to the published pod start on kind."""
    return ContainerRuntimeParams()


def docker_params(base: ContainerRuntimeParams | None = None) -> ContainerRuntimeParams:
    """Docker Engine through cri-dockerd, on a machine on which containerd takes ``base``.

    CPU: published containerd-cpu-runtime-CPU (containerd uses 68.13 % less than Docker). Wall
    times: assumed a quarter longer than containerd's (one more daemon hop per call). Pulls: the
    published effective rate of a 17 GB image (openai25-image, 30 min) bounds the unpacking.
    """
    base = base if base is not None else ContainerRuntimeParams()
    slower = 1.25
    return replace(
        base,
        sandbox_create_seconds=base.sandbox_create_seconds * slower,
        container_create_seconds=base.container_create_seconds * slower,
        container_start_seconds=base.container_start_seconds * slower,
        container_stop_seconds=base.container_stop_seconds * slower,
        sandbox_stop_seconds=base.sandbox_stop_seconds * slower,
        cpu_per_wall_ratio=base.cpu_per_wall_ratio / (1.0 - 0.6813) / slower,
        unpack_bytes_per_second=17e9 / 1800.0,
    )
