"""CPU that kube-controller-manager spends: per request it sends, per sync, per object it examines.

**Source:** `groundtruth/recipe_density_cpu.csv` (column ``kcm_cpu_s``: 1.34-1.92 ms per pod at high
client QPS, scale-up and scale-down) and `groundtruth/idle_heartbeats.csv` (0.02 cores at 100 idle
nodes). The total per pod is measured; its split into requests, syncs and watch events is `assumed`
(the watch events a process decodes are charged where they are delivered).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerManagerLaw:
    """Cost parameters of one kube-controller-manager process."""

    request_cpu_seconds: Annotated[float, Ge(0)] = 450e-6
    """CPU to build, encode, send and decode one API request (fit, see module)."""
    sync_cpu_seconds: Annotated[float, Ge(0)] = 80e-6
    """CPU of one sync of one key, whatever it finds (fit, see module)."""
    object_cpu_seconds: Annotated[float, Ge(0)] = 0.4e-6
    """CPU per cached object that a sync looks at: a walk over pointers; assumed."""
    background_cpu_ratio: Annotated[float, Ge(0)] = 0.012
    """Cores used by timers, garbage collection and health checks of an idle process:
    intercept of ``kcm_cores`` over nodes in `groundtruth/idle_heartbeats.csv`."""

    def sync_seconds(self, object_count: int) -> float:
        """Return the CPU seconds of a sync that examines ``object_count`` cached objects."""
        return self.sync_cpu_seconds + self.object_cpu_seconds * object_count
