"""Predictors of the files about single nodes: kube-proxy and the overlay (see `accuracy`).

Only the rows' conditions and sample sizes are used. Single syncs and
overlay steps are laws; the file of the runner is simulated by the very fleet that clusters are
made of, with one node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.base.objects import Endpoint, EndpointSlice, Service, ServicePort
from sim.components.facts import NETWORK_PROGRAMMING, POD_TRANSITIONS, PROXY_SYNCS
from sim.components.kube_proxy_fleet import KubeProxyFleet, KubeProxyFleetParams
from sim.components.ports import FleetWatcher, WatchEvent
from sim.costs.accuracy_node_laws import (
    predict_kube_proxy_sync,
    predict_overlay_pod_sandbox,
    predict_overlay_remote_node_entries,
)
from sim.costs.profile import Profile
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.experiment.accuracy import Predictor, Row, Values, row_by_row

_CHANGES_PER_ROW_COUNT = 600.0
_REPLICATION_COUNT_MIN, _REPLICATION_COUNT_MAX = 4, 32
_SETTLE_SECONDS = 2.0
_DURATION_SECONDS = 15.0
"""Where a row does not say. **Source:** kube_proxy_bounded_frequency.csv (duration_s)."""


def _each(predict: Callable[..., Values], part: Callable[[Profile], Any]) -> Predictor:
    def run(row: Row, profile: Profile, _: int) -> Values:
        return predict(row, part(profile))

    return row_by_row(run)


def predict_runner(row: Row, profile: Profile, seed: int) -> Values:
    """Simulate a row of kube_proxy_bounded_frequency.csv: Poisson changes on one node.

    The predicted mean, median and percentiles (nearest rank, as measured) are averages over
    several runs of the row's own duration, more of them where a run has few changes.
    """
    expected = float(row["change_rate_s"]) * float(row.get("duration_s") or _DURATION_SECONDS)
    wanted = round(_CHANGES_PER_ROW_COUNT / expected)
    count = min(max(wanted, _REPLICATION_COUNT_MIN), _REPLICATION_COUNT_MAX)
    found = []
    for replication in range(count):
        latencies = np.sort(run_runner(row, profile, Engine(seed, replication)))
        if len(latencies):
            ranks = [-(-len(latencies) * share // 100) - 1 for share in (50, 90, 99)]
            found.append([latencies.mean(), *latencies[ranks]])
    mean, median, p90, p99 = np.mean(np.array(found), axis=0) * 1e3
    return {
        "npl_mean_ms": float(mean),
        "npl_p50_ms": float(median),
        "npl_p90_ms": float(p90),
        "npl_p99_ms": float(p99),
    }


class _NoServer:
    """Stands where the apiserver stands: the load generator calls the fleet itself."""

    def __init__(self) -> None:
        self.watchers: list[FleetWatcher] = []

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        """Take a watch."""
        self.watchers.append(watcher)


def run_runner(row: Row, profile: Profile, engine: Engine) -> npt.NDArray[np.float64]:
    """Run one kube-proxy under Poisson changes; return change → programmed, seconds each.

    One endpoint of a random Service is replaced per change, as in the measurement, from right
    after the initial full sync on.
    """
    recorder = Recorder((PROXY_SYNCS, NETWORK_PROGRAMMING, POD_TRANSITIONS))
    params = KubeProxyFleetParams(
        mode="nftables" if row["proxy_mode"] == "nftables" else "iptables",
        iptables_backend="legacy" if row["iptables_backend"] == "legacy" else "nf_tables",
        min_sync_period_seconds=float(row["min_sync_period_s"]),
    )
    server = _NoServer()
    fleet = KubeProxyFleet(
        engine,
        recorder,
        server,  # type: ignore[arg-type]
        params,
        profile.kube_proxy,
        1,
    )
    slices = _slices(int(row["services"]), int(row["endpoints_per_service"]))
    fleet.preload([*_services(len(slices)), *slices])
    fleet.start()
    fleet.disconnect(0)
    fleet.reconnect(0)
    engine.run(_SETTLE_SECONDS)
    begin = float(fleet.runners.free_at[0]) + _SETTLE_SECONDS
    duration = float(row.get("duration_s") or _DURATION_SECONDS)
    times = _poisson_times(engine, float(row["change_rate_s"]), begin, duration)
    services = engine.stream("changes/service").generator().integers(len(slices), size=len(times))
    deliver = server.watchers[1].deliver_all
    assert deliver is not None
    for revision, (time, index) in enumerate(zip(times, services.tolist(), strict=True), start=1):
        old = slices[index]
        new = old.clone()
        fresh = Endpoint(f"11.{revision >> 8}.{revision & 255}.1", "", True, True, False, 0, "")
        new.endpoints = (*old.endpoints[1:], fresh)
        new.trigger_seconds = time
        slices[index] = new
        event = WatchEvent("MODIFIED", "endpointslices", new.key, new, old, revision, time)
        engine.call_at(time, lambda seen: deliver([seen], np.array([seen.commit_seconds])), event)
    engine.run(begin + duration + 120.0)
    latencies = recorder["network_programming"].column("programmed_seconds_max")
    assert len(latencies) == len(times), "a change was not programmed"
    return np.asarray(latencies, dtype=np.float64)


def _poisson_times(
    engine: Engine, rate_per_second: float, begin_seconds: float, duration_seconds: float
) -> list[float]:
    stream = engine.stream("changes/time")
    times = []
    time = begin_seconds + stream.exponential(1.0 / rate_per_second)
    while time < begin_seconds + duration_seconds:
        times.append(time)
        time += stream.exponential(1.0 / rate_per_second)
    return times


def _services(count: int) -> list[Service]:
    ports = (ServicePort("http", 80, "8080"),)
    return [
        Service(name=f"s{index}", namespace="default", cluster_ip=f"s{index}", ports=ports)
        for index in range(count)
    ]


def _slices(count: int, endpoints_count: int) -> list[EndpointSlice]:
    return [
        EndpointSlice(
            name=f"s{index}-0",
            namespace="default",
            service_name=f"s{index}",
            endpoints=tuple(
                Endpoint(f"10.{index}.{number}", "", True, True, False, 0, "")
                for number in range(endpoints_count)
            ),
        )
        for index in range(count)
    ]


PREDICTORS: dict[str, Predictor] = {
    "kube_proxy_sync.csv": _each(predict_kube_proxy_sync, lambda profile: profile.kube_proxy),
    "kube_proxy_bounded_frequency.csv": row_by_row(predict_runner),
    "overlay_pod_sandbox.csv": _each(
        predict_overlay_pod_sandbox, lambda profile: profile.pod_network
    ),
    "overlay_remote_node_entries.csv": _each(
        predict_overlay_remote_node_entries, lambda profile: profile.remote_node
    ),
}
"""By file name."""
