"""The apiserver's garbage collector: a share of its work, done in bursts.

All that allocates (requests, watch events on their way to watchers) adds to a debt; once it has
grown to a collection's worth, the heap is marked: a worker takes its turns in the run queue beside
the work, longer ones where processors are free, and whoever allocates meanwhile has to assist.
**Source:** Go runtime, mgcpacer.go, mgcmark.go; `groundtruth/apiserver_verbs_closed.csv` (p99),
`groundtruth/apiserver_watch_fanout.csv` (p99, CPU per delivery).
"""

from __future__ import annotations

from collections.abc import Callable

from sim.components.apiserver_runqueue import QUANTUM_SECONDS, RunQueue
from sim.costs.apiserver import APIServerLaw


class GarbageCollector:
    """Debt and marking of one process."""

    __slots__ = ("_debt_seconds", "_law", "_marking_seconds", "_queue", "_then_mark", "on_begin")

    def __init__(self, law: APIServerLaw, queue: RunQueue) -> None:
        self._law = law
        self._queue = queue
        self._debt_seconds = 0.0
        """CPU of what has allocated since the last collection began."""
        self._marking_seconds = 0.0
        """What is left of the present collection."""
        self._then_mark = self._mark
        self.on_begin: Callable[[], object] = _nothing

    def charge(self, demand_seconds: float) -> float:
        """Return the CPU of a piece of work, with the marking that it has to do."""
        law = self._law
        self._debt_seconds += demand_seconds
        if self._marking_seconds > 0.0:
            assist_seconds = demand_seconds * law.garbage_assist_ratio
            limit_seconds = min(self._marking_seconds, law.garbage_assist_limit_seconds)
            if assist_seconds > limit_seconds:
                assist_seconds = limit_seconds
            self._marking_seconds -= assist_seconds
            demand_seconds += assist_seconds
        elif self._debt_seconds > law.garbage_cycle_seconds:
            self._collect()
        return demand_seconds

    def forget(self) -> None:
        """The process has died."""
        self._debt_seconds = 0.0
        self._marking_seconds = 0.0

    def _collect(self) -> None:
        self._marking_seconds = self._debt_seconds * self._law.garbage_ratio
        self._debt_seconds = 0.0
        self.on_begin()
        self._mark(None)

    def _mark(self, _: None) -> None:
        turn_seconds = self._marking_seconds
        if turn_seconds > 0.0:
            limit_seconds = self._law.garbage_turn_seconds
            if self._queue.host.has_room():
                limit_seconds = QUANTUM_SECONDS  # nobody waits for its processor
            if turn_seconds > limit_seconds:
                turn_seconds = limit_seconds
            self._marking_seconds -= turn_seconds
            self._queue.submit(turn_seconds, self._then_mark, None)


def _nothing() -> None:
    return
