"""The readable twin of `priority_and_fairness.Level`: queues, no shortcuts, no event loop.

Time is an argument of every call. Sums are computed anew each time they are needed; nothing is
light, nothing is cached. Tests drive twin and fast level in lockstep.
**Source:** `facts/model.md` b.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field

G_SECONDS = 0.003
"""Assumed service time of a request."""


@dataclass(eq=False)
class Job:
    """One request."""

    name: str
    initial_seats: int = 1
    final_seats: int = 0
    additional_seconds: float = 0.0
    arrival_r: float = 0.0
    started_seconds: float = -1.0
    queue: int = -1
    state: str = "new"
    """new, waiting, executing, lingering (served, seats still held), done, rejected."""

    @property
    def seats(self) -> int:
        """Seats held while executing."""
        return max(self.initial_seats, self.final_seats)

    @property
    def work(self) -> float:
        """Estimated seat-seconds."""
        return self.initial_seats * G_SECONDS + self.final_seats * self.additional_seconds


@dataclass
class TwinQueue:
    """One queue of the level."""

    waiting: list[Job] = field(default_factory=list)
    executing: list[Job] = field(default_factory=list)
    next_dispatch_r: float = 0.0


class TwinLevel:
    """A priority level with ``queue_count`` queues and hands of ``hand_size``."""

    def __init__(
        self, queue_count: int, hand_size: int, queue_length_limit: int, limit_seats: int
    ) -> None:
        self.queues = [TwinQueue() for _ in range(queue_count)]
        self.hand_size = hand_size
        self.queue_length_limit = queue_length_limit
        self.limit_seats = limit_seats
        self.lingering: list[Job] = []
        self.r = 0.0
        self.r_time = 0.0
        self.enqueued = 0
        self.robin = 0

    def hand(self, hash_value: int) -> list[int]:
        """Deal from a deck of cards that shrinks with each card dealt."""
        deck = list(range(len(self.queues)))
        dealt = []
        for _ in range(self.hand_size):
            dealt.append(deck.pop(hash_value % len(deck)))
            hash_value //= len(deck) + 1
        return dealt

    def seats_in_use(self) -> int:
        """Seats of everything that executes or lingers."""
        running = [job for queue in self.queues for job in queue.executing]
        return sum(job.seats for job in running + self.lingering)

    def waiting(self) -> list[Job]:
        """Everybody who waits."""
        return [job for queue in self.queues for job in queue.waiting]

    def advance(self, now: float) -> None:
        """dR/dt = min(seats wanted, limit) / (queues that wait or execute)."""
        active = sum(bool(queue.waiting or queue.executing) for queue in self.queues)
        if active:
            wanted = self.seats_in_use() + sum(job.seats for job in self.waiting())
            self.r += min(wanted, self.limit_seats) / active * (now - self.r_time)
        self.r_time = now

    def arrive(self, job: Job, hash_value: int, now: float) -> list[Job]:
        """Put a request into a queue or reject it; return what is dispatched now."""
        self.advance(now)
        hand = self.hand(hash_value)
        offset = self.enqueued % len(hand)
        self.enqueued += 1
        order = hand[offset:] + hand[:offset]
        loads = [sum(other.work for other in self.queues[card].waiting) for card in order]
        card = order[loads.index(min(loads))]
        queue = self.queues[card]
        if (
            len(queue.waiting) >= self.queue_length_limit
            and self.seats_in_use() >= self.limit_seats
        ):
            job.state = "rejected"
            return []
        if not queue.waiting and not queue.executing:
            queue.next_dispatch_r = self.r
        job.arrival_r, job.queue, job.state = self.r, card, "waiting"
        queue.waiting.append(job)
        return self.dispatch(now)

    def fits(self, job: Job) -> bool:
        """Whether a request may start; one wider than the limit needs the level for itself."""
        if job.seats > self.limit_seats:
            return self.seats_in_use() == 0
        return self.seats_in_use() + job.seats <= self.limit_seats

    def dispatch(self, now: float) -> list[Job]:
        """Start as much as possible."""
        started: list[Job] = []
        while self.waiting() and self.seats_in_use() < self.limit_seats:
            count = len(self.queues)
            order = [(self.robin + step) % count for step in range(1, count + 1)]
            order = [index for index in order if self.queues[index].waiting]
            finishes = [
                self.queues[index].next_dispatch_r + self.queues[index].waiting[0].work
                for index in order
            ]
            best = order[finishes.index(min(finishes))]
            queue = self.queues[best]
            job = queue.waiting[0]
            if not self.fits(job):
                break
            self.robin = best
            queue.waiting.pop(0)
            queue.executing.append(job)
            queue.next_dispatch_r += job.work
            self.bound(queue)
            job.state, job.started_seconds = "executing", now
            started.append(job)
        return started

    def bound(self, queue: TwinQueue) -> None:
        """A queue's next dispatch never lies before its oldest waiting request's arrival."""
        if queue.waiting:
            queue.next_dispatch_r = max(queue.next_dispatch_r, queue.waiting[0].arrival_r)

    def finish(self, job: Job, now: float) -> list[Job]:
        """A request has been served; its seats may linger. Return what is dispatched now."""
        self.advance(now)
        queue = self.queues[job.queue]
        queue.executing.remove(job)
        actual = now - job.started_seconds
        queue.next_dispatch_r -= job.initial_seats * (G_SECONDS - actual)
        self.bound(queue)
        if job.additional_seconds > 0.0:
            job.state = "lingering"
            self.lingering.append(job)
            return []
        job.state = "done"
        return self.dispatch(now)

    def release(self, job: Job, now: float) -> list[Job]:
        """The lingering seats of a request are free. Return what is dispatched now."""
        self.advance(now)
        self.lingering.remove(job)
        job.state = "done"
        return self.dispatch(now)
