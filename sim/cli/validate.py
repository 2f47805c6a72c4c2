"""``kubesim validate``: check experiments and everything they name."""

from __future__ import annotations

import click

from sim.cli import options


@click.command("validate")
@options.FILES
@options.SETS
@click.option("--quick", is_flag=True, help="Do not read the objects that experiments name.")
@click.option("--quiet", "-q", is_flag=True, help="Only errors.")
def command(
    files: tuple[str, ...], overrides: tuple[str, ...], quick: bool, quiet: bool
) -> int:
    """Check FILES without running them: keys, units, values, files, objects, size, sweep.

    All problems are told at once; the exit code is 104 if there is an error.
    """
    from sim.base.errors import UserError, render_problems
    from sim.base.exit_codes import ExitCode
    from sim.experiment.expand import expand
    from sim.experiment.size import check_size

    problems = []
    lines = []
    for name in files:
        try:
            loaded = options.load(name, overrides)
            check_size(loaded, options.backend(), thorough=not quick)
            points = expand(loaded, options.backend())
        except UserError as error:
            problems += list(error.problems)
            continue
        if not quiet:
            problems += loaded.warnings
        run_count = sum(point.loaded.experiment.spec.run.replications for point in points)
        assert loaded.demand is not None
        lines.append(
            f"{name}: valid ({loaded.demand.node_count:,} nodes, {loaded.demand.pod_count:,} pods,"
            f" {len(points)} point{'s' if len(points) > 1 else ''},"
            f" {run_count} run{'s' if run_count > 1 else ''})"
        )
    if problems:
        click.echo(render_problems(problems), err=True)
    if not quiet:
        for line in lines:
            click.echo(line)
    is_bad = any(not problem.is_warning for problem in problems)
    return ExitCode.INVALID_INPUT if is_bad else ExitCode.OK
