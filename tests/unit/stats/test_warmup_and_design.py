"""MSER-5 against its definition and known transients; designs against their defining properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import qmc

from sim.stats.design import AxisRange, grid, latin_hypercube, sobol
from sim.stats.warmup import mser5

RNG = np.random.default_rng


@given(st.lists(st.floats(-1e3, 1e3), min_size=10, max_size=120))
def test_mser5_equals_its_definition(values: list[float]) -> None:
    batches = [sum(values[i : i + 5]) / 5 for i in range(0, len(values) - 4, 5)]
    k = len(batches)
    scores = []
    for d in range(k // 2 + 1):
        rest = batches[d:]
        mean = math.fsum(rest) / len(rest)
        scores.append(math.fsum((y - mean) ** 2 for y in rest) / len(rest) ** 2)
    found = mser5(values)
    assert found.index % 5 == 0
    scale = max(scores) + 1e-12
    assert scores[found.index // 5] == pytest.approx(min(scores), abs=1e-9 * scale + 1e-15)
    assert found.statistic == pytest.approx(min(scores), abs=1e-6 * scale)
    assert found.is_reliable is (found.index // 5 < k // 2)


def test_mser5_finds_a_step_and_an_exponential_start() -> None:
    noise = RNG(1).normal(0, 1, 2000)
    step = np.where(np.arange(2000) < 300, 50.0, 0.0) + noise
    assert mser5(step).index == 300
    decay = 100 * np.exp(-np.arange(2000) / 50) + noise
    assert 150 <= mser5(decay).index <= 500
    assert mser5(noise).index <= 400


def test_mser5_says_when_a_run_never_settled() -> None:
    assert not mser5(np.arange(500.0)).is_reliable
    assert mser5(np.ones(100)).index == 0
    for bad in ([1.0] * 9, [math.nan] * 50):
        with pytest.raises(ValueError, match="observations"):
            mser5(bad)


def test_grid_is_every_combination_in_order() -> None:
    assert grid({"a": [1, 2], "b": "xy"}) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}
    ]  # fmt: skip
    assert grid({}) == [{}]
    with pytest.raises(ValueError, match="no values"):
        grid({"a": []})


@pytest.mark.parametrize("count", [1, 7, 50])
def test_latin_hypercube_has_one_point_per_stratum(count: int) -> None:
    axes = {"x": AxisRange(10, 20), "y": AxisRange(1, 1000, is_log=True)}
    points = latin_hypercube(axes, count, RNG(count))
    x = [(point["x"] - 10) / 10 for point in points]
    y = [math.log(point["y"]) / math.log(1000) for point in points]
    for unit in (x, y):
        assert sorted(int(value * count) for value in unit) == list(range(count))
    assert points == latin_hypercube(axes, count, RNG(count))


def test_sobol_fills_space_evenly() -> None:
    axes = {name: AxisRange(0, 1) for name in "abc"}
    points = sobol(axes, 64, RNG(3))
    unit = np.array([list(point.values()) for point in points])
    # A (t, m, s)-net in base 2: each half, quarter, … of an axis holds its share exactly.
    for axis in range(3):
        assert np.bincount((unit[:, axis] * 64).astype(int), minlength=64).tolist() == [1] * 64
    assert qmc.discrepancy(unit) < qmc.discrepancy(RNG(3).random((64, 3)))
    with pytest.raises(ValueError, match="power of two"):
        sobol(axes, 60, RNG(3))


def test_whole_axes_reach_both_ends_evenly() -> None:
    points = latin_hypercube({"n": AxisRange(1, 4, is_whole=True)}, 400, RNG(0))
    values = [point["n"] for point in points]
    assert all(isinstance(value, int) for value in values)
    assert [values.count(n) for n in (1, 2, 3, 4)] == [100] * 4


@pytest.mark.parametrize(
    ("low", "high", "is_log"), [(2, 2, False), (3, 2, False), (0, 2, True), (0, math.inf, False)]
)
def test_impossible_axes(low: float, high: float, is_log: bool) -> None:
    with pytest.raises(ValueError, match="axis"):
        AxisRange(low, high, is_log=is_log)


def test_empty_designs_are_refused() -> None:
    for make in (latin_hypercube, sobol):
        with pytest.raises(ValueError, match="at least one"):
            make({}, 4, RNG(0))
        with pytest.raises(ValueError, match="at least one"):
            make({"a": AxisRange(0, 1)}, 0, RNG(0))
