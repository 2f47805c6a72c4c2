"""``kubesim accuracy``: simulate what was measured and score it."""

from __future__ import annotations

import csv
import gc
import json
import math
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from sim.base.errors import Problem, UserError
from sim.base.exit_codes import ExitCode
from sim.experiment.accuracy import FileResult, Report, Score, run_accuracy
from sim.experiment.calibrate_profile import load_profile
from sim.export.files import check_writable, write_text

_FIELDS = ("file", "conditions", "kind", "column", "measured", "predicted", "ratio", "met")


@click.command("accuracy")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--profile", "profile_name", default=None, help="Cost profile: a name or a file.")
@click.option("--seed", default=1, show_default=True, help="Seed of every simulation.")
@click.option("--file", "names", multiple=True, help="Only files whose name contains this.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="A line per file, or every scored value.",
)
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write a picture: predicted against measured, all points.",
)
@click.option(
    "--page",
    "page_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write the table as a Markdown page.",
)
def command(
    folder: Path,
    profile_name: str | None,
    seed: int,
    names: tuple[str, ...],
    output: str,
    plot_path: Path | None,
    page_path: Path | None,
) -> None:
    """Simulate every condition of the measurements in FOLDER and compare.

    FOLDER holds CSVs and an index.yaml that names what is scored and the bars. The exit code is 0
    if all bars hold and 99 if one does not; a file that nothing simulates does not pass.
    """
    gc.enable()  # many simulations, one after another
    for path in (plot_path, page_path):
        if path is not None:
            check_writable(path.parent)
    profile = load_profile(profile_name) if profile_name is not None else None
    report = run_accuracy(
        folder,
        profile=profile,
        seed=seed,
        names=names,
        progress=lambda name: click.echo(f"simulating {name}", err=True),
    )
    if not report.files:
        raise UserError(
            Problem(code="E001", message="no measured file to simulate", file=str(folder))
        )
    if output == "csv":
        write_csv(report)
    elif output == "json":
        click.echo(json.dumps([_record(score) for score in report.scores()], indent=1))
    else:
        _print_table(report)
    if plot_path is not None:
        from sim.report.accuracy import plot  # noqa: PLC0415 - matplotlib is an extra

        plot(report_points(report), plot_path)
        click.echo(f"wrote {plot_path}", err=True)
    if page_path is not None:
        from sim.report.accuracy import markdown_page  # noqa: PLC0415

        write_text(page_path, markdown_page(report_lines(report)))
        click.echo(f"wrote {page_path}", err=True)
    if not report.passed:
        raise SystemExit(ExitCode.THRESHOLD_CROSSED)


def _record(score: Score) -> dict[str, Any]:
    ratio = score.ratio
    return {
        "file": score.file,
        "conditions": score.conditions,
        "kind": score.kind,
        "column": score.column,
        "measured": score.measured,
        "predicted": None if math.isnan(score.predicted) else score.predicted,
        "ratio": ratio if math.isfinite(ratio) else None,
        "met": score.met,
    }


def write_csv(report: Report) -> None:
    """Write one line per scored value to standard output."""
    writer = csv.DictWriter(sys.stdout, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for score in report.scores():
        record = _record(score)
        for name in ("measured", "predicted", "ratio"):
            value = record[name]
            record[name] = "" if value is None else f"{value:.6g}"
        record["met"] = int(score.met)
        writer.writerow(record)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.0%}"


def _worst(result: FileResult) -> str:
    worst = result.worst
    if worst is None:
        return ""
    return f"{worst.column} {worst.ratio:.2f} ({worst.conditions})"


def report_lines(report: Report) -> list[tuple[str, ...]]:
    """Return one line of text cells per file, as the table shows them."""
    lines: list[tuple[str, ...]] = []
    for result in report.files:
        ratio = result.median_ratio
        lines.append(
            (
                result.spec.name,
                str(result.row_count),
                "" if math.isnan(ratio) else f"{ratio:.2f}",
                _percent(result.share(result.of_kind("typical"))),
                _percent(result.share(result.of_kind("typical"), wide=True)),
                _percent(result.share(result.of_kind("tail"))),
                _percent(result.share(result.of_kind("exact") + result.of_kind("zero"))),
                "ok" if result.passed else "; ".join(result.failures),
                _worst(result),
            )
        )
    return lines


def report_points(report: Report) -> list[tuple[str, str, float, float]]:
    """Return (file, kind, measured, predicted) of every scored value."""
    return [(s.file, s.kind, s.measured, s.predicted) for s in report.scores()]


HEADERS = (
    "file",
    "rows",
    "median ratio",
    "typical 0.80-1.25",
    "typical 0.66-1.50",
    "tail 0.66-1.50",
    "exact",
    "bars",
    "worst value",
)


def _print_table(report: Report) -> None:
    table = Table(box=None, pad_edge=False, header_style="")
    for header in HEADERS[:-1]:
        table.add_column(header, overflow="fold")
    for line in report_lines(report):
        table.add_row(*line[:-1])
    console = Console(width=150 if not sys.stdout.isatty() else None, highlight=False)
    console.print(table)
    for result in report.files:
        if result.worst is not None:
            console.print(f"worst of {result.spec.name}: {_worst(result)}", soft_wrap=True)
    held = sum(result.passed for result in report.files)
    console.print(f"{held} of {len(report.files)} files meet their bars")
