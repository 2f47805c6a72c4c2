"""PLEG of a fleet: when a kubelet notices what the runtime has done.

**Modelled:** a listing every second from the end of the last one, then the changed pods one after
another; on-demand requests for one pod, which wait for a listing that is under way and for each
other. Nothing happens between two listings, so they are not events: their times are computed when
somebody asks.
**Assumes:** a listing does not wait for an inspection that is under way; the number of pods, and
with it the duration of a listing, changes little between two questions about one node.
**Source:** `facts/model.md` h.3.
"""

from __future__ import annotations

from sim.components.container_runtime import ContainerRuntime
from sim.components.kubelet_params import KubeletParams


class Pleg:
    """By node index: when the current listing began, and until when the goroutine is busy."""

    def __init__(self, params: KubeletParams, runtime: ContainerRuntime) -> None:
        self._pause_seconds = params.pleg_relist_seconds
        self._on_demand = params.pleg_on_demand_relist
        self._runtime = runtime
        self._inspect_seconds = runtime.inspect_seconds
        self._begin_seconds: list[float] = []
        self._list_seconds: list[float] = []
        self._free_seconds: list[float] = []
        self._changed_begin_seconds: list[float] = []
        self._changed_counts: list[int] = []
        self.pod_counts: list[int] = []
        """Pods with a sandbox, by node."""

    def add_node(self, phase_seconds: float) -> None:
        """Start the listings of the next node at ``phase_seconds``."""
        self._begin_seconds.append(phase_seconds - self._pause_seconds)
        self._list_seconds.append(0.0)
        self._free_seconds.append(0.0)
        self._changed_begin_seconds.append(-1.0)
        self._changed_counts.append(0)
        self.pod_counts.append(0)

    def _advance(self, node: int, now: float) -> float:
        """Bring the node's current listing up to ``now``; return when it began."""
        begin = self._begin_seconds[node]
        following = begin + self._pause_seconds + self._list_seconds[node]
        if now < following:
            return begin
        seconds = self._runtime.relist_seconds(self.pod_counts[node])
        begin = following
        if begin == self._changed_begin_seconds[node]:
            looked_at = seconds + self._changed_counts[node] * self._inspect_seconds
            following = begin + self._pause_seconds + looked_at
            if now < following:
                self._begin_seconds[node] = begin
                self._list_seconds[node] = looked_at
                return begin
            begin = following
        cycle = self._pause_seconds + seconds
        begin += cycle * ((now - begin) // cycle)
        self._begin_seconds[node] = begin
        self._list_seconds[node] = seconds
        return begin

    def noticed_seconds(self, node: int, now: float) -> float:
        """When a change that happened now without a request is known to the pod's worker."""
        begin = self._advance(node, now)
        following = begin + self._pause_seconds + self._list_seconds[node]
        if self._changed_begin_seconds[node] != following:
            self._changed_begin_seconds[node] = following
            self._changed_counts[node] = 0
        self._changed_counts[node] += 1
        listing = self._runtime.relist_seconds(self.pod_counts[node])
        return following + listing + self._changed_counts[node] * self._inspect_seconds

    def requested_seconds(self, node: int, now: float) -> float:
        """When the worker knows of a change that it has asked PLEG to look at."""
        if not self._on_demand:
            return self.noticed_seconds(node, now)
        begin = self._advance(node, now)
        start = self._free_seconds[node]
        if start < now:
            start = now
        listed = begin + self._list_seconds[node]
        if start < listed:
            start = listed
        done = start + self._inspect_seconds
        self._free_seconds[node] = done
        return done
