"""``kubesim report``: the page of a run again, or a page of benchmark results."""

from __future__ import annotations

from pathlib import Path

import click

from sim.base.exit_codes import ExitCode


@click.command("report")
@click.argument("run_dir", required=False, metavar="[RUN_DIR]", type=click.Path(path_type=Path))
@click.option("--benchmarks", "--bench", "benchmarks", type=click.Path(path_type=Path),
              metavar="FILE.json", help="Results of pytest-benchmark to render instead of a run.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: beside the input.")
def command(run_dir: Path | None, benchmarks: Path | None, out: Path | None) -> int:
    """Render figures and report.html of RUN_DIR again from its facts.

    With --benchmarks, render a page and a CSV file from pytest-benchmark's JSON.
    """
    if (run_dir is None) == (benchmarks is None):
        raise click.UsageError("name a run directory or --benchmarks FILE.json")
    if benchmarks is not None:
        from sim.report.benchmarks import write_benchmark_report

        for path in write_benchmark_report(benchmarks, out or benchmarks.parent):
            click.echo(path)
        return ExitCode.OK
    from sim.export.reader import open_run
    from sim.metrics.bottleneck import find_bottleneck
    from sim.metrics.derive import Derivation
    from sim.metrics.summary import summary
    from sim.report.render import render_run

    assert run_dir is not None
    run = open_run(run_dir)
    derivation = Derivation(run.require_facts())
    folder = out or run.folder
    folder.mkdir(parents=True, exist_ok=True)
    render_run(folder, run.manifest, derivation, summary(derivation), find_bottleneck(derivation))
    click.echo(folder / "report.html")
    return ExitCode.OK
