"""The clock: a thin layer over one SimPy environment, which is held and never inherited.

Models are written against `Engine` only. Two ways to spend simulated time:

* `after(delay_seconds, callback, argument)`: one `Call`, nothing else; hot paths use it.
* `call_later(delay_seconds, callback, argument)`: the same, and returns the `Call` to cancel it.
* `process(generator)`: a SimPy process that yields `engine.sleep(seconds)` or `engine.event()`;
  used where one loop with branches reads better than callbacks.

Events of the same instant happen in the order in which they were scheduled.

What is due soon stands in order: the first few calls in a chain, the others in a list, last to
first; SimPy's events come into it as calls that let them happen. Calls compare by their fields,
which compiled code does in a fraction of the time that comparing the tuples of SimPy's heap takes;
most are due very soon and find their place in the chain within a few steps. Calls due later wait in
slots of 1/64 s each, unsorted, and go in when their slot begins: thousands of timers (heartbeats,
probes) then do not make every other event's way longer. The order of events is exactly that of one
heap.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from heapq import heappop, heappush
from math import inf
from typing import Any, Final

import simpy
from mypy_extensions import i64, mypyc_attr

from sim.engine.streams import Stream, StreamFactory

Event = simpy.Event
Process = simpy.Process

_NORMAL: Final = int(simpy.events.NORMAL)
_URGENT: Final = int(simpy.events.URGENT)
_LEAD_COUNT: Final = 1 << 62
"""Taken off the number of what is urgent: it then comes before all else of its instant."""
_SLOTS_PER_SECOND: Final = 64.0
_RING_COUNT: Final = 1 << 14
"""A power of two: 256 s of slots."""
_FEW_COUNT: Final = 64
"""Up to so many calls of one slot go into the list one by one."""
_FAR_SECONDS_MAX: Final = 1e12
"""Calls due later than this (never, in practice) are not worth a slot."""
_push: Final = heappush
_pop: Final = heappop
"""Names of their own: compiled code looks up what it has imported at every use."""
_STEPS_PER_CHECK_COUNT: Final = 8192
_CHAIN_STEPS_MAX: Final = 8
"""So many calls of the chain are passed to find a place; the list is searched by halves."""


@mypyc_attr(free_list_len=1)  # the call that has just happened becomes the next one
class Call:
    """One scheduled callback that can be cancelled."""

    __slots__ = ("argument", "callback", "due_seconds", "is_kept", "later", "number")

    def __init__(
        self, due_seconds: float, number: i64, callback: Callable[[Any], object], argument: Any
    ) -> None:
        self.due_seconds = due_seconds
        self.number = number
        """Calls due at the same time happen in the order of their numbers."""
        self.callback: Callable[[Any], object] | None = callback
        self.argument = argument
        self.later: Call | None = None
        """The next one of the engine's chain, while it is in there."""
        self.is_kept = True
        """Whether somebody besides the engine may have it."""

    def __lt__(self, other: Call) -> bool:
        """Whether it stands before another in the engine's list: what happens later does."""
        due_seconds = self.due_seconds
        other_seconds = other.due_seconds
        if due_seconds == other_seconds:
            return self.number > other.number
        return due_seconds > other_seconds

    def cancel(self) -> None:
        """Forget the callback; the call stays and does nothing when its time comes."""
        self.callback = None


class _Slot:
    """The calls due in one 64th of a second that has not begun."""

    __slots__ = ("calls", "index")

    def __init__(self, index: int, call: Call) -> None:
        self.index = index
        self.calls = [call]


