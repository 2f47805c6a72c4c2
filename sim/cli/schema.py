"""``kubesim schema``: the JSON schema of experiment files."""

from __future__ import annotations

import click

from sim.cli import options


@click.command("schema")
def command() -> None:
    """Print the JSON schema (2020-12) of experiment files, for editors and validators."""
    from sim.experiment.schema import schema_text

    click.echo(schema_text(options.backend()), nl=False)
