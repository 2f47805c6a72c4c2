"""Thresholds in k6's grammar: ``metric{label="value"}`` and ``p(99) < 1s``.

An aggregate, a comparison and a value with an optional unit. Aggregates by kind of metric, as in
k6: histograms (trends) avg min med max p(N) count; gauges avg min max value; counters count and
rate (per simulated second); ratios (k6's rates) rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.base.duration import DurationError, parse_duration_seconds
from sim.base.quantity import QuantityError, parse_quantity
from sim.base.spelling import nearest
from sim.metrics.catalogue import (
    BY_NAME,
    COUNTER,
    GAUGE,
    HISTOGRAM,
    RATIO,
    SAMPLED,
    Metric,
    metric_names,
)
from sim.metrics.derive import Derivation
from sim.metrics.facts_view import FloatArray
from sim.metrics.summary import quantiles_of_sorted

AGGREGATES: Final = {
    HISTOGRAM: ("avg", "min", "med", "max", "p(N)", "count"),
    GAUGE: ("avg", "min", "max", "value"),
    COUNTER: ("count", "rate"),
    RATIO: ("rate",),
}
COMPARISONS: Final = ("<=", ">=", "==", "!=", "===", "!==", "<", ">")

_ANY_AGGREGATE: Final = tuple(sorted({name for row in AGGREGATES.values() for name in row}))
_CONDITION: Final = re.compile(
    r"\s*(?P<aggregate>[A-Za-z]+(?:\(\s*[0-9.]+\s*\))?)\s*(?P<comparison>[<>=!]+)"
    r"\s*(?P<value>\S.*?)\s*"
)
_PERCENTILE: Final = re.compile(r"p\(\s*(?P<percent>[0-9]+(?:\.[0-9]+)?)\s*\)")
_SELECTOR: Final = re.compile(r"\s*(?P<name>[A-Za-z_:][\w:]*)\s*(?:\{(?P<labels>.*)\})?\s*")
_LABEL: Final = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


class ThresholdError(ValueError):
    """A malformed threshold or an unknown metric."""

    def __init__(
        self, code: str, message: str, allowed: tuple[str, ...] = (), near: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.allowed = allowed
        self.nearest = near


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and the labels that its observations must have."""

    metric: Metric
    labels: tuple[tuple[str, str], ...]
    sampled: str = ""
    """Name of the sampled gauge behind it, empty for metrics of the catalogue."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: ``aggregate comparison limit``."""

    text: str
    aggregate: str
    """avg, min, med, max, count, rate, value or p."""
    share: float
    """Quantile as a share of 1, for ``p``."""
    comparison: str
    limit: float

    def holds(self, value: float) -> bool:
        """Return whether a value satisfies the condition."""
        limit = self.limit
        match self.comparison:
            case "<":
                return value < limit
            case "<=":
                return value <= limit
            case ">":
                return value > limit
            case ">=":
                return value >= limit
            case "==" | "===":
                return value == limit
            case _:
                return value != limit


def parse_selector(text: str) -> Selector:
    """Parse ``metric`` or ``metric{label="value",…}``. Raises ThresholdError."""
    match = _SELECTOR.fullmatch(text)
    if match is None:
        raise ThresholdError("E022", f'not metric or metric{{label="value"}}: {text}')
    name = match["name"]
    metric, sampled = BY_NAME.get(name), ""
    if metric is None:
        for gauge, item in SAMPLED.items():
            if item.name == name:
                sampled = gauge
                metric = Metric(name=name, kind=item.kind, unit=item.unit, job=item.job,
                                help=item.help, labels=((item.label, "instance"),))  # fmt: skip
    if metric is None and name.startswith("sim_"):
        sampled = name.removeprefix("sim_")
        metric = Metric(name=name, kind=GAUGE, unit="", job="kubesim", help="",
                        labels=(("instance", "instance"),))  # fmt: skip
    if metric is None:
        raise ThresholdError(
            "E023", f"no metric of the name {name!r}", near=nearest(name, metric_names())
        )
    return Selector(metric, _parse_labels(match["labels"] or "", metric), sampled)


