"""Two runs, or two scenarios over their replications: what differs, and whether that is real.

Runs of the same seed and replication share their random numbers, so they are compared in pairs;
with two or more pairs every difference has a 95 % interval, with one there is only a difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sim.metrics.summary import SummaryRow
from sim.report.page import environment
from sim.report.style import number_text
from sim.stats.compare import Comparison, Verdict, compare_paired, compare_unpaired

Replication = tuple[int, int]
"""(seed, replication index)."""

HEADLINE: Final = (
    ("sim_pod_startup_duration_seconds", ("p50", "p99")),
    ("kubelet_pod_start_sli_duration_seconds", ("p99",)),
    ("scheduler_pod_scheduling_sli_duration_seconds", ("p50", "p99")),
    ("scheduler_scheduling_algorithm_duration_seconds", ("p50", "p99")),
    ("sim_scheduling_throughput_pods_per_second", ("mean",)),
    ("apiserver_request_sli_duration_seconds", ("p99",)),
    ("etcd_disk_wal_fsync_duration_seconds", ("p99",)),
    ("etcd_disk_backend_commit_duration_seconds", ("p99",)),
    ("sim_watch_last_delivery_seconds", ("p99",)),
    ("kubeproxy_network_programming_duration_seconds", ("p50", "p99")),
    ("kubeproxy_sync_proxy_rules_duration_seconds", ("p50", "p99")),
    ("sim_host_utilization_ratio", ("mean",)),
    ("rest_client_rate_limiter_duration_seconds", ("mean",)),
)
"""What is compared unless everything is asked for."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: its runs by seed and replication."""

    name: str
    runs: Mapping[Replication, Sequence[SummaryRow]]
    manifest: Mapping[str, Any]
    """Manifest of its first run."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One number on both sides."""

    metric: str
    labels: str
    stat: str
    unit: str
    a: float
    b: float
    change_ratio: float | None
    """(b - a) / a; None where a is 0."""
    ci_low: float | None
    ci_high: float | None
    """95 % interval of b - a."""
    verdict: str
    """lower, higher, undecided, equal, or single where one run cannot tell."""
    n: int
    """Runs on the smaller side."""


def compare_sides(a: Side, b: Side, *, everything: bool = False) -> list[Difference]:
    """Return the numbers that both sides have, in the order of side A."""
    wanted = dict(HEADLINE)
    first, second = _values(a), _values(b)
    paired = set(a.runs) == set(b.runs)
    found = []
    for key, mine in first.items():
        metric, labels, stat, unit = key
        if not everything and stat not in wanted.get(metric, ()):
            continue
        theirs = second.get(key)
        if theirs is not None:
            found.append(_difference(metric, labels, stat, unit, mine, theirs, paired=paired))
    if not everything:
        order = {name: index for index, (name, _) in enumerate(HEADLINE)}
        found.sort(key=lambda item: order[item.metric])
    return found


def _values(side: Side) -> dict[tuple[str, str, str, str], dict[Replication, float]]:
    values: dict[tuple[str, str, str, str], dict[Replication, float]] = {}
    for replication, rows in sorted(side.runs.items()):
        for row in rows:
            key = (row.metric, row.labels, row.stat, row.unit)
            values.setdefault(key, {})[replication] = row.value
    return values


def _difference(
    metric: str,
    labels: str,
    stat: str,
    unit: str,
    mine: Mapping[Replication, float],
    theirs: Mapping[Replication, float],
    *,
    paired: bool,
) -> Difference:
    both = sorted(set(mine) & set(theirs))
    if paired and len(both) == len(mine) == len(theirs):
        left, right = [mine[key] for key in both], [theirs[key] for key in both]
    else:
        left, right, paired = list(mine.values()), list(theirs.values()), False
    mean_a, mean_b = math.fsum(left) / len(left), math.fsum(right) / len(right)
    change = (mean_b - mean_a) / mean_a if mean_a else None
    count = min(len(left), len(right))
    low = high = None
    if count < 2:
        verdict = "equal" if mean_a == mean_b else "single"
    elif left == right:
        verdict = "equal"
    else:
        comparison = _compared(left, right, paired=paired)
        low, high = comparison.difference.low, comparison.difference.high
        verdict = comparison.verdict.value
        assert verdict in {item.value for item in Verdict}
    return Difference(metric, labels, stat, unit, mean_a, mean_b, change, low, high, verdict, count)


def _compared(left: list[float], right: list[float], *, paired: bool) -> Comparison:
    return compare_paired(left, right) if paired else compare_unpaired(left, right)


def settings_that_differ(a: Side, b: Side) -> list[tuple[str, Any, Any]]:
    """Return (setting, value in A, value in B) of settings that differ; unset means default."""
    left = {item["setting"]: item for item in a.manifest["settings_changed"]}
    right = {item["setting"]: item for item in b.manifest["settings_changed"]}
    rows = []
    for name in sorted({*left, *right}):
        default = (left.get(name) or right[name])["default"]
        value_a = left[name]["value"] if name in left else default
        value_b = right[name]["value"] if name in right else default
        if value_a != value_b:
            rows.append((name, value_a, value_b))
    for key in ("profile", "seed", "workload"):
        if a.manifest[key] != b.manifest[key]:
            rows.append((key, a.manifest[key], b.manifest[key]))
    return rows


def change_text(item: Difference) -> str:
    """Return a relative change: ``+12.3 %``."""
    if item.change_ratio is None:
        return "new" if item.b else "0 %"
    return f"{100.0 * item.change_ratio:+.1f} %"


def interval_text(item: Difference) -> str:
    """Return the interval of the difference, empty without one."""
    if item.ci_low is None or item.ci_high is None:
        return ""
    return f"{number_text(item.ci_low, item.unit)} … {number_text(item.ci_high, item.unit)}"


def compare_page(a: Side, b: Side, differences: Sequence[Difference]) -> str:
    """Return the comparison as a page."""
    rows = [
        {
            "name": item.metric, "labels": item.labels, "stat": item.stat,
            "a": number_text(item.a, item.unit), "b": number_text(item.b, item.unit),
            "change": change_text(item), "interval": interval_text(item),
            "verdict": item.verdict, "n": item.n,
        }
        for item in differences
    ]  # fmt: skip
    return str(environment().get_template("compare.html").render(
        a=a, b=b, rows=rows, settings=settings_that_differ(a, b),
        paired=set(a.runs) == set(b.runs), count=min(len(a.runs), len(b.runs)),
    ))  # fmt: skip
