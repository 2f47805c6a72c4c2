"""CPU that kube-controller-manager spends: in the background, per request, event and sync.

**Source:** `groundtruth/recipe_density_cpu.csv` (column ``kcm_cpu_s``), fitted by least squares of
the relative error on the requests and watch events that the model of the same scale-up and
scale-down has, with the idle cores of `groundtruth/idle_heartbeats.csv` held fixed. Residuals: 11
of 14 rows within 25 %; the two rows at default client QPS are predicted 34 % and 54 % too low,
since a process that is woken for every single event spends more per event than one under load.
**Validity:** 50-200 nodes, 20-100 pods per second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge

_FIT = "fitted: groundtruth/recipe_density_cpu.csv, kcm_cpu_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerManagerLaw:
    """Cost parameters of one kube-controller-manager process, on one core."""

    background_cpu_ratio: Annotated[float, Ge(0)] = field(
        default=0.018,
        metadata={"source": "groundtruth/idle_heartbeats.csv: intercept of kcm_cores over leases"},
    )
    """Cores used by timers, garbage collection and health checks of an idle process."""
    request_cpu_seconds: Annotated[float, Ge(0)] = field(default=0.44e-3, metadata={"source": _FIT})
    """Per request: build, encode, send, decode the answer, report events about it."""
    answer_cpu_seconds: Annotated[float, Ge(0)] = field(
        default=0.3e-3, metadata={"source": "assumed: two thirds of request_cpu_seconds"}
    )
    """The part of it that is spent after the answer has arrived, before the next sync."""
    event_cpu_seconds: Annotated[float, Ge(0)] = field(
        default=0.245e-3, metadata={"source": f"{_FIT}; less what the watch law charges (15 us)"}
    )
    """Per watch event: wake up, update the stores and indexes, run the handlers of all
    controllers and the garbage collector's graph."""
    sync_cpu_seconds: Annotated[float, Ge(0)] = field(
        default=0.2e-3,
        metadata={
            "source": "assumed: selecting and copying cached objects; with much less, more writes"
            " meet a stale cache (409) than in groundtruth/recipe_request_counts.csv"
        },
    )
    """Per sync of one key, before it decides; small beside the fitted sums above."""
    object_cpu_seconds: Annotated[float, Ge(0)] = field(
        default=0.4e-6, metadata={"source": "assumed: a few cache misses"}
    )
    """Per cached object that a sync looks at."""

    def sync_seconds(self, object_count: int) -> float:
        """Return the CPU seconds of a sync that examines ``object_count`` cached objects."""
        return self.sync_cpu_seconds + self.object_cpu_seconds * object_count

    def informer_seconds(self, elapsed_seconds: float, event_count: int) -> float:
        """Return the CPU seconds of an interval in which ``event_count`` events arrived."""
        return elapsed_seconds * self.background_cpu_ratio + event_count * self.event_cpu_seconds
