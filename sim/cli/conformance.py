"""``kubesim conformance``: check decisions against those of the real kube-scheduler."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from sim.base.exit_codes import ExitCode


@click.command("conformance")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="PATH...",
    type=click.Path(exists=True, path_type=Path),
)
@click.option("-v", "--verbose", is_flag=True, help="Show the first difference of each failure.")
def command(paths: tuple[Path, ...], verbose: bool) -> None:
    """Replay decisions of the real kube-scheduler and compare every recorded field.

    PATH is a file (.jsonl, .jsonl.gz) or a directory with such files. One line is printed per
    family: passed/total. The exit code is 0 only when every vector and every step agrees, 99 when
    one differs, 104 when a file holds no vectors.
    """
    gc.enable()  # many simulations, one after another
    from sim.experiment.conformance import VectorFileError, replay, summary

    try:
        results = replay(paths)
    except VectorFileError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(ExitCode.INVALID_INPUT) from None
    for result in results:
        mark = "ok  " if result.passed_count == result.total_count else "FAIL"
        name = f"{result.kind}/{result.family}"
        click.echo(f"{mark} {name:<28} {result.passed_count}/{result.total_count}")
        if verbose:
            for difference in result.differences:
                click.echo(f"       {difference.text()}")
    totals = summary(results)
    mark = "ok  " if totals["passed"] == totals["total"] else "FAIL"
    click.echo(f"{mark} {'total':<28} {totals['passed']}/{totals['total']}")
    if totals["passed"] != totals["total"]:
        raise SystemExit(ExitCode.THRESHOLD_CROSSED)
