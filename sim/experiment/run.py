"""One replication of one scenario: build, run with bounds, check, hand over to `results`."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

from sim.base.exit_codes import ExitCode
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.experiment.backend import Backend, Cluster
from sim.experiment.machine import (
    cpu_seconds,
    memory_in_use_bytes,
    memory_limit_bytes,
    peak_memory_bytes,
)
from sim.experiment.spec import Experiment, RunSpec

SETTLED: Final = "settled"
DURATION: Final = "duration"
INTERRUPTED: Final = "interrupted"
NOT_SETTLED: Final = "not settled"
STALLED: Final = "stalled"
EVENTS: Final = "events"
WALL: Final = "wall"
MEMORY: Final = "memory"

POLL_SECONDS: Final = 1.0
"""Simulated time between two looks at whether the workload has settled."""
_PROGRESS_WALL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Status:
    """What an observer is told while a run goes on."""

    time_seconds: float
    pods_total_count: int
    pods_running_count: int
    request_count: int
    event_count: int
    wall_seconds: float
    duration_seconds: float | None
    """Simulated time at which the run will stop, if that is known."""

    @property
    def done_ratio(self) -> float:
        """Share of the work that is done, as far as it can be told."""
        if self.duration_seconds:
            return min(1.0, self.time_seconds / self.duration_seconds)
        if self.pods_total_count:
            return min(1.0, self.pods_running_count / self.pods_total_count)
        return 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Wall time still to go if it goes on like this; None while that cannot be told."""
        ratio = self.done_ratio
        return self.wall_seconds * (1.0 - ratio) / ratio if ratio > 0.02 else None


Observer = Callable[[Status], None]


class Control:
    """Lets somebody else ask a run to stop at its next safe point."""

    def __init__(self) -> None:
        self.stop_requested = False

    def request_stop(self) -> None:
        """Ask the run to stop."""
        self.stop_requested = True


