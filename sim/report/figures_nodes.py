"""Figures about nodes: joining, faults and drains, image pulls, and what the API was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np

from sim.metrics.facts_view import FloatArray
from sim.metrics.node_join import STEP_MEANINGS, STEPS, changes_of_readiness, node_join
from sim.report.figure_kit import (
    WIDTH,
    Context,
    bars_in_order,
    pair,
)
from sim.report.shapes import bin_width_seconds, rate, reached_over_time
from sim.report.style import (
    BAD,
    FAINT,
    MUTED,
    PALETTE,
    empty_note,
    legend,
    new_figure,
    seconds_axis,
    seconds_text,
    tidy,
    time_scale,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_KINDS_SHOWN: Final = 7
_MARKS_MAX: Final = 12
_DISTURBED: Final = ("not_ready", "unknown", "cordoned", "deleted")


# ------------------------------------------------------------------------------ nodes that join
def has_joins(context: Context) -> bool:
    """Whether nodes registered during the run."""
    return "registered" in _kinds(context)


def _kinds(context: Context) -> list[str]:
    return context.derivation.facts["node_transitions"].categories("transition")


def joining(context: Context) -> Figure:
    """Draw how long each step of a join took, and how many nodes had got how far."""
    figure = new_figure(WIDTH, 3.5)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1.0))
    figure.subplots_adjust(left=0.2, right=0.985, bottom=0.14, top=0.865, wspace=0.17)
    unit, label = time_scale(context.end_seconds)
    tidy(left, "Nodes that joined", "time since registration", "mean over the nodes (longest)")
    tidy(right, "Nodes over time", label, "nodes that have got this far")
    found = node_join(context.derivation.facts)
    if not len(found):
        empty_note(left, "no node joined")
        empty_note(right, "no node joined")
        return figure
    since = found.times - found.times[:, :1]
    shown = [step for step in range(1, len(STEPS)) if not np.isnan(since[:, step]).all()]
    means = [float(np.nanmean(since[:, step])) for step in shown]
    longest = [float(np.nanmax(since[:, step])) for step in shown]
    order = sorted(range(len(shown)), key=lambda index: (means[index], shown[index]))
    names = []
    for index in order:
        reached = int((~np.isnan(since[:, shown[index]])).sum())
        few = f" ({reached} of {len(found)})" if reached < len(found) else ""
        names.append(STEP_MEANINGS[shown[index]] + few)
    bars_in_order(left, names, [(0.0, means[index], longest[index]) for index in order], PALETTE[0])
    for name, text, colour, width in (
        ("registered", "registered", FAINT, 4.0),
        ("cidr_allocated", "with a range", PALETTE[4], 1.6),
        ("ready", "Ready", PALETTE[0], 4.0),
        ("programmed_100", "reached by every node", PALETTE[2], 1.6),
    ):  # fmt: skip
        times, counts = reached_over_time(found.times[:, STEPS.index(name)])
        times, counts = np.append(times, context.end_seconds), np.append(counts, counts[-1:])
        if len(counts) == len(times):
            times, counts = np.append(times[:1], times), np.append([0.0], counts)
            right.step(times / unit, counts, where="post", color=colour, linewidth=width,
                       label=text)  # fmt: skip
    first, last = float(np.nanmin(found.times)), float(np.nanmax(found.times))
    margin = max(0.05 * (last - first), 1.0)
    right.set_xlim(max(0.0, first - margin) / unit, min(context.end_seconds, last + margin) / unit)
    right.set_ylim(0.0, 1.08 * len(found))
    right.yaxis.set_major_formatter("{x:,.0f}")
    legend(right, loc="lower right")
    return figure


# -------------------------------------------------------------------------- faults and drains
def is_disturbed(context: Context) -> bool:
    """Whether a node was lost or cordoned, or the workload broke something."""
    return bool(_marks(context)) or any(kind in _DISTURBED for kind in _kinds(context))


def _marks(context: Context) -> list[tuple[float, str]]:
    """Return (time, what) of everything the workload did to the machines, and of crashes."""
    table = context.derivation.facts["faults"]
    components, kinds = table.categories("component"), table.categories("what")
    details = table.categories("detail")
    found = [
        (time, details[detail])
        for time, component, what, detail in zip(
            table.column("time_seconds").tolist(), table.column("component").tolist(),
            table.column("what").tolist(), table.column("detail").tolist(), strict=True,
        )
        if components[component] == "workload" and kinds[what] in {"fault", "drain"}
    ]  # fmt: skip
    return found[:_MARKS_MAX]


def _draw_marks(axes: Axes, context: Context, unit: float, *, named: bool = True) -> None:
    marks = _marks(context)
    for time, _ in marks:
        axes.axvline(time / unit, color=BAD, linewidth=1.0, linestyle=(0, (1, 1.5)))
    if marks and named:
        text = f" {marks[0][1]}" + (f" and {len(marks) - 1} more" if len(marks) > 1 else "")
        axes.text(marks[0][0] / unit, axes.get_ylim()[1], text, color=BAD, fontsize=7.5, va="top")


def ready_endpoints(context: Context) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return per Service (times, ready endpoints after each change), summed over its slices."""
    table = context.derivation.facts["objects"]
    resources = table.categories("resource")
    if "endpointslices" not in resources:
        return {}
    code = resources.index("endpointslices")
    rows = np.flatnonzero(table.column("resource") == code)
    times = table.column("time_seconds")[rows].tolist()
    names = table.categories("name")
    kinds = table.categories("type")
    texts = table.categories("detail")
    ready: dict[str, dict[int, int]] = {}
    found: dict[str, list[tuple[float, int]]] = {}
    parsed: dict[int, tuple[str, int]] = {}
    for time, name, kind, detail in zip(
        times, table.column("name")[rows].tolist(), table.column("type")[rows].tolist(),
        table.column("detail")[rows].tolist(), strict=True,
    ):  # fmt: skip
        if detail not in parsed:
            values = json.loads(texts[detail])
            parsed[detail] = (values.get("service", names[name]), values.get("ready_count", 0))
        service, count = parsed[detail]
        slices = ready.setdefault(service, {})
        slices[name] = 0 if kinds[kind] == "DELETED" else count
        found.setdefault(service, []).append((time, sum(slices.values())))
    return {
        service: (np.array([time for time, _ in seen]), np.array([float(n) for _, n in seen]))
        for service, seen in sorted(found.items())
    }


