"""Fits the disk and etcd's laws to CSVs of the ground-truth format.

etcd's laws are fitted by simulation: each Gauss-Newton step runs every measured row once per
parameter and compares the logarithms of throughput, latency, CPU and batch size (`calibrate_fit`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.costs.etcd import EtcdClientParams
from sim.costs.profile import Profile
from sim.experiment.accuracy import number, read_rows
from sim.experiment.accuracy_etcd import (
    Duration,
    EtcdCosts,
    Prediction,
    predict_put_closed,
    predict_put_open,
    predict_range_closed,
)
from sim.experiment.calibrate_fit import Solution, fit_logarithms
from sim.experiment.calibrate_profile import with_parameters
from sim.experiment.calibrate_types import Fitted

_WEIGHTS = {"client_cpu_us_per_op": 0.35, "p99_ms": 0.5, "mean_ms": 0.7}

ONE_MEMBER = (
    "etcd.receive_wake_seconds",
    "etcd.receive_seconds",
    "etcd.receive_per_byte_seconds",
    "etcd.append_wake_seconds",
    "etcd.append_seconds",
    "etcd.append_per_byte_seconds",
    "etcd.apply_wake_seconds",
    "etcd.apply_seconds",
    "etcd.apply_per_byte_seconds",
    "etcd.guard_seconds",
    "etcd.spin_seconds",
    "etcd.monitor_ratio",
    "etcd.cold_seconds",
    "etcd.cold_time_constant_seconds",
    "etcd.awake_ratio",
    "etcd.wake_latency_seconds",
    "etcd.collector_ratio",
    "etcd.collector_factor_ratio",
    "etcd.collector_mark_seconds",
    "etcd.scatter_sigma_ratio",
    "etcd.stall_ratio",
    "etcd.stall_seconds",
    "etcd.sync_stall_ratio",
    "etcd.sync_stall_seconds",
    "etcd.sync_stall_per_request_seconds",
    "etcd.commit_put_seconds",
    "etcd.commit_per_byte_seconds",
    "etcd.commit_page_ratio",
    "etcd.read_seconds",
    "etcd.read_wake_seconds",
    "etcd.read_key_seconds",
    "disk.bytes_per_second",
    "disk.rest_seconds",
    "disk.timer_excess_seconds",
    "disk.rest_time_constant_seconds",
)
"""Fitted to the rows with one member."""
SEVERAL_MEMBERS = (
    "etcd.crowding_ratio",
    "etcd.replicate_seconds",
    "etcd.acknowledge_wake_seconds",
    "etcd.acknowledge_seconds",
    "etcd.follow_wake_seconds",
    "etcd.follow_seconds",
    "etcd.follow_per_byte_seconds",
    "etcd.follow_apply_wake_seconds",
    "etcd.follow_apply_seconds",
    "etcd.forward_seconds",
    "etcd.read_index_wake_seconds",
    "disk.sharing_ratio",
)
"""Fitted to the rows with several members, after the others."""
CLIENT = ("wake_seconds", "call_seconds", "call_per_byte_seconds", "key_seconds")
"""The load generator's own CPU: fitted along, not part of a profile."""

_PUT_COLUMNS = (
    "throughput_ops_s",
    "p50_ms",
    "etcd_cpu_us_per_op",
    "proposals_per_fsync",
    "client_cpu_us_per_op",
    "p99_ms",
)
_OPEN_COLUMNS = ("p50_ms", "etcd_cpu_us_per_op", "client_cpu_us_per_op", "mean_ms", "p99_ms")
_RANGE_COLUMNS = (
    "throughput_ops_s",
    "mean_ms",
    "p50_ms",
    "etcd_cpu_us_per_op",
    "client_cpu_us_per_op",
    "p99_ms",
)

Run = Callable[[Mapping[str, Any], EtcdCosts, int, Duration | None], Prediction]


@dataclass(frozen=True, slots=True)
class Job:
    """One measured row and how to simulate it."""

    row: Mapping[str, str]
    run: Run
    columns: tuple[str, ...]
    duration: Duration


def collect_jobs(folder: Path, main_version: str = "3.6.8") -> list[Job]:
    """Return the rows of a folder that the fit uses."""
    sources: tuple[tuple[str, Run, tuple[str, ...]], ...] = (
        ("etcd_put_closed.csv", predict_put_closed, _PUT_COLUMNS),
        ("etcd_put_open.csv", predict_put_open, _OPEN_COLUMNS),
        ("etcd_txn_closed.csv", predict_put_closed, _PUT_COLUMNS),
        ("etcd_range_closed.csv", predict_range_closed, _RANGE_COLUMNS),
    )
    jobs = []
    for name, run, columns in sources:
        path = folder / name
        if not path.is_file():
            continue
        for row in read_rows(path, "disturbed == 0"):
            if row.get("etcd_version", main_version) == main_version:
                jobs.append(Job(row, run, columns, _duration(row)))
    return jobs


def _duration(row: Mapping[str, str]) -> Duration:
    delay_ms = number(row.get("fsync_delay_ms")) if row.get("fsync_delay_ms") else 0.0
    if row.get("range_keys"):
        keys = float(row["range_keys"])
        return Duration(0.1, 0.4 if keys == 1.0 else 0.8 + 0.0002 * keys)
    if row.get("clients") and float(row["clients"]) <= 2.0:
        return Duration(0.1, 0.8 + 0.3 * delay_ms)
    return Duration(0.12, 0.7 + 0.15 * delay_ms)


