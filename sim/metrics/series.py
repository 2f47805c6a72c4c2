"""Series: every metric sampled at the scrape interval, computed afterwards from the facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.metrics.catalogue import COUNTER, GAUGE, HISTOGRAM
from sim.metrics.derive import Derivation, Observations
from sim.metrics.facts_view import FloatArray, IntArray, label_text
from sim.metrics.summary import quantiles_of_sorted

SCRAPES_MAX: Final = 720
"""More scrapes than this and the interval is doubled until they fit (an hour at 5 s)."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot: (n_points,) float64 times and values."""

    metric: str
    labels: str
    stat: str
    """total (running), count, sum (running), p50, p99 (of the interval), value."""
    unit: str
    times: FloatArray
    values: FloatArray


def scrape_times(end_seconds: float, interval_seconds: float) -> FloatArray:
    """Return the scrape times up to and including the first one at or after the end."""
    assert interval_seconds > 0.0
    while end_seconds / interval_seconds > SCRAPES_MAX:
        interval_seconds *= 2.0
    count = max(1, int(np.ceil(end_seconds / interval_seconds - 1e-9)))
    return interval_seconds * np.arange(1, count + 1, dtype=np.float64)


def _running(at: IntArray, weights: FloatArray, scrapes: FloatArray) -> FloatArray:
    return np.cumsum(np.bincount(at, weights=weights, minlength=len(scrapes))[: len(scrapes)])


def _interval_quantiles(
    at: IntArray, values: FloatArray, scrape_count: int
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return (interval indices that have values, p50, p99)."""
    # Intervals are few: a stable sort of 16-bit numbers is linear, and slices sort quickly.
    assert scrape_count < 32767
    ordered = values[np.argsort(at.astype(np.int16), kind="stable")]
    edges = np.concatenate(([0], np.cumsum(np.bincount(at, minlength=scrape_count))))
    filled, p50s, p99s = [], [], []
    for index in range(scrape_count):
        start, end = int(edges[index]), int(edges[index + 1])
        if end > start:
            p50, p99 = quantiles_of_sorted(np.sort(ordered[start:end]), (0.5, 0.99))
            filled.append(index)
            p50s.append(p50)
            p99s.append(p99)
    return np.array(filled, dtype=np.int64), np.array(p50s), np.array(p99s)


def _gauge_points(
    times: FloatArray, values: FloatArray, scrapes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the newest value at each scrape, from the first sample on."""
    order = np.argsort(times, kind="stable")
    at = np.searchsorted(times[order], scrapes, side="right") - 1
    known = at >= 0
    return scrapes[known], values[order][at[known]]


def series_of(observed: Observations, scrapes: FloatArray) -> list[Series]:
    """Return the series of one metric at the scrape times, by label set."""
    metric = observed.metric
    result = []
    for index, label_values in enumerate(observed.labels):
        values, times = observed.group(index)
        if not len(values):
            continue
        labels = label_text(metric.label_names, label_values)

        def line(
            stat: str, at: FloatArray, points: FloatArray, unit: str, text: str = labels
        ) -> None:
            result.append(Series(metric.name, text, stat, unit, at, points))

        if metric.table == "gauges" or metric.kind == GAUGE:
            stat = "total" if metric.kind == COUNTER else "value"
            line(stat, *_gauge_points(times, values, scrapes), metric.unit)
            continue
        at = np.minimum(np.searchsorted(scrapes, times, side="left"), len(scrapes) - 1)
        if metric.kind == COUNTER:
            line("total", scrapes, _running(at, values, scrapes), metric.unit)
            continue
        line("count", scrapes, _running(at, np.ones(len(at)), scrapes), "observations")
        line("sum", scrapes, _running(at, values, scrapes), metric.unit)
        if metric.kind == HISTOGRAM:
            filled, p50, p99 = _interval_quantiles(at, values, len(scrapes))
            line("p50", scrapes[filled], p50, metric.unit)
            line("p99", scrapes[filled], p99, metric.unit)
    return result


def all_series(derivation: Derivation, scrapes: FloatArray) -> list[Series]:
    """Return all series of a run, in the order of the catalogue."""
    return [line for observed in derivation.all() for line in series_of(observed, scrapes)]
