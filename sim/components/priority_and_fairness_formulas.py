"""The formulas of API Priority and Fairness that need neither queues nor a clock.

**Source:** `facts/model.md` b.1-b.4; request/config.go, request/list_work_estimator.go,
shufflesharding, dropped_requests_tracker.go.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from sim.components.priority_and_fairness_config import PriorityLevel

WATCHES_PER_SEAT_COUNT: Final = 10
EVENT_ADDITIONAL_SECONDS: Final = 0.005
MUTATING_SEATS_MAX: Final = 10
LIST_SEATS_MAX: Final = 100
BYTES_PER_SEAT: Final = 100_000
LIST_FROM_CACHE_BYTES_MAX: Final = 1_000_000
"""**Source:** request/config.go, request/list_work_estimator.go."""
_RETRY_AFTER_MAX_SECONDS: Final = 32
_FIRST_WORD: Final = struct.Struct("<Q")
_sha256: Final = hashlib.sha256
"""A name of its own: compiled code looks up what it has imported at every use."""


def flow_hash(schema: str, distinguisher: str) -> int:
    """Return the 64-bit hash of a flow: first 8 bytes, little endian, of sha256."""
    text = f"{schema}\0{distinguisher}".encode()
    found: int = _FIRST_WORD.unpack_from(_sha256(text).digest())[0]
    return found


def deal_hand(hash_value: int, queue_count: int, hand_size: int) -> list[int]:
    """Deal a hand of distinct queues from a deck of ``queue_count`` (mixed-radix digits)."""
    hand: list[int] = []
    in_order: list[int] = []
    for index in range(hand_size):
        card = hash_value % (queue_count - index)
        hash_value //= queue_count - index
        place = 0
        while place < len(in_order) and card >= in_order[place]:
            card += 1  # what has been dealt is not in the deck any more
            place += 1
        in_order.insert(place, card)
        hand.append(card)
    return hand


def nominal_seats(levels: Sequence[PriorityLevel], server_limit_seats: int) -> dict[str, int]:
    """Return ceil(limit × shares / all shares) per level."""
    total = sum(level.nominal_concurrency_shares_count for level in levels)
    return {
        level.name: -(-server_limit_seats * level.nominal_concurrency_shares_count // total)
        for level in levels
    }


def list_seats(
    object_count: int, mean_bytes: float, limit_count: int, *, from_cache: bool, selective: bool
) -> int:
    """Return the seats of a LIST by the memory its response takes (facts b.3)."""
    if from_cache:
        objects = min(limit_count or object_count, object_count)
        memory = min(objects * mean_bytes, LIST_FROM_CACHE_BYTES_MAX)
    else:
        objects = min(limit_count, object_count) if limit_count else object_count
        if selective:
            objects = max(limit_count, object_count // 2)
        memory = objects * mean_bytes
    return max(1, min(math.ceil(memory / BYTES_PER_SEAT), LIST_SEATS_MAX))


def mutating_width(watcher_count: int, level_seats_max: int) -> tuple[int, float]:
    """Return (final seats, additional seconds) of a write that ``watcher_count`` watches see."""
    if watcher_count < WATCHES_PER_SEAT_COUNT:
        return 0, 0.0
    final = -(-watcher_count // WATCHES_PER_SEAT_COUNT)
    cap = min(MUTATING_SEATS_MAX, level_seats_max)
    if final <= cap:
        return final, EVENT_ADDITIONAL_SECONDS
    return cap, EVENT_ADDITIONAL_SECONDS * final / cap


class RetryAfter:
    """The Retry-After that a level tells: doubles while rejections stay high, then sinks."""

    __slots__ = ("_count", "_history", "_second", "_updated_second", "seconds")

    def __init__(self) -> None:
        self.seconds = 1
        self._second = 0
        self._count = 0
        self._history: deque[tuple[int, int]] = deque()
        self._updated_second = 0

    def record(self, now_seconds: float) -> None:
        """Note one rejected request."""
        second = int(now_seconds)
        if second > self._second:
            if self._count:
                self._history.append((self._second, self._count))
            self._second, self._count = second, 0
            self._update(second)
        self._count += 1

    def _update(self, second: int) -> None:
        if second - self._updated_second < self.seconds:
            return
        history = self._history
        while history and second - history[0][0] > _RETRY_AFTER_MAX_SECONDS:
            history.popleft()
        dropped = sum(count for when, count in history if second - when <= self.seconds)
        if dropped < self.seconds:
            self.seconds = max(1, self.seconds - 1)
            self._updated_second = second
        elif dropped >= 3 * self.seconds:
            self.seconds = min(2 * self.seconds, _RETRY_AFTER_MAX_SECONDS)
            self._updated_second = second


def allocate(total: float, rows: Sequence[tuple[float, float, float]]) -> list[float]:
    """Share ``total`` seats: clamp(f × target, least, most) with one f for all.

    Args:
        total: seats to give away.
        rows: (least, target, most) per level, least ≤ target.

    Returns:
        Seats per level. If the least alone exceed the total, each gets its share of the total
        in proportion to its least.
    """
    floor = sum(least for least, _, _ in rows)
    if floor >= total:
        return [least * total / floor if floor else 0.0 for least, _, _ in rows]
    if sum(most for _, _, most in rows) <= total:
        return [most for _, _, most in rows]
    # The sum grows piecewise linearly in f; between two neighbouring bends it is solved exactly.
    bends = sorted(
        {bound / target for least, target, most in rows if target > 0 for bound in (least, most)}
    )

    def given(factor: float) -> list[float]:
        return [min(max(factor * target, least), most) for least, target, most in rows]

    low = 0.0
    for bend in bends:
        above = sum(given(bend))
        if above >= total:
            below = sum(given(low))
            rise = above - below
            part = (total - below) / rise if rise > 0.0 else 1.0
            return given(low + (bend - low) * part)
        low = bend
    return given(low)
