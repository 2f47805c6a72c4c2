"""Readable twin of `sim.engine.host`: processor sharing, recomputed at every change.

Every job carries the CPU it still needs. When anything changes, all jobs are charged for the time
since the last change at the common rate ``min(1, cores / jobs)``, those with nothing left are
finished, and one timer is set for the next to finish. O(jobs) per event: for tests.
**Source:** definition of egalitarian processor sharing (Kleinrock 1967).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sim.engine.engine import Call, Engine

_TOLERANCE_SECONDS = 1e-10


@dataclass(slots=True)
class Job:
    """A job that is present."""

    arrival_seconds: float
    left_seconds: float
    callback: Callable[[Any], object]
    argument: Any


class ReferenceHost:
    """Cores shared equally among all jobs; ``core_count`` 0 means one core for every job."""

    def __init__(self, engine: Engine, core_count: int) -> None:
        self._engine = engine
        self.core_count = core_count
        self.jobs: list[Job] = []
        """Present, in order of arrival."""
        self._last_seconds = engine.now
        self._timer: Call | None = None
        self.job_count = 0
        self.work_seconds = 0.0
        self.job_area_seconds = 0.0
        self.sojourn_sum_seconds = 0.0

    @property
    def rate(self) -> float:
        """CPU seconds per second that each job receives."""
        if self.core_count == 0 or len(self.jobs) <= self.core_count:
            return 1.0
        return self.core_count / len(self.jobs)

    def submit(
        self, demand_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Start a job; call back when it has received ``demand_seconds`` of CPU."""
        self.settle()
        self.jobs.append(Job(self._engine.now, demand_seconds, callback, argument))
        self._set_timer()

    def settle(self) -> None:
        """Charge every job for the time since the last change."""
        elapsed_seconds = self._engine.now - self._last_seconds
        self._last_seconds = self._engine.now
        received_seconds = elapsed_seconds * self.rate
        for job in self.jobs:
            job.left_seconds -= received_seconds
            self.work_seconds += received_seconds
            self.job_area_seconds += elapsed_seconds

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.jobs:
            least_seconds = max(0.0, min(job.left_seconds for job in self.jobs))
            self._timer = self._engine.call_later(least_seconds / self.rate, self._finish)

    def _finish(self, _: None) -> None:
        self.settle()
        least_seconds = min(job.left_seconds for job in self.jobs)
        done = [job for job in self.jobs if job.left_seconds <= least_seconds + _TOLERANCE_SECONDS]
        for job in done:
            self.jobs.remove(job)
            self.job_count += 1
            self.sojourn_sum_seconds += self._engine.now - job.arrival_seconds
        self._set_timer()
        for job in done:
            job.callback(job.argument)
