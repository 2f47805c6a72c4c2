"""How much CPU kube-scheduler spends: the scheduling cycle and what surrounds it.

Cycle, on one core, with N nodes in the cluster, P pods on them, E nodes examined, F feasible::

    T = κ(0) · base + κ(N) · (node·E + affinity·E + spread·(N·a + P·b + F·f) + …)
    κ(N) = 1 + cache_penalty · max(busy · N / (N + cache_half), 1 - e^(-gap/cooling))

The terms with N and P are the walks over all nodes and their pods that PodTopologySpread and
InterPodAffinity make in PreFilter and PreScore whatever the sampling percentage; κ is the price of
a snapshot that is not in the processor's caches: it does not fit, or others have used them for a
gap between two cycles; busy is 1 unless all cores of the machine are.

**Source:** fitted (log least squares) to the 40 single-core rows of
``groundtruth/scheduler_core_speed.csv``, which has two pods per node everywhere; 33 of 40 rows
within ±20 %, all within 0.78-1.39, while the same row moved by up to 1.85 between two runs of the
real scheduler. How the walks divide between nodes and pods is fitted to
``groundtruth/scheduler_throughput.csv``, whose clusters start empty.
**Valid for:** 100-15,000 nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp

_CORE_SPEED = "measured: scheduler_core_speed.csv"
_WALK = "measured: scheduler_core_speed.csv, divided by scheduler_throughput.csv"
_THROUGHPUT = "measured: scheduler_throughput.csv (scheduler_cpu_ms_per_pod less the cycle)"
_PODS_PER_NODE = 2.0
"""Of the cluster that the walks were measured in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerLawParams:
    """CPU demands of kube-scheduler on the measured machine."""

    cycle_base_seconds: float = field(default=134e-6, metadata={"source": _CORE_SPEED})
    """Fixed cost of a cycle: hand-over to 16 workers, allocation, metrics."""
    node_examined_seconds: float = field(default=1.084e-6, metadata={"source": _CORE_SPEED})
    """Filter and score of one node with the plugins every pod needs."""
    affinity_examined_seconds: float = field(default=0.491e-6, metadata={"source": _CORE_SPEED})
    """Extra per examined node for node affinity and taints."""
    spread_node_seconds: float = field(default=0.347e-6, metadata={"source": _WALK})
    spread_pod_seconds: float = field(default=0.09e-6, metadata={"source": _WALK})
    spread_feasible_seconds: float = field(default=0.538e-6, metadata={"source": _CORE_SPEED})
    preferred_node_seconds: float = field(default=0.205e-6, metadata={"source": _WALK})
    preferred_pod_seconds: float = field(default=0.36e-6, metadata={"source": _WALK})
    preferred_feasible_seconds: float = field(default=0.239e-6, metadata={"source": _CORE_SPEED})
    required_node_seconds: float = field(default=0.2e-6, metadata={"source": _WALK})
    required_pod_seconds: float = field(default=0.495e-6, metadata={"source": _WALK})
    """Per pod on a node that carries required terms."""
    required_examined_seconds: float = field(default=0.272e-6, metadata={"source": _CORE_SPEED})
    carrier_pod_seconds: float = field(
        default=0.2e-6, metadata={"source": "assumed: less than half of the walk of a matching pod"}
    )
    """Per pod with affinity terms, for incoming pods that have none of their own."""
    user_plugin_node_seconds: float = field(
        default=0.23e-6,
        metadata={"source": "measured: scheduler_plugins.csv, Score of NodeResourcesFit"},
    )
    """Per examined node and plugin of the user."""
    preemption_node_seconds: float = field(
        default=8e-6,
        metadata={"source": "assumed: copy of a NodeInfo and four filter runs per dry run"},
    )
    """Per node of a preemption dry run."""
    cache_penalty_ratio: float = field(default=1.756, metadata={"source": _CORE_SPEED})
    cache_half_nodes: float = field(default=5168.0, metadata={"source": _CORE_SPEED})
    cache_busy_ratio: float = field(
        default=2.10,
        metadata={"source": "measured: scheduler_throughput.csv, 5,000 nodes against core speed"},
    )
    """How much more of the snapshot is lost while other processes use all cores."""
    cache_cooling_seconds: float = field(
        default=0.001,
        metadata={"source": "measured: scheduler_throughput.csv, algorithm_mean_ms at 50 pods/s"},
    )
    """Gap between two cycles after which 63 % of it is lost, where cores are shared."""
    serial_ratio: float = field(
        default=0.3,
        metadata={"source": "measured: scheduler_core_speed.csv, gomaxprocs 2 against 1"},
    )
    """Share of the node work that more cores do not speed up."""
    bind_request_seconds: float = field(default=500e-6, metadata={"source": _THROUGHPUT})
    """CPU of a request of the main client: goroutine, encoding, TLS, response."""
    event_request_seconds: float = field(default=490e-6, metadata={"source": _THROUGHPUT})
    """CPU of recording one event."""
    answer_ratio: float = field(
        default=0.5, metadata={"source": "assumed: half, as the load generator's calls"}
    )
    """Share of both that is spent on the answer: read, decode, wake the caller."""
    watch_event_seconds: float = field(default=100e-6, metadata={"source": _THROUGHPUT})
    """CPU of handling one watch event of a pod: cache, queue."""
    node_event_seconds: float = field(
        default=200e-6,
        metadata={"source": "measured: scheduler_throughput.csv, first bound pod at 5,000 nodes"},
    )
    """CPU of handling a new or changed node: decode, NodeInfo, node tree."""
    hint_seconds: float = field(
        default=0.4e-6, metadata={"source": "assumed: one call of a queueing hint"}
    )
    """Per pod of the unschedulable pool and cluster event."""
    wake_seconds: float = field(
        default=920e-6,
        metadata={"source": "measured: scheduler_throughput.csv, 50 pods/s against saturation"},
    )
    """CPU burnt beside work that finds the process asleep, after a long sleep: threads that look
    for work, cold caches."""
    wake_half_life_seconds: float = field(
        default=0.002, metadata={"source": "assumed: as the apiserver's"}
    )
    """Sleep after which 63 % of it is paid."""