def _parse_labels(text: str, metric: Metric) -> tuple[tuple[str, str], ...]:
    labels = []
    position = 0
    while position < len(text):
        match = _LABEL.match(text, position)
        if match is None:
            raise ThresholdError("E022", f'labels are label="value" pairs, not {text!r}')
        label, value = match[1], match[2].replace('\\"', '"').replace("\\\\", "\\")
        if label not in metric.label_names:
            raise ThresholdError(
                "E022", f"{metric.name} has no label {label!r}", metric.label_names,
                nearest(label, metric.label_names),
            )  # fmt: skip
        labels.append((label, value))
        position = match.end()
    return tuple(labels)


def parse_threshold(text: str, kind: str | None = None) -> Condition:
    """Parse a condition; with the kind of metric, its aggregate must fit. Raises ThresholdError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ThresholdError("E022", f"not a condition such as p(99) < 1s: {text!r}")
    aggregate, share = match["aggregate"], 0.0
    percentile = _PERCENTILE.fullmatch(aggregate)
    if percentile is not None:
        share = float(percentile["percent"]) / 100.0
        if share > 1.0:
            raise ThresholdError("E022", f"no percentile beyond 100: {aggregate}")
        aggregate = "p"
    allowed = AGGREGATES[kind] if kind else _ANY_AGGREGATE
    if (aggregate if aggregate != "p" else "p(N)") not in allowed:
        what = f"a {kind} has no aggregate {match['aggregate']!r}" if kind else (
            f"unknown aggregate {match['aggregate']!r}"
        )  # fmt: skip
        raise ThresholdError("E022", what, allowed, nearest(aggregate, allowed))
    if match["comparison"] not in COMPARISONS:
        raise ThresholdError(
            "E022", f"unknown comparison {match['comparison']!r}", COMPARISONS
        )
    return Condition(text, aggregate, share, match["comparison"], _parse_limit(match["value"]))


def _parse_limit(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    if text.endswith("%"):
        try:
            return float(text[:-1]) / 100.0
        except ValueError:
            pass
    try:
        return parse_duration_seconds(text)
    except DurationError:
        pass
    try:
        return parse_quantity(text).milli_value / 1000.0
    except QuantityError:
        raise ThresholdError(
            "E022", f"{text!r} is neither a number nor a duration, quantity or percentage"
        ) from None


def observed_values(selector: Selector, derivation: Derivation) -> FloatArray:
    """Return everything that a selector selects: (n,) float64."""
    if selector.sampled:
        observed = derivation.sampled_gauge(selector.sampled)
    else:
        observed = derivation.observations(selector.metric)
    return observed.select(dict(selector.labels))


def measure(
    condition: Condition, selector: Selector, derivation: Derivation, duration_seconds: float
) -> float | None:
    """Return the value that a condition is about, None if nothing was observed.

    A count of nothing is 0, every other aggregate of nothing is undefined.
    """
    values = observed_values(selector, derivation)
    aggregate = condition.aggregate
    if not len(values):
        return 0.0 if aggregate == "count" else None
    if aggregate == "count":
        return float(values.sum()) if selector.metric.kind == COUNTER else float(len(values))
    if aggregate == "rate":
        if selector.metric.kind == RATIO:
            return float(values.mean())
        return float(values.sum()) / duration_seconds if duration_seconds > 0.0 else None
    if aggregate == "avg":
        return float(values.mean())
    if aggregate == "value":
        return float(values[-1])
    if aggregate in {"min", "max"}:
        return float(values.min() if aggregate == "min" else values.max())
    share = 0.5 if aggregate == "med" else condition.share
    return quantiles_of_sorted(np.sort(values), (share,))[0]
