"""A Go process on a host: what a piece of work costs beyond the work itself.

**Modelled:** the wake-up of a sleeping goroutine (cheaper while the process is awake anyway), cold
caches and a halted virtual CPU after a long sleep, the scheduler's search for work on idle cores,
waits in a run queue when all cores are busy, and the scatter of it all. The garbage collector shows
as long stages of which some take longer. **Source:** `EtcdLawParams`, field by field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Final

from librt.vecs import vec
from mypy_extensions import i64

from sim.costs.etcd import EtcdLaw
from sim.engine.engine import Engine
from sim.engine.host import Host

SCATTER_COUNT: Final = 512
"""Entries of a table of factors."""


@lru_cache(maxsize=16)
def scatter_table(sigma: float) -> tuple[float, ...]:
    """Return equally likely factors of a lognormal with mean 1 and spread ``sigma``."""
    normal = NormalDist()
    values = [
        math.exp(sigma * normal.inv_cdf((index + 0.5) / SCATTER_COUNT))
        for index in range(SCATTER_COUNT)
    ]
    mean = sum(values) / SCATTER_COUNT
    return tuple(value / mean for value in values)


class GoProcess:
    """One process; `run` spends CPU that competes with everything else on the host."""

    __slots__ = (
        "_awake_ratio",
        "_awake_seconds",
        "_awake_window_seconds",
        "_collector_threshold_seconds",
        "_engine",
        "_law",
        "_scatter",
        "_spin_seconds",
        "_stall_ratio",
        "_stream",
        "crowd_count",
        "crowding_ratio",
        "host",
        "process",
        "spin_cpu_seconds",
    )

    def __init__(self, engine: Engine, host: Host, name: str, law: EtcdLaw) -> None:
        self._engine = engine
        self._law = law
        self._awake_seconds = 0.0
        # of the law's parameters those that every stage needs: compiled code has to look whether
        # a field of a dataclass is there
        self._awake_ratio = law.params.awake_ratio
        self._awake_window_seconds = law.params.awake_window_seconds
        self._collector_threshold_seconds = law.params.collector_threshold_seconds
        self._spin_seconds = law.params.spin_seconds
        self._stall_ratio = law.params.stall_ratio
        self._stream = engine.stream(f"{name}/scheduling")
        self._scatter = vec[float](scatter_table(law.params.scatter_sigma_ratio))
        self.host = host
        self.process = host.process(name)
        self.crowd_count = 1
        """etcd members on this host: cores switch between them."""
        self.crowding_ratio = 1.0
        """Factor on all demands: other members' processes use the same caches."""
        self.spin_cpu_seconds = 0.0
        """CPU burnt on otherwise idle cores, less the wake-up latency that is in the host's
        accounts but is no CPU of this process."""

    def run(
        self,
        wake_seconds: float,
        work_seconds: float,
        then: Callable[[Any], object],
        argument: Any,
        *,
        goes_on: bool = False,
    ) -> None:
        """Wake up and work, then call back.

        Args:
            wake_seconds: cost of the wake-up; a part of it if the process is awake.
            work_seconds: cost of the work itself.
            then: called with ``argument`` when it is done.
            argument: for ``then``.
            goes_on: whether the same goroutine goes on with what has arrived meanwhile.
        """
        host = self.host
        process = self.process
        stream = self._stream
        now = self._engine.now
        asleep = (
            process.idle
            and now - self._awake_seconds > self._awake_window_seconds
            and not goes_on
        )
        if work_seconds > self._collector_threshold_seconds:
            work_seconds = self._collected(work_seconds)
        if asleep:
            latency_seconds = self._law.params.wake_latency_seconds * self.crowd_count
            demand = work_seconds + wake_seconds + latency_seconds
            self.spin_cpu_seconds -= latency_seconds
        else:
            demand = work_seconds + wake_seconds * self._awake_ratio
        if host.running_count < host.core_count or host.core_count == 0:
            self.spin_cpu_seconds += self._spin_seconds
            if asleep and now > self._awake_seconds:
                cold_seconds = self._law.cold_seconds(now - self._awake_seconds)
                demand += stream.exponential(cold_seconds)
        running_count = host.running_count
        if running_count:
            share = min(1.0, running_count / host.core_count) if host.core_count else 0.0
            if stream.uniform() < self._stall_ratio * share * share:
                work = (demand * self.crowding_ratio, then, argument)
                wait_seconds = stream.exponential(self._law.params.stall_seconds)
                self._engine.after(wait_seconds, self._late, work)
                return
        demand *= self.crowding_ratio * self._scatter[i64(stream.uniform() * SCATTER_COUNT)]
        self._awake_seconds = now + demand
        process.run(demand, then, argument)

    def express_seconds(self, wake_seconds: float, work_seconds: float) -> float:
        """Do a piece of work on a host with plenty of room, without an event for its end.

        Returns the time it takes, drawn as `run` would, or -1.0 (and nothing is done) where the
        host is too busy for its end to be known in advance.
        """
        host = self.host
        if not host.roomy:
            return -1.0
        stream = self._stream
        now = self._engine.now
        process = self.process
        if work_seconds > self._collector_threshold_seconds:
            work_seconds = self._collected(work_seconds)
        latency_seconds = 0.0
        slept_seconds = now - self._awake_seconds
        if slept_seconds > self._awake_window_seconds and process.idle:
            latency_seconds = self._law.params.wake_latency_seconds * self.crowd_count
            work_seconds += wake_seconds + latency_seconds
            work_seconds += stream.exponential(self._law.cold_seconds(slept_seconds))
        else:
            work_seconds += wake_seconds * self._awake_ratio
        draw = stream.uniform() * SCATTER_COUNT
        index = i64(draw)
        work_seconds *= self.crowding_ratio * self._scatter[index]
        count = host.occupy(process, work_seconds)
        if not count:
            return -1.0
        self.spin_cpu_seconds += self._spin_seconds - latency_seconds
        self._awake_seconds = now + work_seconds
        cores = host.core_count
        share = float(count - 1) / float(cores) if cores else 0.0
        if draw - float(index) < self._stall_ratio * share * share:
            work_seconds += stream.exponential(self._law.params.stall_seconds)
        return work_seconds

    def _collected(self, work_seconds: float) -> float:
        """Let some long stages run while the collector marks; the mean stays as it is."""
        params = self._law.params
        slowed_seconds = min(work_seconds, params.collector_mark_seconds)
        extra_seconds = (params.collector_factor_ratio - 1.0) * slowed_seconds
        usual_seconds = work_seconds - params.collector_ratio * extra_seconds
        if self._stream.uniform() < params.collector_ratio:
            return usual_seconds + extra_seconds
        return usual_seconds

    def _late(self, work: tuple[float, Callable[[Any], object], Any]) -> None:
        demand_seconds, then, argument = work
        self.process.run(demand_seconds, then, argument)

    def sync_stall_seconds(self, present_count: int) -> float:
        """Draw the wait of a thread that returns from a long system call for a processor."""
        host = self.host
        if host.running_count < host.core_count or host.core_count == 0:
            return 0.0
        params = self._law.params
        if self._stream.uniform() >= params.sync_stall_ratio:
            return 0.0
        mean = params.sync_stall_seconds + present_count * params.sync_stall_per_request_seconds
        return self._stream.exponential(mean)

    def cpu_seconds(self) -> float:
        """CPU time so far, on idle cores included."""
        return self.process.cpu_seconds + self.spin_cpu_seconds
