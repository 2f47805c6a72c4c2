"""Options that several commands share, and reading experiments for them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.base.errors import Problem
    from sim.experiment.backend import Backend
    from sim.experiment.build import Loaded

FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...")
SETS = click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE",
    help="Override a setting by dotted path; repeatable, applied last.",
)  # fmt: skip
RUN_DIR = click.argument("run_dir", metavar="RUN_DIR", type=click.Path(path_type=Path))
SEED = click.option("--seed", type=click.IntRange(min=0), help="Root of all random streams.")
REPLICATIONS = click.option("--replications", type=click.IntRange(min=1), help="Runs per point.")


def backend() -> Backend:
    """Return the backend that experiments run on."""
    from sim.experiment import backend as module

    return module.load_backend()


def with_numbers(
    overrides: Sequence[str], seed: int | None, replications: int | None
) -> tuple[str, ...]:
    """Return the overrides with those of --seed and --replications at their end."""
    extra = []
    if seed is not None:
        extra.append(f"spec.run.seed={seed}")
    if replications is not None:
        extra.append(f"spec.run.replications={replications}")
    return (*overrides, *extra)


def load(name: str, overrides: Sequence[str]) -> Loaded:
    """Read and check one experiment file; ``-`` is standard input."""
    from sim.experiment.build import load_experiment

    text = sys.stdin.read() if name == "-" else None
    return load_experiment(
        "<stdin>" if name == "-" else name, backend(), text=text, overrides=overrides
    )


def load_all(names: Sequence[str], overrides: Sequence[str]) -> list[Loaded]:
    """Read and check several files and their sizes; all problems of all files at once.

    Raises:
        UserError: with the problems of every file.
    """
    from sim.base.errors import UserError
    from sim.experiment.size import check_size

    loaded, problems = [], []
    for name in names:
        try:
            item = load(name, overrides)
            check_size(item, backend(), thorough=True)
            loaded.append(item)
        except UserError as error:
            problems += list(error.problems)
    if problems:
        raise UserError(problems)
    return loaded


def tell_warnings(warnings: Sequence[Problem]) -> None:
    """Print warnings on standard error."""
    from sim.base.errors import render_problem

    for warning in warnings:
        click.echo(render_problem(warning), err=True)
