"""Gauges: the state of queues, hosts and limiters, read once per interval at no simulated cost.

Reading counters from outside cannot disturb the system; every gauge is a difference of counters
over the interval or a level at its end. The last word of a gauge's name is its unit.
"""

from __future__ import annotations

from collections.abc import Callable

from sim.engine.engine import Engine
from sim.engine.tables import Recorder, Table

Reading = Callable[[], float]


class GaugeSampler:
    """Samples levels and rates into the ``gauges`` table."""

    def __init__(self, engine: Engine, recorder: Recorder, interval_seconds: float) -> None:
        self._engine = engine
        self._table: Table = recorder["gauges"]
        self.interval_seconds = interval_seconds
        self._levels: list[tuple[str, str, Reading]] = []
        self._rates: list[tuple[str, str, Reading, float, float]] = []
        self._previous: list[float] = []
        self._last_seconds = 0.0

    def level(self, gauge: str, instance: str, read: Reading) -> None:
        """Sample ``read()`` as it is."""
        self._levels.append((gauge, instance, read))

    def rate(
        self, gauge: str, instance: str, read: Reading, *, per: float = 1.0, limit: float = 0.0
    ) -> None:
        """Sample the growth of a counter per second, divided by ``per``.

        ``limit`` > 0 caps what is reported (a share of a whole cannot exceed it; counters that
        are charged when work begins may run ahead of the clock).
        """
        self._rates.append((gauge, instance, read, per, limit))
        self._previous.append(0.0)

    def start(self) -> None:
        """Begin to sample."""
        self._last_seconds = self._engine.now
        self._previous = [read() for _, _, read, _, _ in self._rates]
        self._engine.after(self.interval_seconds, self._tick)

    def _tick(self, _: None) -> None:
        self.sample()
        self._engine.after(self.interval_seconds, self._tick)

    def sample(self) -> None:
        """Write one row per gauge for the time since the last sample."""
        now = self._engine.now
        elapsed_seconds = now - self._last_seconds
        if elapsed_seconds <= 0.0:
            return
        append = self._table.append
        for gauge, instance, read in self._levels:
            append((now, gauge, instance, float(read())))
        for index, (gauge, instance, read, per, limit) in enumerate(self._rates):
            value = read()
            rate = (value - self._previous[index]) / elapsed_seconds / per
            self._previous[index] = value
            append((now, gauge, instance, min(rate, limit) if limit else rate))
        self._last_seconds = now
