"""The figures of a run, each a function from derived facts to a drawn matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from sim.metrics.bottleneck import SATURATED_RATIO
from sim.metrics.derive import Observations
from sim.metrics.facts_view import FloatArray
from sim.metrics.startup import MILESTONES, PHASES
from sim.report import figures_nodes, figures_published
from sim.report.figure_kit import (
    WIDTH,
    Context,
    Drawing,
    bars_in_order,
    limit_line,
    pair,
    plot_bands,
    plot_curves,
)
from sim.report.shapes import band, bin_width_seconds, grouped, rate, reached_over_time
from sim.report.style import (
    BAD,
    FAINT,
    INK,
    PALETTE,
    colours,
    empty_note,
    legend,
    new_figure,
    tidy,
    time_scale,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SLI_SECONDS: Final = 1.0
"""**Source:** Kubernetes' API call latency SLO: p99 of calls on one object ≤ 1 s."""
_STARTUP_SLO_SECONDS: Final = 5.0
"""**Source:** Kubernetes' pod start-up SLO: p99 ≤ 5 s, image pulls excluded."""


def _groups(observed: Observations) -> dict[str, tuple[FloatArray, FloatArray]]:
    return {
        labels[0] or "(none)": observed.group(index)
        for index, labels in enumerate(observed.labels)
        if len(observed.group(index)[0])
    }


def api_latency(context: Context) -> Figure:
    """API latency by verb over time and as distribution."""
    figure, left, right = pair()
    observed = grouped(
        context.derivation, "requests", "sli_seconds", "end_seconds", "http_verb", "not_watch"
    )
    groups = _groups(observed)
    end = context.end_seconds
    tidy(left, "API latency by verb", time_scale(end)[1], "p99 (line), p50 (dashed)")
    tidy(right, "Distribution over the run", "latency in the apiserver", "share answered within")
    if not groups:
        empty_note(left, "no requests")
        empty_note(right, "no requests")
        return figure
    ink = colours(list(groups))
    bands = {name: band(times, values, end) for name, (values, times) in groups.items()}
    plot_bands(left, bands, end, ink)
    plot_curves(right, {name: values for name, (values, _) in groups.items()}, ink)
    limit_line(left, _SLI_SECONDS, "SLO 1 s", vertical=False)
    limit_line(right, _SLI_SECONDS, "SLO 1 s", vertical=True)
    legend(right, loc="upper left", fontsize=7.5)
    return figure


def etcd_commit(context: Context) -> Figure:
    """etcd: fsync, quorum and backend commit over time, and what a batch carries."""
    figure, left, right = pair()
    derivation, end = context.derivation, context.end_seconds
    tidy(left, "etcd commit latency", time_scale(end)[1], "p99 (line), p50 (dashed)")
    tidy(right, "Distribution over the run", "duration", "share done within")
    groups = {}
    for name, table, column, time in (
        ("WAL fsync", "etcd_commits", "fsync_seconds", "synced_seconds"),
        ("append to quorum", "etcd_commits", "commit_seconds", "end_seconds"),
        ("apply", "etcd_commits", "apply_seconds", "end_seconds"),
        ("backend commit", "etcd_backend_commits", "duration_seconds", "time_seconds"),
    ):
        values = derivation.column(table, column)
        if len(values):
            groups[name] = (values, derivation.column(table, time))
    if not groups:
        empty_note(left, "no commits")
        empty_note(right, "no commits")
        return figure
    ink = colours(list(groups))
    bands = {name: band(times, values, end) for name, (values, times) in groups.items()}
    plot_bands(left, bands, end, ink)
    plot_curves(right, {name: values for name, (values, _) in groups.items()}, ink)
    legend(right, loc="upper left", fontsize=7.5)
    return figure


