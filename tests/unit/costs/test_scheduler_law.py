"""The cost law of scheduling cycles: as measured, and where the snapshot is not cached."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import pytest

from sim.costs.scheduler import CycleShape, SchedulerLaw, SchedulerLawParams
from sim.experiment.calibrate_closed import cycle_wall_seconds

PARAMS = SchedulerLawParams()
LAW = SchedulerLaw(PARAMS)


def cycle(nodes: int, *, gap_seconds: float = 0.0, busy: bool = False) -> float:
    return LAW.cycle_seconds(
        CycleShape(), nodes, nodes, nodes, gap_seconds=gap_seconds, busy=busy
    )


def node_work(nodes: int, *, busy: bool = False) -> float:
    """What a cycle costs without its fixed part: proportional to κ."""
    return cycle(nodes, busy=busy) - PARAMS.cycle_base_seconds


def test_every_parameter_names_its_source() -> None:
    for item in fields(PARAMS):
        assert item.metadata.get("source"), item.name


def test_single_core_cycles_as_measured(shared_dir: Path) -> None:
    with (shared_dir / "groundtruth" / "scheduler_core_speed.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["gomaxprocs"] == "1"]
    ratios = [cycle_wall_seconds(LAW, row) * 1e6 / float(row["us_per_pod_median"]) for row in rows]
    assert len(ratios) == 40
    assert sum(0.8 <= ratio <= 1.2 for ratio in ratios) >= 33
    assert min(ratios) > 0.75
    assert max(ratios) < 1.4


def test_a_snapshot_that_others_have_pushed_out_costs_as_much_as_one_that_never_fits() -> None:
    lost = 1.0 + PARAMS.cache_penalty_ratio
    fresh = 1.0 + PARAMS.cache_penalty_ratio * 100 / (100 + PARAMS.cache_half_nodes)
    asleep = cycle(100, gap_seconds=1.0)
    assert asleep == pytest.approx(
        lost * (PARAMS.cycle_base_seconds + node_work(100) / fresh)
    )  # the code of a cycle is cold as well
    short, long = (cycle(100, gap_seconds=gap) for gap in (0.2e-3, 1e-3))
    assert cycle(100) < short < long < asleep


def test_busy_neighbours_take_the_more_the_larger_the_snapshot() -> None:
    small, large = (node_work(nodes, busy=True) / node_work(nodes) for nodes in (100, 5000))
    assert 1.0 < small < large
    grown = PARAMS.cache_penalty_ratio * 5000 / (5000 + PARAMS.cache_half_nodes)
    assert large == pytest.approx((1.0 + PARAMS.cache_busy_ratio * grown) / (1.0 + grown))
