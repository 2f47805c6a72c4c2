"""OpenMetrics text: the metrics of a run as Prometheus would have scraped them.

Families are contiguous, points of one label set in order of time; the file ends with ``# EOF``.
**Source:** OpenMetrics 1.0 text format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from sim.metrics.catalogue import COUNTER, GAUGE, HISTOGRAM, Metric
from sim.metrics.derive import Derivation, Observations
from sim.metrics.facts_view import FloatArray, escape_label, label_text

EPOCH_UNIX_SECONDS: Final = 1_767_225_600
"""2026-01-01T00:00:00Z: time 0 of a run unless another epoch is asked for (assumed)."""


def number(value: float) -> str:
    """Return a number as OpenMetrics writes it."""
    if value == float("inf"):
        return "+Inf"
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def edge(value: float) -> str:
    """Return a bucket edge in canonical form: ``1.0``, ``+Inf``."""
    return "+Inf" if value == float("inf") else repr(float(value))


def _family(metric: Metric) -> str:
    name = metric.name
    return name.removesuffix("_total") if metric.kind == COUNTER else name


def _header(metric: Metric) -> Iterator[str]:
    family = _family(metric)
    kind = {COUNTER: "counter", HISTOGRAM: "histogram"}.get(metric.kind, "gauge")
    yield f"# TYPE {family} {kind}"
    if family.endswith(f"_{metric.unit}") and metric.unit:
        yield f"# UNIT {family} {metric.unit}"
    yield f"# HELP {family} {escape_label(metric.help)}"


def _braces(*parts: str) -> str:
    inside = ",".join(part for part in parts if part)
    return f"{{{inside}}}" if inside else ""


def _histogram(
    metric: Metric, labels: str, values: FloatArray, times: FloatArray,
    scrapes: FloatArray, stamps: Sequence[str],
) -> Iterator[str]:  # fmt: skip
    edges = (*metric.buckets, float("inf"))
    at = np.minimum(np.searchsorted(scrapes, times), len(scrapes) - 1)
    bucket = np.searchsorted(np.array(metric.buckets), values, side="left")
    flat = np.bincount(at * len(edges) + bucket, minlength=len(scrapes) * len(edges))
    counts = flat.reshape(len(scrapes), len(edges)).cumsum(axis=0).cumsum(axis=1).tolist()
    sums = np.cumsum(np.bincount(at, weights=values, minlength=len(scrapes))).tolist()
    les = [f'le="{edge(value)}"' for value in edges]
    heads = [f"{metric.name}_bucket{_braces(labels, le)}" for le in les]
    name = f"{metric.name}_count{_braces(labels)}"
    total = f"{metric.name}_sum{_braces(labels)}"
    for row, row_sum, stamp in zip(counts, sums, stamps, strict=True):
        for head, count in zip(heads, row, strict=True):
            yield f"{head} {count} {stamp}"
        yield f"{name} {row[-1]} {stamp}"
        yield f"{total} {number(row_sum)} {stamp}"


def _points(
    observed: Observations, common: str, scrapes: FloatArray, stamps: Sequence[str]
) -> Iterator[str]:
    metric = observed.metric
    family = _family(metric)
    for index, label_values in enumerate(observed.labels):
        values, times = observed.group(index)
        own = label_text(metric.label_names, label_values)
        job = f'job="{metric.job}"' if metric.job and "job" not in metric.label_names else ""
        labels = ",".join(part for part in (own, job, common) if part)
        if metric.kind == HISTOGRAM:
            yield from _histogram(metric, labels, values, times, scrapes, stamps)
            continue
        at = np.searchsorted(scrapes, times, side="left")
        if metric.kind == COUNTER and metric.table != "gauges":
            at = np.minimum(at, len(scrapes) - 1)
            running = np.cumsum(np.bincount(at, weights=values, minlength=len(scrapes)))
            head = f"{family}_total{_braces(labels)}"
            for value, stamp in zip(running.tolist(), stamps, strict=True):
                yield f"{head} {number(value)} {stamp}"
            continue
        suffix = "_total" if metric.kind == COUNTER else ""
        head = f"{family}{suffix}{_braces(labels)}"
        if metric.kind in {GAUGE, COUNTER}:
            order = np.argsort(times, kind="stable")
            newest = np.searchsorted(times[order], scrapes, side="right") - 1
            ordered = values[order]
            for position, stamp in zip(newest.tolist(), stamps, strict=True):
                if position >= 0:
                    yield f"{head} {number(float(ordered[position]))} {stamp}"
        else:
            yield f"{head} {number(float(values.mean()))} {stamps[-1]}"


def lines(
    derivation: Derivation,
    scrapes: FloatArray,
    common_labels: dict[str, str],
    epoch_unix_seconds: float = EPOCH_UNIX_SECONDS,
) -> Iterator[str]:
    """Yield the lines of the exposition at the given scrape times: (n_scrapes,) seconds."""
    common = label_text(tuple(common_labels), tuple(common_labels.values()))
    stamps = [number(float(epoch_unix_seconds + time)) for time in scrapes.tolist()]
    for observed in derivation.all():
        yield from _header(observed.metric)
        yield from _points(observed, common, scrapes, stamps)
    yield "# EOF"


def exposition(
    derivation: Derivation,
    scrapes: FloatArray,
    common_labels: dict[str, str],
    epoch_unix_seconds: float = EPOCH_UNIX_SECONDS,
) -> str:
    """Return the whole exposition as one text."""
    return "\n".join(lines(derivation, scrapes, common_labels, epoch_unix_seconds)) + "\n"
