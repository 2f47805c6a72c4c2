"""The simulated scheduler, with apiserver, etcd and client on two cores, against the real one.

A little below what is reached; `docs/model/scheduler.md` has the table and what misses.
"""

from __future__ import annotations

import csv
from pathlib import Path

from sim.costs.profile import Profile
from sim.experiment.accuracy_scheduler import PREDICTORS

NAME = "scheduler_throughput.csv"
TYPICAL = ["pods_per_s", "algorithm_mean_ms", "scheduler_cpu_ms_per_pod"]
TAIL = ["create_to_bound_p50_ms", "create_to_bound_p99_ms"]


def test_so_many_values_are_near_the_measured_ones(shared_dir: Path) -> None:
    with (shared_dir / "groundtruth" / NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    predictions = PREDICTORS[NAME](rows, Profile(), 1)

    def share(columns: list[str], low: float, high: float) -> float:
        ratios = [
            values[column] / float(row[column])
            for row, values in zip(rows, predictions, strict=True)
            for column in columns
        ]
        assert len(ratios) == 15 * len(columns)
        return sum(low <= ratio <= high for ratio in ratios) / len(ratios)

    assert share(TYPICAL, 0.80, 1.25) >= 0.77
    assert share(TYPICAL, 0.66, 1.50) >= 0.93
    assert share(TAIL, 0.66, 1.50) >= 0.80