def residuals(jobs: Sequence[Job], costs: EtcdCosts, seed: int) -> npt.NDArray[np.float64]:
    """Return weighted logarithms of predicted over measured, all jobs and columns: (n,)."""
    found = []
    for job in jobs:
        predicted = job.run(job.row, costs, seed, job.duration)
        for column in job.columns:
            measured = number(job.row.get(column))
            if math.isnan(measured) or measured <= 0.0:
                continue
            value = predicted[column]
            error = math.log(value / measured) if value > 0.0 else 3.0
            found.append(_WEIGHTS.get(column, 1.0) * max(-3.0, min(3.0, error)))
    return np.asarray(found)


def _costs(profile: Profile, client: EtcdClientParams) -> EtcdCosts:
    return EtcdCosts(law=profile.etcd, disk=profile.disk, client=client)


def _value(profile: Profile, client: EtcdClientParams, name: str) -> float:
    if name.startswith("client."):
        return float(getattr(client, name.removeprefix("client.")))
    part, _, field_name = name.partition(".")
    return float(getattr(getattr(profile, part), field_name))


def _changed(
    profile: Profile, client: EtcdClientParams, values: Mapping[str, float]
) -> tuple[Profile, EtcdClientParams]:
    own = {k.removeprefix("client."): v for k, v in values.items() if k.startswith("client.")}
    rest = {k: v for k, v in values.items() if not k.startswith("client.")}
    return with_parameters(profile, rest), replace(client, **own)


def fit_group(
    names: Sequence[str],
    jobs: Sequence[Job],
    profile: Profile,
    client: EtcdClientParams,
    *,
    seed: int,
    iteration_count: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Solution:
    """Fit some parameters, each by itself, to some rows."""

    def error(values: Mapping[str, float]) -> npt.NDArray[np.float64]:
        return residuals(jobs, _costs(*_changed(profile, client, values)), seed)

    return fit_logarithms(
        [(name,) for name in names],
        {name: _value(profile, client, name) for name in names},
        error,
        iteration_count=iteration_count,
        progress=progress,
    )


def fit_etcd(
    folder: Path,
    profile: Profile,
    *,
    seed: int,
    iteration_count: int,
    row_step: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Fitted]:
    """Fit etcd's laws (and the load generator's, which is not returned) to a folder.

    Of the rows every ``row_step``-th is simulated.
    """
    jobs = collect_jobs(folder)
    client = EtcdClientParams()
    fitted: list[Fitted] = []
    for title, group, chosen in (
        ("one member", [*ONE_MEMBER, *(f"client.{name}" for name in CLIENT)], ("1",)),
        ("several members", list(SEVERAL_MEMBERS), ("3", "5", "7")),
    ):
        rows = [job for job in jobs if job.row["members"] in chosen][::row_step]
        if not rows:
            continue
        progress(f"etcd, {title}: {len(group)} parameters to {len(rows)} rows")
        found = fit_group(
            group, rows, profile, client, seed=seed, iteration_count=iteration_count,
            progress=progress,
        )  # fmt: skip
        profile, client = _changed(profile, client, found.values)
        own = [name for name in group if not name.startswith("client.")]
        fitted += found.fitted(own, f"etcd_*.csv, {title}", f"{len(rows)} rows simulated")
    return fitted


_QUANTILES = (
    ("q01", 0.01), ("q05", 0.05), ("q10", 0.10), ("q20", 0.20), ("q30", 0.30), ("q40", 0.40),
    ("q50", 0.50), ("q60", 0.60), ("q70", 0.70), ("q80", 0.80), ("q90", 0.90), ("q95", 0.95),
    ("q98", 0.98), ("q99", 0.99), ("q995", 0.995), ("q999", 0.999),
)  # fmt: skip


def fit_disk(folder: Path, profile: Profile) -> list[Fitted]:
    """Fit the disk to the quantiles of preallocated files.

    The median is that of the closed loop, the shape that of all rates: how far each quantile lies
    from the median of its run. The tolerance is the spread of the runs.
    """
    with (folder / "etcd_disk_fdatasync.csv").open(newline="", encoding="utf-8") as handle:
        rows = [
            row
            for row in csv.DictReader(handle)
            if row["storage"] == "disk" and row["file"] == "preallocated"
        ]
    closed = [row for row in rows if float(row["rate_s_0_is_closed_loop"]) == 0.0]
    if not closed:
        return []
    assert profile.disk.shape, "a disk without a shape"
    medians = [float(row["q50_ms"]) for row in closed]
    names = [*(name for name, _ in _QUANTILES), "max"]
    ratios = np.array(
        [[float(row[f"{name}_ms"]) / float(row["q50_ms"]) for name in names] for row in rows]
    )
    middle = np.median(ratios, axis=0)
    shape = [(0.0, round(0.9 * float(middle[0]), 3))]
    for (_, probability), ratio in zip(_QUANTILES, middle[:-1].tolist(), strict=True):
        shape.append((probability, max(shape[-1][1], round(ratio, 3))))
    shape.append((1.0, max(shape[-1][1], round(float(middle[-1]), 1))))
    body = ratios[:, : [name for name, _ in _QUANTILES].index("q98")]
    return [
        Fitted(
            name="disk.sync_median_seconds",
            value=float(np.median(medians)) / 1e3,
            source="etcd_disk_fdatasync.csv, preallocated files, closed loop",
            quality=f"medians of {len(medians)} runs {min(medians):.3f}-{max(medians):.3f} ms",
            tolerance_ratio=max(medians) / float(np.median(medians)) - 1.0,
        ),
        Fitted(
            name="disk.shape",
            value=tuple(shape),
            source="etcd_disk_fdatasync.csv, preallocated files",
            quality=f"medians over {len(rows)} runs of quantiles over the median",
            tolerance_ratio=float(np.max(np.std(np.log(body), axis=0))),
        ),
    ]
