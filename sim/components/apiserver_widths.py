"""How many seats a request takes: the work estimator of priority and fairness.

**Source:** `facts/model.md` b.3; staging/src/k8s.io/apiserver/pkg/util/flowcontrol/request.
"""

from __future__ import annotations

from typing import Final

from sim.components.ports import Request
from sim.components.priority_and_fairness import Level
from sim.components.priority_and_fairness_formulas import (
    WATCHES_PER_SEAT_COUNT,
    list_seats,
    mutating_width,
)
from sim.components.watch_cache import WatchCache
from sim.engine.engine import Engine

_STATISTICS_PERIOD_SECONDS: Final = 60.0
"""Object counts and sizes are polled once a minute and until then unknown, which counts as one
seat. **Source:** registry/store.go, the count observer; apiserver_apf_server_metrics.csv, where
LISTs of 500 pods take one seat in the first minute of the process."""
_WRITING_VERBS: Final = frozenset({"create", "update", "patch", "delete"})


class Widths:
    """Seat estimates of one replica."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._statistics: dict[str, tuple[int, int, float]] = {}
        """By resource: (minute, objects, mean bytes)."""

    def is_wide_write(self, cache: WatchCache, request: Request) -> bool:
        """Return whether enough watches see a write for it to hold seats after its end."""
        if request.subresource == "token":
            return False
        key = (request.namespace, request.name)
        return cache.interested_count(key) >= WATCHES_PER_SEAT_COUNT

    def width(
        self, cache: WatchCache, request: Request, level: Level
    ) -> tuple[int, int, float]:
        """Return (initial seats, final seats, additional seconds)."""
        if level.exempt:
            return 1, 0, 0.0
        if request.verb in {"list", "watch"}:
            return self._list_width(cache, request, level), 0, 0.0
        if request.verb in _WRITING_VERBS and request.subresource != "token":
            key = (request.namespace, request.name)
            final, additional = mutating_width(
                cache.interested_count(key), level.seats_per_request_max
            )
            return 1, final, additional
        return 1, 0, 0.0

    def _list_width(self, cache: WatchCache, request: Request, level: Level) -> int:
        if request.name:
            return 1
        minute = int(self._engine.now / _STATISTICS_PERIOD_SECONDS)
        known = self._statistics.get(cache.resource)
        if known is None or known[0] != minute:
            count = len(cache.objects) if minute else 0
            mean = cache.size_bytes / count if count else 0.0
            known = self._statistics[cache.resource] = (minute, count, mean)
        seats = list_seats(
            known[1],
            known[2],
            request.limit_count,
            from_cache=request.list_mode != "exact",
            selective=request.selector is not None,
        )
        return min(seats, level.seats_per_request_max)
