"""Quantiles: exact ones from values, estimated ones from cumulative buckets.

One method each, everywhere in the program: exact quantiles interpolate linearly between order
statistics (Hyndman and Fan's type 7, numpy's default); bucketed ones interpolate linearly inside
the bucket, as Prometheus' ``histogram_quantile`` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

STANDARD_QUANTILES: Final = (0.5, 0.9, 0.95, 0.99, 0.999)


def exact_quantiles(values: npt.ArrayLike, quantiles: Sequence[float]) -> FloatArray:
    """The quantiles of ``values``, NaN when there are none.

    values : (n,) float, any unit, read only; must hold no NaN.
    Returns (n_quantiles,) float64 in the unit of the values. With sorted values x₀…x₍ₙ₋₁₎ and
    h = (n-1)·q it is x at ⌊h⌋ plus the fraction of h towards the next.

    **Source:** Hyndman and Fan 1996, "Sample Quantiles in Statistical Packages", definition 7.

    Raises:
        ValueError: a quantile outside 0…1.
    """
    wanted = _checked(quantiles)
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        return np.full(wanted.size, math.nan)
    return np.asarray(np.quantile(data, wanted, method="linear"), dtype=np.float64)


def bucketed_quantiles(
    upper_bounds: npt.ArrayLike, cumulative_counts: npt.ArrayLike, quantiles: Sequence[float]
) -> FloatArray:
    """Quantiles estimated from cumulative buckets, as ``histogram_quantile`` estimates them.

    upper_bounds : (n_buckets,) float, ascending, the last one +Inf.
    cumulative_counts : (n_buckets,) observations at or below each bound, ascending.
    Returns (n_quantiles,) float64; NaN when nothing was observed. A quantile in the last bucket
    is the highest finite bound; the first bucket starts at zero, unless its bound is not positive,
    in which case the bound itself is the answer.

    **Source:** Prometheus promql/quantile.go, bucketQuantile (classic histograms).

    Raises:
        ValueError: a quantile outside 0…1, fewer than two buckets, no +Inf bucket, or counts that
            fall.
    """
    wanted = _checked(quantiles)
    bounds = np.asarray(upper_bounds, dtype=np.float64)
    counts = np.asarray(cumulative_counts, dtype=np.float64)
    if bounds.size < 2 or bounds.shape != counts.shape or not math.isinf(bounds[-1]):
        raise ValueError("at least two buckets, the last one +Inf, and one count for each")
    if np.any(np.diff(bounds) <= 0) or np.any(np.diff(counts) < 0):
        raise ValueError("bounds must rise and cumulative counts must not fall")
    if counts[-1] == 0:
        return np.full(wanted.size, math.nan)
    ranks = wanted * counts[-1]
    position = np.searchsorted(counts[:-1], ranks, side="left")
    inside = np.minimum(position, bounds.size - 2)
    upper = bounds[inside]
    lower = np.where(inside > 0, bounds[inside - 1], 0.0)
    before = np.where(inside > 0, counts[inside - 1], 0.0)
    width = counts[inside] - before
    share = np.divide(ranks - before, width, out=np.zeros_like(ranks), where=width > 0)
    estimate = lower + (upper - lower) * share
    estimate = np.where((inside == 0) & (upper <= 0), upper, estimate)
    return np.asarray(np.where(position > inside, bounds[-2], estimate), dtype=np.float64)


def _checked(quantiles: Sequence[float]) -> FloatArray:
    wanted = np.asarray(quantiles, dtype=np.float64)
    if wanted.ndim != 1 or np.any(~((wanted >= 0) & (wanted <= 1))):
        raise ValueError("quantiles are numbers between 0 and 1")
    return wanted
