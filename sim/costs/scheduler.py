"""How much CPU kube-scheduler spends: the scheduling cycle and what surrounds it.

Cycle, on one core, in microseconds, with N nodes in the cluster, E examined, F feasible and scored::

    T = base + κ(N) · (node·E + affinity·E + spread·(N·swn + F·swf) + …)
    κ(N) = 1 + cache_penalty · N / (N + cache_half)

The terms with N are the walks over all nodes (and their pods) that PodTopologySpread and
InterPodAffinity make in PreFilter and PreScore whatever the sampling percentage; κ is the price of
a snapshot that no longer fits the processor's caches.

**Source:** fitted (log least squares) to the 40 single-core rows of
``groundtruth/scheduler_core_speed.csv``; 33 of 40 rows within ±20 %, all within 0.78-1.39, while
the same row moved by up to 1.85 between two runs of the real scheduler.
**Valid for:** 100-15,000 nodes with about two pods of the family per node.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_CORE_SPEED = "measured: scheduler_core_speed.csv"
_THROUGHPUT = "measured: scheduler_throughput.csv (scheduler_cpu_ms_per_pod less the cycle)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLawParams:
    """CPU demands of kube-scheduler on the measured machine."""

    cycle_base_seconds: float = field(default=134e-6, metadata={"source": _CORE_SPEED})
    """Fixed cost of a cycle: hand-over to 16 workers, allocation, metrics."""
    node_examined_seconds: float = field(default=1.084e-6, metadata={"source": _CORE_SPEED})
    """Filter and score of one node with the plugins every pod needs."""
    affinity_examined_seconds: float = field(default=0.491e-6, metadata={"source": _CORE_SPEED})
    """Extra per examined node for node affinity and taints."""
    spread_node_seconds: float = field(default=0.527e-6, metadata={"source": _CORE_SPEED})
    spread_feasible_seconds: float = field(default=0.538e-6, metadata={"source": _CORE_SPEED})
    preferred_node_seconds: float = field(default=0.925e-6, metadata={"source": _CORE_SPEED})
    preferred_feasible_seconds: float = field(default=0.239e-6, metadata={"source": _CORE_SPEED})
    required_node_seconds: float = field(default=1.190e-6, metadata={"source": _CORE_SPEED})
    required_examined_seconds: float = field(default=0.272e-6, metadata={"source": _CORE_SPEED})
    cache_penalty_ratio: float = field(default=1.756, metadata={"source": _CORE_SPEED})
    cache_half_nodes: float = field(default=5168.0, metadata={"source": _CORE_SPEED})
    serial_ratio: float = field(
        default=0.3,
        metadata={"source": "measured: scheduler_core_speed.csv, gomaxprocs 2 against 1"},
    )
    """Share of the node work that more cores do not speed up."""
    bind_request_seconds: float = field(default=350e-6, metadata={"source": _THROUGHPUT})
    """CPU around POST binding: binding goroutine, encoding, TLS, response."""
    event_request_seconds: float = field(default=200e-6, metadata={"source": _THROUGHPUT})
    """CPU of recording one event, aggregation included."""
    watch_event_seconds: float = field(default=80e-6, metadata={"source": _THROUGHPUT})
    """CPU of one watch event: decode, cache, queueing hints of an empty pool."""


@dataclass(frozen=True, slots=True)
class CycleShape:
    """Which of the expensive plugins a pod (or the pods it meets) sets to work."""

    node_affinity: bool = False
    spread: bool = False
    preferred_affinity: bool = False
    required_affinity: bool = False


class SchedulerLaw:
    """CPU demand of scheduling cycles."""

    def __init__(self, params: SchedulerLawParams, parallelism_count: int = 16) -> None:
        self.params = params
        self._parallelism_count = parallelism_count

    def cycle_seconds(
        self,
        shape: CycleShape,
        nodes_count: int,
        examined_nodes: int,
        feasible_nodes: int,
    ) -> float:
        """Return the CPU seconds of one cycle on one core (see the module's formula)."""
        p = self.params
        work = p.node_examined_seconds * examined_nodes
        if shape.node_affinity:
            work += p.affinity_examined_seconds * examined_nodes
        if shape.spread:
            work += p.spread_node_seconds * nodes_count
            work += p.spread_feasible_seconds * feasible_nodes
        if shape.preferred_affinity:
            work += p.preferred_node_seconds * nodes_count
            work += p.preferred_feasible_seconds * feasible_nodes
        if shape.required_affinity:
            work += p.required_node_seconds * nodes_count
            work += p.required_examined_seconds * examined_nodes
        kappa = 1.0 + p.cache_penalty_ratio * nodes_count / (nodes_count + p.cache_half_nodes)
        return p.cycle_base_seconds + kappa * work

    def elapsed_ratio(self, core_count: int) -> float:
        """Return elapsed over CPU time of the node work on an idle machine of that many cores."""
        workers = max(1, min(self._parallelism_count, core_count or self._parallelism_count))
        return self.params.serial_ratio + (1.0 - self.params.serial_ratio) / workers
