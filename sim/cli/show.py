"""``kubesim show``: the experiment as it will be run."""

from __future__ import annotations

import json

import click

from sim.cli import options


@click.command("show")
@click.argument("file", metavar="FILE")
@options.SETS
@options.SEED
@options.REPLICATIONS
@click.option("--output", "-o", "output_format", type=click.Choice(["yaml", "json", "digest"]),
              default="yaml", show_default=True, help="Form of the output.")
@click.option("--changed", is_flag=True, help="Only settings that differ from their defaults.")
def command(
    file: str, overrides: tuple[str, ...], seed: int | None, replications: int | None,
    output_format: str, changed: bool,
) -> None:  # fmt: skip
    """Print FILE with imports merged, overrides applied and every default expanded."""
    from sim.experiment.build import resolved, scenario_digest
    from sim.experiment.yaml_text import yaml_text

    loaded = options.load(file, options.with_numbers(overrides, seed, replications))
    options.tell_warnings(loaded.warnings)
    if output_format == "digest":
        click.echo(scenario_digest(loaded))
        return
    value = resolved(loaded)
    if changed:
        from sim.experiment.results import differences

        value = {
            item["setting"]: item["value"]
            for item in differences(loaded, options.backend())
        }
    text = json.dumps(value, indent=2) + "\n" if output_format == "json" else yaml_text(value)
    click.echo(text, nl=False)
