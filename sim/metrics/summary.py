"""Summaries: count, mean, quantiles and maximum of every metric and label set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.metrics.catalogue import COUNTER, GAUGE, HISTOGRAM
from sim.metrics.derive import Derivation, Observations
from sim.metrics.facts_view import FloatArray, label_text

QUANTILES: Final = (0.5, 0.9, 0.99)
DISTRIBUTION_STATS: Final = ("count", "mean", "p50", "p90", "p99", "max")


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One number of the summary."""

    metric: str
    labels: str
    """``verb="GET",scope="resource"``, empty without labels."""
    stat: str
    unit: str
    value: float
    n: int
    """Observations behind the number."""


def quantiles_of_sorted(ordered: FloatArray, shares: Iterable[float]) -> list[float]:
    """Return quantiles of ascending values by linear interpolation (type 7 of Hyndman and Fan).

    ``ordered`` : (n,) float64, n ≥ 1, ascending; ``shares`` between 0 and 1.
    """
    last = len(ordered) - 1
    result = []
    for share in shares:
        position = share * last
        below = int(position)
        above = min(below + 1, last)
        fraction = position - below
        low, high = float(ordered[below]), float(ordered[above])
        result.append(low + (high - low) * fraction)
    return result


def distribution(values: FloatArray) -> dict[str, float]:
    """Return count, mean, p50, p90, p99 and max of at least one value: (n,) float64."""
    ordered = np.sort(values)
    p50, p90, p99 = quantiles_of_sorted(ordered, QUANTILES)
    mean = float(ordered.sum() / len(ordered))
    return {
        "count": float(len(ordered)),
        "mean": mean,
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": float(ordered[-1]),
    }


def _group_stats(kind: str, values: FloatArray, times: FloatArray) -> dict[str, float]:
    if kind == COUNTER:
        return {"total": float(values.sum())}
    if kind == HISTOGRAM:
        return distribution(values)
    if kind == GAUGE:
        last = int(np.argmax(times)) if len(times) else 0
        if len(times) and times[-1] >= times[last]:
            last = len(times) - 1
        return {
            "mean": float(values.mean()),
            "min": float(values.min()),
            "max": float(values.max()),
            "last": float(values[last]),
        }
    return {"rate": float(values.mean()), "count": float(len(values))}


def _stat_unit(unit: str, stat: str) -> str:
    return "observations" if stat == "count" else unit


def summarise(observations: Observations) -> list[SummaryRow]:
    """Return the summary rows of one metric, by label set."""
    metric = observations.metric
    is_sampled_counter = metric.kind == COUNTER and metric.table == "gauges"
    rows: list[SummaryRow] = []
    for index, label_values in enumerate(observations.labels):
        values, times = observations.group(index)
        if not len(values):
            continue
        if is_sampled_counter:  # samples of a running total: the newest is the total
            stats = {"total": float(values[-1])}
        else:
            stats = _group_stats(metric.kind, values, times)
        text = label_text(metric.label_names, label_values)
        rows.extend(
            SummaryRow(metric.name, text, stat, _stat_unit(metric.unit, stat), value, len(values))
            for stat, value in stats.items()
        )
    return rows


def summary(derivation: Derivation) -> list[SummaryRow]:
    """Return the whole summary of a run, in the order of the catalogue."""
    return [row for observed in derivation.all() for row in summarise(observed)]
