"""Disk laws: the measured quantiles come back, users' own measurements become laws."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sim.base.errors import UserError
from sim.costs.disk import (
    DISKS,
    DiskLaw,
    DiskParams,
    disk_from_buckets,
    disk_from_percentiles,
    lognormal_shape,
)
from sim.engine.streams import StreamFactory


def draws(params: DiskParams, count: int = 20_000, gap_seconds: float = 0.0) -> np.ndarray:
    law = DiskLaw(params, StreamFactory(1, 0).stream("disk"))
    now = 0.0
    values = []
    for _ in range(count):
        duration = law.sync_seconds(now, 0)
        values.append(duration)
        now += duration + gap_seconds
    return np.array(values)


def test_measured_disk_has_the_measured_quantiles(shared_dir: Path) -> None:
    """Quantiles of the law lie within 30 % of the median over the runs (their own spread)."""
    with (shared_dir / "groundtruth" / "etcd_disk_fdatasync.csv").open() as handle:
        rows = [
            row
            for row in csv.DictReader(handle)
            if row["storage"] == "disk"
            and row["file"] == "preallocated"
            and row["rate_s_0_is_closed_loop"] == "0"
        ]
    values = draws(DISKS["measured"])
    for name, probability in (("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        measured = np.median([float(row[f"{name}_ms"]) for row in rows])
        assert np.quantile(values, probability) * 1e3 == pytest.approx(measured, rel=0.3), name


@pytest.mark.parametrize("name", sorted(DISKS))
def test_disks_are_ordered_positive_and_named(name: str) -> None:
    params = DISKS[name]
    assert params.name == name
    values = draws(params, 4_000)
    assert values.min() > 0.0
    assert np.median(values) == pytest.approx(params.sync_median_seconds, rel=0.05)
    law = DiskLaw(params, StreamFactory(1, 0).stream("disk"))
    assert values.mean() == pytest.approx(law.mean_seconds(), rel=0.1)


def test_lognormal_shape_keeps_its_percentile() -> None:
    params = DiskParams(
        name="x", sync_median_seconds=1e-3, shape=lognormal_shape(5.0), rest_seconds=0.0
    )
    values = draws(params)
    assert np.quantile(values, 0.5) == pytest.approx(1e-3, rel=0.03)
    assert np.quantile(values, 0.99) == pytest.approx(5e-3, rel=0.1)


def test_rested_disk_is_slower() -> None:
    busy, rested = draws(DISKS["measured"], 4000), draws(DISKS["measured"], 4000, 0.05)
    expected = DISKS["measured"].rest_seconds
    assert np.median(rested) - np.median(busy) == pytest.approx(expected, rel=0.1)


def test_syncs_in_flight_slow_each_other() -> None:
    params = DiskParams(
        name="x",
        sync_median_seconds=1e-3,
        shape=((0.0, 1.0), (1.0, 1.0)),
        sharing_ratio=0.5,
        rest_seconds=0.0,
    )
    law = DiskLaw(params, StreamFactory(1, 0).stream("disk"))
    assert law.sync_seconds(0.0, 0) == pytest.approx(1e-3)
    assert law.sync_seconds(0.0, 0) == pytest.approx(1.5e-3)
    assert law.sync_seconds(0.5e-3, 0) == pytest.approx(2e-3)
    assert law.sync_seconds(1.0, 0) == pytest.approx(1e-3)


def test_bytes_delay_and_slowdown_add_up() -> None:
    params = DiskParams(
        name="x",
        sync_median_seconds=1e-3,
        shape=((0.0, 1.0), (1.0, 1.0)),
        bytes_per_second=1e6,
        delay_seconds=0.005,
        timer_excess_seconds=0.0,
        rest_seconds=0.0,
    )
    law = DiskLaw(params, StreamFactory(1, 0).stream("disk"))
    law.slowdown_ratio = 2.0
    assert law.sync_seconds(0.0, 2_000) == pytest.approx(2 * (0.001 + 0.002 + 0.005))


def test_users_percentiles_come_back() -> None:
    params = disk_from_percentiles("fio", {50: 0.8e-3, 90: 1.5e-3, 99: 6e-3, 99.9: 20e-3})
    values = draws(params)
    for probability, seconds in ((0.5, 0.8e-3), (0.9, 1.5e-3), (0.99, 6e-3)):
        assert np.quantile(values, probability) == pytest.approx(seconds, rel=0.1)


def test_users_histogram_comes_back() -> None:
    edges = [0.001, 0.002, 0.004, 0.008, 0.016]
    counts = [0, 500, 900, 990, 1000]
    values = draws(disk_from_buckets("dump", edges, counts))
    shares = [(values <= edge).mean() for edge in edges]
    assert shares == pytest.approx([0.0, 0.5, 0.9, 0.99, 1.0], abs=0.015)


@pytest.mark.parametrize(
    "percentiles", [{50: 1.0}, {50: 2.0, 90: 1.0}, {50: -1.0, 90: 1.0}, {0: 1.0, 50: 2.0}]
)
def test_nonsense_percentiles_are_refused(percentiles: dict[float, float]) -> None:
    with pytest.raises(UserError):
        disk_from_percentiles("bad", percentiles)


def test_empty_or_falling_histograms_are_refused() -> None:
    with pytest.raises(UserError):
        disk_from_buckets("bad", [0.001], [0])
    with pytest.raises(UserError):
        disk_from_buckets("bad", [0.001, 0.002], [5, 4])
