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
from math import inf
from typing import Any, Final

from librt.vecs import append, vec
from mypy_extensions import i64, mypyc_attr

from sim.engine.engine import Call, Engine

_TOLERANCE_SECONDS: Final = 1e-10
_push: Final = heappush
_pop: Final = heappop
"""Names of their own: compiled code looks up what it has imported at every use."""
_ROOMY_CORES_COUNT: Final = 8
"""Smaller hosts are contended too often for short cuts."""
_COUNT_MAX: Final = 1 << 60
"""As good as no bound."""


def _nothing(_: object) -> None:
    """Nobody waits for this job."""


class HostProcess:
    """An operating-system process placed on a host: what it used and what it runs now."""

    __slots__ = (
        "_ends_seconds", "_occupying_count", "cpu_seconds", "guest_index", "host", "job_count",
        "name", "running_count",
    )  # fmt: skip

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.cpu_seconds = 0.0
        """CPU time of all jobs submitted so far."""
        self.job_count: i64 = 0
        """Jobs submitted so far."""
        self.running_count: i64 = 0
        """Jobs submitted and not finished."""
        self.guest_index: i64 = -1
        """Its place in the host's list of those that have had jobs nobody waits for; this and what
        follows is the host's business."""
        self._occupying_count: i64 = 0
        """Such jobs present, as far as the host has looked."""
        self._ends_seconds = vec[float]()
        """Heap of their ends, as `heapq` would have it, and room that earlier ones have left: of
        plain numbers, since most of them come and go at every event."""

    @property
    def idle(self) -> bool:
        """Whether none of its jobs is there any more."""
        return self.running_count == 0 or self.host.is_idle(self)

    def run(
        self, demand_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Spend ``demand_seconds`` of CPU, then call back."""
        self.host.submit(self, demand_seconds, callback, argument)

    def occupy(self, demand_seconds: float) -> bool:
        """Spend CPU without telling anyone of its end; False (and nothing) if the host is busy."""
        return self.host.occupy(self, demand_seconds) > 0

    def add_end(self, end_seconds: float) -> float:
        """A job that nobody waits for has begun: put its end into the heap; return the first."""
        ends = self._ends_seconds
        place = self._occupying_count
        self._occupying_count = place + 1
        if place == len(ends):
            ends = append(ends, end_seconds)
            self._ends_seconds = ends
        while place > 0:
            parent = (place - 1) >> 1
            above_seconds = ends[parent]
            if end_seconds >= above_seconds:
                break
            ends[place] = above_seconds
            place = parent
        ends[place] = end_seconds
        return ends[0]

    def drop_ends(self, now: float) -> i64:
        """Take out the ends of jobs that nobody waits for and that are over; return how many."""
        ends = self._ends_seconds
        count = self._occupying_count
        before_count = count
        while count and ends[0] <= now:
            count -= 1
            last_seconds = ends[count]
            place: i64 = 0
            child: i64 = 1
            while child < count:
                if child + 1 < count and ends[child + 1] <= ends[child]:
                    child += 1
                ends[place] = ends[child]
                place = child
                child = 2 * place + 1
            while place > 0:
                parent = (place - 1) >> 1
                above_seconds = ends[parent]
                if last_seconds >= above_seconds:
                    break
                ends[place] = above_seconds
                place = parent
            ends[place] = last_seconds
        self._occupying_count = count
        before_count -= count
        self.running_count -= before_count
        return before_count

    def first_end_seconds(self) -> float:
        """Return when the first of the jobs ends that nobody waits for."""
        return self._ends_seconds[0] if self._occupying_count else inf

    def ends_seconds(self) -> list[float]:
        """Return when the jobs end that nobody waits for, in the order of the heap."""
        return list(self._ends_seconds)[: self._occupying_count]

    def clear_ends(self) -> None:
        """Forget the jobs that nobody waits for."""
        self._occupying_count = 0


@mypyc_attr(free_list_len=1)
class _DirectJob:
    """A job on a core of its own, its end known."""

    __slots__ = ("argument", "arrival_seconds", "call", "callback", "earlier", "end_seconds",
                 "later", "process", "sequence")  # fmt: skip

    def __init__(
        self,
        sequence: int,
        process: HostProcess,
        callback: Callable[[Any], object],
        argument: Any,
        arrival_seconds: float,
        end_seconds: float,
    ) -> None:
        self.sequence = sequence
        self.process = process
        self.callback = callback
        self.argument = argument
        self.arrival_seconds = arrival_seconds
        self.end_seconds = end_seconds
        self.call: Call | None = None
        """Its timer."""
        self.earlier: _DirectJob | None = None
        """Its neighbours in the order of arrival."""
        self.later: _DirectJob | None = None


class _DirectJobs:
    """Jobs in the order of their arrival, linked: any of them leaves at no cost."""

    __slots__ = ("_first", "_last", "count")

    def __init__(self) -> None:
        self._first: _DirectJob | None = None
        self._last: _DirectJob | None = None
        self.count: i64 = 0

    def add(self, job: _DirectJob) -> None:
        last = self._last
        if last is None:
            self._first = job
        else:
            last.later = job
            job.earlier = last
        self._last = job
        self.count += 1

    def remove(self, job: _DirectJob) -> None:
        earlier, later = job.earlier, job.later
        if earlier is None:
            self._first = later
        else:
            earlier.later = later
        if later is None:
            self._last = earlier
        else:
            later.earlier = earlier
        job.earlier = job.later = job.call = None
        self.count -= 1

    def present(self) -> list[_DirectJob]:
        """Return the jobs, first to last."""
        found: list[_DirectJob] = []
        job = self._first
        while job is not None:
            found.append(job)
            job = job.later
        return found


def _by_value(
    job: tuple[float, int, float, HostProcess, Callable[[Any], object], Any],
) -> tuple[float, int]:
    return job[0], job[1]


class Host:
    """A machine with cores; ``core_count`` 0 means as many as there are jobs (never contended).

    While there are no more jobs than cores each job simply ends after its demand: it has a timer
    of its own (*direct*). When one more arrives, all go into a shared heap, until half of the
    cores are free again.
    """

    __slots__ = (
        "_armed_seconds", "_counted_seconds", "_direct", "_engine", "_first_end_seconds",
        "_guest_ends_seconds", "_guests", "_jobs", "_last_seconds", "_occupied_count",
        "_occupied_seconds", "_rate", "_room_count", "_sequence", "_then_finish", "_virtual",
        "core_count", "job_area_seconds", "job_count", "name", "processes", "roomy",
        "sojourn_sum_seconds", "work_seconds",
    )  # fmt: skip

    def __init__(self, engine: Engine, name: str, core_count: int) -> None:
        self._engine = engine
        self.name = name
        self.core_count = core_count
        self.roomy = core_count == 0 or core_count >= _ROOMY_CORES_COUNT
        """Whether `occupy` may ever succeed."""
        self._room_count: i64 = (core_count + 1) // 2 if core_count else _COUNT_MAX
        """So many jobs keep half of the cores busy: no room for one more."""
        if not self.roomy:
            self._room_count = 0
        self.processes: dict[str, HostProcess] = {}
        self._jobs: list[tuple[float, int, float, HostProcess, Callable[[Any], object], Any]] = []
        """Shared mode: (finishing value, sequence, arrival, process, callback, argument)."""
        self._direct = _DirectJobs()
        """Direct mode: jobs with a timer each."""
        self._guests: list[HostProcess] = []
        """Processes that have jobs nobody waits for, or have had some."""
        self._guest_ends_seconds = vec[float]()
        """When the first job of each of them ends that nobody waits for."""
        self._occupied_count: i64 = 0
        """Direct mode: such jobs present, as far as `_retire` has looked."""
        self._occupied_seconds = 0.0
        """Demands of all such jobs so far."""
        self._counted_seconds = 0.0
        """What of these is in the integrals below already."""
        self._first_end_seconds = inf
        """Direct mode: when the first of those present ends."""
        self._armed_seconds: list[float] = []
        self._virtual = 0.0
        self._last_seconds = 0.0
        self._rate = 1.0
        self._sequence = 0
        self.job_count: i64 = 0
        """Jobs finished."""
        self.work_seconds = 0.0
        """CPU time delivered to all jobs up to the last change."""
        self.job_area_seconds = 0.0
        """Integral over time of the number of jobs present, up to the last change; `settle`
        brings all three up to the present."""
        self.sojourn_sum_seconds = 0.0
        """Sum of the times that finished jobs spent on the host, and that jobs nobody waits for
        have spent there so far."""
        self._then_finish = self._finish_direct  # last: see the engine

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
        if self._first_end_seconds <= self._engine.now:
            self._retire(self._engine.now)
        return len(self._jobs) + int(self._direct.count + self._occupied_count)

    def is_idle(self, process: HostProcess) -> bool:
        """Whether no job of a process is present now."""
        if self._first_end_seconds <= self._engine.now:
            self._retire(self._engine.now)
        return process.running_count == 0

    def has_room(self) -> bool:
        """Whether `occupy` would succeed now."""
        if self._jobs:
            return False
        if self._first_end_seconds <= self._engine.now:
            self._retire(self._engine.now)
        return self._direct.count + self._occupied_count < self._room_count

    def occupy(self, process: HostProcess, demand_seconds: float) -> int:
        """Run a job without telling anyone of its end, if there is plenty of room.

        Returns the number of jobs present, this one included, if the job runs, else 0. Its end is
        then known: after its demand. Hot paths chain several steps into one event this way while
        nothing is contended. Plenty of room is a host of eight cores or more with half of them
        free; what arrives later may crowd the host and slow others, but the times of jobs that
        occupy it stand.
        """
        if self._jobs:
            return 0
        now = self._engine.now
        if self._first_end_seconds <= now:
            self._retire(now)
        count = self._direct.count + self._occupied_count
        if count >= self._room_count:
            return 0
        process.cpu_seconds += demand_seconds
        process.job_count += 1
        process.running_count += 1
        self._occupied_seconds += demand_seconds
        self._occupied_count += 1
        end_seconds = now + demand_seconds
        if end_seconds < self._first_end_seconds:
            self._first_end_seconds = end_seconds
        if process.guest_index < 0:
            process.guest_index = len(self._guests)
            self._guests.append(process)
            self._guest_ends_seconds = append(self._guest_ends_seconds, inf)
        self._guest_ends_seconds[process.guest_index] = process.add_end(end_seconds)
        return int(count + 1)

    def _retire(self, now: float) -> None:
        """Take out the occupying jobs that have ended."""
        ends_seconds = self._guest_ends_seconds
        first_seconds = inf
        for index in range(len(ends_seconds)):
            end_seconds = ends_seconds[index]
            if end_seconds <= now:
                process = self._guests[index]
                count = process.drop_ends(now)
                self.job_count += count
                self._occupied_count -= count
                end_seconds = process.first_end_seconds()
                ends_seconds[index] = end_seconds
            if end_seconds < first_seconds:
                first_seconds = end_seconds
        self._first_end_seconds = first_seconds

    def _count_occupied(self, now: float) -> None:
        """Bring what occupying jobs have received so far into the integrals."""
        left_seconds = 0.0
        for process in self._guests:
            for end_seconds in process.ends_seconds():
                left_seconds += max(0.0, end_seconds - now)
        received = self._occupied_seconds - left_seconds - self._counted_seconds
        self._counted_seconds += received
        self.job_area_seconds += received
        self.work_seconds += received
        self.sojourn_sum_seconds += received

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
        now = self._engine.now
        self._sequence = sequence = self._sequence + 1
        direct = self._direct
        cores = self.core_count
        if not self._jobs:
            if self._first_end_seconds <= now:
                self._retire(now)
            direct_count = direct.count
            if not cores or direct_count + self._occupied_count < cores:
                if direct_count:
                    present = float(direct_count) * (now - self._last_seconds)
                    self.job_area_seconds += present
                    self.work_seconds += present
                self._last_seconds = now
                job = _DirectJob(sequence, process, callback, argument, now, now + demand_seconds)
                job.call = self._engine.call_later(demand_seconds, self._then_finish, job)
                direct.add(job)
                return
            self._share(now)
        jobs = self._jobs
        elapsed = now - self._last_seconds
        if elapsed > 0.0:
            count = len(jobs)
            attained = elapsed * self._rate
            self._virtual += attained
            self.work_seconds += attained * count
            self.job_area_seconds += elapsed * count
            self._last_seconds = now
        _push(jobs, (self._virtual + demand_seconds, sequence, now, process, callback, argument))
        count = len(jobs)
        self._rate = rate = 1.0 if count <= cores else cores / count
        delay = (jobs[0][0] - self._virtual) / rate
        armed = self._armed_seconds
        if not armed or now + delay < armed[-1]:
            self._arm(now, delay)

    def _finish_direct(self, job: _DirectJob) -> None:
        now = self._engine.now
        direct = self._direct
        present = float(direct.count) * (now - self._last_seconds)
        self.job_area_seconds += present
        self.work_seconds += present
        self._last_seconds = now
        direct.remove(job)
        self.job_count += 1
        self.sojourn_sum_seconds += now - job.arrival_seconds
        job.process.running_count -= 1
        job.callback(job.argument)

    def _share(self, now: float) -> None:
        """Go from direct to shared mode: what is left of every job goes into the heap."""
        direct = self._direct
        self._virtual = 0.0
        if direct.count:
            present = float(direct.count) * (now - self._last_seconds)
            self.job_area_seconds += present
            self.work_seconds += present
            for job in direct.present():
                if job.call is not None:
                    job.call.cancel()
                direct.remove(job)
                left = max(0.0, job.end_seconds - now)
                arrival = job.arrival_seconds
                entry = (left, job.sequence, arrival, job.process, job.callback, job.argument)
                _push(self._jobs, entry)
        if self._occupied_count:
            self._share_occupied(now)
        self._last_seconds = now

    def _share_occupied(self, now: float) -> None:
        """Make the occupying jobs ordinary ones, with what is left of them, from now on."""
        self._count_occupied(now)
        for process in self._guests:
            for end_seconds in sorted(process.ends_seconds()):
                left = end_seconds - now
                self._occupied_seconds -= left
                self._sequence += 1
                _push(self._jobs, (left, self._sequence, now, process, _nothing, None))
            process.clear_ends()
            self._guest_ends_seconds[process.guest_index] = inf
        self._occupied_count = 0
        self._first_end_seconds = inf

    def _separate(self, now: float) -> None:
        """Go from shared to direct mode: half of the cores are free, every job has its own."""
        direct = self._direct
        for value, sequence, arrival, process, callback, argument in sorted(
            self._jobs, key=_by_value
        ):
            left = max(0.0, value - self._virtual)
            job = _DirectJob(sequence, process, callback, argument, arrival, now + left)
            job.call = self._engine.call_later(left, self._then_finish, job)
            direct.add(job)
        self._jobs.clear()

    def _advance(self, now: float) -> None:
        elapsed = now - self._last_seconds
        if elapsed > 0.0:
            count = len(self._jobs)
            attained = elapsed * self._rate
            self._virtual += attained
            self.work_seconds += attained * count
            self.job_area_seconds += elapsed * count
            self._last_seconds = now

    def _arm(self, now: float, delay: float) -> None:
        """Have a timer no later than the next completion; armed times form a stack."""
        if delay < 0.0:
            delay = 0.0
        self._armed_seconds.append(now + delay)
        self._engine.after(delay, self._fire)

    def _fire(self, _: None) -> None:
        armed = self._armed_seconds
        armed.pop()
        jobs = self._jobs
        if not jobs:
            return
        now = self._engine.now
        elapsed = now - self._last_seconds
        count = len(jobs)
        if elapsed > 0.0:
            attained = elapsed * self._rate
            self._virtual += attained
            self.work_seconds += attained * count
            self.job_area_seconds += elapsed * count
            self._last_seconds = now
        limit = self._virtual + _TOLERANCE_SECONDS
        if jobs[0][0] > limit:
            delay = (jobs[0][0] - self._virtual) / self._rate
            if now + delay > now:
                if not armed or now + delay < armed[-1]:
                    self._arm(now, delay)
                return
            limit = jobs[0][0]  # the clock cannot tell its end from the present any more
        done = []
        while jobs and jobs[0][0] <= limit:
            job = _pop(jobs)
            done.append(job)
            self.sojourn_sum_seconds += now - job[2]
            job[3].running_count -= 1
        self.job_count += len(done)
        count = len(jobs)
        if count and count + count <= self.core_count:
            self._separate(now)
        elif count:
            cores = self.core_count
            self._rate = rate = 1.0 if count <= cores else cores / count
            delay = (jobs[0][0] - self._virtual) / rate
            if not armed or now + delay < armed[-1]:
                self._arm(now, delay)
        for job in done:
            job[4](job[5])

    def settle(self) -> None:
        """Bring the integrals up to the present (before reading them)."""
        now = self._engine.now
        if self._jobs:
            self._advance(now)
        elif self._direct.count:
            present = float(self._direct.count) * (now - self._last_seconds)
            self.job_area_seconds += present
            self.work_seconds += present
            self._last_seconds = now
        self._retire(now)
        self._count_occupied(now)

    def _present(self) -> list[tuple[float, float]]:
        """Return (arrival, CPU seconds still needed) of every job present."""
        now = self._engine.now
        shared = [(job[2], max(0.0, job[0] - self._virtual)) for job in self._jobs]
        direct = [
            (job.arrival_seconds, max(0.0, job.end_seconds - now))
            for job in self._direct.present()
        ]
        occupied = [
            (now, max(0.0, end_seconds - now))  # the time they have been here is counted already
            for process in self._guests
            for end_seconds in process.ends_seconds()
        ]
        return shared + direct + occupied

    def check(self) -> list[str]:
        """Return what is broken: Little's law and the utilisation law, as exact identities.

        The integral of the number of jobs equals the sum of sojourn times, and the CPU time
        delivered equals the CPU time asked for less what unfinished jobs still need.
        """
        self.settle()
        now = self._engine.now
        present = self._present()
        problems = []
        sojourn = self.sojourn_sum_seconds + sum((now - arrival for arrival, _ in present), 0.0)
        if abs(self.job_area_seconds - sojourn) > 1e-6 + 1e-6 * sojourn:
            problems.append(
                f"host {self.name}: Little's law broken: jobs present integrate to"
                f" {self.job_area_seconds:.9g} s but sojourn times sum to {sojourn:.9g} s"
            )
        asked = sum((process.cpu_seconds for process in self.processes.values()), 0.0)
        delivered = asked - sum((left for _, left in present), 0.0)
        if abs(delivered - self.work_seconds) > 1e-6 + 1e-6 * asked:
            problems.append(
                f"host {self.name}: utilisation law broken: {self.work_seconds:.9g} s delivered,"
                f" {delivered:.9g} s asked for"
            )
        return problems
