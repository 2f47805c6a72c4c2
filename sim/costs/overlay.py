"""Laws of the pod network: sandbox set-up and teardown on a node, entries for remote nodes.

Set-up times are distributions: a median that depends on how many pods the node has and how many
set-ups run at once, and a quantile curve around it. Random parts take pre-drawn uniforms, so the
caller owns the streams. The reasoning is in ``docs/model/overlay.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Real: TypeAlias = float | FloatArray

_SANDBOX = "measured: overlay_pod_sandbox.csv"
_REMOTE = "measured: overlay_remote_node_entries.csv"

MEASURED_CONCURRENCY_COUNT = 4
"""Workers at which contention was measured; steps other than the lock saturate here.

**Source:** overlay_pod_sandbox.csv (concurrency 1 and 4 on 2 cores).
"""
LAST_QUANTILE = 0.998
"""Draws above this quantile count as this quantile: the longest of 250 measured set-ups.

**Source:** overlay_pod_sandbox.csv (count of the largest rows).
"""
_KNOTS = np.array([0.5, 0.9, 0.99])
_GRID = (np.arange(2000, dtype=np.float64) + 0.5) / 2000.0


def _sourced(default: float, source: str) -> Any:
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLaw:
    """Distribution of one step's duration.

    Attributes:
        median_seconds: with no other pod and no other set-up running.
        median_per_pod_seconds: growth of the median with each existing pod (directory scan).
        contended_median_ratio: median at 4 concurrent set-ups over the median alone.
        serial: whether the step holds a lock, so that waiting keeps growing beyond 4 set-ups.
        lowest_ratio: shortest duration over the median.
        q90_ratio: 90 % quantile over the median, alone.
        q99_ratio: 99 % quantile over the median, alone.
        contended_q90_ratio: 90 % quantile over the median at 4 concurrent set-ups.
        contended_q99_ratio: 99 % quantile over the median at 4 concurrent set-ups.
        source: where the values come from.
    """

    median_seconds: float
    median_per_pod_seconds: float = 0.0
    contended_median_ratio: float = 1.0
    serial: bool = False
    lowest_ratio: float = 0.85
    q90_ratio: float
    q99_ratio: float
    contended_q90_ratio: float
    contended_q99_ratio: float
    source: str = _SANDBOX

    def contention_ratio(self, concurrency_count: Real) -> Real:
        """0 alone, 1 at the measured 4 set-ups at once; beyond 1 only for a lock."""
        share = (concurrency_count - 1.0) / (MEASURED_CONCURRENCY_COUNT - 1.0)
        return share if self.serial else np.minimum(share, 1.0)

    def typical_seconds(self, existing_pods_count: Real, concurrency_count: Real = 1.0) -> Real:
        """Median duration, seconds; broadcasts its arguments."""
        base = self.median_seconds + self.median_per_pod_seconds * existing_pods_count
        share = self.contention_ratio(concurrency_count)
        return base * (1.0 + (self.contended_median_ratio - 1.0) * share)

    def quantile_ratio(self, uniforms: Real, concurrency_count: Real = 1.0) -> Real:
        """Duration over median at the given quantiles (0 <= u < 1); broadcasts.

        Linear from the lowest ratio at 0 to 1 at the median, then exponential in -ln(1 - u)
        through the 90 % and 99 % ratios, which are blended geometrically between the free and the
        contended curve.
        """
        u = np.minimum(np.asarray(uniforms, dtype=np.float64), LAST_QUANTILE)
        share = np.minimum(self.contention_ratio(concurrency_count), 1.0)
        log_q90 = (1.0 - share) * np.log(self.q90_ratio) + share * np.log(self.contended_q90_ratio)
        log_q99 = (1.0 - share) * np.log(self.q99_ratio) + share * np.log(self.contended_q99_ratio)
        depth = -np.log1p(-u)
        d50, d90, d99 = -np.log1p(-_KNOTS)
        upper = np.where(
            u < _KNOTS[1],
            log_q90 * (depth - d50) / (d90 - d50),
            log_q90 + (log_q99 - log_q90) * (depth - d90) / (d99 - d90),
        )
        lower = self.lowest_ratio + (1.0 - self.lowest_ratio) * u / _KNOTS[0]
        ratio = np.where(u < _KNOTS[0], lower, np.exp(upper))
        return float(ratio) if ratio.ndim == 0 else np.asarray(ratio, dtype=np.float64)

    def mean_ratio(self, concurrency_count: float = 1.0) -> float:
        """Mean duration over the median (numerical integral of the quantile curve)."""
        return _mean_ratio(self, concurrency_count)

    def seconds(self, existing_pods_count: Real, concurrency_count: Real, uniforms: Real) -> Real:
        """Durations drawn with the given uniforms, seconds; broadcasts its arguments."""
        return self.typical_seconds(existing_pods_count, concurrency_count) * self.quantile_ratio(
            uniforms, concurrency_count
        )

    def mean_seconds(self, existing_pods_count: Real, concurrency_count: float = 1.0) -> Real:
        """Mean duration, seconds; shape of ``existing_pods_count``."""
        return self.typical_seconds(existing_pods_count, concurrency_count) * self.mean_ratio(
            concurrency_count
        )


@lru_cache(maxsize=1024)
def _mean_ratio(law: StepLaw, concurrency_count: float) -> float:
    return float(np.mean(law.quantile_ratio(_GRID, concurrency_count)))


SETUP_STEPS: tuple[str, ...] = (
    "netns_create",
    "ipam_allocate",
    "veth_create_move",
    "pod_addr_up_route",
    "host_bridge_attach_up",
)
"""Steps of one pod's set-up in order, by the names of the measurements."""
TEARDOWN_STEPS: tuple[str, ...] = ("veth_delete", "netns_delete")
"""Steps of one pod's teardown in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetworkParams:
    """Network part of a pod sandbox on the measured 2-core machine, one law per step.

    ``total_shape`` holds the quantile curve of the whole set-up (its median is derived from the
    steps). CNI plugin processes are separate: they were not part of the measurement.
    """

    netns_create: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=0.0005773,
            contended_median_ratio=1.223,
            lowest_ratio=0.8262,
            q90_ratio=1.299,
            q99_ratio=2.235,
            contended_q90_ratio=3.267,
            contended_q99_ratio=5.626,
        )
    )
    ipam_allocate: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=0.0002208,
            median_per_pod_seconds=8.92e-06,
            contended_median_ratio=4.289,
            serial=True,
            lowest_ratio=0.7868,
            q90_ratio=1.269,
            q99_ratio=1.701,
            contended_q90_ratio=1.379,
            contended_q99_ratio=1.859,
        )
    )
    veth_create_move: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=0.0006158,
            contended_median_ratio=1.668,
            lowest_ratio=0.793,
            q90_ratio=1.413,
            q99_ratio=3.593,
            contended_q90_ratio=2.849,
            contended_q99_ratio=4.901,
        )
    )
    pod_addr_up_route: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=0.000205,
            contended_median_ratio=1.102,
            lowest_ratio=0.804,
            q90_ratio=1.277,
            q99_ratio=2.755,
            contended_q90_ratio=7.579,
            contended_q99_ratio=27.09,
        )
    )
    host_bridge_attach_up: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=0.0002884,
            contended_median_ratio=1.257,
            lowest_ratio=0.8009,
            q90_ratio=1.406,
            q99_ratio=2.578,
            contended_q90_ratio=3.784,
            contended_q99_ratio=10.88,
        )
    )
    total_shape: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=1.0,
            lowest_ratio=0.8087,
            q90_ratio=1.224,
            q99_ratio=1.588,
            contended_q90_ratio=1.387,
            contended_q99_ratio=2.105,
        )
    )
    veth_delete: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=0.03132,
            lowest_ratio=0.7807,
            q90_ratio=1.414,
            q99_ratio=2.171,
            contended_q90_ratio=1.414,
            contended_q99_ratio=2.171,
        )
    )
    netns_delete: StepLaw = field(
        default_factory=lambda: StepLaw(
            median_seconds=0.000155,
            lowest_ratio=0.7909,
            q90_ratio=2.534,
            q99_ratio=16.8,
            contended_q90_ratio=2.534,
            contended_q99_ratio=16.8,
        )
    )
    setup_cpu_ratio: float = _sourced(
        0.9305, _SANDBOX + " (cpu_ms_per_pod / wall_ms_per_pod of the serial runs)"
    )
    cni_plugin_process_seconds: float = _sourced(
        0.015, "assumed: start of one plugin process; README: tens of ms per ADD in practice"
    )
    cni_plugins_count: float = _sourced(
        3.0, "assumed: main plugin, IPAM plugin, portmap (flannel and kindnet chains)"
    )

    def step(self, name: str) -> StepLaw:
        """The law of one step.

        Raises:
            ValueError: for a step that was not measured.
        """
        if name not in SETUP_STEPS and name not in TEARDOWN_STEPS:
            raise ValueError(f"no step {name!r} of the pod network; have {SETUP_STEPS}")
        law: StepLaw = getattr(self, name)
        return law

    def pod_setup_mean_seconds(
        self, existing_pods_count: Real, concurrency_count: float = 1.0
    ) -> Real:
        """Mean wall time of one pod's network set-up without plugin processes, seconds."""
        total: Real = 0.0 * existing_pods_count
        for name in SETUP_STEPS:
            total = total + self.step(name).mean_seconds(existing_pods_count, concurrency_count)
        return total

    def pod_setup_seconds(
        self, existing_pods_count: Real, concurrency_count: float, uniforms: Real
    ) -> Real:
        """Drawn wall time of one pod's network set-up without plugin processes, seconds.

        Args:
            existing_pods_count: pods with an address on the node, float or shape (n,).
            concurrency_count: set-ups running on the node at once, this one included.
            uniforms: pre-drawn uniforms in [0, 1), float or shape (n,).
        """
        mean = self.pod_setup_mean_seconds(existing_pods_count, concurrency_count)
        shape = self.total_shape
        median = mean / shape.mean_ratio(concurrency_count)
        return median * shape.quantile_ratio(uniforms, concurrency_count)

    def cni_add_seconds(
        self, existing_pods_count: Real, concurrency_count: float, uniforms: Real
    ) -> Real:
        """Drawn wall time of a CNI ADD: plugin processes plus the network set-up, seconds."""
        return self.cni_plugin_process_seconds * self.cni_plugins_count + self.pod_setup_seconds(
            existing_pods_count, concurrency_count, uniforms
        )

    def cni_del_seconds(self, uniforms: Real) -> Real:
        """Drawn wall time of a CNI DEL, seconds: plugin processes, veth, namespace.

        The veth deletion waits for RCU grace periods, and its spread is the DEL's spread.
        """
        return (
            self.cni_plugin_process_seconds * self.cni_plugins_count
            + self.veth_delete.seconds(0.0, 1.0, uniforms)
            + self.netns_delete.mean_seconds(0.0)
        )

    def ipam_lock_hold_seconds(self, existing_pods_count: Real) -> Real:
        """Median time one allocation holds the node's IPAM lock, seconds (scan of all files)."""
        return self.ipam_allocate.typical_seconds(existing_pods_count)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteNodeParams:
    """Entries one node needs for each other node of a VXLAN overlay, on the measured machine.

    A route costs more the more routes there are (``*_route_per_node_seconds``: growth of the mean
    over all insertions per entry inserted).
    """

    netlink_arp_seconds: float = _sourced(2.66e-05, _REMOTE)
    netlink_fdb_seconds: float = _sourced(2.983e-05, _REMOTE)
    netlink_route_seconds: float = _sourced(2.909e-05, _REMOTE)
    netlink_route_per_node_seconds: float = _sourced(1.811e-08, _REMOTE)
    cli_process_seconds: float = _sourced(0.002191, _REMOTE)
    cli_arp_seconds: float = _sourced(1.109e-05, _REMOTE)
    cli_fdb_seconds: float = _sourced(9.318e-06, _REMOTE)
    cli_route_seconds: float = _sourced(7.42e-06, _REMOTE)
    cli_route_per_node_seconds: float = _sourced(1.659e-08, _REMOTE)
    list_per_entry_seconds: float = _sourced(1.927e-06, _REMOTE + " (list_all)")
    bgp_route_seconds: float = _sourced(
        2.9e-05, "assumed: a BGP daemon's kernel route costs one netlink route call"
    )
    cloud_route_seconds: float = _sourced(
        1.0, "assumed: one cloud API call per node, made by the route controller, not by nodes"
    )

    def netlink_entry_seconds(self, step: str, remote_nodes_count: Real) -> Real:
        """Mean seconds per entry when ``remote_nodes_count`` entries are programmed in a row.

        Args:
            step: arp_entry, fdb_entry, route or node_total.
            remote_nodes_count: entries programmed, float or shape (n,).

        Raises:
            ValueError: for another step.
        """
        nodes = remote_nodes_count
        if step == "arp_entry":
            return self.netlink_arp_seconds + 0.0 * nodes
        if step == "fdb_entry":
            return self.netlink_fdb_seconds + 0.0 * nodes
        if step == "route":
            return self.netlink_route_seconds + self.netlink_route_per_node_seconds * nodes
        if step == "node_total":
            fixed = self.netlink_arp_seconds + self.netlink_fdb_seconds + self.netlink_route_seconds
            return fixed + self.netlink_route_per_node_seconds * nodes
        raise ValueError(f"no netlink step {step!r}")

    def cli_entry_seconds(self, step: str, remote_nodes_count: Real) -> Real:
        """Mean seconds per entry through one batch process per table.

        Raises:
            ValueError: for a step other than arp_entry, fdb_entry and route.
        """
        start = self.cli_process_seconds / remote_nodes_count
        if step == "arp_entry":
            return start + self.cli_arp_seconds
        if step == "fdb_entry":
            return start + self.cli_fdb_seconds
        if step == "route":
            growth = self.cli_route_per_node_seconds * remote_nodes_count
            return start + self.cli_route_seconds + growth
        raise ValueError(f"no batch step {step!r}")

    def node_joined_seconds(self, present_nodes_count: Real) -> Real:
        """Seconds one node spends on the entries of one new remote node.

        The route's growth counts double: the measured mean over n insertions grows with n, so the
        marginal insertion grows with 2 n. Shape of ``present_nodes_count``.
        """
        fixed = self.netlink_arp_seconds + self.netlink_fdb_seconds + self.netlink_route_seconds
        return fixed + 2.0 * self.netlink_route_per_node_seconds * present_nodes_count

    def full_programming_seconds(self, remote_nodes_count: Real) -> Real:
        """Seconds a fresh node spends on the entries of all its remote nodes."""
        return remote_nodes_count * self.netlink_entry_seconds("node_total", remote_nodes_count)
