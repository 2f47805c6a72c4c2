"""How fast real input becomes values: manifests, quantities, histograms of what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sim.base.quantity import cpu_millicores, memory_bytes, parse_quantity
from sim.base.yaml_strict import load_documents
from sim.stats.histogram import LogHistogram, classic_bucket_counts, exponential_bounds

Pick = Callable[[Any, Any], Any]


@pytest.mark.benchmark(group="input")
def test_read_manifests(benchmark: Any, bench_size: Pick, shared_dir: Path) -> None:
    folder = shared_dir / "data" / "k8s-sims"
    names, wanted = bench_size((["nodes-100"], 100), (["nodes-1200", "pods-1200"], 1213 + 7064))
    texts = [(folder / f"{name}.yaml").read_text() for name in names]

    def read() -> int:
        return sum(1 for text in texts for _ in load_documents("m.yaml", text))

    assert benchmark(read) == wanted


@pytest.mark.benchmark(group="input")
def test_read_known_quantities(benchmark: Any, bench_size: Pick) -> None:
    """Amounts repeat: the doors for cpu and memory remember them."""
    count = bench_size(100, 10_000)
    texts = [(f"{i % 64 * 250}m", f"{i % 64 * 512}Mi") for i in range(count)]

    def read() -> tuple[int, int]:
        return (
            sum(cpu_millicores(cpu) for cpu, _ in texts),
            sum(memory_bytes(memory) for _, memory in texts),
        )

    steps = sum(i % 64 for i in range(count))
    assert benchmark(read) == (250 * steps, 512 * 2**20 * steps)


@pytest.mark.benchmark(group="input")
def test_read_new_quantities(benchmark: Any, bench_size: Pick) -> None:
    texts = [f"{i}.5Gi" for i in range(bench_size(50, 5_000))]

    def read() -> int:
        return sum(parse_quantity(text).value for text in texts)

    assert benchmark(read) == sum((2 * i + 1) * 2**29 for i in range(len(texts)))


@pytest.mark.benchmark(group="statistics")
def test_bucket_recorded_values(benchmark: Any, bench_size: Pick) -> None:
    values = np.random.default_rng(1).exponential(0.01, bench_size(1_000, 1_000_000))

    def bucket() -> tuple[int, int]:
        histogram = LogHistogram(1e-6, 1e3)
        histogram.add(values)
        counts = classic_bucket_counts(values, exponential_bounds(1e-3, 2, 15))
        return histogram.count, int(counts[-1])

    assert benchmark(bucket) == (values.size, values.size)
