"""``kubesim version``: what results depend on."""

from __future__ import annotations

import json

import click


@click.command("version")
@click.option("--output", "-o", "output_format", type=click.Choice(["text", "json"]),
              default="text", show_default=True, help="Form of the output.")
def command(output_format: str) -> None:
    """Print the versions of this program and of what its results depend on."""
    import sim
    from sim import native
    from sim.experiment.machine import code_commit, platform_name, versions
    from sim.export.reader import RESULTS_SCHEMA

    commit = code_commit()
    found = {
        "kubesim": sim.__version__,
        "models Kubernetes": "v1.36.2",
        "results schema": str(RESULTS_SCHEMA),
        **versions(),
        "platform": platform_name(),
        "hot modules": "compiled" if native.compiled() else "interpreted",
    }
    if commit["commit"]:
        found["commit"] = commit["commit"] + (" with local changes" if commit["dirty"] else "")
    if output_format == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        width = max(map(len, found))
        for name, value in found.items():
            click.echo(f"{name:<{width}}  {value}")
