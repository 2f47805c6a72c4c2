"""``kubesim conformance``: replay decisions of the real kube-scheduler."""

from __future__ import annotations

from pathlib import Path

import click

from sim.experiment.conformance import VectorFileError, replay, summary

EXIT_DIFFERENT = 1
EXIT_BAD_PATH = 2


@click.command("conformance")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-v", "--verbose", is_flag=True, help="Show the first difference of each failure.")
def command(paths: tuple[Path, ...], verbose: bool) -> None:
    """Replay scheduler decision vectors and compare every field.

    PATHS are files (.jsonl, .jsonl.gz) or directories with such files. One line is printed per
    family. The exit code is 0 only when every vector and every step agrees.
    """
    try:
        results = replay(paths)
    except VectorFileError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(EXIT_BAD_PATH) from None
    for result in results:
        mark = "ok  " if result.passed_count == result.total_count else "FAIL"
        name = f"{result.kind}/{result.family}"
        click.echo(f"{mark} {name:<28} {result.passed_count}/{result.total_count}")
        if verbose:
            for difference in result.differences:
                click.echo(f"     {difference.text()}")
    totals = summary(results)
    click.echo(f"     {'all':<28} {totals['passed']}/{totals['total']}")
    if totals["passed"] != totals["total"]:
        raise SystemExit(EXIT_DIFFERENT)
