"""Series: every metric sampled at the scrape interval, computed afterwards from the facts."""

from __future__ import annotations

import itertools
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


class _Placing:
    """Where observations fall among the scrapes; metrics of equal grouping share one."""

    def __init__(self, observed: Observations, scrapes: FloatArray) -> None:
        self.times = observed.times
        """Kept, so that its identity stays unique."""
        self._starts = observed.starts
        self._scrape_count = len(scrapes)
        # Scrapes are few: the number of one fits 16 bits, and a stable sort of these is linear.
        assert len(scrapes) < 32767
        at = np.minimum(np.searchsorted(scrapes, observed.times), len(scrapes) - 1)
        self._at = at.astype(np.int16)
        self._sorted: dict[int, tuple[IntArray, list[int]]] = {}

    def running(self, index: int, weights: FloatArray | None) -> FloatArray:
        """Return the running total of a group at each scrape: of weights, or how many."""
        at = self._at[self._starts[index] : self._starts[index + 1]]
        return np.cumsum(np.bincount(at, weights=weights, minlength=self._scrape_count))

    def interval_quantiles(
        self, index: int, values: FloatArray
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return (intervals of a group that have values, their p50, their p99)."""
        if index not in self._sorted:
            at = self._at[self._starts[index] : self._starts[index + 1]]
            ends: list[int] = np.cumsum(np.bincount(at)).tolist()
            self._sorted[index] = np.argsort(at, kind="stable"), [0, *ends]
        order, edges = self._sorted[index]
        ordered = values[order]
        filled, p50s, p99s = [], [], []
        for interval, (start, end) in enumerate(itertools.pairwise(edges)):
            if end > start:
                p50, p99 = quantiles_of_sorted(np.sort(ordered[start:end]), (0.5, 0.99))
                filled.append(interval)
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


def series_of(
    observed: Observations, scrapes: FloatArray, placings: dict[int, _Placing]
) -> list[Series]:
    """Return the series of one metric at the scrape times, by label set.

    ``placings`` keeps what metrics that follow may share.
    """
    metric = observed.metric
    result: list[Series] = []
    is_sampled = metric.table == "gauges" or metric.kind == GAUGE
    placing = None if is_sampled else placings.get(id(observed.times))
    if placing is None and not is_sampled:
        placing = placings[id(observed.times)] = _Placing(observed, scrapes)
    for index, label_values in enumerate(observed.labels):
        values, times = observed.group(index)
        if not len(values):
            continue
        labels = label_text(metric.label_names, label_values)

        def line(
            stat: str, at: FloatArray, points: FloatArray, unit: str, text: str = labels
        ) -> None:
            result.append(Series(metric.name, text, stat, unit, at, points))

        if placing is None:
            stat = "total" if metric.kind == COUNTER else "value"
            line(stat, *_gauge_points(times, values, scrapes), metric.unit)
            continue
        if metric.kind == COUNTER:
            line("total", scrapes, placing.running(index, values), metric.unit)
            continue
        counts = placing.running(index, None).astype(np.float64)
        line("count", scrapes, counts, "observations")
        line("sum", scrapes, placing.running(index, values), metric.unit)
        if metric.kind == HISTOGRAM:
            filled, p50, p99 = placing.interval_quantiles(index, values)
            line("p50", scrapes[filled], p50, metric.unit)
            line("p99", scrapes[filled], p99, metric.unit)
    return result


def all_series(derivation: Derivation, scrapes: FloatArray) -> list[Series]:
    """Return all series of a run, in the order of the catalogue."""
    placings: dict[int, _Placing] = {}
    return [
        line for observed in derivation.all() for line in series_of(observed, scrapes, placings)
    ]
