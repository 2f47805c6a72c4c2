"""Arrival times against the integrals they invert, and Poisson statistics."""

from __future__ import annotations

from itertools import islice
from math import cos, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine.streams import StreamFactory
from sim.workload.arrivals import Rate


def stream():  # noqa: ANN201
    return StreamFactory(1, 0).stream("test")


def numeric_integral(rate: Rate, start: float, end: float) -> float:
    grid = np.linspace(start, end, 20_001)
    values = [rate.intensity(time) for time in grid]
    return float(np.trapezoid(values, grid))


SHAPES = [
    Rate(per_second=7.0),
    Rate(per_second=2.0, shape="ramp", end_per_second=30.0, over_seconds=10.0),
    Rate(per_second=30.0, shape="ramp", end_per_second=2.0, over_seconds=10.0),
    Rate(per_second=0.0, shape="ramp", end_per_second=5.0, over_seconds=4.0),
    Rate(per_second=5.0, shape="step", step_per_second=5.0, over_seconds=3.0),
    Rate(per_second=9.0, shape="sine", amplitude_ratio=1.0, over_seconds=6.0),
    Rate(per_second=9.0, shape="sine", amplitude_ratio=0.3, over_seconds=6.0),
]


@pytest.mark.parametrize("rate", SHAPES)
def test_times_invert_the_integral_of_the_rate(rate: Rate) -> None:
    start = 0.0
    for amount in (0.1, 1.0, 3.0, 20.0, 50.0):
        end = rate.advance(start, amount)
        assert numeric_integral(rate, start, end) == pytest.approx(amount, rel=5e-3, abs=5e-3)
        start = end


@given(st.floats(0.1, 100.0), st.floats(0.0, 1.0), st.floats(0.5, 50.0), st.floats(0.01, 30.0))
def test_sine_against_its_closed_form(
    base: float, swing: float, period: float, amount: float
) -> None:
    rate = Rate(per_second=base, shape="sine", amplitude_ratio=swing, over_seconds=period)
    end = rate.advance(0.0, amount)
    omega = 2 * pi / period
    assert base * (end + swing / omega * (1 - cos(omega * end))) == pytest.approx(
        amount, rel=1e-6, abs=1e-6
    )


def test_evenly_spaced_arrivals_start_at_once() -> None:
    assert list(islice(Rate(per_second=4.0).times(stream()), 5)) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_rate_that_falls_to_zero_ends() -> None:
    rate = Rate(per_second=10.0, shape="ramp", end_per_second=0.0, over_seconds=2.0)
    assert len(list(rate.times(stream()))) in {10, 11}
    down = Rate(per_second=4.0, shape="step", step_per_second=-2.0, over_seconds=1.0)
    assert len(list(down.times(stream()))) in {6, 7}


def test_poisson_counts_have_equal_mean_and_variance() -> None:
    """Index of dispersion of 2,000 windows: 1 ± 5 standard errors (√(2/n))."""
    rate = Rate(per_second=5.0, arrivals="poisson")
    times = np.fromiter(islice(rate.times(stream()), 10_000), dtype=float)
    counts = np.bincount(times.astype(int))[:1900]
    assert counts.mean() == pytest.approx(5.0, abs=5 * np.sqrt(5.0 / 1900))
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=5 * np.sqrt(2 / 1900))
