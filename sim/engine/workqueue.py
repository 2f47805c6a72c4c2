"""client-go's workqueue: de-duplicated keys, delayed adds, rate-limited retries.

A key that is added while a worker holds it is queued again once when the worker is done. Retries
wait for the larger of a per-item exponential delay and an overall token bucket.
**Source:** client-go util/workqueue default controller rate limiter: 5 ms doubling to 1000 s,
overall bucket 10 per second, burst 100 (`facts` on controllers).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from sim.engine.engine import Engine
from sim.engine.tasks import Signal
from sim.engine.token_bucket import TokenBucket

K = TypeVar("K", bound=Hashable)


class Workqueue(Generic[K]):
    """Keys waiting for workers; ``get`` returns a signal that carries the next key."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        retry_base_seconds: float = 0.005,
        retry_max_seconds: float = 1000.0,
        bucket_qps: float = 10.0,
        bucket_burst: int = 100,
    ) -> None:
        self._engine = engine
        self.name = name
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._processing: set[K] = set()
        self._waiters: deque[Signal] = deque()
        self._failure_counts: dict[K, int] = {}
        self._delayed: dict[K, float] = {}
        self._bucket = TokenBucket(bucket_qps, bucket_burst)
        self._retry_base_seconds = retry_base_seconds
        self._retry_max_seconds = retry_max_seconds
        self._added_seconds: dict[K, float] = {}
        self.add_count = 0
        self.retry_count = 0
        self.depth_max = 0
        self.wait_sum_seconds = 0.0
        """From add to get, the time in which a worker still held the key included
        (workqueue_queue_duration_seconds)."""
        self.get_count = 0

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Queue a key unless it is queued already."""
        if key in self._dirty:
            return
        self.add_count += 1
        self._dirty.add(key)
        self._added_seconds[key] = self._engine.now
        if key in self._processing:
            return
        self._enqueue(key)

    def _enqueue(self, key: K) -> None:
        self._ready.append(key)
        if len(self._ready) > self.depth_max:
            self.depth_max = len(self._ready)
        if self._waiters:
            self._hand_over(self._waiters.popleft())

    def _hand_over(self, waiter: Signal) -> None:
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._processing.add(key)
        self.get_count += 1
        self.wait_sum_seconds += self._engine.now - self._added_seconds.pop(key)
        waiter.succeed(key)

    def add_after(self, key: K, delay_seconds: float) -> None:
        """Queue a key after a delay; an earlier pending delayed add of the key wins."""
        if delay_seconds <= 0.0:
            self.add(key)
            return
        due_seconds = self._engine.now + delay_seconds
        pending_seconds = self._delayed.get(key)
        if pending_seconds is not None and pending_seconds <= due_seconds:
            return
        self._delayed[key] = due_seconds
        self._engine.call_later(delay_seconds, self._due, (key, due_seconds))

    def _due(self, argument: tuple[K, float]) -> None:
        key, due_seconds = argument
        if self._delayed.get(key) == due_seconds:
            del self._delayed[key]
            self.add(key)

    def add_rate_limited(self, key: K) -> None:
        """Queue a key for a retry after its back-off."""
        self.retry_count += 1
        failures = self._failure_counts.get(key, 0)
        self._failure_counts[key] = failures + 1
        backoff_seconds = min(
            self._retry_base_seconds * 2.0 ** min(failures, 60), self._retry_max_seconds
        )
        self.add_after(key, max(backoff_seconds, self._bucket.reserve(self._engine.now)))

    def retries(self, key: K) -> int:
        """Return how often the key has been retried since it was forgotten."""
        return self._failure_counts.get(key, 0)

    def forget(self, key: K) -> None:
        """Reset the back-off of a key."""
        self._failure_counts.pop(key, None)

    def get(self) -> Signal:
        """Return a signal that happens with the next key; the worker must call `done` on it."""
        waiter = Signal(self._engine)
        if self._ready:
            self._hand_over(waiter)
        else:
            self._waiters.append(waiter)
        return waiter

    def done(self, key: K) -> None:
        """Say that a worker has finished with a key."""
        self._processing.discard(key)
        if key in self._dirty:
            self._enqueue(key)
