"""API Priority and Fairness: seats, fair queues, borrowing, rejections.

`Level` is one Limited priority level: shuffle sharding deals a flow a hand of queues, virtual-time
fair queueing orders them. `Controller` holds the levels of one replica and moves seats between
them every 10 s.

While a level uses less than three quarters of its seats and nobody waits, it is *light*: a request
only counts a seat in and out, and queues are not kept. Requests admitted so are not charged to any
queue should the level fill up while they run; the demand statistics of light periods take the
standard deviation of a Poisson count. The exact queues are the readable twin's, see
`priority_and_fairness_reference`.
**Source:** `facts/model.md` b.1-b.4.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from sim.components.priority_and_fairness_config import PriorityLevel
from sim.components.priority_and_fairness_formulas import (
    LIST_SEATS_MAX,
    RetryAfter,
    allocate,
    deal_hand,
    flow_hash,
    nominal_seats,
)
from sim.engine.engine import Engine

__all__ = ["Controller", "Level", "Ticket", "flow_hash"]

ESTIMATED_SERVICE_SECONDS: Final = 0.003
"""**Source:** queueset.go :: estimatedServiceDuration."""
BORROWING_PERIOD_SECONDS: Final = 10.0
SMOOTHING_RATIO: Final = 0.977
"""**Source:** apf_controller.go :: borrowingAdjustmentPeriod, seatDemandSmoothingCoefficient."""
_LEVEL_SEATS_RATIO: Final = 0.15
_INFINITE: Final = math.inf
_UNLIMITED_SEATS: Final = 1 << 60


class Ticket:
    """One request's way through a level."""

    __slots__ = ("additional_seconds", "argument", "arrival_r", "deadline_seconds",
                 "enqueued_seconds", "final_seats", "initial_seats", "queue", "seats",
                 "started_seconds", "then", "wait_seconds", "waiting", "work")  # fmt: skip

    def __init__(
        self,
        initial_seats: int,
        final_seats: int,
        additional_seconds: float,
        then: Callable[[Any, bool], object],
        argument: Any,
    ) -> None:
        self.initial_seats = initial_seats
        self.final_seats = final_seats
        self.additional_seconds = additional_seconds
        self.seats = max(initial_seats, final_seats)
        self.work = initial_seats * ESTIMATED_SERVICE_SECONDS + final_seats * additional_seconds
        """Estimated work in seat-seconds."""
        self.then = then
        """Called as ``then(argument, admitted)`` when the wait is over."""
        self.argument = argument
        self.queue: _Queue | None = None
        self.arrival_r = 0.0
        self.enqueued_seconds = 0.0
        self.deadline_seconds = 0.0
        self.started_seconds = 0.0
        self.wait_seconds = 0.0
        """As its owner counts it: with the time until it has a processor again."""
        self.waiting = False


class _Queue:
    __slots__ = ("executing_count", "index", "next_dispatch_r", "waiting", "work")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Ticket] = deque()
        self.work = 0.0
        """Seat-seconds of the requests waiting."""
        self.executing_count = 0
        self.next_dispatch_r = 0.0

    def bound(self) -> None:
        if self.waiting and self.next_dispatch_r < self.waiting[0].arrival_r:
            self.next_dispatch_r = self.waiting[0].arrival_r


