"""Many runs: skip what is finished, spread the rest over processes, survive single failures."""

from __future__ import annotations

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any, Final

from sim.base.errors import KubesimError, UserError
from sim.base.exit_codes import ExitCode
from sim.experiment.backend import Backend, load_backend
from sim.experiment.expand import Point
from sim.experiment.judge import Judgement
from sim.experiment.machine import code_digest
from sim.experiment.results import RunResult, Task, judged_digest, write_run
from sim.experiment.run import Control, Observer, no_collector, run_replication
from sim.export.reader import read_manifest, read_summary

_WAIT_SECONDS: Final = 0.2

Told = Callable[[RunResult, int, int], None]
"""Called with each result, the number of results so far and the number of all."""


def plan(points: Sequence[Point], out: Any, overrides: Sequence[str], backend: Backend
         ) -> list[Task]:  # fmt: skip
    """Return the runs of all points, replications of a point next to each other."""
    return [
        Task(point=point, replication_index=index, out=out, overrides=tuple(overrides),
             backend_reference=backend.reference)
        for point in points
        for index in range(point.loaded.experiment.spec.run.replications)
    ]  # fmt: skip


def execute(
    tasks: Sequence[Task],
    backend: Backend,
    *,
    job_count: int = 1,
    force: bool = False,
    fail_fast: bool = False,
    observer: Observer | None = None,
    told: Told | None = None,
    control: Control | None = None,
) -> list[RunResult]:
    """Do all runs and return their results in the order of the tasks.

    With several tasks, runs that are finished (same scenario, code, thresholds and outputs) are
    skipped unless ``force``. A single task is run in this process and may raise; of several, one
    that fails is reported in its result and does not stop the others unless ``fail_fast``.
    """
    control = control or Control()
    results: dict[int, RunResult] = {}

    def take(index: int, result: RunResult) -> None:
        results[index] = result
        if told is not None:
            told(result, len(results), len(tasks))
        if fail_fast and result.error:
            control.request_stop()

    if len(tasks) == 1:
        outcome = do_task(tasks[0], backend, observer, control)
        take(0, outcome)
        return [outcome]
    todo = []
    for index, task in enumerate(tasks):
        finished = None if force else finished_result(task)
        if finished is not None:
            take(index, finished)
        else:
            todo.append(index)
    if job_count > 1 and len(todo) > 1:
        for index, result in _in_processes(tasks, todo, job_count, control):
            take(index, result)
    else:
        for index in todo:
            if control.stop_requested:
                break
            take(index, _guarded(tasks[index], backend, observer, control))
            gc.collect()  # one cluster at a time: a run is full of cycles and may not collect
    return [results[index] for index in sorted(results)]


def do_task(
    task: Task, backend: Backend, observer: Observer | None, control: Control
) -> RunResult:
    """Run one task and write its directory."""
    with no_collector():
        outcome = run_replication(
            task.point.loaded.experiment, backend, task.replication_index, observer, control
        )
        return write_run(task, outcome, backend)


def _guarded(
    task: Task, backend: Backend, observer: Observer | None, control: Control
) -> RunResult:
    try:
        return do_task(task, backend, observer, control)
    except UserError:
        raise
    except KubesimError as error:
        return _failed(task, error.exit_code, f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001 - one broken point must not cost the others
        return _failed(task, ExitCode.INTERNAL_ERROR, traceback.format_exc())


def _failed(task: Task, code: ExitCode, error: str) -> RunResult:
    return RunResult(
        folder=task.folder, values=task.point.values, replication_index=task.replication_index,
        digest=task.point.digest, reason="failed", detail=error.strip().splitlines()[-1],
        complete=False, exit_code=code, judgements=(), rows=(), bottleneck="",
        invariants_broken=(), simulated_seconds=0.0, event_count=0, request_count=0,
        pods_total_count=0, pods_running_count=0, wall_seconds=0.0, cpu_seconds=0.0, error=error,
    )  # fmt: skip


# ----------------------------------------------------------------------------- worker processes
_stop_event: Any = None


def _begin_worker(event: Any) -> None:
    global _stop_event  # noqa: PLW0603 - set once per worker process, before its first task
    import signal

    _stop_event = event
    # The parent hears Ctrl-C and tells the workers; a terminal would signal everybody twice.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _EventControl(Control):
    """A control whose request comes from another process."""

    def __init__(self, event: Any) -> None:
        self._event = event

    @property
    def stop_requested(self) -> bool:  # type: ignore[override]
        """Whether the parent has asked to stop."""
        return bool(self._event.is_set())


def _work(task: Task) -> RunResult:
    gc.collect()  # what is left of the run before
    return _guarded(task, load_backend(task.backend_reference), None, _EventControl(_stop_event))


def _in_processes(
    tasks: Sequence[Task], todo: Sequence[int], job_count: int, control: Control
) -> Iterator[tuple[int, RunResult]]:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # one run uses one core
    context = get_context("spawn")
    event = context.Event()
    with ProcessPoolExecutor(
        min(job_count, len(todo)), context, initializer=_begin_worker, initargs=(event,)
    ) as pool:
        futures: dict[Future[RunResult], int] = {
            pool.submit(_work, tasks[index]): index for index in todo
        }
        pending = set(futures)
        while pending:
            done, pending = wait(pending, _WAIT_SECONDS, FIRST_COMPLETED)
            if control.stop_requested and not event.is_set():
                event.set()
                for future in list(pending):
                    if future.cancel():
                        pending.discard(future)
            for future in sorted(done, key=futures.__getitem__):
                if not future.cancelled():
                    yield futures[future], future.result()


# --------------------------------------------------------------------------- what is done already
def finished_result(task: Task) -> RunResult | None:
    """Return the result of a run that is finished and would come out the same, else None."""
    try:
        manifest = read_manifest(task.folder)
    except UserError:
        return None
    wanted = {
        "digest": task.point.digest,
        "judged_digest": judged_digest(task),
        "code_digest": code_digest(),
        "complete": True,
        "valid": True,
    }
    if any(manifest.get(key) != value for key, value in wanted.items()):
        return None
    totals = manifest["totals"]
    names = Judgement.__dataclass_fields__
    return RunResult(
        folder=task.folder, values=task.point.values, replication_index=task.replication_index,
        digest=task.point.digest, reason=manifest["reason"], detail=manifest["detail"],
        complete=True, exit_code=ExitCode(manifest["exit_code"]),
        judgements=tuple(
            Judgement(**{key: value for key, value in item.items() if key in names})
            for item in manifest["thresholds"]
        ),
        rows=tuple(read_summary(task.folder)), bottleneck=manifest["bottleneck"],
        invariants_broken=(), simulated_seconds=totals["simulated_seconds"],
        event_count=totals["event_count"], request_count=totals["request_count"],
        pods_total_count=totals["pods_total_count"],
        pods_running_count=totals["pods_running_count"], wall_seconds=0.0, cpu_seconds=0.0,
        skipped=True,
    )  # fmt: skip
