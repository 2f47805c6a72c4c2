"""kube-scheduler as a Go process: goroutines share as many processors as the machine has cores.

**Modelled:** the run queue of `apiserver_runqueue` (work beyond GOMAXPROCS waits its turn) and the
CPU that waking up after a sleep burns beside the work itself.
**Source:** Go runtime, proc.go; `groundtruth/scheduler_throughput.csv` (CPU per pod at 50 pods/s
against saturation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.components.apiserver_runqueue import RunQueue
from sim.costs.scheduler import SchedulerLaw
from sim.engine.engine import Engine
from sim.engine.host import HostProcess


class GoProcess(HostProcess):
    """Stands where a host's process stands; hands work on through the run queue."""

    __slots__ = ("_awake_seconds", "_engine", "_inner", "_law", "_queue", "alive")

    def __init__(self, engine: Engine, inner: HostProcess, law: SchedulerLaw) -> None:
        super().__init__(inner.name, inner.host)
        self._engine = engine
        self._inner = inner
        self._law = law
        self._queue = RunQueue(inner, engine.stream(f"{inner.name}/{inner.host.name}/monitor"))
        self._awake_seconds = 0.0
        self.alive = True

    def run(
        self, demand_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Spend ``demand_seconds`` of CPU, then call back; a dead process does nothing."""
        if not self.alive:
            return
        if self._inner.idle and not self.saturated:
            slept_seconds = self._engine.now - self._awake_seconds
            if slept_seconds > 0.0:
                wake_seconds = self._law.wake(slept_seconds)
                if not self._inner.occupy(wake_seconds):
                    self._inner.run(wake_seconds, _nothing)
        now = self._engine.now
        if now + demand_seconds > self._awake_seconds:
            self._awake_seconds = now + demand_seconds
        self._queue.submit(demand_seconds, callback, argument)

    def go_on(
        self, demand_seconds: float, callback: Callable[[Any], object], argument: Any = None
    ) -> None:
        """As `run`, for the goroutine that has the processor already: it does not queue again."""
        if not self.alive:
            return
        if self._inner.idle and not self.saturated:
            self.run(demand_seconds, callback, argument)
            return
        now = self._engine.now
        if now + demand_seconds > self._awake_seconds:
            self._awake_seconds = now + demand_seconds
        self._queue.submit_handed(demand_seconds, callback, argument)

    def occupy(self, demand_seconds: float) -> bool:
        """Spend CPU without telling anyone of its end, if a processor and a core are free."""
        if not self.alive or not self._queue.occupy(demand_seconds):
            return False
        self._awake_seconds = max(self._awake_seconds, self._engine.now + demand_seconds)
        return True

    @property
    def saturated(self) -> bool:
        """Whether all cores of the machine are busy."""
        host = self.host
        return 0 < host.core_count <= host.running_count

    def die(self) -> None:
        """Forget what has not started."""
        self.alive = False
        self._queue.flush()


def _nothing(_: object) -> None:
    return
