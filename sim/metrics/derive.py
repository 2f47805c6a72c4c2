"""From facts to observations: values and times of every metric, grouped by its labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.metrics.catalogue import METRICS, Metric, sampled_gauge
from sim.metrics.columns import FILTERS, label_column, value_column
from sim.metrics.facts_view import Facts, FloatArray, Grouping, IntArray, group_rows
from sim.metrics.node_join import STEPS, node_join
from sim.metrics.startup import PHASES, Startup, phase_rows, pod_startup

THROUGHPUT_BIN_SECONDS: Final = 1.0
"""**Source:** kubernetes/test/integration/scheduler_perf, one throughput sample per second."""


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything one metric observed, ordered by label set and, within one, by fact row.

    ``values``, ``times`` : (n_observations,) float64; ``starts`` : (n_groups + 1,) int64;
    ``labels`` : one tuple of label values per group, sorted.
    """

    metric: Metric
    values: FloatArray
    times: FloatArray
    starts: IntArray
    labels: tuple[tuple[str, ...], ...]

    def group(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Return (values, times) of one label set; views, do not modify."""
        start, end = self.starts[index], self.starts[index + 1]
        return self.values[start:end], self.times[start:end]

    def select(self, wanted: dict[str, str]) -> FloatArray:
        """Return the values of all label sets that agree with ``wanted``, concatenated."""
        names = self.metric.label_names
        chosen = [
            self.group(index)[0]
            for index, values in enumerate(self.labels)
            if all(dict(zip(names, values, strict=True)).get(k) == v for k, v in wanted.items())
        ]
        return np.concatenate(chosen) if chosen else np.empty(0)


class Derivation:
    """Derives the metrics of one run; groupings are shared between metrics of equal labels."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._groupings: dict[tuple[str, tuple[tuple[str, str], ...], str], Grouping] = {}
        self._columns: dict[tuple[str, str], FloatArray] = {}
        self._labels: dict[tuple[str, str], tuple[IntArray, list[str]]] = {}
        self._times: dict[tuple[int, str, str], FloatArray] = {}
        """By grouping (all are kept, so that identities stay unique), table and column."""
        self._observed: dict[str, Observations] = {}
        self._startup: Startup | None = None

    @property
    def startup(self) -> Startup:
        """Per-pod start-up times."""
        if self._startup is None:
            self._startup = pod_startup(self.facts)
        return self._startup

    def column(self, table: str, name: str) -> FloatArray:
        """Return a stored or derived number per row (kept for the next metric that asks)."""
        found = self._columns.get((table, name))
        if found is None:
            found = self._columns[table, name] = value_column(self.facts, table, name)
        return found

    def label(self, table: str, name: str) -> tuple[IntArray, list[str]]:
        """Return a stored or derived label per row, as codes and values."""
        found = self._labels.get((table, name))
        if found is None:
            found = self._labels[table, name] = label_column(self.facts, table, name)
        return found

    def times(self, grouping: Grouping, table: str, name: str) -> FloatArray:
        """Return a time column in the order of a grouping; the same array for all who ask."""
        key = (id(grouping), table, name)
        found = self._times.get(key)
        if found is None:
            found = self._times[key] = grouping.take(self.column(table, name))
        return found

    def grouping(self, metric: Metric) -> Grouping:
        """Return the rows of a metric's table by its labels."""
        key = (metric.table, metric.labels, metric.where)
        found = self._groupings.get(key)
        if found is None:
            mask = FILTERS[metric.table, metric.where](self.facts) if metric.where else None
            columns = [self.label(metric.table, name) for _, name in metric.labels]
            found = group_rows(columns, len(self.facts[metric.table]), mask)
            self._groupings[key] = found
        return found

    def observations(self, metric: Metric) -> Observations:
        """Return what a metric of the catalogue observed."""
        found = self._observed.get(metric.name)
        if found is None:
            found = self._observed[metric.name] = self._derive(metric)
        return found

    def _derive(self, metric: Metric) -> Observations:
        if metric.special:
            return self._special(metric)
        grouping = self.grouping(metric)
        times = self.times(grouping, metric.table, metric.time)
        if metric.value:
            values = grouping.take(self.column(metric.table, metric.value))
        else:
            values = np.ones(len(grouping.rows))
        return Observations(metric, values, times, grouping.starts, grouping.labels)

    def _special(self, metric: Metric) -> Observations:
        if metric.special == "startup":
            values, times = self.startup.durations(metric.value)
            return _ungrouped(metric, values, times)
        if metric.special == "phases":
            phase, values, times = phase_rows(self.startup)
            grouping = group_rows([(phase, PHASES)], len(phase), None)
            rows = grouping.rows
            return Observations(
                metric, values[rows], times[rows], grouping.starts, grouping.labels
            )
        if metric.special == "node_join":
            step, values, times = node_join(self.facts).rows()
            grouping = group_rows([(step, STEPS[1:])], len(step), None)
            rows = grouping.rows
            return Observations(
                metric, values[rows], times[rows], grouping.starts, grouping.labels
            )
        assert metric.special == "throughput", metric.special
        return _ungrouped(metric, *throughput(self.facts))

    def all(self) -> Iterator[Observations]:
        """Yield the observations of every metric of the catalogue that observed something."""
        for metric in METRICS:
            found = self.observations(metric)
            if len(found.values):
                yield found
        yield from self.sampled()

    def sampled(self) -> Iterator[Observations]:
        """Yield the sampled gauges, one metric per gauge, by instance."""
        table = self.facts["gauges"]
        for gauge in sorted(table.categories("gauge")):
            found = self.sampled_gauge(gauge)
            if len(found.values):
                yield found

    def sampled_gauge(self, gauge: str) -> Observations:
        """Return the samples of one gauge by instance; empty if nobody sampled it."""
        published = sampled_gauge(gauge)
        metric = Metric(
            name=published.name, kind=published.kind, unit=published.unit, job=published.job,
            help=published.help, table="gauges", value="value",
            labels=((published.label, "instance"),), special=gauge,
        )  # fmt: skip
        table = self.facts["gauges"]
        names = table.categories("gauge")
        code = names.index(gauge) if gauge in names else -1
        mask = table.column("gauge") == code
        grouping = group_rows([label_column(self.facts, "gauges", "instance")], len(table), mask)
        return Observations(
            metric,
            grouping.take(table.column("value")),
            grouping.take(table.column("time_seconds")),
            grouping.starts,
            grouping.labels,
        )


def _ungrouped(metric: Metric, values: FloatArray, times: FloatArray) -> Observations:
    labels: tuple[tuple[str, ...], ...] = ((),) if len(values) else ()
    starts = np.array([0, len(values)] if len(values) else [0], dtype=np.int64)
    return Observations(metric, values, times, starts, labels)


def throughput(facts: Facts) -> tuple[FloatArray, FloatArray]:
    """Return (pods bound per second, end of the second) between first and last binding."""
    bindings = facts["bindings"]
    codes = bindings.column("code")
    good = (codes >= 200) & (codes < 300)
    ends = (bindings.column("time_seconds") + bindings.column("duration_seconds"))[good]
    if not len(ends):
        return np.empty(0), np.empty(0)
    first, last = float(ends.min()), float(ends.max())
    bin_count = max(1, int(np.ceil((last - first) / THROUGHPUT_BIN_SECONDS)))
    bins = np.minimum(((ends - first) / THROUGHPUT_BIN_SECONDS).astype(np.int64), bin_count - 1)
    counts = np.bincount(bins, minlength=bin_count).astype(np.float64)
    # The last second is usually a fraction of one: count it at its own length.
    widths = np.full(bin_count, THROUGHPUT_BIN_SECONDS)
    widths[-1] = max(last - first - (bin_count - 1) * THROUGHPUT_BIN_SECONDS, 1e-9)
    if bin_count > 1 and widths[-1] < THROUGHPUT_BIN_SECONDS:
        counts, widths = counts[:-1], widths[:-1]
    else:
        widths[:] = THROUGHPUT_BIN_SECONDS
    times = first + THROUGHPUT_BIN_SECONDS * np.arange(1, len(counts) + 1, dtype=np.float64)
    rates: FloatArray = counts / widths
    return rates, times
