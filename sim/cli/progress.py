"""Progress of runs: live on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

from sim.base.duration import format_duration

if TYPE_CHECKING:
    from sim.experiment.results import RunResult
    from sim.experiment.run import Status

_PLAIN_WALL_SECONDS = 10.0


class Shown(Protocol):
    """What takes the news of runs."""

    def status(self, status: Status) -> None:
        """Take how far the run is."""

    def result(self, result: RunResult, done_count: int, all_count: int) -> None:
        """Take a run that has ended."""


def describe(status: Status) -> str:
    """Return one line: simulated time, pods, requests per second, ETA."""
    wall = max(status.wall_seconds, 1e-9)
    parts = [
        f"t={format_duration(round(status.time_seconds, 1))}",
        f"pods {status.pods_running_count:,}/{status.pods_total_count:,} running",
        f"{status.request_count / wall:,.0f} requests/s",
        f"{status.event_count / wall:,.0f} events/s",
    ]
    eta = status.eta_seconds
    if eta is not None:
        parts.append(f"ETA {format_duration(round(eta))}")
    return "  ".join(parts)


class _Nothing:
    def status(self, status: Status) -> None:
        return

    def result(self, result: RunResult, done_count: int, all_count: int) -> None:
        return


class _Plain:
    """A line every ten seconds, and one per run of several."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = time.monotonic()

    def status(self, status: Status) -> None:
        now = time.monotonic()
        if now - self._said >= _PLAIN_WALL_SECONDS:
            self._said = now
            click.echo(f"{self._name}: {describe(status)}", err=True)

    def result(self, result: RunResult, done_count: int, all_count: int) -> None:
        if all_count > 1:
            word = "skipped, finished before" if result.skipped else result.reason
            folder = f"{result.folder.parent.name}/{result.folder.name}"
            click.echo(f"{self._name}: {done_count}/{all_count} {folder}: {word}", err=True)


class _Live:
    """A bar with rich."""

    def __init__(self, name: str, run_count: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._progress: Any = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(name, total=1.0, detail="starting")
        self._run_count = run_count
        self._failed_count = 0
        self._skipped_count = 0

    def start(self) -> None:
        self._progress.start()

    def stop(self) -> None:
        self._progress.stop()

    def status(self, status: Status) -> None:
        if self._run_count == 1:
            self._progress.update(
                self._task, completed=status.done_ratio, detail=describe(status)
            )
        else:
            self._progress.update(self._task, detail=describe(status))

    def result(self, result: RunResult, done_count: int, all_count: int) -> None:
        self._failed_count += bool(result.error)
        self._skipped_count += result.skipped
        detail = f"{done_count}/{all_count} runs"
        if self._failed_count:
            detail += f", {self._failed_count} failed"
        if self._skipped_count:
            detail += f", {self._skipped_count} skipped"
        self._progress.update(self._task, completed=done_count / all_count, detail=detail)


@contextmanager
def make_progress(mode: str, name: str, run_count: int) -> Iterator[Shown]:
    """Give the display that fits: ``auto`` is live on a terminal outside CI, else plain."""
    if mode == "none":
        yield _Nothing()
    elif mode == "auto" and sys.stderr.isatty() and not os.environ.get("CI"):
        live = _Live(name, run_count)
        live.start()
        try:
            yield live
        finally:
            live.stop()
    else:
        yield _Plain(name)
