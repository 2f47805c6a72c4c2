"""Arrays for figures: quantiles over time, distributions, counts; no drawing here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.metrics.catalogue import HISTOGRAM, Metric
from sim.metrics.derive import Derivation, Observations
from sim.metrics.facts_view import FloatArray
from sim.metrics.summary import quantiles_of_sorted

BINS_MAX: Final = 90
CURVE_POINTS: Final = 300
_STEPS: Final = (1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Band:
    """Quantiles of one group over time: centres (n_bins,), p50 and p99 (n_bins,), NaN if empty."""

    centres: FloatArray
    p50: FloatArray
    p99: FloatArray


@dataclass(frozen=True, slots=True)
class Curve:
    """A distribution function: ascending values (n,) and shares of observations (n,)."""

    values: FloatArray
    shares: FloatArray
    count: int
    p50: float
    p99: float


def bin_width_seconds(end_seconds: float) -> float:
    """Return the smallest of 0.1, 0.2, 0.5, 1, 2, 5 … s that gives at most `BINS_MAX` bins."""
    size = 0.1
    while True:
        for step in _STEPS:
            if end_seconds <= BINS_MAX * step * size:
                return step * size
        size *= 10.0


def band(times: FloatArray, values: FloatArray, end_seconds: float) -> Band:
    """Return p50 and p99 of values per bin of time. ``times``, ``values`` : (n,) float64."""
    width = bin_width_seconds(end_seconds)
    count = max(1, int(np.ceil(end_seconds / width)))
    at = np.minimum((times / width).astype(np.int64), count - 1)
    ordered = values[np.argsort(at.astype(np.int16), kind="stable")]
    edges = np.concatenate(([0], np.cumsum(np.bincount(at, minlength=count))))
    p50, p99 = np.full(count, np.nan), np.full(count, np.nan)
    for index in range(count):
        start, end = int(edges[index]), int(edges[index + 1])
        if end > start:
            p50[index], p99[index] = quantiles_of_sorted(np.sort(ordered[start:end]), (0.5, 0.99))
    return Band(_centres(count, width), p50, p99)


def _centres(count: int, width: float) -> FloatArray:
    return width * (np.arange(count, dtype=np.float64) + 0.5)


def curve(values: FloatArray) -> Curve:
    """Return the distribution of at least one value, thinned to what an eye can see."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    # Half of the points below 90 %, half in the tail, where planners look.
    body = np.linspace(0.0, 0.9, CURVE_POINTS // 2)
    tail = 1.0 - np.logspace(-1, -5, CURVE_POINTS // 2)
    shares = np.unique(np.concatenate((body, tail, [1.0])))
    picked = ordered[np.minimum((shares * last).round().astype(np.int64), last)]
    p50, p99 = quantiles_of_sorted(ordered, (0.5, 0.99))
    return Curve(picked, shares, len(ordered), p50, p99)


def grouped(
    derivation: Derivation, table: str, value: str, time: str, label: str, where: str = ""
) -> Observations:
    """Return a column of a table grouped by one label, as observations."""
    metric = Metric(
        name=f"{table}.{value}", kind=HISTOGRAM, unit="seconds", help="", job="", table=table,
        value=value, time=time, labels=((label, label),), where=where,
    )  # fmt: skip
    grouping = derivation.grouping(metric)
    return Observations(
        metric,
        grouping.take(derivation.column(table, value)),
        derivation.times(grouping, table, time),
        grouping.starts,
        grouping.labels,
    )


def rate(times: FloatArray, end_seconds: float) -> tuple[FloatArray, FloatArray]:
    """Return (centres of bins, happenings per second) over a run."""
    width = bin_width_seconds(end_seconds)
    count = max(1, int(np.ceil(end_seconds / width)))
    at = np.minimum((times / width).astype(np.int64), count - 1)
    per_second: FloatArray = np.bincount(at, minlength=count) / width
    return _centres(count, width), per_second


def reached_over_time(times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (times, how many have got there), thinned; NaN times are left out."""
    ordered = np.sort(times[~np.isnan(times)])
    if not len(ordered):
        return np.zeros(0), np.zeros(0)
    counts = np.arange(1, len(ordered) + 1, dtype=np.float64)
    keep = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), 400)).astype(np.int64))
    return ordered[keep], counts[keep]