@dataclass(frozen=True, slots=True)
class CycleShape:
    """Which of the expensive plugins a pod sets to work."""

    node_affinity: bool = False
    spread: bool = False
    preferred_affinity: bool = False
    required_affinity: bool = False


@dataclass(frozen=True, slots=True)
class PodsPresent:
    """Pods on nodes: all of them, and those that carry inter-pod affinity terms."""

    count: float
    required_count: float
    preferred_count: float


class SchedulerLaw:
    """CPU demand of scheduling cycles."""

    def __init__(self, params: SchedulerLawParams, parallelism_count: int = 16) -> None:
        self.params = params
        self._parallelism_count = parallelism_count

    def _kappa(self, nodes_count: int, cold_ratio: float, busy: bool) -> float:
        p = self.params
        lost_ratio = nodes_count / (nodes_count + p.cache_half_nodes)
        if busy:
            lost_ratio *= p.cache_busy_ratio
        return 1.0 + p.cache_penalty_ratio * max(lost_ratio, cold_ratio)

    def cycle_seconds(
        self,
        shape: CycleShape,
        nodes_count: int,
        examined_nodes: int,
        feasible_nodes: int,
        pods: PodsPresent | None = None,
        *,
        user_plugins_count: int = 0,
        gap_seconds: float = 0.0,
        busy: bool = False,
    ) -> float:
        """Return the CPU seconds of one cycle on one core (see the module's formula).

        ``pods`` None stands for two pods of the family on every node; ``gap_seconds`` for how long
        others have used the caches since the last cycle; ``busy`` means that all cores are.
        """
        p = self.params
        if pods is None:
            usual = _PODS_PER_NODE * nodes_count
            required = usual if shape.required_affinity else 0.0
            pods = PodsPresent(usual, required, usual if shape.preferred_affinity else 0.0)
        work = (p.node_examined_seconds + p.user_plugin_node_seconds * user_plugins_count) * (
            examined_nodes
        )
        if shape.node_affinity:
            work += p.affinity_examined_seconds * examined_nodes
        if shape.spread:
            work += p.spread_node_seconds * nodes_count + p.spread_pod_seconds * pods.count
            work += p.spread_feasible_seconds * feasible_nodes
        if shape.preferred_affinity:
            work += p.preferred_node_seconds * nodes_count + p.preferred_pod_seconds * pods.count
            work += p.preferred_feasible_seconds * feasible_nodes
        else:
            work += p.carrier_pod_seconds * pods.preferred_count
        if shape.required_affinity:
            work += p.required_node_seconds * nodes_count
            work += p.required_pod_seconds * pods.required_count
            work += p.required_examined_seconds * examined_nodes
        else:
            work += p.carrier_pod_seconds * pods.required_count
        cold_ratio = 1.0 - exp(-gap_seconds / p.cache_cooling_seconds)
        base = self._kappa(0, cold_ratio, busy) * p.cycle_base_seconds
        return base + self._kappa(nodes_count, cold_ratio, busy) * work

    def preemption_seconds(self, dry_run_nodes_count: int) -> float:
        """Return the CPU seconds of the dry runs of one preemption."""
        return self.params.preemption_node_seconds * dry_run_nodes_count

    def wake(self, slept_seconds: float) -> float:
        """Return the extra CPU seconds of work that ends a sleep."""
        p = self.params
        return p.wake_seconds * (1.0 - exp(-slept_seconds / p.wake_half_life_seconds))

    def critical_ratio(self, core_count: int) -> float:
        """Return elapsed over CPU time of a cycle's node work on an idle machine.

        ``core_count`` 0 stands for a machine that is never contended.
        """
        workers = max(1, min(self._parallelism_count, core_count or self._parallelism_count))
        return self.params.serial_ratio + (1.0 - self.params.serial_ratio) / workers

    def split(self, cycle_seconds: float, core_count: int) -> tuple[float, float]:
        """Return (CPU on the cycle's critical path, CPU of the workers beside it)."""
        p = self.params
        parallel = max(0.0, cycle_seconds - p.cycle_base_seconds)
        critical = cycle_seconds - parallel * (1.0 - self.critical_ratio(core_count))
        return critical, cycle_seconds - critical
