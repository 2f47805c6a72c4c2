"""The command ``kubesim``: sub-commands are imported when they are asked for."""

from __future__ import annotations

import gc
import importlib
import sys
import traceback
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import click

from sim.base.exit_codes import ExitCode

COMMANDS: Final = MappingProxyType({
    "run": ("sim.cli.run", "Run experiments and write their results."),
    "validate": ("sim.cli.validate", "Check experiment files without running them."),
    "show": ("sim.cli.show", "Print an experiment with every default expanded."),
    "get": ("sim.cli.get", "List pods, nodes, services … of a run, as kubectl does."),
    "report": ("sim.cli.report", "Render the page of a run, or of benchmark results."),
    "compare": ("sim.cli.compare", "Compare two runs, or two scenarios over replications."),
    "export": ("sim.cli.export", "Write a run's results in other tools' formats."),
    "list": ("sim.cli.list_", "List metrics, experiments, profiles, tables, codes or runs."),
    "explain": ("sim.cli.explain", "Explain an error code, a setting, a metric or an exit code."),
    "schema": ("sim.cli.schema", "Print the JSON schema of experiment files."),
    "version": ("sim.cli.version", "Print the versions of this program and what it uses."),
    "conformance": ("sim.cli.conformance", "Check decisions against kube-scheduler's."),
    "accuracy": ("sim.cli.accuracy", "Score the model against a measured control plane."),
    "calibrate": ("sim.cli.calibrate", "Fit a cost profile to measurements."),
})
"""Name → module that exports ``command``, and one line of help."""


class LazyGroup(click.Group):
    """A group that imports a sub-command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a sub-command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        try:
            command = importlib.import_module(entry[0]).command
        except ModuleNotFoundError as error:
            if error.name != entry[0]:
                raise
            raise click.ClickException(f"'{cmd_name}' is not part of this installation") from None
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the sub-commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[1]) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Tell the nearest spelling of an unknown sub-command."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from sim.base.spelling import nearest

            near = nearest(args[0], COMMANDS)
            hint = f" Did you mean {near!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kubesim", prog_name="kubesim")
def cli() -> None:
    """Simulate a whole Kubernetes cluster in virtual time and see where its time goes.

    Data goes to standard output, everything else to standard error. The exit code is the verdict:
    0 all thresholds hold, 99 one is crossed, 104 invalid input; `kubesim explain exit-codes`
    lists the others.
    """


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code and never raise."""
    try:
        result: Any = cli.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="kubesim",
            standalone_mode=False,
        )
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.Abort:
        return ExitCode.ABORTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        return ExitCode.ABORTED
    except BrokenPipeError:
        _forget_stdout()
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the last resort of the program
        return _report(error)
    return result if isinstance(result, int) else ExitCode.OK


def _forget_stdout() -> None:
    """Keep the interpreter from complaining about a closed pipe when it exits."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    from sim.base.errors import KubesimError, UserError, render_problems

    if isinstance(error, UserError):
        click.echo(render_problems(error.problems), err=True)
        return error.exit_code
    if isinstance(error, KubesimError):
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    click.echo(traceback.format_exc(), err=True)
    click.echo(
        f"internal error: {type(error).__name__}: {error} (this is a defect of kubesim)", err=True
    )
    return ExitCode.INTERNAL_ERROR


def main() -> None:
    """Entry point of the console script."""
    if not __debug__:
        click.echo("error E044: assertions are off (python -O); checks must stay on", err=True)
        sys.exit(ExitCode.INVALID_INPUT)
    # One command is soon over. Those that simulate many times in one process collect in between.
    gc.disable()
    code = run_command()
    gc.freeze()  # what is left is not worth walking through before it is given back
    sys.exit(code)
