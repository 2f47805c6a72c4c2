"""Go's run queue: what a process has to do waits, first come first served, for its processors.

A process runs on at most GOMAXPROCS threads, one per core of its host; goroutines beyond that wait
in order. One that runs for 10 to 14.5 ms without waiting goes back to the end of the line. Work
that starts while many wait may cost less (``saving_ratio``): nobody has to be woken, and the same
code runs over and over. The host's cores are shared between the threads of all processes.
Measured: with 32 clients etcd's batches stay small and its CPU per write high, which one job per
request in processor sharing contradicts (it would answer all of a batch at once and so make the
next batch).
**Source:** Go runtime, proc.go; `groundtruth/apiserver_verbs_closed.csv`, etcd_cpu_ms_per_req.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sim.engine.host import Host, HostProcess
from sim.engine.streams import Stream

QUANTUM_SECONDS: Final = 0.010
"""**Source:** Go runtime, proc.go :: forcePreemptNS."""
_MONITOR_SECONDS: Final = 0.0045
"""How late the runtime's monitor notices at most that a quantum is over: it looks every 20 µs to
10 ms, and twice. **Source:** Go runtime, proc.go :: sysmon, retake; within these bounds fitted to
apiserver_apf.csv (LISTs of 500 pods beside GETs)."""
_LANES_WITHOUT_LIMIT_COUNT: Final = 64
"""On a host that is never contended (core_count 0)."""

_SAVING_WEIGHT: Final = 0.02
"""Weight of the last request in the share of requests whose connections others share (assumed)."""


class RunQueue:
    """The goroutines of one process."""

    __slots__ = ("_host", "_monitor", "_process", "_queue", "_then_again", "_then_done",
                 "_then_resume", "_woken", "busy_count", "limit_count", "preempted_count",
                 "saving_half_count", "saving_ratio", "wait_count")  # fmt: skip

    def __init__(self, process: HostProcess, monitor: Stream) -> None:
        self._process = process
        self._monitor = monitor
        self._host = process.host
        self._then_done = self._done
        self._then_again = self._again
        self._then_resume = self._resume
        self._queue: deque[tuple[Any, Callable[[Any], object], Any]] = deque()
        self._woken: deque[tuple[Any, Callable[[Any], object], Any]] = deque()
        cores = process.host.core_count
        self.limit_count = cores if cores > 0 else _LANES_WITHOUT_LIMIT_COUNT
        self.busy_count = 0
        """Processors in use."""
        self.preempted_count = 0
        """Jobs that have used up a quantum and wait for the next one."""
        self.saving_ratio = 0.0
        """Share of a demand that is saved when endlessly many wait."""
        self.saving_half_count = 1.0
        """Number of waiting jobs at which half of it is saved."""
        self.wait_count = 0
        """Jobs that had to wait for a processor, so far."""

    @property
    def host(self) -> Host:
        """The host of the process."""
        return self._host

    def __len__(self) -> int:
        return len(self._queue) + len(self._woken)

    def submit(self, demand_seconds: Any, then: Callable[[Any], object], argument: Any) -> None:
        """Spend CPU when a processor is free, then call back.

        ``demand_seconds`` may be a function without arguments, asked when the work starts.
        """
        if self.busy_count < self.limit_count:
            self.busy_count += 1
            self._start(demand_seconds, then, argument)
        else:
            self.wait_count += 1
            self._queue.append((demand_seconds, then, argument))

    def submit_next(
        self, demand_seconds: Any, then: Callable[[Any], object], argument: Any
    ) -> None:
        """As `submit`, for a goroutine that another one of this process has woken.

        It stands in its processor's own queue, which is served before the common one, where
        whoever has used up a quantum or was woken by the network waits.
        **Source:** Go runtime, proc.go :: runqput, goschedImpl, injectglist, findRunnable.
        """
        if self.busy_count < self.limit_count:
            self.busy_count += 1
            self._start(demand_seconds, then, argument)
        else:
            self.wait_count += 1
            queue = self._woken if self.preempted_count else self._queue
            queue.append((demand_seconds, then, argument))

    def submit_handed(
        self, demand_seconds: Any, then: Callable[[Any], object], argument: Any
    ) -> None:
        """As `submit`, for a goroutine that the one that is running hands its turn to.

        **Source:** Go runtime, proc.go :: ready with next (a receiver of a channel runs next).
        """
        if self.busy_count < self.limit_count:
            self.busy_count += 1
            self._start(demand_seconds, then, argument)
        else:
            self.wait_count += 1
            self._woken.appendleft((demand_seconds, then, argument))

    def note_caller(self, client: Any, saving_ratio: float) -> None:
        """Learn from one request how much of the traffic shares connections, and so saves work."""
        if not getattr(client, "shares_connection", False):
            saving_ratio = 0.0
        self.saving_ratio += _SAVING_WEIGHT * (saving_ratio - self.saving_ratio)

    def occupy(self, demand_seconds: float, *, long: bool = False) -> bool:
        """Spend CPU on a host with plenty of room, its end untold; False if that is not so.

        Work beyond a quantum is refused, since others would take turns with it; ``long`` work is
        done by several in parallel and counts as many short turns.
        """
        return (
            self.busy_count < self.limit_count
            and (long or demand_seconds <= QUANTUM_SECONDS)
            and self._host.occupy(self._process, demand_seconds) > 0
        )

    def _start(self, demand_seconds: Any, then: Callable[[Any], object], argument: Any) -> None:
        seconds: float = demand_seconds if isinstance(demand_seconds, float) else demand_seconds()
        waiting_count = len(self._queue)
        if waiting_count:
            saved = self.saving_ratio * waiting_count / (waiting_count + self.saving_half_count)
            seconds *= 1.0 - saved
        if seconds > QUANTUM_SECONDS:
            quantum_seconds = QUANTUM_SECONDS + _MONITOR_SECONDS * self._monitor.uniform()
            if seconds > quantum_seconds:
                argument = (seconds - quantum_seconds, then, argument)
                seconds, then = quantum_seconds, self._then_again
        self._host.submit(self._process, seconds, self._then_done, (then, argument))

    def _again(self, work: tuple[float, Callable[[Any], object], Any]) -> None:
        demand_seconds, then, argument = work
        self.preempted_count += 1
        self.submit(partial(self._then_resume, demand_seconds), then, argument)

    def _resume(self, demand_seconds: float) -> float:
        self.preempted_count -= 1
        return demand_seconds

    def _done(self, work: tuple[Callable[[Any], object], Any]) -> None:
        if self._woken:
            self._start(*self._woken.popleft())
        elif self._queue:
            self._start(*self._queue.popleft())
        else:
            self.busy_count -= 1
        work[0](work[1])

    def flush(self) -> list[tuple[Callable[[Any], object], Any]]:
        """Take out everything that has not started (the process has died)."""
        left = [(then, argument) for _, then, argument in (*self._woken, *self._queue)]
        self._woken.clear()
        self._queue.clear()
        self.preempted_count = 0
        return left
