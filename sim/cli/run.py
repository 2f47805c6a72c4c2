"""``kubesim run``: experiments in, run directories and a verdict out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sim.cli import options
from sim.cli.progress import make_progress

if TYPE_CHECKING:
    from sim.experiment.build import Loaded
    from sim.experiment.expand import Point
    from sim.experiment.results import RunResult


@click.command("run")
@options.FILES
@options.SETS
@options.SEED
@options.REPLICATIONS
@click.option("--out", "--out-dir", "out", type=click.Path(path_type=Path), default="results",
              show_default=True, help="Folder of all results.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True,
              help="Processes for sweeps and replications.")
@click.option("--force", is_flag=True, help="Repeat finished runs of sweeps and replications.")
@click.option("--fail-fast", is_flag=True, help="Stop a sweep at its first failed point.")
@click.option("--strict", is_flag=True, help="Exit 99 for undecided thresholds as well.")
@click.option("--dry-run", is_flag=True, help="Resolve, expand and estimate; run nothing.")
@click.option("--progress", type=click.Choice(["auto", "plain", "none"]), default="auto",
              show_default=True, help="Live on a terminal, lines elsewhere, or nothing.")
@click.option("--output", "-o", "output_format", type=click.Choice(["text", "json"]),
              default="text", show_default=True, help="Form of the summary.")
@click.option("--quiet", "-q", is_flag=True, help="Only errors, and data asked for by -o json.")
@click.option("--verbose", "-v", is_flag=True, help="Say what was read and where it goes.")
def command(
    files: tuple[str, ...], overrides: tuple[str, ...], seed: int | None,
    replications: int | None, out: Path, jobs: int, force: bool, fail_fast: bool, strict: bool,
    dry_run: bool, progress: str, output_format: str, quiet: bool, verbose: bool,
) -> int:  # fmt: skip
    """Run experiments: check, expand the sweep, simulate, judge, write everything.

    Results go to OUT/EXPERIMENT/SCENARIO-DIGEST/seed-N. Ctrl-C stops at the next safe point and
    keeps what exists, marked incomplete; a second Ctrl-C leaves at once.
    """
    from sim.experiment.expand import expand

    chosen = options.with_numbers(overrides, seed, replications)
    loaded = options.load_all(files, chosen)
    backend = options.backend()
    code = 0
    for item in loaded:
        if not quiet:
            options.tell_warnings(item.warnings)
        points = expand(item, backend)
        if verbose:
            _tell_plan(item, points, out)
        if dry_run:
            _print_plan(points, backend)
            continue
        results = _run_points(
            points, chosen, out, jobs, force=force, fail_fast=fail_fast,
            mode="none" if quiet else progress,
        )  # fmt: skip
        one = _conclude(results, points, strict=strict, output_format=output_format, quiet=quiet)
        code = code or one
    return code


def _tell_plan(loaded: Loaded, points: Sequence[Point], out: Path) -> None:
    for file in loaded.tree.files:
        click.echo(f"read {file}", err=True)
    demand = loaded.demand
    if demand is not None:
        click.echo(
            f"{demand.node_count:,} nodes, {demand.pod_count:,} pods; estimated"
            f" {demand.event_count:,} events and {demand.memory_bytes / 2**20:,.0f} MiB",
            err=True,
        )
    name = loaded.experiment.metadata.name
    for point in points:
        click.echo(f"point {out / name / point.folder_name}", err=True)


def _run_points(
    points: Sequence[Point], overrides: Sequence[str], out: Path, jobs: int, *,
    force: bool, fail_fast: bool, mode: str,
) -> list[RunResult]:  # fmt: skip
    from sim.experiment.execute import execute, plan
    from sim.experiment.run import Control, interruptible
    from sim.experiment.size import check_size
    from sim.export.files import check_writable

    backend = options.backend()
    for point in points:
        if len(points) > 1:
            check_size(point.loaded, backend)
    check_writable(out)
    tasks = plan(points, out, overrides, backend)
    control = Control()
    name = points[0].loaded.experiment.metadata.name

    def tell() -> None:
        click.echo("\nstopping at the next safe point; again to leave at once", err=True)

    with make_progress(mode, name, len(tasks)) as shown, interruptible(control, tell):
        return execute(
            tasks, backend, job_count=jobs, force=force, fail_fast=fail_fast,
            observer=shown.status, told=shown.result, control=control,
        )  # fmt: skip


def _print_plan(points: Sequence[Point], backend: Any) -> None:
    from sim.cli.tables import print_table
    from sim.experiment.size import check_size

    rows = []
    for point in points:
        demand = check_size(point.loaded, backend)
        count = point.loaded.experiment.spec.run.replications
        rows.append((
            point.folder_name, count, f"{demand.node_count:,}", f"{demand.pod_count:,}",
            f"{demand.event_count * count:,}", f"{demand.memory_bytes / 2**20:,.0f} MiB",
        ))  # fmt: skip
    header = ("SCENARIO", "RUNS", "NODES", "PODS", "EVENTS (ESTIMATE)", "MEMORY (ESTIMATE)")
    print_table(header, rows)


def _conclude(
    results: Sequence[RunResult], points: Sequence[Point], *, strict: bool, output_format: str,
    quiet: bool,
) -> int:  # fmt: skip
    from sim.base.exit_codes import ExitCode
    from sim.cli.summary_text import summary_text
    from sim.experiment.aggregate import by_point, point_judgements, write_aggregates
    from sim.experiment.judge import exit_code_of

    wanted = sum(point.loaded.experiment.spec.run.replications for point in points)
    table = write_aggregates(results) if len(results) > 1 else None
    if output_format == "json":
        click.echo(json.dumps([_as_json(result) for result in results], indent=2))
    elif not quiet:
        click.echo(summary_text(results, table), nl=False)
    for result in results:
        if result.error:
            click.echo(f"{result.folder}: {result.error.strip()}", err=True)
    failed = [result for result in results if result.error]
    if failed and len(results) > 1:
        return ExitCode.SWEEP_INCOMPLETE
    codes = [result.exit_code for result in results]
    for code in (ExitCode.ABORTED, ExitCode.RUN_FAILED, ExitCode.BUDGET_EXHAUSTED):
        if code in codes:
            return code
    if len(results) < wanted:
        return ExitCode.ABORTED
    verdicts = [
        exit_code_of(point_judgements(runs), strict=strict) for runs in by_point(results)
    ]
    return max(verdicts, default=ExitCode.OK)


def _as_json(result: RunResult) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "point": result.values,
        "replication": result.replication_index,
        "complete": result.complete,
        "reason": result.reason,
        "exit_code": int(result.exit_code),
        "skipped": result.skipped,
        "thresholds": [item.as_json() for item in result.judgements],
        "bottleneck": result.bottleneck,
        "invariants_broken": list(result.invariants_broken),
        "simulated_seconds": result.simulated_seconds,
        "event_count": result.event_count,
        "request_count": result.request_count,
        "pods_total_count": result.pods_total_count,
        "pods_running_count": result.pods_running_count,
        "wall_seconds": result.wall_seconds,
        "cpu_seconds": result.cpu_seconds,
        "error": result.error,
    }
