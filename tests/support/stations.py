"""Stations of the program under arrivals from a stream, and the statistics that judge them.

A closed form is compared by independent replications: each replication gives one mean, and the
formula must lie in Student's interval over them. One comparison fails a correct program with
probability `FALSE_ALARM` over the choice of seeds (the seeds are fixed, so it either fails always
or never); the interval must also be narrow, so that a wrong program is found.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.components.priority_and_fairness import Level, Ticket
from sim.components.priority_and_fairness_config import PriorityLevel
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.workqueue import Workqueue
from sim.stats.intervals import t_interval

FALSE_ALARM = 1e-4
REPLICATIONS = 24
Floats = npt.NDArray[np.float64]
Begin = Callable[[int, float, Callable[[int], None]], None]
"""begin(job, service time, what to call when it is finished)."""


def agrees(values: list[float], formula: float, relative_half_width_max: float) -> None:
    """Assert that a formula lies in the interval of the replications' means."""
    found = t_interval(values, confidence=1.0 - FALSE_ALARM)
    assert found.contains(formula), (found, formula)
    assert found.half_width <= relative_half_width_max * abs(formula), (found, formula)


@dataclass(frozen=True, slots=True)
class Run:
    """One replication after its warm-up; every field (n_jobs,) float64 seconds, NaN if lost."""

    arrivals: Floats
    ends: Floats
    services: Floats

    @property
    def sojourns(self) -> Floats:
        """Times in the station."""
        return self.ends - self.arrivals

    @property
    def waits(self) -> Floats:
        """Times before service begins."""
        return self.ends - self.arrivals - self.services


class Runs(list[Run]):
    """Independent replications of one station."""

    def mean_sojourn(self) -> list[float]:
        """Mean time in the station of the jobs that were let in, per replication."""
        return [float(np.nanmean(run.sojourns)) for run in self]

    def mean_wait(self) -> list[float]:
        """Mean time before service of the jobs that were let in, per replication."""
        return [float(np.nanmean(run.waits)) for run in self]

    def waiting_share(self) -> list[float]:
        """Share of the jobs that had to wait, per replication."""
        return [float(np.mean(run.waits > 1e-9)) for run in self]

    def lost_share(self) -> list[float]:
        """Share of the jobs that were turned away, per replication."""
        return [float(np.mean(np.isnan(run.ends))) for run in self]


def run_jobs(engine: Engine, begin: Begin, gaps: Floats, services: Floats) -> tuple[Floats, Floats]:
    """Let jobs arrive after ``gaps``; return (arrival times, end times), NaN for lost jobs.

    gaps, services : (n_jobs,) float64 seconds.
    """
    arrivals = np.cumsum(gaps)
    ends = np.full(len(gaps), np.nan)
    gap_list, service_list = gaps.tolist(), services.tolist()

    def finished(job: int) -> None:
        ends[job] = engine.now

    def arrive(job: int) -> None:
        if job + 1 < len(gap_list):
            engine.call_later(gap_list[job + 1], arrive, job + 1)
        begin(job, service_list[job], finished)

    engine.call_later(gap_list[0], arrive, 0)
    engine.run(float(arrivals[-1]) + 1e4)
    return arrivals, ends


def shared_host(core_count: int) -> Callable[[Engine], Begin]:
    """Processor sharing: `sim.engine.host.Host`."""

    def make(engine: Engine) -> Begin:
        process = Host(engine, "h", core_count).process("p")
        return lambda job, service, finished: process.run(service, finished, job)

    return make


def workers(worker_count: int) -> Callable[[Engine], Begin]:
    """First come, first served by k servers: a controller's workqueue and its workers."""

    def make(engine: Engine) -> Begin:
        queue: Workqueue[int] = Workqueue(engine, "q")
        jobs: dict[int, tuple[float, Callable[[int], None]]] = {}

        def work() -> Generator[Any, Any, None]:
            while True:
                job = yield queue.get()
                service, finished = jobs.pop(job)
                yield engine.sleep(service)
                finished(job)
                queue.done(job)

        for _ in range(worker_count):
            engine.process(work())

        def begin(job: int, service: float, finished: Callable[[int], None]) -> None:
            jobs[job] = (service, finished)
            queue.add(job)

        return begin

    return make


def seats(seat_count: int, room_count: int) -> Callable[[Engine], Begin]:
    """A station with bounded room: a priority level of the apiserver, one seat per server."""

    def make(engine: Engine) -> Begin:
        spec = PriorityLevel(
            name="x",
            queue_count=1 if room_count else 0,
            hand_size_count=1 if room_count else 0,
            queue_length_limit_count=room_count,
        )
        level = Level(engine, spec, seat_count, 600, 1e9)

        def begin(job: int, service: float, finished: Callable[[int], None]) -> None:
            def decided(_: Any, admitted: bool) -> None:
                if admitted:
                    engine.call_later(service, end)

            def end(_: Any) -> None:
                finished(job)
                level.finish(ticket)

            ticket = Ticket(1, 0, 0.0, decided, job)
            level.submit(ticket, 0)

        return begin

    return make


def replicate(
    make: Callable[[Engine], Begin],
    draw: Callable[[np.random.Generator, int], tuple[Floats, Floats]],
    *,
    seed: int,
    job_count: int = 8_000,
    warmup_count: int = 500,
) -> Runs:
    """Run a station `REPLICATIONS` times; ``draw`` gives (gaps, service times)."""
    runs = Runs()
    for replication in range(REPLICATIONS):
        engine = Engine(seed, replication)
        gaps, services = draw(engine.stream("jobs").generator(), job_count)
        arrivals, ends = run_jobs(engine, make(engine), gaps, services)
        runs.append(Run(arrivals[warmup_count:], ends[warmup_count:], services[warmup_count:]))
    return runs
