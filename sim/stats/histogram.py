"""Vectorised histograms: logarithmic buckets of bounded relative error, Prometheus' classic ones.

Values are recorded raw and bucketed afterwards, a chunk at a time; counts of chunks add up, so a
long run needs bounded memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.stats.quantiles import FloatArray

IntArray = npt.NDArray[np.int64]

DEFAULT_RELATIVE_ERROR: Final = 0.01


class LogHistogram:
    """Counts in buckets whose bounds grow by a constant factor.

    With factor g = (1+e)/(1-e), bucket i holds the values in (lowest·gⁱ⁻¹, lowest·gⁱ], and its
    middle 2·lowest·gⁱ/(g+1) is within the relative error e of each of them. Values at or below
    ``lowest`` (zero too) share bucket 0, values above ``highest`` the last one; minimum, maximum,
    sum and count are exact.

    **Source:** Masson, Rim and Lee 2019, "DDSketch", section 2.1 (bounds and the estimate).
    """

    __slots__ = ("_log_factor", "counts", "factor", "highest", "lowest", "maximum", "minimum",
                 "total")  # fmt: skip

    def __init__(
        self,
        lowest: float,
        highest: float,
        relative_error: float = DEFAULT_RELATIVE_ERROR,
    ) -> None:
        if not (0 < lowest < highest < math.inf) or not 0 < relative_error < 1:
            raise ValueError("0 < lowest < highest, 0 < relative error < 1")
        self.lowest = lowest
        self.highest = highest
        self.factor = (1 + relative_error) / (1 - relative_error)
        self._log_factor = math.log(self.factor)
        last = math.ceil(math.log(highest / lowest) / self._log_factor) + 1
        self.counts: IntArray = np.zeros(last + 1, dtype=np.int64)
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf

    @property
    def count(self) -> int:
        """Values recorded."""
        return int(self.counts.sum())

    def add(self, values: npt.ArrayLike) -> None:
        """Record values. values : (n,) float without NaN, in the unit of the bounds; read only."""
        data = np.asarray(values, dtype=np.float64)
        if data.size == 0:
            return
        raised = np.maximum(data, self.lowest) / self.lowest
        index = np.ceil(np.log(raised) / self._log_factor - 1e-12).astype(np.int64)
        np.minimum(index, self.counts.size - 1, out=index)
        self.counts += np.bincount(index, minlength=self.counts.size)
        self.total += float(data.sum())
        self.minimum = min(self.minimum, float(data.min()))
        self.maximum = max(self.maximum, float(data.max()))

    def merge(self, other: LogHistogram) -> None:
        """Add another histogram with the same bounds. Raises ValueError if they differ."""
        if (other.lowest, other.highest, other.factor) != (self.lowest, self.highest, self.factor):
            raise ValueError("only histograms with the same bounds can be merged")
        self.counts += other.counts
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def quantiles(self, quantiles: Sequence[float]) -> FloatArray:
        """(n_quantiles,) estimates within the relative error of the value at rank ⌊q·(n-1)⌋.

        The error holds between ``lowest`` and ``highest``; NaN when nothing was recorded.
        """
        wanted = np.asarray(quantiles, dtype=np.float64)
        if self.count == 0:
            return np.full(wanted.size, math.nan)
        ranks = np.floor(wanted * (self.count - 1))
        index = np.searchsorted(np.cumsum(self.counts), ranks, side="right")
        middle = 2 * self.lowest * np.exp(index * self._log_factor) / (self.factor + 1)
        return np.asarray(np.clip(middle, self.minimum, self.maximum), dtype=np.float64)


def classic_bucket_counts(values: npt.ArrayLike, upper_bounds: npt.ArrayLike) -> IntArray:
    """Cumulative counts of a Prometheus histogram.

    values : (n,) float without NaN; upper_bounds : (n_bounds,) float, rising, +Inf left out.
    Returns (n_bounds + 1,) int64: observations at or below each bound, and all of them last.

    Raises:
        ValueError: bounds that do not rise, or an infinite one.
    """
    bounds = np.asarray(upper_bounds, dtype=np.float64)
    if np.any(np.diff(bounds) <= 0) or not np.all(np.isfinite(bounds)):
        raise ValueError("bucket bounds must rise and be finite; +Inf is added")
    index = np.searchsorted(bounds, np.asarray(values, dtype=np.float64), side="left")
    return np.cumsum(np.bincount(index, minlength=bounds.size + 1)).astype(np.int64)


def exponential_bounds(start: float, factor: float, count: int) -> FloatArray:
    """``count`` bounds: start, start·factor, start·factor², …, as client_golang computes them."""
    if start <= 0 or factor <= 1 or count < 1:
        raise ValueError("start > 0, factor > 1, count >= 1")
    bounds = [start]
    while len(bounds) < count:
        bounds.append(bounds[-1] * factor)
    return np.asarray(bounds, dtype=np.float64)


def linear_bounds(start: float, width: float, count: int) -> FloatArray:
    """``count`` bounds: start, start + width, …"""
    if width <= 0 or count < 1:
        raise ValueError("width > 0, count >= 1")
    return start + width * np.arange(count, dtype=np.float64)
