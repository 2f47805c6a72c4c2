"""Is B different from A? Intervals of the difference, paired and unpaired.

Two arms of an experiment share their random streams by name, so replication i of one is the twin
of replication i of the other, and their difference has far less variance than either.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sim.stats.intervals import DEFAULT_CONFIDENCE, Interval, t_interval, t_quantile


class Verdict(Enum):
    """What an interval of a difference allows to say."""

    LOWER = "lower"
    HIGHER = "higher"
    UNDECIDED = "undecided"


class Comparison(NamedTuple):
    """B against A: the difference B - A in the values' unit, and the ratio B / A.

    ``ratio`` is None when a value is not positive. ``variance_reduction_ratio`` is the share of
    the unpaired variance that pairing removed (0 for unpaired comparisons, negative if it hurt).
    """

    difference: Interval
    ratio: Interval | None
    verdict: Verdict
    variance_reduction_ratio: float


def compare_paired(
    a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = DEFAULT_CONFIDENCE
) -> Comparison:
    """Paired t interval of B - A, and of B / A on the logarithms (a geometric mean ratio).

    a, b : (n,) float, replication i of both under common random numbers.

    **Source:** Law, "Simulation Modeling and Analysis", 5th ed., sections 10.2.1 and 11.2.

    Raises:
        ValueError: different lengths, or no values.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equal lengths, not {first.size} and {second.size}")
    difference = t_interval(second - first, confidence)
    ratio = None
    if np.all(first > 0) and np.all(second > 0):
        logs = t_interval(np.log(second) - np.log(first), confidence)
        ratio = Interval(_exp(logs.estimate), _exp(logs.low), _exp(logs.high), logs.count)
    reduction = 0.0
    if first.size > 1:
        unpaired = float(first.var(ddof=1) + second.var(ddof=1))
        if unpaired > 0:
            reduction = 1 - float((second - first).var(ddof=1)) / unpaired
    return Comparison(difference, ratio, verdict_of(difference), reduction)


def compare_unpaired(
    a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = DEFAULT_CONFIDENCE
) -> Comparison:
    """Welch's interval of mean(B) - mean(A); no equal variances assumed, no ratio.

    a : (n,) float, b : (m,) float, independent. **Source:** Welch 1947.

    Raises:
        ValueError: no values in one of them.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.size == 0 or second.size == 0:
        raise ValueError("both sides need values")
    estimate = float(second.mean() - first.mean())
    count = min(first.size, second.size)
    if count == 1:
        unbounded = Interval(estimate, -math.inf, math.inf, 1)
        return Comparison(unbounded, None, Verdict.UNDECIDED, 0.0)
    parts = [float(side.var(ddof=1)) / side.size for side in (first, second)]
    variance = sum(parts)
    half = 0.0
    if variance > 0:
        degrees = variance**2 / sum(
            part**2 / (side.size - 1) for part, side in zip(parts, (first, second), strict=True)
        )
        half = t_quantile(confidence, degrees) * math.sqrt(variance)
    difference = Interval(estimate, estimate - half, estimate + half, count)
    return Comparison(difference, None, verdict_of(difference), 0.0)


def verdict_of(difference: Interval) -> Verdict:
    """Lower or higher when the interval leaves out zero, undecided otherwise."""
    if difference.high < 0:
        return Verdict.LOWER
    if difference.low > 0:
        return Verdict.HIGHER
    return Verdict.UNDECIDED


def _exp(value: float) -> float:
    return math.inf if value > 700 else math.exp(value)
