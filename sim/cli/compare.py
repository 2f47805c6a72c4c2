"""``kubesim compare``: is B different from A, by how much, and is it real?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sim.base.exit_codes import ExitCode

if TYPE_CHECKING:
    from sim.report.compare import Difference, Side


@click.command("compare")
@click.argument("a", metavar="A", type=click.Path(path_type=Path))
@click.argument("b", metavar="B", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Every number, not only the usual ones.")
@click.option("--output", "-o", "output_format", default="table", show_default=True,
              type=click.Choice(["table", "csv", "json", "benchstat"]), help="Form of the output.")
@click.option("--page", type=click.Path(path_type=Path), help="Also write a page to this file.")
def command(a: Path, b: Path, everything: bool, output_format: str, page: Path | None) -> int:
    """Compare A and B: run directories, or scenario folders with several replications.

    Replications of the same seed are compared in pairs. benchstat prints Go benchmark lines, one
    per replication, for the tool of that name.
    """
    from sim.report.compare import compare_page, compare_sides

    left, right = _side(a), _side(b)
    if output_format == "benchstat":
        for side in (left, right):
            _print_benchstat(side)
        return ExitCode.OK
    differences = compare_sides(left, right, everything=everything)
    if page is not None:
        from sim.export.files import write_text

        write_text(page, compare_page(left, right, differences))
        click.echo(str(page), err=True)
    if output_format == "json":
        click.echo(json.dumps([asdict(item) for item in differences], indent=2))
    elif output_format == "csv":
        from sim.export.csv_ import csv_text

        rows = [asdict(item) for item in differences]
        header = list(rows[0]) if rows else ["metric"]
        click.echo(csv_text(header, (list(row.values()) for row in rows)), nl=False)
    else:
        _print_table(left, right, differences)
    return ExitCode.OK


def _side(path: Path) -> Side:
    from sim.base.errors import Problem, UserError
    from sim.export.reader import find_runs, read_manifest, read_summary
    from sim.report.compare import Side

    folders = find_runs(path) if path.is_dir() else []
    if not folders:
        read_manifest(path)  # tells what is wrong
    manifests = [read_manifest(folder) for folder in folders]
    if len({manifest["digest"] for manifest in manifests}) > 1:
        raise UserError(Problem(
            code="E040", message="several scenarios below this folder: name one", file=str(path),
            hint=", ".join(sorted({str(folder.parent) for folder in folders})[:5]),
        ))  # fmt: skip
    runs = {
        (manifest["seed"], manifest["replication"]): list(read_summary(folder))
        for manifest, folder in zip(manifests, folders, strict=True)
    }
    return Side(str(path), runs, manifests[0])


def _print_table(left: Side, right: Side, differences: list[Difference]) -> None:
    from sim.cli.tables import print_table
    from sim.report.compare import change_text, interval_text, settings_that_differ
    from sim.report.style import number_text

    for name, value_a, value_b in settings_that_differ(left, right):
        click.echo(f"{name}: {_short(value_a)} → {_short(value_b)}")
    rows = [
        (
            item.metric + (f"{{{item.labels}}}" if item.labels else ""), item.stat,
            number_text(item.a, item.unit), number_text(item.b, item.unit), change_text(item),
            interval_text(item), item.verdict,
        )
        for item in differences
    ]  # fmt: skip
    print_table(("METRIC", "STAT", "A", "B", "CHANGE", "95% OF B-A", "VERDICT"), rows)
    if min(len(left.runs), len(right.runs)) < 2:
        click.echo(
            "one run on a side: nothing tells whether a difference is real; use --replications",
            err=True,
        )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "…"


def _print_benchstat(side: Side) -> None:
    """Go benchmark lines: units after values, one line per replication."""
    from sim.report.compare import HEADLINE

    wanted = dict(HEADLINE)
    click.echo(f"scenario: {side.name}")
    for _, rows in sorted(side.runs.items()):
        for row in rows:
            if row.stat in wanted.get(row.metric, ()) and not row.labels:
                name = row.metric.title().replace("_", "")
                value, unit = (row.value * 1e9, "ns/op") if row.unit == "seconds" else (
                    row.value, row.unit
                )  # fmt: skip
                click.echo(f"Benchmark{name}/{row.stat}\t1\t{value:.6g} {unit}")