class Level:
    """One priority level of one replica."""

    def __init__(
        self,
        engine: Engine,
        spec: PriorityLevel,
        nominal_count: int,
        server_limit_seats: int,
        wait_limit_seconds: float,
    ) -> None:
        self._engine = engine
        self.spec = spec
        self.name = spec.name
        self.exempt = spec.exempt
        self.nominal_seats = nominal_count
        lendable = int(nominal_count * spec.lendable_percent / 100.0 + 0.5)
        self.min_seats = nominal_count - lendable
        limit = spec.borrowing_limit_percent
        borrow = (
            server_limit_seats
            if limit is None
            else min(server_limit_seats, int(nominal_count * limit / 100.0 + 0.5))
        )
        self.max_seats = nominal_count + borrow
        self.seats_per_request_max = self._request_limit()
        self.current_seats = nominal_count
        """The concurrency limit in force, moved by borrowing."""
        self.light_limit_seats = (3 * nominal_count) // 4 if not spec.exempt else _UNLIMITED_SEATS
        self.wait_limit_seconds = wait_limit_seconds
        self.light = True
        self.seats_in_use = 0
        self.light_seat_seconds = 0.0
        """Seat-seconds of requests that light admission has let in and that have finished."""
        self.waiting_count = 0
        self.waiting_seats = 0
        self._executing_count = 0
        self._active_count = 0
        self._queues = [_Queue(index) for index in range(spec.queue_count)]
        self._newest_queue: _Queue | None = None
        """Where the newest request waits, if it still does."""
        self._hands: dict[int, list[int]] = {}
        self._enqueue_count = 0
        self._robin_index = 0
        self._r = 0.0
        self._r_last_seconds = 0.0
        self._line: deque[Ticket] = deque()
        """Everybody who waits, in order of arrival, for the wait limit."""
        self._timer_armed = False
        self.retry_after = RetryAfter()
        self.dispatched_count = 0
        self.served_count = 0
        self.wait_sum_seconds = 0.0
        """Waits of the requests served (0 for those that light admission let in)."""
        self.execution_sum_seconds = 0.0
        self.rejected_count = 0
        self.timed_out_count = 0
        self._demand_last_seconds = engine.now
        self._demand_area = 0.0
        self._demand_square_area = 0.0
        self._demand_start_seconds = engine.now
        self.demand_max_seats = 0
        self.smoothed_seats = 0.0

    def _request_limit(self) -> int:
        if self.exempt:
            return LIST_SEATS_MAX
        limit = math.ceil(_LEVEL_SEATS_RATIO * self.nominal_seats)
        hand = self.spec.hand_size_count
        if hand:
            limit = min(limit, self.nominal_seats // hand)
        return max(1, limit)

    # -------------------------------------------------------------------------- light load

    def try_light(self) -> bool:
        """Take one seat without queueing if nothing waits and the level is far from full."""
        seats = self.seats_in_use + 1
        if seats > self.light_limit_seats or self.waiting_count:
            return False
        if not self.light:
            self._count_demand(self._engine.now)
        self.seats_in_use = seats
        if seats > self.demand_max_seats:
            self.demand_max_seats = seats
        return True

    def drop_light(self) -> None:
        """Give back a seat of `try_light` that was not used after all."""
        self.seats_in_use -= 1

    def end_light(self, held_seconds: float) -> None:
        """Give a seat back that `try_light` had taken."""
        self.served_count += 1
        self.execution_sum_seconds += held_seconds
        if self.light:
            self.light_seat_seconds += held_seconds
            self.seats_in_use -= 1
            return
        self._count_demand(self._engine.now)
        self.seats_in_use -= 1
        if self.waiting_count:
            self._advance(self._engine.now)
            self._dispatch_all()
        elif not self._executing_count and not self.seats_in_use:
            self.light = True

    # ------------------------------------------------------------------------- exact queues

    def submit(self, ticket: Ticket, hash_value: int) -> None:
        """Admit, queue or reject a request; ``ticket.then`` is called at once or later."""
        now = self._engine.now
        self._count_demand(now)
        self.light = False
        ticket.enqueued_seconds = now
        if self.exempt:
            self._start(ticket, now)
            return
        if not self._queues:
            if self._fits(ticket.seats):
                self._start(ticket, now)
            else:
                self._reject(ticket, now)
            return
        self._advance(now)
        queue = self._choose(hash_value)
        full = len(queue.waiting) >= self.spec.queue_length_limit_count
        if full and self.seats_in_use >= self.current_seats:
            self._reject(ticket, now)
            return
        if not queue.waiting and not queue.executing_count:
            queue.next_dispatch_r = self._r
            self._active_count += 1
        ticket.queue = queue
        ticket.arrival_r = self._r
        ticket.waiting = True
        ticket.deadline_seconds = now + self.wait_limit_seconds
        queue.waiting.append(ticket)
        self._newest_queue = queue
        queue.work += ticket.work
        self.waiting_count += 1
        self.waiting_seats += ticket.seats
        self._note_peak()
        self._dispatch_all()
        if ticket.waiting:
            self._line.append(ticket)
            self._arm()

    def _choose(self, hash_value: int) -> _Queue:
        hand = self._hands.get(hash_value)
        if hand is None:
            hand = deal_hand(hash_value, self.spec.queue_count, self.spec.hand_size_count)
            self._hands[hash_value] = hand
        size = len(hand)
        offset = self._enqueue_count % size
        self._enqueue_count += 1
        best: _Queue | None = None
        least = _INFINITE
        for index in range(size):
            queue = self._queues[hand[(offset + index) % size]]
            if queue.work < least:
                least, best = queue.work, queue
        assert best is not None
        return best

    def _advance(self, now: float) -> None:
        """Bring virtual time R up to the present."""
        elapsed = now - self._r_last_seconds
        self._r_last_seconds = now
        if elapsed > 0.0 and self._active_count:
            wanted = self.seats_in_use + self.waiting_seats
            self._r += min(wanted, self.current_seats) / self._active_count * elapsed

    def _fits(self, seats: int) -> bool:
        if seats > self.current_seats:
            return self.seats_in_use == 0
        return self.seats_in_use + seats <= self.current_seats

    def _dispatch_all(self) -> None:
        while self.waiting_count and self.seats_in_use < self.current_seats:
            if not self._dispatch():
                return

    def _dispatch(self) -> bool:
        newest = self._newest_queue
        if self.waiting_count == 1 and newest is not None and newest.waiting:
            queue = newest  # nobody waits elsewhere
        else:
            queue = self._least_queue()
        found = queue.index
        ticket = queue.waiting[0]
        if not self._fits(ticket.seats):
            return False
        self._robin_index = found
        queue.waiting.popleft()
        queue.work = queue.work - ticket.work if queue.waiting else 0.0
        self.waiting_count -= 1
        self.waiting_seats -= ticket.seats
        ticket.waiting = False
        queue.executing_count += 1
        queue.next_dispatch_r += ticket.work
        queue.bound()
        self._start(ticket, self._engine.now)
        return True

    def _least_queue(self) -> _Queue:
        """Return the queue whose head would finish first in virtual time, round robin on ties."""
        queues = self._queues
        after = self._robin_index + 1
        least = _INFINITE
        found = queues[0]
        for part in (queues[after:], queues[:after]):
            for queue in part:
                if queue.waiting:
                    finish = queue.next_dispatch_r + queue.waiting[0].work
                    if finish < least:
                        least, found = finish, queue
        return found

    def _start(self, ticket: Ticket, now: float) -> None:
        ticket.started_seconds = now
        self.seats_in_use += ticket.seats
        self._executing_count += 1
        self.dispatched_count += 1
        self._note_peak()
        # The callback runs from the event loop's next step: dispatch is never re-entered.
        self._engine.after(0.0, _admit, ticket)

    def _reject(self, ticket: Ticket, now: float) -> None:
        self.rejected_count += 1
        self.retry_after.record(now)
        ticket.then(ticket.argument, False)

    def finish(self, ticket: Ticket) -> None:
        """Say that a request which `submit` had admitted is served."""
        now = self._engine.now
        self._executing_count -= 1
        self.served_count += 1
        self.wait_sum_seconds += ticket.wait_seconds
        self.execution_sum_seconds += now - ticket.enqueued_seconds - ticket.wait_seconds
        queue = ticket.queue
        if queue is not None:
            self._advance(now)
            queue.executing_count -= 1
            actual = now - ticket.started_seconds
            queue.next_dispatch_r -= ticket.initial_seats * (ESTIMATED_SERVICE_SECONDS - actual)
            queue.bound()
            if not queue.executing_count and not queue.waiting:
                self._active_count -= 1
        if ticket.additional_seconds > 0.0:
            self._engine.after(ticket.additional_seconds, self._release, ticket)
        else:
            self._release(ticket)

    def _release(self, ticket: Ticket) -> None:
        now = self._engine.now
        self._count_demand(now)
        self._advance(now)
        self.seats_in_use -= ticket.seats
        if self.waiting_count:
            self._dispatch_all()
        elif not self.seats_in_use and not self._executing_count:
            self.light = True

    # --------------------------------------------------------------------------- wait limit

    def _arm(self) -> None:
        if not self._timer_armed and self._line:
            self._timer_armed = True
            self._engine.at(self._line[0].deadline_seconds, self._expire)

    def _expire(self, _: None) -> None:
        now = self._engine.now
        self._timer_armed = False
        line = self._line
        while line and (not line[0].waiting or line[0].deadline_seconds <= now):
            ticket = line.popleft()
            if ticket.waiting:
                self._time_out(ticket, now)
        self._arm()

    def _time_out(self, ticket: Ticket, now: float) -> None:
        self._count_demand(now)
        self._advance(now)
        self._leave(ticket)
        self.timed_out_count += 1
        self._reject(ticket, now)

    def _leave(self, ticket: Ticket) -> None:
        queue = ticket.queue
        assert queue is not None
        queue.waiting.remove(ticket)
        queue.work = queue.work - ticket.work if queue.waiting else 0.0
        ticket.waiting = False
        self.waiting_count -= 1
        self.waiting_seats -= ticket.seats
        if not queue.executing_count and not queue.waiting:
            self._active_count -= 1
        queue.bound()

    def abandon(self) -> list[Ticket]:
        """Take everybody out of the queues (the process has died)."""
        now = self._engine.now
        self._count_demand(now)
        self._advance(now)
        left = [ticket for queue in self._queues for ticket in queue.waiting]
        for ticket in left:
            self._leave(ticket)
        self._line.clear()
        return left

    # --------------------------------------------------------------------------- demand

    def _count_demand(self, now: float) -> None:
        elapsed = now - self._demand_last_seconds
        if elapsed > 0.0:
            if not self.light:
                demand = float(self.seats_in_use + self.waiting_seats)
                self._demand_area += demand * elapsed
                self._demand_square_area += demand * demand * elapsed
            self._demand_last_seconds = now

    def _note_peak(self) -> None:
        demand = self.seats_in_use + self.waiting_seats
        if demand > self.demand_max_seats:
            self.demand_max_seats = demand

    def end_period(self, now: float) -> tuple[float, float, int]:
        """Return (mean, standard deviation, maximum) of seat demand and begin anew."""
        self._count_demand(now)
        length = now - self._demand_start_seconds
        self._demand_start_seconds = now
        peak = self.demand_max_seats
        self.demand_max_seats = self.seats_in_use + self.waiting_seats
        light_mean = self.light_seat_seconds / length if length > 0.0 else 0.0
        mean = self._demand_area / length if length > 0.0 else 0.0
        square = self._demand_square_area / length if length > 0.0 else 0.0
        self._demand_area = self._demand_square_area = self.light_seat_seconds = 0.0
        variance = max(0.0, square - mean * mean) + light_mean
        return mean + light_mean, math.sqrt(variance), peak

    def set_limit(self, seats: int) -> None:
        """Put a new concurrency limit into force."""
        if seats == self.current_seats:
            return
        self._advance(self._engine.now)
        self.current_seats = seats
        self.light_limit_seats = (3 * seats) // 4
        if self.waiting_count:
            self._count_demand(self._engine.now)
            self._dispatch_all()


def _admit(ticket: Ticket) -> None:
    ticket.then(ticket.argument, True)


class Controller:
    """The levels of one replica and the borrowing between them."""

    def __init__(
        self,
        engine: Engine,
        specs: Sequence[PriorityLevel],
        server_limit_seats: int,
        wait_limit_seconds: float,
    ) -> None:
        self._engine = engine
        nominal = nominal_seats(specs, server_limit_seats)
        self.levels: dict[str, Level] = {
            spec.name: Level(
                engine, spec, nominal[spec.name], server_limit_seats, wait_limit_seconds
            )
            for spec in specs
        }

    def start(self) -> None:
        """Begin to adjust the limits every 10 s."""
        self._engine.after(BORROWING_PERIOD_SECONDS, self._adjust)

    def _adjust(self, _: None) -> None:
        self.adjust()
        self._engine.after(BORROWING_PERIOD_SECONDS, self._adjust)

    def adjust(self) -> None:
        """Move seats to where they are wanted (facts b.2)."""
        now = self._engine.now
        total = sum(level.nominal_seats for level in self.levels.values() if not level.exempt)
        rows: list[tuple[Level, float, float]] = []
        for level in self.levels.values():
            mean, deviation, peak = level.end_period(now)
            envelope = mean + deviation
            smoothed = SMOOTHING_RATIO * level.smoothed_seats + (1 - SMOOTHING_RATIO) * envelope
            level.smoothed_seats = max(envelope, smoothed)
            if level.exempt:
                total -= max(level.min_seats, peak)
                continue
            least = max(level.min_seats, min(level.nominal_seats, peak))
            rows.append((level, float(least), max(float(least), level.smoothed_seats)))
        limits = allocate(
            float(max(0, total)),
            [(least, target, float(level.max_seats)) for level, least, target in rows],
        )
        for (level, _least, _target), seats in zip(rows, limits, strict=True):
            level.set_limit(int(seats + 0.5))
