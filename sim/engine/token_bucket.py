"""Token bucket with client-go's semantics: reservations in order of arrival.

**Source:** facts on client-go's flowcontrol throttle over golang.org/x/time/rate: continuous
refill at ``qps`` up to ``burst``; a caller takes its token at once, possibly driving the balance
below zero, and waits until the balance would have been zero again.
"""

from __future__ import annotations

import math


class TokenBucket:
    """``reserve`` takes a token now and says how long its owner has to wait for it."""

    __slots__ = ("_last_seconds", "_tokens", "burst", "granted_count", "qps", "wait_sum_seconds",
                 "waited_count")  # fmt: skip

    def __init__(self, qps: float, burst: int) -> None:
        self.qps = qps
        """Refill per second; infinity or ≤ 0 means unlimited."""
        self.burst = burst
        self._tokens = float(burst)
        self._last_seconds = 0.0
        self.granted_count = 0
        self.waited_count = 0
        self.wait_sum_seconds = 0.0

    def reserve(self, now_seconds: float) -> float:
        """Take one token; return the seconds until it may be used (0 if it is there).

        Times must not go back from call to call.
        """
        self.granted_count += 1
        qps = self.qps
        if qps <= 0.0 or math.isinf(qps):
            return 0.0
        tokens = self._tokens + (now_seconds - self._last_seconds) * qps
        if tokens > self.burst:
            tokens = float(self.burst)
        tokens -= 1.0
        self._tokens = tokens
        self._last_seconds = now_seconds
        if tokens >= 0.0:
            return 0.0
        wait_seconds = -tokens / qps
        self.waited_count += 1
        self.wait_sum_seconds += wait_seconds
        return wait_seconds

    def try_take(self, now_seconds: float) -> bool:
        """Take one token if it is there now."""
        qps = self.qps
        if qps <= 0.0 or math.isinf(qps):
            self.granted_count += 1
            return True
        tokens = min(float(self.burst), self._tokens + (now_seconds - self._last_seconds) * qps)
        self._last_seconds = now_seconds
        self._tokens = tokens
        if tokens < 1.0:
            return False
        self._tokens = tokens - 1.0
        self.granted_count += 1
        return True
