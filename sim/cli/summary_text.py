"""The end-of-run summary, in k6's order: thresholds, totals, bottleneck, where the results are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim.base.duration import format_duration

if TYPE_CHECKING:
    from sim.experiment.judge import Judgement
    from sim.experiment.results import RunResult

_SIGNS = {"ok": "✓", "crossed": "✗", "undecided": "?"}


def summary_text(results: Sequence[RunResult], points_table: Path | None) -> str:
    """Return the summary of one experiment's runs."""
    from sim.experiment.aggregate import by_point, point_judgements

    if not results:
        return "nothing was run\n"
    if len(results) == 1:
        result = results[0]
        return _one(result, list(result.judgements))
    lines: list[str] = []
    for runs in by_point(results):
        good = [run for run in runs if not run.error]
        lines.append(f"{runs[0].folder.parent.name}  ({_counts(runs)})")
        lines += _thresholds(point_judgements(good))
        if good:
            lines.append(f"      {good[0].bottleneck}")
            lines += [f"      {_cost(run)}" for run in good if not run.skipped]
    lines.append("")
    if points_table is not None:
        lines.append(f"  results   {points_table.parent}")
        lines.append(f"  table     {points_table}")
        lines += [f"  figure    {path}" for path in sorted(points_table.parent.glob("*.png"))]
    return "\n".join(lines) + "\n"


def _cost(run: RunResult) -> str:
    """Return what a run of a sweep took: simulated, wall and CPU time."""
    simulated = format_duration(round(run.simulated_seconds, 1))
    speed = run.simulated_seconds / max(run.wall_seconds, 1e-9)
    return (
        f"simulated {simulated} in {run.wall_seconds:.1f} s ({speed:,.1f} × faster),"
        f" {run.cpu_seconds:.1f} CPU-s"
    )


def _counts(runs: Sequence[RunResult]) -> str:
    parts = [f"{len(runs)} run{'s' if len(runs) > 1 else ''}"]
    for word, count in (
        ("skipped, finished before", sum(run.skipped for run in runs)),
        ("failed", sum(bool(run.error) for run in runs)),
        ("incomplete", sum(not run.complete and not run.error for run in runs)),
        ("INVALID", sum(bool(run.invariants_broken) for run in runs)),
    ):
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)


def number(value: float, unit: str) -> str:
    """Return a value for people: durations with unit, large counts with separators."""
    if unit == "seconds":
        if value and abs(value) < 1.0:
            return f"{value * 1e3:.3g} ms" if abs(value) >= 1e-3 else f"{value * 1e6:.3g} µs"
        return f"{value:.4g} s" if abs(value) < 60.0 else format_duration(round(value, 1))
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    if unit == "ratio":
        return f"{100.0 * value:.4g} %"
    text = f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"
    return f"{text} {unit}".strip()


def _thresholds(judgements: Sequence[Judgement]) -> list[str]:
    if not judgements:
        return []
    width = max(len(f"{item.metric}  {item.expr}") for item in judgements)
    lines = []
    for item in judgements:
        name = f"{item.metric}  {item.expr}"
        shown = "nothing observed" if item.value is None else number(item.value, item.unit)
        if item.ci_low is not None and item.ci_high is not None:
            low, high = number(item.ci_low, item.unit), number(item.ci_high, item.unit)
            shown += f"  [{low}, {high}] over {item.n} runs"
        word = "  undecided" if item.verdict == "undecided" else ""
        lines.append(f"    {_SIGNS[item.verdict]} {name:<{width}}  {shown}{word}")
    return lines


def _one(result: RunResult, judgements: Sequence[Judgement]) -> str:
    lines: list[str] = []
    if judgements:
        lines += ["", "  THRESHOLDS", *_thresholds(judgements)]
    wall = max(result.wall_seconds, 1e-9)
    speed = result.simulated_seconds / wall
    per_request = result.event_count / max(1, result.request_count)
    simulated = format_duration(round(result.simulated_seconds, 1))
    per_second = result.request_count / max(result.simulated_seconds, 1e-9)
    lines += [
        "",
        "  TOTALS",
        f"    simulated time  {simulated} ({result.reason}: {result.detail})",
        f"    pods            {result.pods_running_count:,} of {result.pods_total_count:,} running",
        f"    API requests    {result.request_count:,} ({per_second:,.0f}/s simulated)",
        (
            f"    events          {result.event_count:,}"
            f" ({result.event_count / wall:,.0f}/s, {per_request:.2f} per request)"
        ),
        (
            f"    wall time       {wall:.2f} s ({speed:,.1f} × faster than simulated),"
            f" {result.cpu_seconds:.2f} CPU-s"
        ),
        "",
        "  BOTTLENECK",
        f"    {result.bottleneck}",
    ]
    if result.invariants_broken:
        lines += ["", "  INVALID: a conservation law is broken"]
        lines += [f"    {problem}" for problem in result.invariants_broken]
    if not result.complete:
        lines += ["", f"  INCOMPLETE: {result.detail}"]
    lines += ["", "  RESULTS", f"    {result.folder}"]
    page = result.folder / "report.html"
    if page.is_file():
        lines.append(f"    {page}")
    return "\n".join(lines) + "\n"
