"""Readable twin of `sim.engine.token_bucket`: the same limiter as virtual scheduling.

Instead of a balance of tokens it keeps the instant at which the bucket will be full again, in exact
fractions. A token pushes that instant one refill interval further; it may be used when the bucket
is full no later than ``burst`` intervals from then.
**Source:** generic cell rate algorithm, virtual scheduling form (ITU-T I.371), which equals the
continuous-state leaky bucket.
"""

from __future__ import annotations

from fractions import Fraction


class ReferenceTokenBucket:
    """A limiter of ``qps`` per second with ``burst`` tokens at the start."""

    def __init__(self, qps: float, burst: int) -> None:
        self._interval_seconds = 1 / Fraction(qps)
        self._room_seconds = burst * self._interval_seconds
        self._full_seconds = Fraction(0)

    def _with_one_more(self, now_seconds: float) -> tuple[Fraction, Fraction]:
        """Return (when the bucket would be full, how long the token's owner would wait)."""
        now = Fraction(now_seconds)
        full_seconds = max(self._full_seconds, now) + self._interval_seconds
        return full_seconds, max(Fraction(0), full_seconds - now - self._room_seconds)

    def reserve(self, now_seconds: float) -> Fraction:
        """Take one token; return the seconds until it may be used."""
        self._full_seconds, wait_seconds = self._with_one_more(now_seconds)
        return wait_seconds

    def try_take(self, now_seconds: float) -> bool:
        """Take one token if it may be used now."""
        full_seconds, wait_seconds = self._with_one_more(now_seconds)
        if wait_seconds == 0:
            self._full_seconds = full_seconds
        return wait_seconds == 0