class Numbers:
    """Numbers calls, those for SimPy's events included: ties fall in the order of scheduling."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: i64 = 0

    def take(self) -> i64:
        """Return the next number."""
        self.last += 1
        return self.last


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
        self.numbers = Numbers()
        self._head = Call(-inf, 0, _happen, None)
        """What the chain begins with: the next call comes behind it. None of the chain is due after
        one of the list."""
        self._calls: list[Call] = []
        """The other calls due soon, the next one last."""
        self._spare: Call | None = None
        """Calls that have happened and that nobody else has: linked, to be used again."""
        self._near_seconds = 0.0
        """What is due before this goes into the list at once."""
        self._slots: dict[int, _Slot] = {}
        """Slots that have not begun and have calls, by number."""
        self._ring: list[_Slot | None] = [None] * _RING_COUNT
        """The slot of these that was made last for each remainder: most often the one looked for,
        and found without a dictionary."""
        self._slot_indices: list[int] = []
        """Heap of the numbers of these slots."""
        self._slot_seconds = inf
        """When the first of them begins."""
        self._streams = StreamFactory(seed, replication_index)
        self.event_count = 0
        """Events processed so far."""
        self.stop_reason = ""
        self._is_stopping = False
        # last, when all fields are there: compiled code need not look at every use whether they are
        self.environment.schedule = self._schedule  # type: ignore[method-assign]

    def after(
        self, delay_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Run ``callback(argument)`` after ``delay_seconds`` (≥ 0), whatever happens."""
        due_seconds = self.now + delay_seconds
        call = self._spare
        if call is None:
            call = Call(due_seconds, self.numbers.take(), callback, argument)
            call.is_kept = False
        else:
            self._spare = call.later
            call.later = None
            call.due_seconds = due_seconds
            call.number = self.numbers.take()
            call.callback = callback
            call.argument = argument
        if due_seconds < self._near_seconds:
            self._put_near(call)
        else:
            self._put_far(due_seconds, call)

    def call_later(
        self, delay_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> Call:
        """Run ``callback(argument)`` after ``delay_seconds`` (≥ 0); return what cancels it."""
        due_seconds = self.now + delay_seconds
        call = Call(due_seconds, self.numbers.take(), callback, argument)
        if due_seconds < self._near_seconds:
            self._put_near(call)
        else:
            self._put_far(due_seconds, call)
        return call

    def _put_near(self, call: Call) -> None:
        """Put a call among those due soon: into the chain, unless its place is far from there."""
        due_seconds = call.due_seconds
        number = call.number
        calls = self._calls
        earlier = self._head
        passed_count: i64 = 0
        while True:
            later = earlier.later
            if (
                later is None
                or later.due_seconds > due_seconds
                or (later.due_seconds == due_seconds and later.number > number)
            ):
                break
            if passed_count == _CHAIN_STEPS_MAX:
                self._unchain(earlier)
                self._put_list(call)
                return
            passed_count += 1
            earlier = later
        if later is None and calls:
            last = calls[-1]
            if last.due_seconds < due_seconds or (
                last.due_seconds == due_seconds and last.number < number
            ):
                self._put_list(call)
                return
        call.later = later
        earlier.later = call

    def _unchain(self, last: Call) -> None:
        """Put what is behind one call of the chain into the list."""
        rest: list[Call] = []
        call = last.later
        last.later = None
        while call is not None:
            rest.append(call)
            later = call.later
            call.later = None
            call = later
        rest.reverse()
        self._calls += rest

    def _put_list(self, call: Call) -> None:
        """Put a call into the list: `insort`, whose calls back into compiled code cost more."""
        calls = self._calls
        due_seconds = call.due_seconds
        low: i64 = 0
        high: i64 = len(calls)
        while low < high:
            middle: i64 = (low + high) >> 1
            other = calls[middle]
            other_seconds = other.due_seconds
            if other_seconds > due_seconds or (
                other_seconds == due_seconds and other.number > call.number
            ):
                low = middle + 1
            else:
                high = middle
        calls.insert(low, call)

    def _put_far(self, due_seconds: float, call: Call) -> None:
        """Put a call into its slot, or into the list if its slot has begun."""
        if due_seconds > _FAR_SECONDS_MAX:
            self._put_near(call)
            return
        index = int(due_seconds * _SLOTS_PER_SECOND)
        place = index & (_RING_COUNT - 1)
        slot = self._ring[place]
        if slot is None or slot.index != index:
            slot = self._slots.get(index)
        if slot is not None:
            slot.calls.append(call)
        elif index <= int(self.now * _SLOTS_PER_SECOND):
            self._near_seconds = (index + 1) / _SLOTS_PER_SECOND
            self._put_near(call)
        else:
            slot = _Slot(index, call)
            self._slots[index] = slot
            self._ring[place] = slot
            _push(self._slot_indices, index)
            self._slot_seconds = self._slot_indices[0] / _SLOTS_PER_SECOND

    def _begin_slot(self) -> None:
        """Put the calls of the first slot into the list."""
        indices = self._slot_indices
        index = _pop(indices)
        slot = self._slots.pop(index)
        place = index & (_RING_COUNT - 1)
        if self._ring[place] is slot:
            self._ring[place] = None
        if len(slot.calls) <= _FEW_COUNT:
            for call in slot.calls:
                self._put_near(call)
        else:
            self._unchain(self._head)
            calls = self._calls
            calls += slot.calls
            calls.sort()
        self._near_seconds = (index + 1) / _SLOTS_PER_SECOND
        self._slot_seconds = indices[0] / _SLOTS_PER_SECOND if indices else inf

    def _schedule(self, event: Event, priority: int = _NORMAL, delay: float = 0.0) -> None:
        """Let an event of SimPy's happen after ``delay``: stands in for its own heap."""
        if priority == _URGENT:
            number = self.numbers.take() - _LEAD_COUNT
            self._put_near(Call(self.now + delay, number, _happen, event))
        else:
            self.call_later(delay, _happen, event)

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
        self._is_stopping = True

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
        self._is_stopping = False
        number = self.numbers.take() - _LEAD_COUNT
        horizon = Call(max(until_seconds, self.now), number, _raise_stop, None)
        self._put_near(horizon)
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

    def _steps(self, count: i64) -> None:
        """Invoke calls in the order of time and number.

        Chain and list cannot both be found empty here, since the horizon is always in one of them.
        """
        head = self._head
        calls = self._calls
        done_count: i64 = 0
        try:
            while done_count < count:
                first = head.later
                call = first if first is not None else calls[-1]
                due_seconds = call.due_seconds
                if due_seconds >= self._slot_seconds:
                    self._begin_slot()
                    continue
                if first is None:
                    calls.pop()
                else:
                    head.later = call.later
                    call.later = None  # whoever keeps the call does not keep what came after it
                done_count += 1
                self.now = due_seconds
                callback = call.callback
                if callback is not None:
                    argument = call.argument
                    if not call.is_kept:
                        call.callback = call.argument = None
                        call.later = self._spare
                        self._spare = call
                    callback(argument)
                    if self._is_stopping:
                        return
        finally:
            self.event_count += int(done_count)


def _happen(event: Any) -> None:
    """Process an event of SimPy's: its own step written out.

    The rule that a failed event nobody waits for ends the run is SimPy's.
    """
    callbacks, event.callbacks = event.callbacks, None
    for callback in callbacks:
        callback(event)
    if not event._ok and not hasattr(event, "_defused"):
        raise event._value


def _raise_stop(_: None) -> None:
    raise _StopRun
