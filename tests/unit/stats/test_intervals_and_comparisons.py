"""Intervals and comparisons against scipy's own tests and against their promised coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sim.stats.compare import Verdict, compare_paired, compare_unpaired
from sim.stats.intervals import (
    Interval,
    bca_interval,
    replications_needed,
    t_interval,
    t_quantile,
)

RNG = np.random.default_rng


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("count", [2, 5, 30])
def test_t_interval_equals_scipy(count: int, confidence: float) -> None:
    values = RNG(count).normal(10, 3, count)
    wanted = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    found = t_interval(values, confidence)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-10)
    assert found.estimate == pytest.approx(values.mean())
    assert found.count == count
    assert found.contains(found.estimate)


def test_t_quantile_from_the_printed_table() -> None:
    for degrees, value in ((1, 12.706), (4, 2.776), (9, 2.262), (30, 2.042)):
        assert t_quantile(0.95, degrees) == pytest.approx(value, abs=5e-4)


def test_interval_numbers() -> None:
    interval = Interval(10.0, 9.0, 11.0, 5)
    assert (interval.half_width, interval.relative_half_width) == (1.0, 0.1)
    assert Interval(0.0, -1.0, 1.0, 5).relative_half_width == math.inf
    assert Interval(0.0, 0.0, 0.0, 5).relative_half_width == 0.0
    assert not interval.contains(11.5)
    single = t_interval([3.0])
    assert (single.low, single.high, single.estimate) == (-math.inf, math.inf, 3.0)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]]])
def test_t_interval_refuses(values: list[float]) -> None:
    with pytest.raises(ValueError, match="flat array"):
        t_interval(values)
    with pytest.raises(ValueError, match="confidence"):
        t_interval([1.0, 2.0], 1.0)


def test_t_interval_covers_as_often_as_promised() -> None:
    """2,000 samples of a known mean. Binomial(2000, 0.95): 0.93…0.97 fails once in 20,000."""
    data = RNG(20240601).normal(5.0, 2.0, (2000, 8))
    hits = sum(t_interval(row).contains(5.0) for row in data)
    assert 0.93 <= hits / 2000 <= 0.97


def test_bca_of_the_mean_is_close_to_t_and_of_the_median_covers_it() -> None:
    values = RNG(1).normal(100, 10, 60)
    bootstrap = bca_interval(values, np.mean, RNG(2))
    student = t_interval(values)
    assert (bootstrap.low, bootstrap.high) == pytest.approx((student.low, student.high), rel=0.01)
    again = bca_interval(values, np.mean, RNG(2))
    assert again == bootstrap
    # 60 samples of a skewed law, each a nominal 95 % interval of its median ln 2: at least 48
    # must hold it (Binomial(60, 0.93) falls below once in 1,000).
    skewed = RNG(3).exponential(1.0, (60, 40))
    rng = RNG(4)
    hits = sum(bca_interval(r, np.median, rng, resamples=999).contains(math.log(2)) for r in skewed)
    assert hits >= 48


def test_bca_of_degenerate_values() -> None:
    assert bca_interval([2.0] * 5, np.mean, RNG(0)) == Interval(2.0, 2.0, 2.0, 5)
    assert bca_interval([2.0], np.mean, RNG(0)).high == math.inf


def test_replications_needed() -> None:
    pilot = [9.0, 10.0, 11.0, 10.0, 10.0]
    deviation = float(np.std(pilot, ddof=1))
    needed = replications_needed(pilot, 0.02)
    for count, is_enough in ((needed, True), (needed - 1, False)):
        half = stats.t.ppf(0.975, count - 1) * deviation / math.sqrt(count)
        assert bool(half <= 0.02 * 10.0) is is_enough
    assert replications_needed([5.0, 5.0], 0.01) == 2
    assert replications_needed([-1.0, 1.0], 0.01, limit=500) == 500
    with pytest.raises(ValueError, match="two pilot"):
        replications_needed([1.0], 0.1)


def test_paired_equals_scipy_and_finds_what_unpaired_cannot() -> None:
    rng = RNG(7)
    common = rng.normal(100, 20, 12)
    a, b = common + rng.normal(0, 0.5, 12), common + 1.0 + rng.normal(0, 0.5, 12)
    paired, unpaired = compare_paired(a, b), compare_unpaired(a, b)
    wanted = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (paired.difference.low, paired.difference.high) == pytest.approx(tuple(wanted))
    welch = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (unpaired.difference.low, unpaired.difference.high) == pytest.approx(tuple(welch))
    assert paired.verdict is Verdict.HIGHER
    assert unpaired.verdict is Verdict.UNDECIDED
    assert paired.variance_reduction_ratio > 0.99
    assert compare_paired(b, a).verdict is Verdict.LOWER


def test_ratio_of_pairs() -> None:
    found = compare_paired([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert found.ratio is not None
    assert (found.ratio.low, found.ratio.estimate, found.ratio.high) == pytest.approx((2, 2, 2))
    assert compare_paired([1.0, -2.0], [2.0, 4.0]).ratio is None
    single = compare_paired([1.0], [2.0])
    assert single.verdict is Verdict.UNDECIDED
    assert single.ratio is not None
    assert single.ratio.high == math.inf


def test_identical_arms_do_not_differ() -> None:
    values = RNG(5).normal(0, 1, 10)
    found = compare_paired(values, values)
    assert found.difference == Interval(0.0, 0.0, 0.0, 10)
    assert found.verdict is Verdict.UNDECIDED
    assert compare_unpaired([1.0, 1.0], [2.0, 2.0]).verdict is Verdict.HIGHER
    assert compare_unpaired([1.0], [2.0, 3.0]).verdict is Verdict.UNDECIDED


def test_comparisons_refuse() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        compare_paired([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="both sides"):
        compare_unpaired([], [1.0])


def test_false_alarms_are_as_rare_as_promised() -> None:
    """1,000 pairs without effect at 95 %. Binomial(1000, 0.05): 20…85 fails once in 100,000."""
    rng = RNG(11)
    a, b = rng.normal(0, 1, (1000, 10)), rng.normal(0, 1, (1000, 10))
    for compare in (compare_paired, compare_unpaired):
        alarms = sum(
            compare(x, y).verdict is not Verdict.UNDECIDED for x, y in zip(a, b, strict=True)
        )
        assert 20 <= alarms <= 85
