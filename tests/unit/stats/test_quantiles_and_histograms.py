"""Quantiles and buckets against Prometheus' own cases, order statistics and exact values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.stats.histogram import (
    LogHistogram,
    classic_bucket_counts,
    exponential_bounds,
    linear_bounds,
)
from sim.stats.quantiles import bucketed_quantiles, exact_quantiles

POSITIVE = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200)


def test_exact_quantiles_by_hand() -> None:
    # Hyndman and Fan type 7 of 1, 2, 3, 4: h = 3q.
    assert exact_quantiles([4, 1, 3, 2], (0, 0.25, 0.5, 0.9, 1)).tolist() == pytest.approx(
        [1, 1.75, 2.5, 3.7, 4]
    )
    assert np.isnan(exact_quantiles([], (0.5,))).all()
    assert exact_quantiles([7.0], (0, 0.3, 1)).tolist() == [7, 7, 7]
    for bad in ((-0.1,), (1.1,), (math.nan,)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            exact_quantiles([1], bad)


@given(values=POSITIVE, quantile=st.floats(0, 1))
def test_exact_quantile_lies_between_its_order_statistics(
    values: list[float], quantile: float
) -> None:
    ordered = sorted(values)
    h = quantile * (len(ordered) - 1)
    low, high = ordered[math.floor(h)], ordered[math.ceil(h)]
    (found,) = exact_quantiles(values, (quantile,))
    assert low * (1 - 1e-12) <= found <= high * (1 + 1e-12)


# promql/promqltest/testdata/histograms.test: testhistogram, positive and negative series.
@pytest.mark.parametrize(
    ("bounds", "counts", "quantile", "wanted"),
    [
        ([0.1, 0.2, 1, math.inf], [5, 7, 11, 12], 0.0, 0.0),
        ([0.1, 0.2, 1, math.inf], [5, 7, 11, 12], 0.2, 0.048),
        ([0.1, 0.2, 1, math.inf], [5, 7, 11, 12], 0.5, 0.15),
        ([0.1, 0.2, 1, math.inf], [5, 7, 11, 12], 0.8, 0.72),
        ([0.1, 0.2, 1, math.inf], [5, 7, 11, 12], 1.0, 1.0),
        ([-0.2, -0.1, 0.3, math.inf], [1, 2, 3, 3], 0.0, -0.2),
        ([-0.2, -0.1, 0.3, math.inf], [1, 2, 3, 3], 0.2, -0.2),
        ([-0.2, -0.1, 0.3, math.inf], [1, 2, 3, 3], 0.5, -0.15),
        ([-0.2, -0.1, 0.3, math.inf], [1, 2, 3, 3], 0.8, 0.3 - 0.4 * 0.6),
        ([-0.2, -0.1, 0.3, math.inf], [1, 2, 3, 3], 1.0, 0.3),
        ([1, math.inf], [0, 3], 0.5, 1.0),
        ([1, 2, math.inf], [0, 0, 0], 0.5, math.nan),
    ],
)
def test_bucketed_quantiles(
    bounds: list[float], counts: list[int], quantile: float, wanted: float
) -> None:
    (found,) = bucketed_quantiles(bounds, counts, (quantile,))
    assert found == pytest.approx(wanted, nan_ok=True)


def test_bucketed_quantiles_refuse_what_is_no_histogram() -> None:
    for bounds, counts in (
        ([1.0, 2.0], [1, 2]),
        ([math.inf], [1]),
        ([2, 1, math.inf], [1, 2, 3]),
        ([1, 2, math.inf], [3, 2, 3]),
        ([1, math.inf], [1, 2, 3]),
    ):
        with pytest.raises(ValueError, match=r"bounds|buckets"):
            bucketed_quantiles(bounds, counts, (0.5,))


@given(values=POSITIVE)
def test_classic_buckets_count_what_is_at_or_below_each_bound(values: list[float]) -> None:
    bounds = exponential_bounds(0.001, 2, 15)
    counts = classic_bucket_counts(values, bounds)
    assert counts.tolist() == [sum(v <= b for v in values) for b in [*bounds, math.inf]]


def test_classic_bucket_edges_are_inclusive() -> None:
    assert classic_bucket_counts([1, 5, 5, 30.1], [1, 5, 30]).tolist() == [1, 3, 3, 4]
    assert classic_bucket_counts([], [1]).tolist() == [0, 0]
    for bad in ([2, 1], [1, math.inf], [1, 1]):
        with pytest.raises(ValueError, match="must rise"):
            classic_bucket_counts([1], bad)


def test_bounds() -> None:
    # client_golang's documented example: 100, 1.2, 3.
    assert exponential_bounds(100, 1.2, 3).tolist() == [100, 120, 144]
    assert linear_bounds(15, 5, 6).tolist() == [15, 20, 25, 30, 35, 40]
    for start, factor, count in ((0, 2, 3), (1, 1, 3), (1, 2, 0)):
        with pytest.raises(ValueError, match="start"):
            exponential_bounds(start, factor, count)
    with pytest.raises(ValueError, match="width"):
        linear_bounds(0, 0, 3)


@given(values=POSITIVE, cut=st.integers(0, 200))
def test_log_histogram_keeps_its_relative_error_and_merges(
    values: list[float], cut: int
) -> None:
    whole, left, right = (LogHistogram(1e-6, 1e6, 0.01) for _ in range(3))
    whole.add(values)
    left.add(values[:cut])
    right.add(values[cut:])
    left.merge(right)
    assert left.counts.tolist() == whole.counts.tolist()
    assert whole.count == len(values)
    assert whole.total == pytest.approx(math.fsum(values))
    assert (left.minimum, left.maximum) == (min(values), max(values))
    ordered = sorted(values)
    for quantile in (0.0, 0.1, 0.5, 0.9, 0.99, 1.0):
        exact = ordered[math.floor(quantile * (len(ordered) - 1))]
        (estimate,) = whole.quantiles((quantile,))
        assert estimate == pytest.approx(exact, rel=0.01 + 1e-9)


def test_log_histogram_outside_its_bounds() -> None:
    histogram = LogHistogram(1.0, 10.0)
    assert np.isnan(histogram.quantiles((0.5,))).all()
    histogram.add([])
    histogram.add([0.0, 0.5, 1e9])
    assert histogram.counts[0] == 2
    assert histogram.counts[-1] == 1
    assert histogram.quantiles((0.0,))[0] <= 1.0
    with pytest.raises(ValueError, match="same bounds"):
        histogram.merge(LogHistogram(1.0, 11.0))
    with pytest.raises(ValueError, match="lowest"):
        LogHistogram(0.0, 1.0)
