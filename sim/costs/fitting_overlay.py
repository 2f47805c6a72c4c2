"""Re-derives the overlay laws from overlay_pod_sandbox.csv and overlay_remote_node_entries.csv."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sim.costs.fitting_proxy import FloatArray, Row, least_squares, pseudo_huber
from sim.costs.overlay import (
    SETUP_STEPS,
    TEARDOWN_STEPS,
    PodNetworkParams,
    RemoteNodeParams,
    StepLaw,
)

_HUBER_SCALE = 0.2
_PRIOR_WEIGHT = 0.05
_QUANTILE_WEIGHTS = {"mean_ms": 1.0, "p50_ms": 1.0, "p90_ms": 0.3, "p99_ms": 0.7}
_LOWEST_RATIO = (0.85, 0.1)
"""Start and standard deviation of the logarithm: durations well below the median are not seen."""


def median_rank(quantile: float, samples_count: float) -> float:
    """The distribution quantile at which a sample's reported quantile has its median.

    With 50 samples the reported 99 % quantile is the maximum, whose median is the 98.6 %
    quantile of the distribution.

    **Source:** Benard's approximation (i - 0.3) / (n + 0.4).
    """
    rank = math.ceil(quantile * samples_count)
    return (rank - 0.3) / (samples_count + 0.4)


def _middle_pods(row: Row) -> float:
    return 0.5 * (float(row["existing_pods_from"]) + float(row["existing_pods_to"]))


def step_statistics_seconds(law: StepLaw, row: Row) -> dict[str, float]:
    """Predicted mean_ms, p50_ms, p90_ms, p99_ms of one row, in seconds."""
    concurrency, pods = float(row["concurrency"]), _middle_pods(row)
    median = float(law.typical_seconds(pods, concurrency))
    samples = float(row["count"])
    result = {"mean_ms": median * law.mean_ratio(concurrency), "p50_ms": median}
    for name, quantile in (("p90_ms", 0.9), ("p99_ms", 0.99)):
        rank = median_rank(quantile, samples)
        result[name] = median * float(law.quantile_ratio(rank, concurrency))
    return result


def total_statistics_seconds(params: PodNetworkParams, row: Row) -> dict[str, float]:
    """Predicted mean_ms, p50_ms, p90_ms, p99_ms of a row of the whole set-up, in seconds."""
    concurrency = float(row["concurrency"])
    mean = float(params.pod_setup_mean_seconds(_middle_pods(row), concurrency))
    shape = params.total_shape
    median = mean / shape.mean_ratio(concurrency)
    samples = float(row["count"])
    result = {"mean_ms": mean, "p50_ms": median}
    for name, quantile in (("p90_ms", 0.9), ("p99_ms", 0.99)):
        rank = median_rank(quantile, samples)
        result[name] = median * float(shape.quantile_ratio(rank, concurrency))
    return result


def _law_residuals(law: StepLaw, rows: Sequence[Row]) -> FloatArray:
    parts = []
    for row in rows:
        for name, predicted in step_statistics_seconds(law, row).items():
            error = math.log(predicted / (float(row[name]) * 1e-3))
            parts.append(_QUANTILE_WEIGHTS[name] * error)
    return pseudo_huber(np.array(parts, dtype=np.float64), _HUBER_SCALE)


def fit_step(rows: Sequence[Row], base: StepLaw, *, per_pod: bool) -> StepLaw:
    """Fit one step's distribution to its rows (all bands and concurrencies).

    Raises:
        ValueError: without rows.
    """
    if not rows:
        raise ValueError("no rows of this step")
    contended = any(row["concurrency"] != "1" for row in rows)
    middle = math.exp(float(np.mean([math.log(float(row["p50_ms"])) for row in rows]))) * 1e-3
    start = [
        ("median_seconds", middle, 1.0),
        ("lowest_ratio", *_LOWEST_RATIO),
        ("q90_ratio", 1.3, 1.0),
        ("q99_ratio", 2.0, 1.0),
    ]
    if contended:
        start += [
            ("contended_median_ratio", 1.5, 1.0),
            ("contended_q90_ratio", 3.0, 1.0),
            ("contended_q99_ratio", 5.0, 1.0),
        ]
    if per_pod:
        start.append(("median_per_pod_seconds", middle / 100.0, 1.0))
    names = [name for name, _, _ in start]
    centre = np.log(np.array([value for _, value, _ in start]))
    spread = np.array([deviation for _, _, deviation in start])

    def law_at(logs: FloatArray) -> StepLaw:
        values: dict[str, Any] = {
            name: float(v) for name, v in zip(names, np.exp(logs), strict=True)
        }
        law = replace(base, **values)
        if contended:
            return law
        return replace(law, contended_q90_ratio=law.q90_ratio, contended_q99_ratio=law.q99_ratio)

    def residuals(logs: FloatArray) -> FloatArray:
        prior = _PRIOR_WEIGHT * (logs - centre) / spread
        return np.concatenate([_law_residuals(law_at(logs), rows), prior])

    return law_at(least_squares(residuals, centre))


def fit_pod_network(rows: Iterable[Row]) -> PodNetworkParams:
    """Fit every step, the shape of the total and the CPU share to overlay_pod_sandbox.csv rows."""
    rows = list(rows)
    params = PodNetworkParams()
    fitted: dict[str, Any] = {
        name: fit_step(
            [row for row in rows if row["step"] == name],
            params.step(name),
            per_pod=params.step(name).serial,
        )
        for name in (*SETUP_STEPS, *TEARDOWN_STEPS)
    }
    totals = [row for row in rows if row["step"] == "total"]
    shape = replace(
        fit_step(totals, params.total_shape, per_pod=True),
        median_seconds=1.0,
        median_per_pod_seconds=0.0,
        contended_median_ratio=1.0,
    )
    serial = [row for row in totals if row["concurrency"] == "1"]
    cpu = [
        float(row["cpu_ms_per_pod_whole_run"]) / float(row["wall_ms_per_pod_whole_run"])
        for row in serial
    ]
    return replace(
        params,
        **fitted,
        total_shape=shape,
        setup_cpu_ratio=float(np.median(cpu)),
    )


_REMOTE_STARTS = {
    "netlink_arp_seconds": 2.5e-5,
    "netlink_fdb_seconds": 2.5e-5,
    "netlink_route_seconds": 2.5e-5,
    "netlink_route_per_node_seconds": 2e-8,
    "cli_process_seconds": 2e-3,
    "cli_arp_seconds": 1e-5,
    "cli_fdb_seconds": 1e-5,
    "cli_route_seconds": 1e-5,
    "cli_route_per_node_seconds": 2e-8,
}


def remote_entry_seconds(params: RemoteNodeParams, row: Row) -> float | None:
    """Predicted mean seconds per entry of one row; None for rows without a mean (list_all)."""
    nodes = float(row["remote_nodes"])
    if row["step"] == "list_all":
        return None
    if row["op"] == "remote_node_cli_batch":
        return float(params.cli_entry_seconds(row["step"], nodes))
    return float(params.netlink_entry_seconds(row["step"], nodes))


def fit_remote_nodes(rows: Iterable[Row]) -> RemoteNodeParams:
    """Fit the entry costs to overlay_remote_node_entries.csv rows."""
    rows = list(rows)
    used = [row for row in rows if row["step"] != "list_all"]
    measured = np.log([float(row["mean_ms"]) * 1e-3 for row in used])
    names = list(_REMOTE_STARTS)
    centre = np.log(np.array(list(_REMOTE_STARTS.values())))
    listing = [
        float(row["total_s"]) / float(row["count"]) for row in rows if row["step"] == "list_all"
    ]
    base = RemoteNodeParams()
    if listing:
        base = replace(base, list_per_entry_seconds=float(np.median(listing)))

    def params_at(logs: FloatArray) -> RemoteNodeParams:
        values = {name: float(v) for name, v in zip(names, np.exp(logs), strict=True)}
        return replace(base, **values)

    def residuals(logs: FloatArray) -> FloatArray:
        params = params_at(logs)
        predicted = np.array([remote_entry_seconds(params, row) for row in used], dtype=np.float64)
        return np.concatenate(
            [
                pseudo_huber(np.log(predicted) - measured, _HUBER_SCALE),
                _PRIOR_WEIGHT * (logs - centre),
            ]
        )

    return params_at(least_squares(residuals, centre))
