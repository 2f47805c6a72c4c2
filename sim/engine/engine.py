"""The clock: a thin layer over one SimPy environment, which is held and never inherited.

Models are written against `Engine` only. Two ways to spend simulated time:

* `call_later(delay_seconds, callback, argument)`: one heap entry, no generator; hot paths use it.
* `process(generator)`: a SimPy process that yields `engine.sleep(seconds)` or `engine.event()`;
  used where one loop with branches reads better than callbacks.

Events of the same instant happen in the order in which they were scheduled.

SimPy's heap holds what is due soon. Calls due later wait in slots of an eighth of a second each,
unsorted, and go into the heap when their slot begins: thousands of timers (heartbeats, probes)
then do not make every other event's way through the heap longer. The order of events is exactly
that of one heap.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from heapq import heappop, heappush
from typing import Any, Final

import simpy

from sim.engine.streams import Stream, StreamFactory

Event = simpy.Event
Process = simpy.Process

_NORMAL: Final = int(simpy.events.NORMAL)
_URGENT: Final = int(simpy.events.URGENT)
_BEFORE_ALL: Final = -1
"""Priority of a slot's beginning: before everything else of that instant."""
_SLOTS_PER_SECOND: Final = 8.0
_FAR_SECONDS_MAX: Final = 1e12
"""Calls due later than this (never, in practice) are not worth a slot."""
_push: Final = heappush
_pop: Final = heappop
"""Names of their own: compiled code looks up what it has imported at every use."""
_STEPS_PER_CHECK_COUNT: Final = 8192


class Call:
    """One scheduled callback: the lightest thing that can stand in SimPy's heap."""

    __slots__ = ("argument", "callback")

    def __init__(self, callback: Callable[[Any], object], argument: Any) -> None:
        self.callback: Callable[[Any], object] | None = callback
        self.argument = argument

    def cancel(self) -> None:
        """Forget the callback; the heap entry stays and does nothing when its time comes."""
        self.callback = None


class _StopRun(Exception):
    """Raised by the horizon's own event to leave SimPy's loop."""


class Engine:
    """Simulated time, named random streams and the event loop of one run.

    Time is float64 seconds from 0.
    """

    def __init__(self, seed: int, replication_index: int = 0) -> None:
        self.environment = simpy.Environment()
        """SimPy's environment; for this package only."""
        self.now = 0.0
        """Simulated time in seconds; nobody else sets it."""
        self._queue: list[Any] = self.environment._queue
        self._next_id = self.environment._eid.__next__
        self._near_seconds = 0.0
        """What is due before this goes into the heap at once."""
        self._slots: dict[int, list[Any]] = {}
        """Number of a slot to the heap entries due in it; each has a call at its beginning."""
        self._streams = StreamFactory(seed, replication_index)
        self.event_count = 0
        """Events processed so far."""
        self.stop_reason = ""

    def call_later(
        self, delay_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> Call:
        """Run ``callback(argument)`` after ``delay_seconds`` (≥ 0)."""
        call = Call(callback, argument)
        due_seconds = self.now + delay_seconds
        if due_seconds < self._near_seconds:
            _push(self._queue, (due_seconds, _NORMAL, self._next_id(), call))
        else:
            self._put_far(due_seconds, call)
        return call

    def _put_far(self, due_seconds: float, call: Call) -> None:
        """Put a call into its slot, or into the heap if its slot has begun."""
        entry = (due_seconds, _NORMAL, self._next_id(), call)
        if due_seconds > _FAR_SECONDS_MAX:
            _push(self._queue, entry)
            return
        index = int(due_seconds * _SLOTS_PER_SECOND)
        slot = self._slots.get(index)
        if slot is not None:
            slot.append(entry)
        elif index <= int(self.now * _SLOTS_PER_SECOND):
            self._near_seconds = (index + 1) / _SLOTS_PER_SECOND
            _push(self._queue, entry)
        else:
            self._slots[index] = [entry]
            begin = Call(self._begin_slot, index)
            begin_seconds = index / _SLOTS_PER_SECOND
            _push(self._queue, (begin_seconds, _BEFORE_ALL, -index, begin))

    def _begin_slot(self, index: int) -> None:
        self.event_count -= 1  # bookkeeping, not an event of the model
        queue = self._queue
        for entry in self._slots.pop(index):
            _push(queue, entry)
        self._near_seconds = (index + 1) / _SLOTS_PER_SECOND

    def call_at(
        self, time_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> Call:
        """Run ``callback(argument)`` at an absolute time, at once if it has passed."""
        return self.call_later(max(0.0, time_seconds - self.now), callback, argument)

    def event(self) -> Event:
        """Return an untriggered event for a process to wait on (``.succeed(value)``)."""
        return simpy.Event(self.environment)

    def sleep(self, delay_seconds: float) -> Event:
        """Return an event that happens after ``delay_seconds``; for processes."""
        return simpy.Timeout(self.environment, delay_seconds)

    def all_of(self, events: list[Event]) -> Event:
        """Return an event that happens when all of ``events`` have."""
        return simpy.AllOf(self.environment, events)

    def process(self, generator: Generator[Any, Any, Any]) -> Process:
        """Start a generator as a process; its first step runs at the current instant."""
        return simpy.Process(self.environment, generator)

    def stream(self, name: str) -> Stream:
        """Return the random stream of that name; the same object for the same name."""
        return self._streams.stream(name)

    def stop(self, reason: str) -> None:
        """Leave `run` after the current event."""
        self.stop_reason = reason

    def run(
        self,
        until_seconds: float,
        check: Callable[[], str] | None = None,
        event_count_max: int | None = None,
    ) -> str:
        """Process events until a time, a bound or a request to stop; return the reason.

        Args:
            until_seconds: horizon; events at exactly this time are not processed.
            check: called every few thousand events; a non-empty answer stops the run.
            event_count_max: bound on the events of the whole life of the engine.

        Returns:
            ``"horizon"``, ``"events"``, or what `stop` or ``check`` said.
        """
        self.stop_reason = ""
        horizon = Call(_raise_stop, None)
        horizon_seconds = max(until_seconds, self.now)
        _push(self._queue, (horizon_seconds, _URGENT, self._next_id(), horizon))
        try:
            while True:
                self._steps(_STEPS_PER_CHECK_COUNT)
                if self.stop_reason:
                    return self.stop_reason
                if event_count_max is not None and self.event_count >= event_count_max:
                    return "events"
                if check is not None:
                    reason = check()
                    if reason:
                        return reason
        except _StopRun:
            return "horizon"
        finally:
            horizon.cancel()

    def _steps(self, count: int) -> None:
        """Process events: SimPy's own step written out, with calls invoked directly.

        The rule that a failed event nobody waits for ends the run is SimPy's. An empty heap cannot
        be met here, since the horizon is always in it.
        """
        environment = self.environment
        queue = self._queue
        done_count = 0
        try:
            while done_count < count:
                done_count += 1
                entry = _pop(queue)
                self.now = environment._now = entry[0]
                event = entry[3]
                if event.__class__ is Call:
                    callback = event.callback
                    if callback is not None:
                        callback(event.argument)
                else:
                    callbacks, event.callbacks = event.callbacks, None
                    for callback in callbacks:
                        callback(event)
                    if not event._ok and not hasattr(event, "_defused"):
                        raise event._value
                if self.stop_reason:
                    return
        finally:
            self.event_count += done_count


def _raise_stop(_: None) -> None:
    raise _StopRun