def endpoints_over_time(
    services: dict[str, tuple[FloatArray, FloatArray]], grid: FloatArray
) -> FloatArray:
    """Return ready endpoints of each Service at each time of a grid: (n_services, n_times)."""
    rows = []
    for times, counts in services.values():
        at = np.searchsorted(times, grid, side="right")
        rows.append(np.concatenate(([0.0], counts))[at])
    return np.array(rows)


def disturbance(context: Context) -> Figure:
    """Draw ready endpoints and lost nodes around faults, drains and node failures."""
    figure, left, right = pair()
    end = context.end_seconds
    unit, label = time_scale(end)
    tidy(left, "Ready endpoints of the Services", label, "of the most that each had")
    tidy(right, "Nodes and pods", label, "nodes out of service; pods told to go, pods ready since")
    services = ready_endpoints(context)
    grid = np.linspace(0.0, end, 1200)
    if services:
        counts = endpoints_over_time(services, grid)
        most = np.maximum.accumulate(counts, axis=1)
        share = 100.0 * counts / np.maximum(most, 1.0)
        established = most > 0.0
        share[~established] = np.nan
        all_share = 100.0 * counts.sum(axis=0) / np.maximum(most.sum(axis=0), 1.0)
        lows = np.where(established, share, np.inf)
        worst = lows.min(axis=0)
        worst[~np.isfinite(worst)] = np.nan
        lowest = float(np.nanmin(worst)) if established.any() else 100.0
        name = list(services)[int(np.argmin(lows.min(axis=1)))]
        left.plot(grid / unit, worst, color=PALETTE[1], linewidth=1.4,
                  label=f"worst Service (lowest: {name})")  # fmt: skip
        left.plot(grid / unit, all_share, color=PALETTE[0], linewidth=1.6, label="all Services")
        bottom = max(0.0, 10.0 * np.floor((lowest - 4.0) / 10.0))
        left.set_ylim(bottom, 100.0 + 0.09 * (100.0 - bottom))
        left.set_xlim(0.0, end / unit)
        left.yaxis.set_major_formatter("{x:.0f} %")
        _draw_marks(left, context, unit)
        legend(left, loc="lower right")
    else:
        empty_note(left, "no Service has endpoints")
    _nodes_and_pods(right, context, unit)
    return figure


