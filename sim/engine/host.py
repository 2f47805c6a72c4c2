"""CPU as a place: a machine whose cores are shared by all processes placed on it.

Processor sharing in attained-service time: with n runnable jobs on c cores each job progresses at
rate ``min(1, c / n)``. A virtual clock V advances at that rate; a job of demand d that arrives at
V is finished when the clock reaches V + d. Jobs wait in a heap by finishing value, so arrival and
departure cost O(log n) whatever the number of jobs.
**Source:** egalitarian processor sharing (Kleinrock 1967); checked against M/G/1-PS insensitivity.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from sim.engine.engine import Engine

_TOLERANCE_SECONDS = 1e-10


class HostProcess:
    """An operating-system process placed on a host: what it used and what it runs now."""

    __slots__ = ("cpu_seconds", "host", "job_count", "name", "running_count")

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.cpu_seconds = 0.0
        """CPU time of all jobs submitted so far."""
        self.job_count = 0
        """Jobs submitted so far."""
        self.running_count = 0
        """Jobs submitted and not finished."""

    def run(
        self, demand_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Spend ``demand_seconds`` of CPU, then call back."""
        self.host.submit(self, demand_seconds, callback, argument)


class Host:
    """A machine with cores; ``core_count`` 0 means as many as there are jobs (never contended)."""

    __slots__ = (
        "_armed_seconds", "_engine", "_jobs", "_last_seconds", "_rate", "_sequence", "_virtual",
        "core_count", "job_area_seconds", "job_count", "name", "processes", "sojourn_sum_seconds",
        "work_seconds",
    )  # fmt: skip

    def __init__(self, engine: Engine, name: str, core_count: int) -> None:
        self._engine = engine
        self.name = name
        self.core_count = core_count
        self.processes: dict[str, HostProcess] = {}
        self._jobs: list[tuple[float, int, float, HostProcess, Callable[[Any], object], Any]] = []
        self._armed_seconds: list[float] = []
        self._virtual = 0.0
        self._last_seconds = 0.0
        self._rate = 1.0
        self._sequence = 0
        self.job_count = 0
        """Jobs finished."""
        self.work_seconds = 0.0
        """CPU time delivered to all jobs up to the last change."""
        self.job_area_seconds = 0.0
        """Integral over time of the number of jobs present, up to the last change."""
        self.sojourn_sum_seconds = 0.0
        """Sum of the times that finished jobs spent on the host."""

    def process(self, name: str) -> HostProcess:
        """Return the process of that name, placing it here first if it is new."""
        found = self.processes.get(name)
        if found is None:
            found = HostProcess(name, self)
            self.processes[name] = found
        return found

    @property
    def running_count(self) -> int:
        """Jobs present now."""
        return len(self._jobs)

    def submit(
        self,
        process: HostProcess,
        demand_seconds: float,
        callback: Callable[[Any], object],
        argument: Any,
    ) -> None:
        """Start a job of ``demand_seconds`` CPU for ``process``; call back when it is finished."""
        process.cpu_seconds += demand_seconds
        process.job_count += 1
        process.running_count += 1
        engine = self._engine
        now = engine.now
        jobs = self._jobs
        if jobs:
            self._advance(now)
        else:
            self._virtual = 0.0
            self._last_seconds = now
        self._sequence += 1
        heappush(
            jobs,
            (self._virtual + demand_seconds, self._sequence, now, process, callback, argument),
        )
        count = len(jobs)
        cores = self.core_count
        self._rate = 1.0 if count <= cores or cores == 0 else cores / count
        self._arm(now)

    def _advance(self, now: float) -> None:
        elapsed = now - self._last_seconds
        if elapsed > 0.0:
            count = len(self._jobs)
            attained = elapsed * self._rate
            self._virtual += attained
            self.work_seconds += attained * count
            self.job_area_seconds += elapsed * count
            self._last_seconds = now

    def _arm(self, now: float) -> None:
        """Have a timer no later than the next completion; armed times form a stack."""
        delay = (self._jobs[0][0] - self._virtual) / self._rate
        due = now + delay
        armed = self._armed_seconds
        if not armed or due < armed[-1]:
            armed.append(due)
            self._engine.call_later(delay if delay > 0.0 else 0.0, self._fire)

    def _fire(self, _: None) -> None:
        self._armed_seconds.pop()
        jobs = self._jobs
        if not jobs:
            return
        now = self._engine.now
        self._advance(now)
        done: list[tuple[float, int, float, HostProcess, Callable[[Any], object], Any]] = []
        limit = self._virtual + _TOLERANCE_SECONDS
        while jobs and jobs[0][0] <= limit:
            job = heappop(jobs)
            done.append(job)
            self.sojourn_sum_seconds += now - job[2]
            job[3].running_count -= 1
        if done:
            self.job_count += len(done)
            count = len(jobs)
            cores = self.core_count
            self._rate = 1.0 if count <= cores or cores == 0 else cores / count
        if jobs:
            self._arm(now)
        for job in done:
            job[4](job[5])

    def settle(self) -> None:
        """Bring the integrals up to the present (before reading them)."""
        if self._jobs:
            self._advance(self._engine.now)

    def residual_sojourn_seconds(self) -> float:
        """Return the time that the jobs still present have spent here, summed."""
        now = self._engine.now
        return sum(now - job[2] for job in self._jobs)

    def check(self) -> list[str]:
        """Return what is broken: Little's law and the utilisation law, as exact identities.

        The integral of the number of jobs equals the sum of sojourn times, and the CPU time
        delivered equals the CPU time asked for less what unfinished jobs still need.
        """
        self.settle()
        problems = []
        sojourn = self.sojourn_sum_seconds + self.residual_sojourn_seconds()
        slack = 1e-6 + 1e-6 * sojourn
        if abs(self.job_area_seconds - sojourn) > slack:
            problems.append(
                f"host {self.name}: Little's law broken: jobs present integrate to"
                f" {self.job_area_seconds:.9g} s but sojourn times sum to {sojourn:.9g} s"
            )
        asked = sum(process.cpu_seconds for process in self.processes.values())
        unfinished = sum(max(0.0, job[0] - self._virtual) for job in self._jobs)
        if abs(asked - unfinished - self.work_seconds) > 1e-6 + 1e-6 * asked:
            problems.append(
                f"host {self.name}: utilisation law broken: {self.work_seconds:.9g} s delivered,"
                f" {asked - unfinished:.9g} s asked for"
            )
        return problems
