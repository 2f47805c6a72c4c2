"""``kubesim calibrate``: fit a cost profile to measurements."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from sim.experiment.calibrate import PARTS, calibrate, changes
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
    help="Steps of the simulated fits; 0 leaves them out.",
)
@click.option(
    "--every",
    "row_step",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Simulate every n-th row only: quicker and coarser.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="Fit only this part; repeatable.",
)
def command(
    folder: Path,
    output_path: Path,
    name: str | None,
    base_name: str,
    seed: int,
    iteration_count: int,
    row_step: int,
    parts: tuple[str, ...],
) -> None:
    """Fit a cost profile to the measurements in FOLDER.

    FOLDER holds CSVs in the ground-truth format, or metrics dumps taken before and after a load:
    etcd-before.prom, etcd-after.prom and the same for apiserver and scheduler, each as `kubectl
    get --raw /metrics` prints it, possibly with .gz. Disk, kube-proxy, overlay and the scheduling
    cycle take seconds; etcd, API server, watches and the rest of the scheduler are simulated, some
    minutes per step. Each parameter is printed with what it was fitted from, how well, and how far
    it may be off; the file can be named as `profile` in experiments.
    """
    gc.enable()  # many simulations, one after another
    check_writable(output_path.parent)
    base = load_profile(base_name)
    found = calibrate(
        folder,
        base,
        seed=seed,
        iteration_count=iteration_count,
        row_step=row_step,
        parts=parts or PARTS,
        progress=lambda text: click.echo(text, err=True),
    )
    last = ("", "")
    rows = changes(found, base)
    for row in rows:
        if (row.source, row.quality) != last:
            click.echo(f"from {row.source}: {row.quality}")
            last = (row.source, row.quality)
        click.echo(
            f"  {row.name:<52} {row.before:>12} -> {row.after:<12} ± {row.tolerance}"
            + ("" if row.within else "  changed")
        )
    for check in found.checks:
        click.echo(f"check: {check}")
    kept = sum(row.within for row in rows)
    click.echo(f"{kept} of {len(rows)} parameters of {base.name} lie within their tolerance")
    text = found.text(name or output_path.stem, f"calibrated from {folder.name or 'a folder'}")
    write_text(output_path, text)
    click.echo(f"wrote {output_path} ({len(found.fitted)} parameters)", err=True)
