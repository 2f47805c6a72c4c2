"""``kubesim export``: a run in the formats of other tools."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sim.cli import options

if TYPE_CHECKING:
    from sim.export.reader import StoredRun

_FORMATS = ("openmetrics", "csv", "perf-dash", "kube-burner")


@click.command("export")
@click.argument("output_format", metavar="FORMAT", type=click.Choice(_FORMATS))
@options.RUN_DIR
@click.option("--out", type=click.Path(path_type=Path), help="File or folder; default: stdout.")
@click.option("--epoch", default="2026-01-01T00:00:00Z", show_default=True,
              help="Wall-clock time of simulated time 0 (openmetrics).")
@click.option("--interval", type=click.FloatRange(min=0, min_open=True),
              help="Scrape interval in seconds (openmetrics); default: the run's own.")
def command(
    output_format: str, run_dir: Path, out: Path | None, epoch: str, interval: float | None
) -> None:
    """Write a run's results as FORMAT.

    openmetrics: every metric at every scrape, for `promtool tsdb create-blocks-from openmetrics`.
    csv: the fact tables as CSV, whatever they are stored as. perf-dash: latency and throughput
    items. kube-burner: pod latency documents.
    """
    from sim.export.reader import open_run

    run = open_run(run_dir)
    if output_format == "csv":
        _csv(run, out)
        return
    if output_format == "openmetrics":
        text = _openmetrics(run, epoch, interval)
    else:
        import json

        from sim.export.interchange import kube_burner_documents, perf_dash_items
        from sim.metrics.derive import Derivation

        derivation = Derivation(run.require_facts())
        make = perf_dash_items if output_format == "perf-dash" else kube_burner_documents
        text = json.dumps(make(derivation, run.manifest), indent=2) + "\n"
    _write(text, out)
    if output_format == "openmetrics":
        shown = out or "FILE"
        click.echo(
            f"promtool tsdb create-blocks-from openmetrics {shown} DATA_DIR\n"
            "Prometheus drops blocks older than its retention"
            " (--storage.tsdb.retention.time) and must not get the last 3 hours this way.",
            err=True,
        )


def _write(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text, nl=False)
    else:
        from sim.export.files import write_text

        write_text(out, text)


def _csv(run: StoredRun, out: Path | None) -> None:
    from sim.components.facts import ALL
    from sim.export.run_directory import write_facts

    folder = out or run.folder / "facts-csv"
    facts = run.require_facts()
    written = write_facts(folder, {spec.name: facts[spec.name] for spec in ALL}, "csv")
    for name in written:
        click.echo(folder / name)


def _openmetrics(run: StoredRun, epoch: str, interval: float | None) -> str:
    from sim.export.openmetrics import exposition
    from sim.metrics.derive import Derivation
    from sim.metrics.series import scrape_times

    try:
        moment = datetime.fromisoformat(epoch)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--epoch") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    manifest = run.manifest
    labels = {
        "cluster": "kubesim", "experiment": manifest["experiment"],
        "scenario": manifest["scenario"], "seed": str(manifest["seed"]),
    }  # fmt: skip
    end = max(manifest["totals"]["simulated_seconds"], 1e-3)
    scrapes = scrape_times(end, interval or manifest["scrape_interval_seconds"])
    return exposition(Derivation(run.require_facts()), scrapes, labels, moment.timestamp())
