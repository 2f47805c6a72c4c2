"""What is done after a run: metrics and files of millions of facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sim.components import facts
from sim.engine.tables import Recorder
from sim.export.run_directory import write_facts
from sim.metrics.derive import Derivation
from sim.metrics.series import all_series, scrape_times
from sim.metrics.summary import summary

VERBS = ("get", "list", "create", "update", "patch", "delete", "watch")
RESOURCES = ("pods", "nodes", "leases", "events", "endpointslices", "services")


def requests(count: int) -> Recorder:
    """Requests drawn at random, written as a fleet would write them."""
    rng = np.random.default_rng(1)
    recorder = Recorder(facts.ALL)
    total = rng.exponential(0.02, count)

    def words(options: tuple[str, ...]) -> list[str]:
        return np.array(options, dtype=object)[rng.integers(0, len(options), count)].tolist()

    recorder["requests"].extend_columns([
        np.sort(rng.random(count) * 1500.0), words(VERBS), words(RESOURCES), words(("", "status")),
        words(("resource", "cluster")), words(tuple(f"system:node:n{i}" for i in range(500))),
        words(("system", "workload-low")), rng.integers(0, 3, count),
        np.full(count, 200), 0.1 * total, 0.1 * total, 0.7 * total, total,
        rng.integers(100, 10_000, count),
    ])  # fmt: skip
    return recorder


@pytest.fixture(scope="module")
def size(bench_size: Callable[[int, int], int]) -> int:
    return bench_size(20_000, 2_500_000)


@pytest.fixture(scope="module")
def recorder(size: int) -> Recorder:
    return requests(size)


@pytest.mark.benchmark(group="results")
def test_summary(benchmark, recorder: Recorder, size: int) -> None:
    rows = benchmark.pedantic(lambda: summary(Derivation(recorder)), rounds=2)
    total = sum(row.value for row in rows if row.metric == "apiserver_request_total")
    benchmark.extra_info["rows"] = size
    assert total == size


@pytest.mark.benchmark(group="results")
def test_series(benchmark, recorder: Recorder, size: int) -> None:
    def derive() -> float:
        lines = all_series(Derivation(recorder), scrape_times(1500.0, 5.0))
        return sum(line.values[-1] for line in lines if line.metric == "apiserver_request_total")

    benchmark.extra_info["rows"] = size
    assert benchmark.pedantic(derive, rounds=2) == size


@pytest.mark.benchmark(group="results")
@pytest.mark.parametrize("choice", ["csv", "parquet"])
def test_facts(benchmark, recorder: Recorder, size: int, choice: str, tmp_path: Path) -> None:
    written = benchmark.pedantic(write_facts, (tmp_path, recorder.tables, choice), rounds=1)
    assert written == [f"requests.{choice}"]
    benchmark.extra_info["rows"] = size
    assert (tmp_path / written[0]).stat().st_size > 20 * size
