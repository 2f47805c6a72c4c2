"""Confidence intervals across replications, and how many replications are enough.

The replications are independent by construction (each has its own random streams), so that one
number per replication is one observation; nothing here looks inside a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

DEFAULT_CONFIDENCE: Final = 0.95
BOOTSTRAP_RESAMPLES: Final = 9_999


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided confidence interval over ``count`` observations."""

    estimate: float
    low: float
    high: float
    count: int

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def relative_half_width(self) -> float:
        """Half-width over the estimate's magnitude; infinite for an estimate of zero."""
        if self.half_width == 0:
            return 0.0
        return self.half_width / abs(self.estimate) if self.estimate else math.inf

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies in the interval, ends included."""
        return self.low <= value <= self.high


def t_interval(values: npt.ArrayLike, confidence: float = DEFAULT_CONFIDENCE) -> Interval:
    """Student's interval of the mean: mean ± t·s/√n with n-1 degrees of freedom.

    values : (n,) float, one per replication. One value gives an interval without bounds.

    **Assumes:** independent, roughly normal values; means over runs are.

    Raises:
        ValueError: no value, or a confidence outside 0…1.
    """
    data = _checked(values, confidence)
    mean = float(data.mean())
    if data.size == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    error = float(data.std(ddof=1)) / math.sqrt(data.size)
    half = t_quantile(confidence, data.size - 1) * error
    return Interval(mean, mean - half, mean + half, data.size)


def bca_interval(
    values: npt.ArrayLike,
    statistic: Callable[..., Any],
    rng: np.random.Generator,
    confidence: float = DEFAULT_CONFIDENCE,
    resamples: int = BOOTSTRAP_RESAMPLES,
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of any statistic.

    values : (n,) float. ``statistic(data, axis=-1)`` reduces the last axis (``numpy.median``).
    Values that are all equal give an interval of no width; a single one an unbounded interval.

    **Source:** Efron 1987, "Better Bootstrap Confidence Intervals"; scipy.stats.bootstrap.

    Raises:
        ValueError: no value, or a confidence outside 0…1.
    """
    data = _checked(values, confidence)
    estimate = float(statistic(data, axis=-1))
    if data.size == 1:
        return Interval(estimate, -math.inf, math.inf, 1)
    if np.all(data == data[0]):
        return Interval(estimate, estimate, estimate, data.size)
    from scipy.stats import bootstrap

    found = bootstrap(
        (data,),
        statistic,
        n_resamples=resamples,
        confidence_level=confidence,
        method="BCa",
        vectorized=True,
        rng=rng,
    ).confidence_interval
    return Interval(estimate, float(found.low), float(found.high), data.size)


def replications_needed(
    values: npt.ArrayLike,
    relative_half_width: float,
    confidence: float = DEFAULT_CONFIDENCE,
    limit: int = 100_000,
) -> int:
    """The replications after which the mean's t interval is expected to be narrow enough.

    The smallest n ≥ 2 with t(n-1)·s/√n ≤ relative_half_width·|mean|, mean and s taken from the
    pilot ``values``; ``limit`` when there is none below it.

    **Source:** Law, "Simulation Modeling and Analysis", 5th ed., section 9.4.1 (relative error).

    Raises:
        ValueError: fewer than two values, or a width that is not positive.
    """
    data = _checked(values, confidence)
    if data.size < 2 or relative_half_width <= 0:
        raise ValueError("at least two pilot values and a positive relative half-width")
    wanted = relative_half_width * abs(float(data.mean()))
    deviation = float(data.std(ddof=1))
    low, high = 2, limit
    while low < high:
        middle = (low + high) // 2
        if t_quantile(confidence, middle - 1) * deviation <= wanted * math.sqrt(middle):
            high = middle
        else:
            low = middle + 1
    return low


def t_quantile(confidence: float, degrees: float) -> float:
    """Student's t that leaves (1-confidence)/2 above it."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def _checked(values: npt.ArrayLike, confidence: float) -> npt.NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise ValueError("a flat array with at least one value is needed")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, not {confidence}")
    return data
