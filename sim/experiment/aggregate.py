"""Several runs side by side: intervals over replications, and one table of all points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim.experiment.judge import Judgement, judge_replications
from sim.experiment.results import RunResult
from sim.export.csv_ import csv_text
from sim.export.files import write_text
from sim.export.run_directory import SUMMARY_HEADER
from sim.stats.intervals import t_interval


def by_point(results: Sequence[RunResult]) -> list[list[RunResult]]:
    """Return the results of each point, in order of their first appearance."""
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        groups.setdefault(result.digest, []).append(result)
    return list(groups.values())


def point_judgements(runs: Sequence[RunResult]) -> list[Judgement]:
    """Judge the thresholds of one point over its replications."""
    judged = [run.judgements for run in runs if not run.error]
    return judge_replications(judged) if judged else []


def point_summary_csv(runs: Sequence[RunResult]) -> str:
    """Return the summary of one point: means over replications with 95 % intervals."""
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for run in runs:
        for row in run.rows:
            values.setdefault((row.metric, row.labels, row.stat, row.unit), []).append(row.value)
    rows: list[tuple[Any, ...]] = []
    for key, seen in values.items():
        interval = t_interval(seen)
        low = interval.low if math.isfinite(interval.low) else None
        high = interval.high if math.isfinite(interval.high) else None
        rows.append((*key, interval.estimate, low, high, len(seen)))
    return csv_text(SUMMARY_HEADER, rows)


def points_csv(results: Sequence[RunResult]) -> str:
    """Return one row per point: its settings, totals and thresholds with intervals."""
    groups = by_point(results)
    axes = list(dict.fromkeys(name for result in results for name in result.values))
    judged = [point_judgements(runs) for runs in groups]
    names = list(dict.fromkeys(
        f"{item.metric} {item.expr}" for items in judged for item in items
    ))  # fmt: skip
    header = [
        "scenario", *axes, "replications", "complete", "simulated_seconds_mean",
        "pods_running_count_mean", "request_count_mean", "event_count_mean",
    ]  # fmt: skip
    for name in names:
        header += [name, f"{name} ci_low", f"{name} ci_high", f"{name} verdict"]
    rows = []
    for runs, items in zip(groups, judged, strict=True):
        row: list[Any] = [runs[0].folder.parent.name]
        row += [runs[0].values.get(axis) for axis in axes]
        row += [len(runs), all(run.complete for run in runs)]
        row += [
            _mean([float(getattr(run, field)) for run in runs])
            for field in (
                "simulated_seconds", "pods_running_count", "request_count", "event_count",
            )
        ]  # fmt: skip
        found = {f"{item.metric} {item.expr}": item for item in items}
        for name in names:
            judgement = found.get(name)
            if judgement is None:
                row += [None] * 4
            else:
                row += [judgement.value, judgement.ci_low, judgement.ci_high, judgement.verdict]
        rows.append(row)
    return csv_text([f'"{name}"' if "," in name or '"' in name else name
                     for name in map(_csv_name, header)], rows)  # fmt: skip


def _csv_name(name: str) -> str:
    return name.replace('"', '""')


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def write_aggregates(results: Sequence[RunResult]) -> Path | None:
    """Write summary.csv per point with replications and points.csv for all; return the latter."""
    finished = [result for result in results if not result.error]
    if not finished:
        return None
    for runs in by_point(finished):
        if len(runs) > 1:
            write_text(runs[0].folder.parent / "summary.csv", point_summary_csv(runs))
    path = finished[0].folder.parent.parent / "points.csv"
    write_text(path, points_csv(finished))
    write_programming_figure(finished, path.parent / "network_programming_published.png")
    return path


def write_programming_figure(results: Sequence[RunResult], path: Path) -> None:
    """Draw the points of a sweep beside published network programming latencies, if comparable."""
    from sim.base.errors import MissingExtraError
    from sim.export.reader import open_run
    from sim.report.figures_published import beside_published, has_company, measured
    from sim.report.render import png_bytes

    runs = [open_run(group[0].folder) for group in by_point(results)]
    chosen = [run for run in runs if run.has_facts and run.manifest["complete"]]
    chosen = [run for run in chosen if has_company(run.facts)]
    if len(chosen) < 2:
        return
    shown = [
        measured(run.facts, {
            item["setting"]: item["value"] for item in run.manifest["settings_changed"]
        })
        for run in chosen
    ]  # fmt: skip
    try:
        path.write_bytes(png_bytes(beside_published(shown)))
    except MissingExtraError:
        return
