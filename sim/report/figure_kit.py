"""What the figures share: their context, pairs of axes, bands, curves and bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sim.metrics.bottleneck import Bottleneck
from sim.metrics.derive import Derivation
from sim.metrics.facts_view import FloatArray
from sim.report.shapes import Band, curve
from sim.report.style import (
    BAD,
    log_seconds,
    new_figure,
    seconds_axis,
    seconds_text,
    time_scale,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 9.6
_PAIR: Final = {"left": 0.075, "right": 0.985, "bottom": 0.15, "top": 0.855, "wspace": 0.2}


@dataclass(frozen=True, slots=True)
class Context:
    """What every figure is drawn from."""

    derivation: Derivation
    bottleneck: Bottleneck
    end_seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the cluster that differ from their defaults, by dotted path."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure of the report."""

    name: str
    """File name without ending."""
    title: str
    caption: str
    draw: Callable[[Context], Figure]
    wanted: Callable[[Context], bool] = lambda _: True
    """Whether the run has anything to show in it."""


def pair(height: float = 3.3) -> tuple[Figure, Axes, Axes]:
    """Return a figure with two axes side by side."""
    figure = new_figure(WIDTH, height)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(**_PAIR)
    return figure, left, right


def plot_bands(axes: Axes, bands: dict[str, Band], end_seconds: float, ink: dict[str, str]) -> None:
    """p99 as a line, p50 dashed, on a logarithmic axis of durations."""
    unit, _ = time_scale(end_seconds)
    positive: list[float] = []
    for name, found in bands.items():
        known = found.p99 > 0.0  # NaN where nothing happened, 0 has no place on a log axis
        x = found.centres[known] / unit
        marker = "o" if int(known.sum()) < 3 else None
        axes.plot(x, found.p99[known], color=ink[name], linewidth=1.7, label=name, marker=marker,
                  markersize=3)  # fmt: skip
        lower = np.where(found.p50 > 0.0, found.p50, np.nan)[known]
        axes.plot(x, lower, color=ink[name], linewidth=0.9, linestyle=(0, (3, 2)))
        for line in (found.p50[known], found.p99[known]):
            positive += line[line > 0.0].tolist()
    if positive:
        low, high = min(positive), max(positive)
        axes.set_yscale("log")
        axes.set_ylim(low / 1.6, high * 1.8)
        log_seconds(axes.yaxis, low, high)
    axes.set_xlim(0.0, end_seconds / unit)


def plot_curves(axes: Axes, groups: dict[str, FloatArray], ink: dict[str, str]) -> None:
    """Distribution functions over a logarithmic axis of durations, tail emphasised."""
    low, high = np.inf, 0.0
    for name, values in groups.items():
        found = curve(values)
        tail = 1.0 - found.shares
        tail[tail < 1e-5] = 1e-5
        axes.step(found.values, tail, where="post", color=ink[name], linewidth=1.5,
                  label=f"{name}  p99 {seconds_text(found.p99)}")  # fmt: skip
        seen = found.values[(found.values > 0.0) & (found.shares >= 0.02)]
        if len(seen):
            low, high = min(low, float(seen.min())), max(high, float(seen.max()))
    axes.set_yscale("log")
    axes.set_ylim(1.15, 1e-4)
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.yaxis.set_major_locator(FixedLocator([1.0, 0.5, 0.1, 0.01, 0.001, 0.0001]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels(["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
    if high > 0.0:
        axes.set_xscale("log")
        low = max(low, high / 1e5)
        axes.set_xlim(low / 1.5, high * 1.7)
        log_seconds(axes.xaxis, low, high)


def limit_line(axes: Axes, at: float, text: str, *, vertical: bool) -> None:
    """Mark a limit if it lies within the axes."""
    low, high = axes.get_xlim() if vertical else axes.get_ylim()
    if not low < at < high:
        return
    if vertical:
        axes.axvline(at, color=BAD, linewidth=1.0, linestyle=(0, (1, 1.5)))
        axes.text(at, axes.get_ylim()[1], f" {text}", color=BAD, fontsize=7.5, va="top")
    else:
        axes.axhline(at, color=BAD, linewidth=1.0, linestyle=(0, (1, 1.5)))
        axes.text(axes.get_xlim()[0], at, f" {text}", color=BAD, fontsize=7.5, va="bottom")


def bars_in_order(
    axes: Axes,
    names: Sequence[str],
    bars: Sequence[tuple[float, float, float]],
    colours: str | Sequence[str],
) -> None:
    """Draw horizontal bars from top to bottom.

    Args:
        axes: where.
        names: of the bars.
        bars: (start, length, a second number that is only written), seconds each.
        colours: of all bars, or one per bar.
    """
    total = max(max((start + length for start, length, _ in bars), default=0.0), 1e-9)
    for row, (start, length, second) in enumerate(bars):
        colour = colours if isinstance(colours, str) else colours[row]
        axes.barh(row, max(length, total * 0.002), left=start, height=0.66, color=colour)
        text = f"{seconds_text(length)} ({seconds_text(second)})"
        inside = start + length > 0.62 * total and start > 0.3 * total
        over = start + length > 0.62 * total and not inside
        axes.text(start - 0.012 * total if inside else
                  start + length - 0.012 * total if over else start + length + 0.012 * total,
                  row, text, va="center", ha="right" if inside or over else "left", fontsize=7.5,
                  color="white" if over else None)  # fmt: skip
    axes.set_yticks(range(len(names)), list(names))
    axes.invert_yaxis()
    axes.set_xlim(0.0, total * 1.02)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    seconds_axis(axes.xaxis)
