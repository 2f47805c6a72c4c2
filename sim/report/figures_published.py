"""Network programming latency of runs beside what others have published.

The published figures are a small table of this package, each row with its conditions and source.
They were measured with load tests whose number of Services is not published, on other machines and
mostly with older versions: they say whether a run is of the right order, no more.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sim.metrics.facts_view import Facts, FloatArray
from sim.metrics.programming import node_count, pooled_latencies
from sim.metrics.summary import quantiles_of_sorted
from sim.report.figure_kit import WIDTH, Context, plot_curves
from sim.report.style import (
    FAINT,
    PALETTE,
    empty_note,
    legend,
    log_seconds,
    new_figure,
    seconds_text,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION: Final = (
    "Latency of one change on one node, as kube-proxy's own metric counts it, over the measured"
    " part of the run. Published rows with the same mode and about as many nodes are in ink, others"
    " faint; their Services, machines and mostly versions differ from the run's."
)
_STATS: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_MARKERS: Final = {"p50": "o", "p90": "s", "p99": "D"}
_SAME_SIZE_RATIO: Final = 2.0
_CHANGES_MIN: Final = 20
_MODE: Final = "cluster.kubeProxy.mode"
_MIN_SYNC: Final = "cluster.kubeProxy.minSyncPeriodSeconds"


@dataclass(frozen=True, slots=True)
class Published:
    """One published percentile."""

    label: str
    mode: str
    node_count: int
    min_sync_seconds: float | None
    stat: str
    low_seconds: float
    high_seconds: float
    year: int
    source_url: str

    @property
    def title(self) -> str:
        """Which system, in a few words."""
        sync = "" if self.min_sync_seconds is None else f", {self.min_sync_seconds:g} s"
        return f"{self.label} {self.year}: {self.mode}, {self.node_count:,} nodes{sync}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: its proxy mode, its nodes and its latencies, ascending."""

    mode: str
    node_count: int
    min_sync_seconds: float
    values: FloatArray

    @property
    def title(self) -> str:
        """What was run, in a few words."""
        return f"this model: {self.mode}, {self.node_count:,} nodes, {self.min_sync_seconds:g} s"

    def is_like(self, row: Published) -> bool:
        """Whether a published row has this run's mode, about its size and its sync period."""
        ratio = row.node_count / max(1, self.node_count)
        same_sync = row.min_sync_seconds is None or row.min_sync_seconds == self.min_sync_seconds
        same_size = 1.0 / _SAME_SIZE_RATIO <= ratio <= _SAME_SIZE_RATIO
        return row.mode == self.mode and same_size and same_sync


def published_rows() -> list[Published]:
    """Return the published figures, as they lie beside this module."""
    path = Path(__file__).parent / "data" / "network_programming_published.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Published(
                row["label"], row["mode"], int(row["node_count"]),
                float(row["min_sync_period_seconds"]) if row["min_sync_period_seconds"] else None,
                row["stat"], float(row["low_seconds"]), float(row["high_seconds"]),
                int(row["year"]), row["source_url"],
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def measured(facts: Facts, settings: Mapping[str, Any]) -> Measured:
    """Return the latencies of a run; ``settings`` are those that differ from their defaults."""
    return Measured(
        str(settings.get(_MODE, "iptables")),
        node_count(facts),
        float(settings.get(_MIN_SYNC, 1.0)),
        pooled_latencies(facts),
    )


def is_wanted(context: Context) -> bool:
    """Whether there is something published to set beside the run."""
    return has_company(context.derivation.facts)


def has_company(facts: Facts) -> bool:
    """Whether a published figure was measured with about as many nodes as a run has."""
    if len(facts["network_programming"]) < _CHANGES_MIN:
        return False
    count = node_count(facts)
    return any(
        count / _SAME_SIZE_RATIO <= row.node_count <= count * _SAME_SIZE_RATIO
        for row in published_rows()
    )


def of_run(context: Context) -> Figure:
    """Draw one run beside the published figures."""
    return beside_published([measured(context.derivation.facts, context.settings)])


def beside_published(runs: Sequence[Measured]) -> Figure:
    """Draw the distributions of runs, and their percentiles beside the published ones."""
    shown = [run for run in runs if len(run.values)]
    rows = published_rows()
    titles = list(dict.fromkeys(row.title for row in rows))
    figure = new_figure(WIDTH, 1.6 + 0.27 * (len(titles) + len(shown)))
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 0.8))
    figure.subplots_adjust(left=0.075, right=0.985, bottom=0.17, top=0.83, wspace=0.97)
    tidy(left, "Network programming latency", "trigger to programmed on one node",
         "share of changes × nodes done within")  # fmt: skip
    tidy(right, "Beside published figures", "trigger to programmed", "p50 ○   p90 □   p99 ◇")
    if not shown:
        empty_note(left, "no Service changed")
        empty_note(right, "no Service changed")
        return figure
    ink = {run.title: PALETTE[index] for index, run in enumerate(shown)}
    plot_curves(left, {_short(run): run.values for run in shown},
                {_short(run): ink[run.title] for run in shown})  # fmt: skip
    legend(left, loc="upper left", fontsize=7.5)
    _percentiles(right, shown, rows, titles, ink)
    return figure


def _short(run: Measured) -> str:
    return f"{run.mode}, {run.node_count:,} nodes"


def _percentiles(
    axes: Axes,
    shown: Sequence[Measured],
    rows: Sequence[Published],
    titles: Sequence[str],
    ink: Mapping[str, str],
) -> None:
    seen: list[float] = []
    for place, run in enumerate(shown):
        values = quantiles_of_sorted(run.values, _STATS.values())
        points = dict(zip(_STATS, values, strict=True))
        _row(axes, place, {stat: (at, at) for stat, at in points.items()}, ink[run.title])
        seen += values
    for place, title in enumerate(titles, start=len(shown)):
        mine = [row for row in rows if row.title == title]
        like = next((run for run in shown if run.is_like(mine[0])), None)
        spans = {row.stat: (row.low_seconds, row.high_seconds) for row in mine}
        _row(axes, place, spans, ink[like.title] if like is not None else FAINT)
        seen += [edge for span in spans.values() for edge in span]
    names = [run.title for run in shown] + list(titles)
    axes.set_yticks(range(len(names)), names, fontsize=7.5)
    for label, title in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if title in ink else "normal")
    axes.axhline(len(shown) - 0.5, color=FAINT, linewidth=0.8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xscale("log")
    low, high = min(seen), max(seen)
    axes.set_xlim(low / 1.6, high * 2.2)
    log_seconds(axes.xaxis, low, high)
    axes.tick_params(axis="y", length=0)


def _row(axes: Axes, place: int, spans: Mapping[str, tuple[float, float]], colour: str) -> None:
    edges = [edge for span in spans.values() for edge in span]
    axes.plot([min(edges), max(edges)], [place, place], color=colour, linewidth=1.2)
    for stat, (low, high) in spans.items():
        axes.plot([(low * high) ** 0.5], [place], marker=_MARKERS[stat], color=colour,
                  markerfacecolor="white", markersize=5.5, linestyle="none")  # fmt: skip
    last = list(spans.values())[-1]
    text = seconds_text(last[0]) if last[0] == last[1] else f"{last[0]:g}-{seconds_text(last[1])}"
    axes.text(last[1] * 1.12, place, text, va="center", fontsize=7.0)