@contextmanager
def interruptible(control: Control, tell: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop, the second into an exit.

    Outside the main thread signals are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if control.stop_requested:
            raise KeyboardInterrupt
        control.request_stop()
        tell()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class Outcome:
    """A run that has ended, with everything that results are made of."""

    recorder: Recorder
    reason: str
    """settled, duration, interrupted, not settled, stalled, events, wall or memory."""
    detail: str
    simulated_seconds: float
    event_count: int
    request_count: int
    pods_total_count: int
    pods_running_count: int
    invariants_broken: list[str]
    wall_seconds: float
    cpu_seconds: float
    cluster: Cluster | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the run reached its stop condition."""
        return self.reason in {SETTLED, DURATION}

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of the run itself, thresholds apart."""
        if self.invariants_broken:
            return ExitCode.RUN_FAILED
        if self.reason == INTERRUPTED:
            return ExitCode.ABORTED
        if self.reason == STALLED:
            return ExitCode.RUN_FAILED
        return ExitCode.OK if self.complete else ExitCode.BUDGET_EXHAUSTED


class _Watch:
    """Looks at bounds and tells the observer, at every safe point of the engine."""

    def __init__(
        self, run: RunSpec, engine: Engine, cluster: Cluster, observer: Observer | None,
        control: Control,
    ) -> None:  # fmt: skip
        self._run = run
        self._engine = engine
        self._cluster = cluster
        self._observer = observer
        self._control = control
        self._started = time.perf_counter()
        self._told = self._started
        self._pods = (-1, -1)
        self._changed_seconds = 0.0
        self._memory_limit = memory_limit_bytes(run.memory_bytes_max)

    @property
    def wall_seconds(self) -> float:
        """Wall time since the run began."""
        return time.perf_counter() - self._started

    def check(self) -> str:
        """Return why to stop now, or nothing."""
        if self._control.stop_requested:
            return INTERRUPTED
        now = time.perf_counter()
        if now - self._told >= _PROGRESS_WALL_SECONDS:
            self._told = now
            if self._observer is not None:
                self._observer(self.status())
            if memory_in_use_bytes() > self._memory_limit:
                gc.collect()
                if memory_in_use_bytes() > self._memory_limit:
                    return MEMORY
        if self._engine.event_count >= self._run.events_max:
            return EVENTS
        return WALL if now - self._started > self._run.wall_seconds_max else ""

    def is_stalled(self) -> bool:
        """Whether the numbers of pods have not changed for too long."""
        progress = self._cluster.progress()
        pods = (progress.pods_total_count, progress.pods_running_count)
        if pods != self._pods:
            self._pods, self._changed_seconds = pods, self._engine.now
        return self._engine.now - self._changed_seconds >= self._run.stall_seconds_max

    def status(self) -> Status:
        """Return how far the run is."""
        progress = self._cluster.progress()
        return Status(
            time_seconds=self._engine.now,
            pods_total_count=progress.pods_total_count,
            pods_running_count=progress.pods_running_count,
            request_count=progress.request_count,
            event_count=self._engine.event_count,
            wall_seconds=self.wall_seconds,
            duration_seconds=self._run.duration_seconds if self._run.stop == DURATION else None,
        )

    def detail(self, reason: str) -> str:
        """Return what a reason means, with its numbers."""
        run, engine = self._run, self._engine
        return {
            SETTLED: "the workload is done and nothing is under way",
            DURATION: f"{run.duration_seconds} s of simulated time are over",
            INTERRUPTED: "stopped by a signal",
            NOT_SETTLED: f"not settled after {run.duration_seconds} s of simulated time"
            " (run.durationSeconds)",
            STALLED: f"no change for {run.stall_seconds_max:g} s of simulated time"
            " (run.stallSecondsMax), yet the workload is not done",
            EVENTS: f"{engine.event_count:,} events used up (run.eventsMax {run.events_max:,})",
            WALL: f"{self.wall_seconds:.1f} s of wall time used up"
            f" (run.wallSecondsMax {run.wall_seconds_max:g})",
            MEMORY: f"{peak_memory_bytes() / 2**30:.2f} GiB of memory used up"
            f" (run.memoryBytesMax {self._memory_limit / 2**30:.2f} GiB)",
        }[reason]


def _loop(run: RunSpec, engine: Engine, cluster: Cluster, watch: _Watch) -> str:
    """Run to the stop condition or a bound; return the reason for stopping."""
    by_duration = run.stop == DURATION
    horizon = run.duration_seconds
    poll_index = 0
    while True:
        poll_index += 1
        until = poll_index * POLL_SECONDS
        if horizon is not None:
            until = min(until, horizon)
        reason = engine.run(until, watch.check, run.events_max)
        if reason != "horizon":
            return reason
        bound = watch.check()
        if bound:
            return bound
        if not by_duration and cluster.settled():
            return SETTLED
        if horizon is not None and until >= horizon:
            return DURATION if by_duration else NOT_SETTLED
        if not by_duration and watch.is_stalled():
            return STALLED


@contextmanager
def no_collector() -> Iterator[None]:
    """Do without the collector of cycles: what a run builds up is state, or freed by counting.

    It would walk everything again and again, a quarter of the time of a large run, and find next
    to nothing. A run that comes near its memory limit collects once before it gives up; whoever
    does several runs collects between them.
    """
    if not gc.isenabled():
        yield  # whoever has switched it off switches it on
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_replication(
    experiment: Experiment,
    backend: Backend,
    replication_index: int = 0,
    observer: Observer | None = None,
    control: Control | None = None,
) -> Outcome:
    """Run one replication in this process.

    Raises:
        KubesimError: the model refused its input or reached a limit it cannot live with.
    """
    spec = experiment.spec
    run = spec.run
    started, cpu_started = time.perf_counter(), cpu_seconds()
    engine = Engine(run.seed, replication_index)
    recorder = Recorder(backend.tables, frozenset(spec.outputs.tables_off))
    profile: Any = spec.profile
    if backend.load_profile is not None:
        profile = backend.load_profile(spec.profile)
    cluster = backend.build(spec.cluster, spec.workload, engine, recorder, profile)
    watch = _Watch(run, engine, cluster, observer, control or Control())
    cluster.start()
    reason = _loop(run, engine, cluster, watch)
    cluster.finish()
    broken = list(cluster.check())
    if observer is not None:
        observer(watch.status())
    progress = cluster.progress()
    return Outcome(
        recorder=recorder,
        reason=reason,
        detail=watch.detail(reason),
        simulated_seconds=engine.now,
        event_count=engine.event_count,
        request_count=progress.request_count,
        pods_total_count=progress.pods_total_count,
        pods_running_count=progress.pods_running_count,
        invariants_broken=broken,
        wall_seconds=time.perf_counter() - started,
        cpu_seconds=cpu_seconds() - cpu_started,
        cluster=cluster,
    )