def scheduler(context: Context) -> Figure:
    """Scheduling throughput, and the depth of the scheduler's queues."""
    figure, left, right = pair()
    derivation, end = context.derivation, context.end_seconds
    unit, label = time_scale(end)
    tidy(left, "Scheduling throughput", label, "pods per second")
    tidy(right, "Pods in the scheduler's queues", label, "pods")
    attempts = derivation.column("scheduling_attempts", "time_seconds")
    bound = derivation.column("bindings", "end_seconds")
    if len(attempts) or len(bound):
        width = bin_width_seconds(end)
        for times, name, colour in (
            (attempts, "scheduling attempts", FAINT), (bound, "pods bound", PALETTE[0]),
        ):  # fmt: skip
            if len(times):
                centres, per_second = rate(times, end)
                left.step((centres - width / 2) / unit, per_second, where="post", color=colour,
                          linewidth=1.6, label=name)  # fmt: skip
        left.set_xlim(0.0, end / unit)
        left.set_ylim(0.0, 1.25 * left.get_ylim()[1])
        legend(left, loc="upper right", ncols=2)
    else:
        empty_note(left, "nothing was scheduled")
    queues = _groups(derivation.sampled_gauge("scheduler_pending_pods"))
    for (name, (values, times)), colour in zip(queues.items(), PALETTE, strict=False):
        right.plot(times / unit, values, color=colour, linewidth=1.6, label=name)
    if queues:
        right.set_xlim(0.0, end / unit)
        right.set_ylim(0.0, max(5.0, 1.2 * right.get_ylim()[1]))
        right.yaxis.set_major_formatter("{x:,.0f}")
        legend(right, loc="upper right", ncols=4)
    else:
        empty_note(right, "queues were not sampled")
    return figure


def pod_startup(context: Context) -> Figure:
    """Pod start-up as a waterfall of its phases, and pods over time."""
    startup, end = context.derivation.startup, context.end_seconds
    figure = new_figure(WIDTH, 3.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1.0))
    figure.subplots_adjust(left=0.155, right=0.985, bottom=0.125, top=0.875, wspace=0.17)
    tidy(left, "Pod start-up", "time since creation", "mean duration of each phase (p99)")
    unit, label = time_scale(end)
    tidy(right, "Pods over time", label, "pods that have got this far")
    if not len(startup):
        empty_note(left, "no pods were created")
        empty_note(right, "no pods were created")
        return figure
    _waterfall(left, startup.phases)
    for name, colour in zip(("created", "scheduled", "running", "ready"),
                            (FAINT, PALETTE[4], PALETTE[0], PALETTE[2]), strict=True):  # fmt: skip
        times, counts = reached_over_time(startup.times[:, MILESTONES.index(name)])
        right.step(times / unit, counts, where="post", color=colour, linewidth=1.6, label=name)
    right.set_xlim(0.0, end / unit)
    right.set_ylim(bottom=0.0)
    right.yaxis.set_major_formatter("{x:,.0f}")
    legend(right, loc="lower right")
    return figure


def _waterfall(axes: Axes, phases: FloatArray) -> None:
    """One bar per phase, starting where the mean of the phases before ends."""
    shown = [index for index in range(len(PHASES)) if np.any(~np.isnan(phases[:, index]))]
    position = 0.0
    bars = []
    for index in shown:
        values = phases[:, index][~np.isnan(phases[:, index])]
        mean, p99 = float(values.mean()), quantile99(values)
        bars.append((position, mean, p99))
        position += mean
    ready = PHASES.index("ready")
    ink = [PALETTE[0] if index <= ready else PALETTE[5] for index in shown]
    bars_in_order(axes, [PHASES[index] for index in shown], bars, ink)


def quantile99(values: FloatArray) -> float:
    """Return the 99th percentile of at least one value."""
    return float(np.quantile(values, 0.99))


def network_programming(context: Context) -> Figure:
    """How long Service changes take to reach the nodes."""
    figure, left, right = pair()
    derivation, end = context.derivation, context.end_seconds
    tidy(left, "Network programming latency", time_scale(end)[1], "p99 (line), p50 (dashed)")
    tidy(right, "Distribution over the changes", "trigger to programmed", "share done within")
    ink, groups = {}, {}
    table = "network_programming"
    for name, column, colour in (
        ("slice committed", "committed_seconds", FAINT),
        ("half of the nodes", "programmed_seconds_p50", PALETTE[2]),
        ("99 % of the nodes", "programmed_seconds_p99", PALETTE[0]),
        ("every node", "programmed_seconds_max", PALETTE[1]),
    ):
        values = derivation.column(table, column)
        if len(values):
            groups[name] = (values, derivation.column(table, "time_seconds"))
            ink[name] = colour
    if not groups:
        empty_note(left, "no Service changed")
        empty_note(right, "no Service changed")
        return figure
    bands = {name: band(times, values, end) for name, (values, times) in groups.items()}
    plot_bands(left, bands, end, ink)
    plot_curves(right, {name: values for name, (values, _) in groups.items()}, ink)
    legend(right, loc="upper left", fontsize=7.5)
    return figure