def _nodes_and_pods(axes: Axes, context: Context, unit: float) -> None:
    facts, end = context.derivation.facts, context.end_seconds
    times, steps = changes_of_readiness(facts)
    lost = np.maximum.accumulate(np.cumsum(steps)) - np.cumsum(steps)
    if len(times):
        lost = np.maximum(lost, -np.cumsum(steps))
    for name, at, values, colour in (
        ("nodes not Ready", times, lost, BAD),
        ("nodes cordoned", *_cordoned(context), PALETTE[4]),
    ):
        if len(at):
            x = np.concatenate(([0.0], at, [end]))
            y = np.concatenate(([0.0], values, values[-1:]))
            axes.step(x / unit, y, where="post", color=colour, linewidth=1.5, label=name)
    table = facts["pod_transitions"]
    kinds = table.categories("transition")
    going = _times_of(table.column("transition"), kinds, "deleting", table.column("time_seconds"))
    marks = _marks(context)
    begin = marks[0][0] if marks else float(times[0]) if len(times) else 0.0
    for name, at, colour in (
        ("pods told to go", going, MUTED),
        ("pods ready since", context.derivation.startup.times[:, _READY], PALETTE[2]),
    ):
        after = np.sort(at[at >= begin])
        if len(after):
            x = np.concatenate(([begin], after, [end]))
            y = np.concatenate((np.arange(len(after) + 1.0), [float(len(after))]))
            axes.step(x / unit, y, where="post", color=colour, linewidth=1.5, label=name)
    if not axes.lines:
        empty_note(axes, "no node left service, no pod was told to go")
        return
    axes.set_xlim(0.0, end / unit)
    axes.set_ylim(0.0, max(1.0, 1.15 * axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _draw_marks(axes, context, unit, named=False)
    legend(axes, loc="upper left")


_READY: Final = 9
"""Position of ``ready`` among the milestones of pod start-up."""


def _times_of(codes: FloatArray, kinds: list[str], kind: str, times: FloatArray) -> FloatArray:
    if kind not in kinds:
        return np.empty(0)
    found: FloatArray = times[codes == kinds.index(kind)]
    return found


def _cordoned(context: Context) -> tuple[FloatArray, FloatArray]:
    table = context.derivation.facts["node_transitions"]
    kinds, codes, times = (
        table.categories("transition"), table.column("transition"), table.column("time_seconds"),
    )  # fmt: skip
    begun = _times_of(codes, kinds, "cordoned", times)
    ended = _times_of(codes, kinds, "uncordoned", times)
    at = np.concatenate((begun, ended))
    step = np.concatenate((np.ones(len(begun)), -np.ones(len(ended))))
    order = np.argsort(at, kind="stable")
    return at[order], np.cumsum(step[order])


# ----------------------------------------------------------------------------- what was asked
def request_rate(context: Context) -> Figure:
    """Draw requests per second by verb and resource, and the share that failed or was refused."""
    figure, left, right = pair()
    end = context.end_seconds
    unit, label = time_scale(end)
    tidy(left, "API requests", label, "requests per second, most frequent kinds")
    tidy(right, "All requests", label, "requests per second")
    table = context.derivation.facts["requests"]
    if not len(table):
        empty_note(left, "no requests")
        empty_note(right, "no requests")
        return figure
    verbs, resources = table.categories("verb"), table.categories("resource")
    key = table.column("verb").astype(np.int64) * len(resources) + table.column("resource")
    ends = context.derivation.column("requests", "end_seconds")
    counts = np.bincount(key)
    kinds = sorted(np.flatnonzero(counts).tolist(), key=lambda kind: (-counts[kind], kind))
    width = bin_width_seconds(end)
    for kind, colour in zip(kinds[:_KINDS_SHOWN], PALETTE, strict=False):
        centres, per_second = rate(ends[key == kind], end)
        text = f"{verbs[kind // len(resources)]} {resources[kind % len(resources)]}"
        left.step((centres - width / 2) / unit, per_second, where="post", color=colour,
                  linewidth=1.4, label=text)  # fmt: skip
    centres, per_second = rate(ends, end)
    right.step((centres - width / 2) / unit, per_second, where="post", color=PALETTE[0],
               linewidth=1.6, label="all")  # fmt: skip
    failed = context.derivation.column("requests", "failed_ratio") > 0.0
    if failed.any():
        centres, per_second = rate(ends[failed], end)
        right.step((centres - width / 2) / unit, per_second, where="post", color=BAD,
                   linewidth=1.4, label="failed or refused")  # fmt: skip
    for axes in (left, right):
        axes.set_xlim(0.0, end / unit)
        axes.set_ylim(0.0, 1.25 * axes.get_ylim()[1])
        axes.yaxis.set_major_formatter("{x:,.0f}")
        _draw_marks(axes, context, unit, named=False)
    legend(left, loc="upper right", ncols=2, fontsize=7.5)
    legend(right, loc="upper right")
    return figure


# ------------------------------------------------------------------------------- image pulls
def has_pulls(context: Context) -> bool:
    """Whether images were fetched."""
    return "pulled" in context.derivation.facts["image_pulls"].categories("result")


def image_pulls(context: Context) -> Figure:
    """Draw how long pulls took, and what the registry sent over time."""
    figure, left, right = pair()
    unit, label = time_scale(context.end_seconds)
    tidy(left, "Image pulls", "request to unpacked, queue included", "share done within")
    tidy(right, "Images over time", label, "pulls asked for and finished")
    derivation = context.derivation
    table = derivation.facts["image_pulls"]
    results = table.categories("result")
    if "pulled" not in results:
        empty_note(left, "nothing was pulled")
        empty_note(right, "nothing was pulled")
        return figure
    pulled = table.column("result") == results.index("pulled")
    begin = table.column("time_seconds")[pulled]
    ends = derivation.column("image_pulls", "end_seconds")[pulled]
    seconds = np.sort(ends - begin)
    left.step(np.concatenate(([0.0], seconds)), np.linspace(0.0, 100.0, len(seconds) + 1),
              where="post", color=PALETTE[0], linewidth=1.6)  # fmt: skip
    left.set_xlim(0.0, 1.05 * float(seconds[-1]))
    left.set_ylim(0.0, 104.0)
    left.yaxis.set_major_formatter("{x:.0f} %")
    seconds_axis(left.xaxis)
    size = float(table.column("pulled_bytes")[pulled].sum())
    span = max(float(ends.max() - begin.min()), 1e-9)
    for values, name, colour in (
        (begin, "asked for", FAINT),
        (ends, f"on the node ({8e-9 * size / span:.2g} Gbit/s)", PALETTE[0]),
    ):
        times, counts = reached_over_time(values)
        right.step(times / unit, counts, where="post", color=colour, linewidth=1.6, label=name)
    right.set_ylim(0.0, 1.08 * len(ends))
    right.yaxis.set_major_formatter("{x:,.0f}")
    right.set_xlabel(f"{label}; last after {seconds_text(float(ends.max()))}")
    legend(right, loc="center")
    return figure
