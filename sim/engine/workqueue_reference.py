"""Readable twin of `sim.engine.workqueue`: every answer recomputed from a log of what was said.

Nothing is scheduled and nothing is cached: the queue keeps, per key, when it was added and not yet
taken, when it may come back, and how often it failed. `take` first lets all delays that are over
become adds, in order of their time. For tests.
**Source:** client-go util/workqueue (`Type`, `delayingType`, rate limiters), as facts.
"""

from __future__ import annotations

from collections.abc import Hashable

from sim.engine.token_bucket_reference import ReferenceTokenBucket


class ReferenceWorkqueue:
    """Keys to do, keys being done, keys that come back."""

    def __init__(
        self, *, retry_base_seconds: float, retry_max_seconds: float, qps: float, burst: int
    ) -> None:
        self._retry_base_seconds = retry_base_seconds
        self._retry_max_seconds = retry_max_seconds
        self._bucket = ReferenceTokenBucket(qps, burst)
        self.wanted: dict[Hashable, float] = {}
        """To be done (again): key → when it was added."""
        self.order: list[Hashable] = []
        """Those that a worker may take, in the order in which it gets them."""
        self.held: set[Hashable] = set()
        """Being done by a worker."""
        self.returning: dict[Hashable, float] = {}
        """Delayed: key → when it is added."""
        self.failure_counts: dict[Hashable, int] = {}

    def add(self, key: Hashable, now_seconds: float) -> None:
        """Want a key done."""
        if key not in self.wanted:
            self.wanted[key] = now_seconds
            if key not in self.held:
                self.order.append(key)

    def add_after(self, key: Hashable, delay_seconds: float, now_seconds: float) -> None:
        """Want a key done later; the earliest of several wishes counts."""
        if delay_seconds <= 0.0:
            self.add(key, now_seconds)
            return
        due_seconds = now_seconds + delay_seconds
        self.returning[key] = min(due_seconds, self.returning.get(key, due_seconds))

    def add_rate_limited(self, key: Hashable, now_seconds: float) -> None:
        """Want a key done after its own back-off and the common limiter's."""
        failure_count = self.failure_counts.get(key, 0)
        self.failure_counts[key] = failure_count + 1
        own_seconds = min(self._retry_max_seconds, self._retry_base_seconds * 2.0**failure_count)
        common_seconds = float(self._bucket.reserve(now_seconds))
        self.add_after(key, max(own_seconds, common_seconds), now_seconds)

    def let_pass(self, now_seconds: float) -> None:
        """Add the keys whose delay is over."""
        for key, due_seconds in sorted(self.returning.items(), key=lambda item: item[1]):
            if due_seconds <= now_seconds:
                del self.returning[key]
                self.add(key, due_seconds)

    def take(self, now_seconds: float) -> tuple[Hashable, float] | None:
        """Hand the next key to a worker with the time it has waited; None if there is none."""
        if not self.order:
            return None
        key = self.order.pop(0)
        self.held.add(key)
        return key, now_seconds - self.wanted.pop(key)

    def done(self, key: Hashable) -> None:
        """A worker has finished with a key; it is next in line if it is wanted again."""
        self.held.remove(key)
        if key in self.wanted:
            self.order.append(key)
