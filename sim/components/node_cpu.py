"""The CPUs of the nodes: who computes on each, and how much slower that makes the others.

**Modelled:** on every node the processes of its pods, the kubelet's pod operations and kube-proxy's
sync share the cores equally (processor sharing). What a piece of work has to compute is stretched
by the ratio of the cores that are wanted to those that exist, as it is when the work begins; its
waits are not.
**Not modelled:** weights of cgroups (all share alike), throttling at limits, and what the stretch
does to the pods' own work. Work that has begun does not change its pace when others come or go.
**Source:** egalitarian processor sharing, as `sim.engine.host`; one sync or call computes on one
core at a time (`sim.costs.kube_proxy`, `sim.costs.container_runtime`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.base.objects import Node
from sim.base.quantity import cpu_millicores

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Nodes = IntArray | slice

_ONE_CORE: Final = 1000.0
_ENOUGH_MILLICORES: Final = 1e12
"""Of a node that does not say how many cores it has."""


class NodeCPUs:
    """CPU wanted and there, by node index; arrays have room for more nodes than there are."""

    def __init__(self, operation_cpu_ratio: float, pod_usage_ratio: float) -> None:
        """Make an empty fleet.

        Args:
            operation_cpu_ratio: cores that a pod operation of kubelet and runtime keeps busy.
            pod_usage_ratio: share of their CPU requests that running pods use.
        """
        self._operation_cores = operation_cpu_ratio
        self._operation_millicores = round(_ONE_CORE * operation_cpu_ratio)
        self._pod_usage_ratio = pod_usage_ratio
        self.node_count = 0
        self.millicores: FloatArray = np.full(0, _ENOUGH_MILLICORES)
        """Cores of each node in thousandths: (capacity,)."""
        self.wanted_millicores: IntArray = np.zeros(0, dtype=np.int64)
        """What pods and pod operations want, kube-proxy left out: (capacity,)."""
        self.operation_counts: IntArray = np.zeros(0, dtype=np.int64)
        """Pod operations in progress: (capacity,)."""
        self._sync_begin: FloatArray = np.full(0, np.inf)
        self._sync_end: FloatArray = np.full(0, -1.0)
        self.before_looking: Callable[[], object] | None = None
        """Called before somebody asks for running syncs: decides those that have started."""

    def add_node(self, node: Node) -> None:
        """Give the next node its cores."""
        index = self.node_count
        self.node_count += 1
        self.reserve(self.node_count)
        self.millicores[index] = node_millicores(node)

    def reserve(self, count: int) -> None:
        """Make room for that many nodes."""
        have = len(self.millicores)
        if count <= have:
            return
        more = max(count, 2 * have) - have
        self.millicores = np.append(self.millicores, np.full(more, _ENOUGH_MILLICORES))
        self.wanted_millicores = np.append(self.wanted_millicores, np.zeros(more, dtype=np.int64))
        self.operation_counts = np.append(self.operation_counts, np.zeros(more, dtype=np.int64))
        self._sync_begin = np.append(self._sync_begin, np.full(more, np.inf))
        self._sync_end = np.append(self._sync_end, np.full(more, -1.0))

    # What is wanted.

    def pod_runs(self, node: int, requested_millicores: int) -> None:
        """The containers of a pod run."""
        self.wanted_millicores[node] += round(requested_millicores * self._pod_usage_ratio)

    def pod_ends(self, node: int, requested_millicores: int) -> None:
        """The containers of a pod have ended."""
        self.wanted_millicores[node] -= round(requested_millicores * self._pod_usage_ratio)

    def operation_begins(self, node: int) -> None:
        """The kubelet starts or stops a pod."""
        self.operation_counts[node] += 1
        self.wanted_millicores[node] += self._operation_millicores

    def operation_ends(self, node: int, count: int = 1) -> None:
        """Such operations are over."""
        self.operation_counts[node] -= count
        self.wanted_millicores[node] -= count * self._operation_millicores

    def sync_runs(self, nodes: Nodes, begin_seconds: FloatArray, end_seconds: FloatArray) -> None:
        """The kube-proxies of some nodes compute in these spans, the newest of each."""
        self._sync_begin[nodes] = begin_seconds
        self._sync_end[nodes] = end_seconds

    def is_syncing(self, node: int, time_seconds: float) -> bool:
        """Whether a node's kube-proxy computes, as far as its last sync is known."""
        if self.before_looking is not None:
            self.before_looking()
        return bool(self._sync_begin[node] <= time_seconds < self._sync_end[node])

    # What it costs.

    def sync_stretch(self, nodes: Nodes) -> FloatArray:
        """How much longer kube-proxy computes on nodes because of pods and kubelet: (n,), ≥ 1."""
        share = (self.wanted_millicores[nodes] + _ONE_CORE) / self.millicores[nodes]
        stretch: FloatArray = np.maximum(share, 1.0)
        return stretch

    def call_stretch(self, node: int, time_seconds: float) -> float:
        """How much longer a runtime call takes on a node because of pods and kube-proxy, ≥ 1.

        What the pod operations of a node cost each other is in the runtime's own law.
        """
        wanted = float(self.wanted_millicores[node])
        there = float(self.millicores[node])
        if wanted + _ONE_CORE <= there:
            return 1.0
        if self.before_looking is not None:
            self.before_looking()
        if self._sync_begin[node] <= time_seconds < self._sync_end[node]:
            wanted += _ONE_CORE
        if wanted <= there:
            return 1.0
        own = float(self.operation_counts[node]) * self._operation_millicores
        return wanted / max(there, own)

    def saturated_count(self) -> int:
        """Nodes on which more cores are wanted than exist, kube-proxy left out."""
        if not len(self.millicores) or self.wanted_millicores.max() <= self.millicores.min():
            return 0  # most often, and found without bringing the two arrays to one type
        return int(np.count_nonzero(self.wanted_millicores > self.millicores))

    def check(self) -> list[str]:
        """Return broken invariants: nothing may want less than nothing."""
        negative = np.flatnonzero((self.wanted_millicores < 0) | (self.operation_counts < 0))
        if len(negative):
            return [f"node CPU: node {int(negative[0])} wants less than no CPU"]
        return []


def node_millicores(node: Node) -> float:
    """Return the cores of a machine in thousandths: its capacity, else what pods may request."""
    capacity = ((node.manifest or {}).get("status") or {}).get("capacity") or {}
    if "cpu" in capacity:
        return float(cpu_millicores(capacity["cpu"])) or _ENOUGH_MILLICORES
    return float(node.cpu_allocatable_millicores) or _ENOUGH_MILLICORES