def utilisation(context: Context) -> Figure:
    """How busy hosts were over time, and how busy everything that can saturate was."""
    resources = [item for item in context.bottleneck.resources if item.busy_ratio > 0.0005][:12]
    figure = new_figure(WIDTH, max(3.3, 1.5 + 0.26 * len(resources)))
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 0.8))
    figure.subplots_adjust(left=0.055, right=0.965, bottom=0.13, top=0.865, wspace=0.68)
    end = context.end_seconds
    unit, label = time_scale(end)
    tidy(left, "CPU of the hosts", label, "busy share of the cores")
    tidy(
        right, "What was busy while pods started", "",
        "share of the time busy, or keeping callers waiting",
    )  # fmt: skip
    hosts = _groups(context.derivation.sampled_gauge("host_utilization_ratio"))
    busiest = sorted(hosts, key=lambda name: (-float(hosts[name][0].mean()), name))[:7]
    for name, colour in zip(busiest, PALETTE, strict=False):
        values, times = hosts[name]
        left.plot(times / unit, 100.0 * values, color=colour, linewidth=1.5, label=name)
    if hosts:
        left.set_xlim(0.0, end / unit)
        left.set_ylim(0.0, 105.0)
        left.yaxis.set_major_formatter("{x:.0f} %")
        legend(left, loc="upper right")
    else:
        empty_note(left, "hosts were not sampled")
    if not resources:
        empty_note(right, "nothing was busy")
        return figure
    names = [short_name(item.kind, item.name) for item in resources]
    shares = [100.0 * item.busy_ratio for item in resources]
    tint = [BAD if item.busy_ratio >= SATURATED_RATIO else PALETTE[0] for item in resources]
    right.barh(range(len(names)), shares, height=0.66, color=tint)
    for row, share in enumerate(shares):
        right.text(min(share, 100.0) + 1.5, row, f"{share:.0f} %", va="center", fontsize=7.5,
                   color=INK)  # fmt: skip
    right.set_yticks(range(len(names)), names, fontsize=7.5)
    right.invert_yaxis()
    right.set_xlim(0.0, 112.0)
    right.xaxis.set_major_formatter("{x:.0f} %")
    right.grid(False, axis="y")
    right.tick_params(axis="y", length=0)
    return figure


def short_name(kind: str, name: str) -> str:
    """Return a label for a bar: what it is and whose."""
    kinds = {"host": "CPU", "priority level": "priority", "event limiter": "events of"}
    return f"{kinds.get(kind, kind)} {name}"


DRAWINGS: Final = (
    Drawing("pod_startup", "Pod start-up", "Mean duration of each phase, in order; lighter bars"
            " are the way of the ready pod into every node's Service rules.", pod_startup),
    Drawing("api_latency", "API latency", "Latency in the apiserver without the wait in priority"
            " and fairness, which is what Kubernetes' SLO counts; watches left out.",
            api_latency),
    Drawing("utilisation", "Utilisation", "Red bars are saturated: callers wait, and more load"
            " makes them wait longer.", utilisation),
    Drawing("scheduler", "Scheduler", "Bound pods and attempts per second; pods waiting in each"
            " queue.", scheduler),
    Drawing("etcd_commit", "etcd", "One observation per batch (group commit): many proposals share"
            " one fsync.", etcd_commit),
    Drawing("network_programming", "Network programming", "From a pod's readiness change to rules"
            " on the nodes.", network_programming),
    Drawing("network_programming_published", "Network programming beside published figures",
            figures_published.CAPTION, figures_published.of_run, figures_published.is_wanted),
    Drawing("node_join", "Nodes that join", "Mean time from the registration of a node to each step"
            " (longest in brackets); a node is reached when another has its overlay entries.",
            figures_nodes.joining, figures_nodes.has_joins),
    Drawing("disturbance", "Faults and drains", "Ready endpoints as a share of the most that a"
            " Service ever had; dotted lines are faults and drains of the workload.",
            figures_nodes.disturbance, figures_nodes.is_disturbed),
    Drawing("request_rate", "API requests", "Requests per second by kind, and what of all failed.",
            figures_nodes.request_rate),
    Drawing("image_pulls", "Image pulls", "Pulls that fetched something; the rate is the mean over"
            " the span of all pulls.", figures_nodes.image_pulls, figures_nodes.has_pulls),
)  # fmt: skip
