"""``kubesim calibrate``: fit a cost profile to measurements."""

from __future__ import annotations

from pathlib import Path

import click

from sim.experiment.calibrate import calibrate, changes
from sim.experiment.calibrate_profile import load_profile
from sim.export.files import check_writable, write_text

_DEFAULT_BASE = "measured-2-core"


@click.command("calibrate")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Profile file to write (YAML).",
)
@click.option("--name", default=None, help="Name of the profile; the file's stem if not given.")
@click.option(
    "--base",
    "base_name",
    default=_DEFAULT_BASE,
    show_default=True,
    help="Profile (name or file) that keeps what was not measured.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the simulations.")
@click.option(
    "--iterations",
    "iteration_count",
    default=3,
    show_default=True,
    type=click.IntRange(0, 50),
    help="Steps of the simulated fits of etcd; 0 leaves them out.",
)
def command(
    folder: Path,
    output_path: Path,
    name: str | None,
    base_name: str,
    seed: int,
    iteration_count: int,
) -> None:
    """Fit a cost profile to the measurements in FOLDER.

    FOLDER holds CSVs in the ground-truth format (etcd_*.csv), or metrics dumps taken before and
    after a load: etcd-before.prom, etcd-after.prom and the same for apiserver and scheduler, each
    as `kubectl get --raw /metrics` prints it, possibly with .gz. Each fitted parameter is printed
    with what it was fitted from and how well; the file can be named as `profile` in experiments.
    """
    check_writable(output_path.parent)
    base = load_profile(base_name)
    found = calibrate(
        folder,
        base,
        seed=seed,
        iteration_count=iteration_count,
        progress=lambda text: click.echo(text, err=True),
    )
    last = ("", "")
    for parameter, before, after, source, quality in changes(found, base):
        if (source, quality) != last:
            click.echo(f"from {source}: {quality}")
            last = (source, quality)
        click.echo(f"  {parameter:<44} {before:>12} -> {after}")
    text = found.text(name or output_path.stem, f"calibrated from {folder.name or 'a folder'}")
    write_text(output_path, text)
    click.echo(f"wrote {output_path} ({len(found.fitted)} parameters)", err=True)
