"""The clock: a thin layer over one SimPy environment, which is held and never inherited.

Models are written against `Engine` only. Two ways to spend simulated time:

* `after(delay_seconds, callback, argument)`: one heap entry, nothing else; hot paths use it.
* `call_later(delay_seconds, callback, argument)`: the same with a `Call` that can be cancelled.
* `process(generator)`: a SimPy process that yields `engine.sleep(seconds)` or `engine.event()`;
  used where one loop with branches reads better than callbacks.

Events of the same instant happen in the order in which they were scheduled.

SimPy's heap holds what is due soon. Calls due later wait in slots of 1/64 s each,
unsorted, and go into the heap when their slot begins: thousands of timers (heartbeats, probes)
then do not make every other event's way through the heap longer. Of the slots only the first has
its beginning in the heap. The order of events is exactly that of one heap.
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
_SLOTS_PER_SECOND: Final = 64.0
_FAR_SECONDS_MAX: Final = 1e12
"""Calls due later than this (never, in practice) are not worth a slot."""
_NO_SLOT: Final = 1 << 60
_EVENT_ENTRY_COUNT: Final = 4
"""Length of a heap entry of SimPy's: time, priority, number, event. Ours may end in a callback and
its argument instead of the event."""
_push: Final = heappush
_pop: Final = heappop
"""Names of their own: compiled code looks up what it has imported at every use."""
_STEPS_PER_CHECK_COUNT: Final = 8192


class Call:
    """One scheduled callback that can be cancelled."""

    __slots__ = ("argument", "callback")

    def __init__(self, callback: Callable[[Any], object], argument: Any) -> None:
        self.callback: Callable[[Any], object] | None = callback
        self.argument = argument

    def cancel(self) -> None:
        """Forget the callback; the heap entry stays and does nothing when its time comes."""
        self.callback = None


class Numbers:
    """Numbers heap entries, SimPy's own included: ties fall in the order of scheduling."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def take(self) -> int:
        """Return the next number."""
        self.last += 1
        return self.last

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> Any:
        return self.take()


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
        self.numbers = Numbers()
        self.environment._eid = self.numbers  # type: ignore[assignment]
        self._near_seconds = 0.0
        """What is due before this goes into the heap at once."""
        self._slots: dict[int, list[Any]] = {}
        """Number of a slot that has not begun to the heap entries due in it."""
        self._slot_indices: list[int] = []
        """Heap of the numbers of these slots."""
        self._first_index = _NO_SLOT
        """The least number of a slot whose beginning is in SimPy's heap."""
        self._streams = StreamFactory(seed, replication_index)
        self.event_count = 0
        """Events processed so far."""
        self.stop_reason = ""

    def after(
        self, delay_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Run ``callback(argument)`` after ``delay_seconds`` (≥ 0), whatever happens."""
        due_seconds = self.now + delay_seconds
        entry = (due_seconds, _NORMAL, self.numbers.take(), callback, argument)
        if due_seconds < self._near_seconds:
            _push(self._queue, entry)
        else:
            self._put_far(due_seconds, entry)

    def call_later(
        self, delay_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> Call:
        """Run ``callback(argument)`` after ``delay_seconds`` (≥ 0); return what cancels it."""
        call = Call(callback, argument)
        due_seconds = self.now + delay_seconds
        entry = (due_seconds, _NORMAL, self.numbers.take(), call)
        if due_seconds < self._near_seconds:
            _push(self._queue, entry)
        else:
            self._put_far(due_seconds, entry)
        return call

    def _put_far(self, due_seconds: float, entry: Any) -> None:
        """Put a call into its slot, or into the heap if its slot has begun."""
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
            _push(self._slot_indices, index)
            self._await_slot()

    def _await_slot(self) -> None:
        """Have the beginning of the first slot in SimPy's heap."""
        indices = self._slot_indices
        if indices and indices[0] < self._first_index:
            index = indices[0]
            self._first_index = index
            begin_seconds = index / _SLOTS_PER_SECOND
            _push(self._queue, (begin_seconds, _BEFORE_ALL, -index, self._begin_slot, index))

    def _begin_slot(self, index: int) -> None:
        self.event_count -= 1  # bookkeeping, not an event of the model
        entries = self._slots.pop(index, None)
        if entries is None:
            return  # its beginning was in the heap twice
        _pop(self._slot_indices)
        self._first_index = _NO_SLOT
        queue = self._queue
        for entry in entries:
            _push(queue, entry)
        self._near_seconds = (index + 1) / _SLOTS_PER_SECOND
        self._await_slot()

    def at(
        self, time_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Run ``callback(argument)`` at an absolute time, at once if it has passed."""
        self.after(max(0.0, time_seconds - self.now), callback, argument)

    def call_at(
        self, time_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> Call:
        """Do as `at`; return what cancels it."""
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
        _push(self._queue, (horizon_seconds, _URGENT, self.numbers.take(), horizon))
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
                entry: tuple[Any, ...] = _pop(queue)
                self.now = environment._now = entry[0]
                event = entry[3]
                if len(entry) > _EVENT_ENTRY_COUNT:
                    event(entry[4])
                elif event.__class__ is Call:
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
