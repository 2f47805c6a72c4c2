"""``kubesim list``: what there is to name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click

from sim.cli.tables import print_table

_WHAT: Final = (
    "metrics", "experiments", "profiles", "laws", "operations", "tables", "codes", "runs",
)  # fmt: skip


@click.command("list")
@click.argument("what", type=click.Choice(_WHAT))
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--no-headers", is_flag=True, help="Leave the header line out.")
@click.option("--markdown", is_flag=True,
              help="The page of the documentation (metrics, codes, profiles).")
def command(what: str, folder: Path | None, no_headers: bool, markdown: bool) -> None:
    """List metrics, experiments, profiles, constants of laws, operations, tables, codes or runs.

    Experiments are looked for in FOLDER (default: experiments), runs in FOLDER (default: results).
    """
    if markdown:
        from sim.report.reference import errors_markdown, metrics_markdown

        pages = {"metrics": metrics_markdown, "codes": errors_markdown,
                 "profiles": _profiles_markdown}  # fmt: skip
        if what not in pages:
            raise click.UsageError(f"there is no page for {what}")
        click.echo(pages[what](), nl=False)
        return
    makers: dict[str, Callable[[], Table]] = {
        "metrics": _metrics,
        "profiles": _profiles,
        "laws": _laws,
        "operations": _operations,
        "tables": _tables,
        "codes": _codes,
        "experiments": lambda: _experiments(folder or Path("experiments")),
        "runs": lambda: _runs(folder or Path("results")),
    }
    header, rows = makers[what]()
    print_table(header, rows, headers=not no_headers)


Table = tuple[tuple[str, ...], Sequence[tuple[str, ...]]]


def _metrics() -> Table:
    from sim.metrics.catalogue import METRICS, SAMPLED

    rows = [
        (item.name, item.kind, item.unit, ",".join(item.label_names), item.help)
        for item in METRICS
    ]
    rows += [(item.name, item.kind, item.unit, item.label, item.help) for item in SAMPLED.values()]
    return ("METRIC", "KIND", "UNIT", "LABELS", "MEANING"), rows


def _profiles() -> Table:
    from sim.costs.profile import MARKS, mark_of, parameters, profile_names
    from sim.experiment.calibrate_profile import load_profile

    rows = []
    for name in profile_names():
        profile = load_profile(name)
        marks = [mark_of(source) for _, _, source in parameters(profile)]
        counts = [str(marks.count(mark)) for mark in MARKS]
        rows.append((name, *counts, " ".join(profile.description.split())))
    return ("PROFILE", *(mark.upper() for mark in MARKS), "DESCRIPTION"), rows


def _profiles_markdown() -> str:
    from sim.costs.profile import profile_names
    from sim.experiment.profile_text import constants_markdown

    return constants_markdown(profile_names())


def _laws() -> Table:
    from sim.costs.profile import PROFILES, mark_of, parameters
    from sim.experiment.profile_text import shown

    profile = next(iter(PROFILES.values()))
    return ("CONSTANT", "VALUE", "MARK", "SOURCE"), [
        (name, shown(value), mark_of(source), source)
        for name, value, source in parameters(profile)
        if name not in {"name", "description"} and not name.endswith(".source")
    ]


def _operations() -> Table:
    from sim.cli import options

    rows = [
        (name, (cls.__doc__ or "").strip().splitlines()[0])
        for name, cls in options.backend().operation_types.items()
    ]
    return ("OPERATION", "MEANING"), rows


def _tables() -> Table:
    from sim.components.facts import ALL

    return ("TABLE", "ONE ROW IS", "COLUMNS"), [
        (spec.name, spec.meaning, ",".join(spec.column_names())) for spec in ALL
    ]


def _codes() -> Table:
    from sim.base.error_codes import CODES

    return ("CODE", "TITLE"), [(code, info.title) for code, info in CODES.items()]


def _experiments(folder: Path) -> Table:
    from sim.base.errors import UserError
    from sim.base.yaml_strict import load_document

    rows = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            data = load_document(path).data
        except UserError:
            rows.append((str(path), "(cannot be read)"))
            continue
        if data.get("kind") == "Experiment":
            question = (data.get("metadata") or {}).get("question", "")
            rows.append((str(path), " ".join(str(question).split())))
    return ("FILE", "QUESTION"), rows


def _runs(folder: Path) -> Table:
    from sim.export.reader import find_runs, read_manifest

    rows = []
    for path in find_runs(folder):
        manifest = read_manifest(path)
        state = "complete" if manifest["complete"] else "incomplete"
        rows.append((
            str(path), state if manifest["valid"] else "INVALID", str(manifest["exit_code"]),
            f"{manifest['totals']['simulated_seconds']:g}",
            f"{manifest['totals']['pods_running_count']}",
        ))  # fmt: skip
    return ("RUN", "STATE", "EXIT", "SIMULATED SECONDS", "PODS RUNNING"), rows
