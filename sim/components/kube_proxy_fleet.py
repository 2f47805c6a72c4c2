"""kube-proxy on every node, held as arrays: watch, bounded-frequency runner, rule syncs.

**Modelled:** Services and EndpointSlices delivered to each node at its own time; the runner
(first change after idle runs at once, then at least ``min_sync_period_seconds`` from the
*completion* of a sync to the start of the next); coalescing of everything that arrives before a
sync starts; partial, initial and periodic full syncs; large-cluster mode and its cleanup listing;
duration and CPU from the laws in `sim.costs.kube_proxy`; network programming latency per node.
**Not modelled:** conntrack flushing, topology hints, the health-check server.
**Source:** `facts/model.md` (f).

How the arrays work. Node i has at most one pending sync: its number ``_number[i]`` and start time
``_start[i]``. Changes arrive in batches with one delivery time per node, in order. For a batch,
nodes whose pending sync has started before the delivery are *closed* first: their sync's duration
follows from what it has coalesced. Then every node either joins its pending sync or opens the
next one. A change remembers, per node, the number of the sync that will program it; completions
are kept per node in a ring, so that a change's programming times are one gather once all nodes
have closed that sync. Work per batch is a fixed number of operations on arrays of n nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt

from sim.base.objects import APIObject, EndpointSlice, Key, Service
from sim.components.ports import APIEndpoint, FleetWatcher, WatchEvent
from sim.components.proxy_state import ProxyState, SliceChange
from sim.costs.kube_proxy import KubeProxyParams
from sim.costs.kube_proxy_payload import LARGE_CLUSTER_ENDPOINTS_COUNT, SyncLoad
from sim.engine.engine import Engine
from sim.engine.tables import Recorder

FloatArray = npt.NDArray[np.float64]

_RING_COUNT = 64
_JITTER_POOL_COUNT = 4096
_NO_SYNC = np.inf
_UPSTREAM = {"source": "upstream: kube-proxy configuration defaults"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeProxyFleetParams:
    """kube-proxy's configuration."""

    mode: Literal["iptables", "nftables", "ipvs"] = field(default="iptables", metadata=_UPSTREAM)
    iptables_backend: Literal["nf_tables", "legacy"] = field(
        default="nf_tables", metadata={"source": "iptables 1.8 of current distributions"}
    )
    min_sync_period_seconds: Annotated[float, Ge(0)] = field(default=1.0, metadata=_UPSTREAM)
    sync_period_seconds: Annotated[float, Gt(0)] = field(default=30.0, metadata=_UPSTREAM)
    full_sync_period_seconds: Annotated[float, Gt(0)] = field(
        default=3600.0, metadata={"source": "upstream: FullSyncPeriod"}
    )
    jitter: bool = True
    """Whether sync times scatter as measured (off for exact comparisons)."""


class _Change:
    """One slice or service change on its way to all nodes."""

    __slots__ = ("change", "numbers")

    def __init__(self, change: SliceChange, numbers: npt.NDArray[np.int64]) -> None:
        self.change = change
        self.numbers = numbers


class KubeProxyFleet:
    """All kube-proxies of a cluster."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        endpoint: APIEndpoint,
        params: KubeProxyFleetParams,
        law: KubeProxyParams,
        node_count: int,
    ) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._syncs = recorder["proxy_syncs"]
        self._programming = recorder["network_programming"]
        self._transitions = recorder["pod_transitions"]
        self.params = params
        self._law = law
        self._min_sync_seconds = 0.0 if params.mode == "ipvs" else params.min_sync_period_seconds
        self.node_count = node_count
        n = node_count
        self._number = np.zeros(n, dtype=np.int64)
        self._start: FloatArray = np.full(n, _NO_SYNC)
        self._free_at: FloatArray = np.full(n, -1.0e9)
        """Earliest start of each node's next sync: completion of the last + min sync period."""
        self._changed_services: FloatArray = np.zeros(n)
        self._changed_endpoints: FloatArray = np.zeros(n)
        self._stale_chains: FloatArray = np.zeros(n)
        self._initial: FloatArray = np.zeros(n)
        self._last_full: FloatArray = np.zeros(n)
        self._last_listing: FloatArray = np.zeros(n)
        self._ring: FloatArray = np.zeros((_RING_COUNT, n))
        self._closed_number = np.zeros(n, dtype=np.int64)
        self.cpu_seconds: FloatArray = np.zeros(n)
        """CPU used by each node's kube-proxy and its tools: (n_nodes,)."""
        self.sync_count = np.zeros(n, dtype=np.int64)
        self._order = np.arange(n)
        self._open: deque[_Change] = deque()
        self._last_change_of: dict[Key, _Change] = {}
        self._flush_at_seconds = np.inf
        self.state = ProxyState()
        pool = engine.stream("kube-proxy/jitter").generator().standard_normal(_JITTER_POOL_COUNT)
        self._normals: FloatArray = np.concatenate([pool, pool])
        self._normals_offset = 0
        self.connected = np.ones(n, dtype=np.bool_)

    def start(self) -> None:
        """Open the watches on Services and EndpointSlices."""
        for resource in ("services", "endpointslices"):
            watcher = FleetWatcher(
                "kube-proxy", resource, "all", self.node_count, deliver_all=self._deliver
            )
            watcher.connected = self.connected
            self._endpoint.watch_fleet(watcher)

    def preload(self, objects: Sequence[APIObject]) -> None:
        """Take Services and EndpointSlices whose rules are installed on every node already."""
        for item in objects:
            if isinstance(item, Service):
                self.state.service_changed(item, None)
        for item in objects:
            if isinstance(item, EndpointSlice):
                change = self.state.slice_changed(item, None, 0.0)
                if change is not None:
                    self.state.commit(change)

    def disconnect(self, node_index: int) -> None:
        """A node died: its kube-proxy hears and does nothing until `reconnect`."""
        self.connected[node_index] = False

    def reconnect(self, node_index: int) -> None:
        """A node is back: list, then one initial full sync."""
        self.connected[node_index] = True
        self._initial[node_index] = 1.0
        if self._start[node_index] == _NO_SYNC:
            self._number[node_index] += 1
            self._start[node_index] = self._engine.now
            self._schedule_flush(self._engine.now)

    # Changes arrive.

    def _deliver(self, events: Sequence[WatchEvent], times_seconds: FloatArray) -> None:
        changes = []
        for event in events:
            old = event.old
            new = None if event.type == "DELETED" else event.new
            change = (
                self.state.service_changed(new, old)
                if event.resource == "services"
                else self.state.slice_changed(new, old, event.commit_seconds)
            )
            if change is not None:
                changes.append(change)
        if changes:
            self.apply(changes, times_seconds)

    def apply(self, changes: Sequence[SliceChange], times_seconds: FloatArray) -> None:
        """Let changes reach node i at ``times_seconds[i]``; (n_nodes,) float64, absolute."""
        late = self._start < times_seconds
        if late.any():
            self._close(late)
        opens = self._start == _NO_SYNC
        if not self.connected.all():
            opens &= self.connected
        np.copyto(self._start, np.maximum(times_seconds, self._free_at), where=opens)
        self._number += opens
        numbers = self._number.copy()
        for change in changes:
            self.state.commit(change)
            previous = self._last_change_of.get(change.service)
            if previous is None:
                self._changed_services += change.port_count
                self._changed_endpoints += change.endpoint_count
            else:
                fresh = previous.numbers != numbers
                self._changed_services += change.port_count * fresh
                np.copyto(
                    self._changed_endpoints,
                    self._changed_endpoints + change.endpoint_count,
                    where=fresh,
                )
            self._stale_chains += change.removed_count
            item = _Change(change, numbers)
            self._last_change_of[change.service] = item
            self._open.append(item)
        self._schedule_flush(float(self._start[self.connected].max(initial=0.0)))

    # Syncs.

    def _load(self, nodes: npt.NDArray[np.bool_], start: FloatArray) -> SyncLoad:
        state = self.state
        full = self._initial[nodes]
        listing: FloatArray | float = 0.0
        if self.params.mode == "iptables":
            if state.endpoints_count <= LARGE_CLUSTER_ENDPOINTS_COUNT:
                listing = 1.0
                due = start - self._last_full[nodes] > self.params.full_sync_period_seconds
                full = np.maximum(full, due)
            else:
                since = start - self._last_listing[nodes]
                listing = (since > self.params.sync_period_seconds).astype(np.float64)
        elif self.params.mode == "ipvs":
            full = np.ones_like(full)
        return SyncLoad(
            services_count=float(state.service_ports_count),
            endpoints_count=float(state.endpoints_count),
            changed_services_count=self._changed_services[nodes],
            changed_endpoints_count=self._changed_endpoints[nodes],
            stale_chains_count=self._stale_chains[nodes] * listing,
            full=full,
            initial=self._initial[nodes],
            cleanup_listing=listing,
        )

    def _close(self, nodes: npt.NDArray[np.bool_]) -> None:
        """Decide the duration of the pending syncs of these nodes: (n_nodes,) bool."""
        start = self._start[nodes]
        count = len(start)
        load = self._load(nodes, start)
        params = self.params
        normals: FloatArray | None = None
        if params.jitter:
            offset = self._normals_offset
            if count <= _JITTER_POOL_COUNT:
                normals = self._normals[offset : offset + count]
            else:
                normals = np.resize(self._normals[offset:], count)
            self._normals_offset = (offset + count) % _JITTER_POOL_COUNT
        seconds: Any = self._law.sync_seconds(
            load, params.mode, params.iptables_backend, normals=normals
        )
        seconds = np.broadcast_to(seconds, (count,))
        done = start + seconds
        number = self._number[nodes]
        self._ring[number % _RING_COUNT, self._order[nodes]] = done
        self._closed_number[nodes] = number
        self._free_at[nodes] = done + self._min_sync_seconds
        self._start[nodes] = _NO_SYNC
        self.cpu_seconds[nodes] += self._law.sync_cpu_seconds(
            load, params.mode, params.iptables_backend
        )
        self.sync_count[nodes] += 1
        full = np.broadcast_to(np.asarray(load.full), (count,))
        self._last_full[nodes] = np.where(full > 0.0, start, self._last_full[nodes])
        listing = np.broadcast_to(np.asarray(load.cleanup_listing), (count,))
        self._last_listing[nodes] = np.where(listing > 0.0, start, self._last_listing[nodes])
        changed = float(self._changed_services[nodes].mean())
        self._changed_services[nodes] = 0.0
        self._changed_endpoints[nodes] = 0.0
        self._stale_chains[nodes] *= 1.0 - listing
        self._initial[nodes] = 0.0
        self._syncs.append(
            (
                float(start.min()),
                count,
                "full" if full.mean() > 0.5 else "partial",
                changed,
                float(np.median(seconds)),
                float(seconds.max()),
                self.state.service_ports_count,
                self.state.endpoints_count,
            )
        )
        self._publish()

    def _schedule_flush(self, time_seconds: float) -> None:
        """Close what no later change will close: once the last pending sync has started."""
        if time_seconds < self._flush_at_seconds:
            self._flush_at_seconds = time_seconds
            self._engine.call_at(time_seconds + 1e-6, self._flush)

    def _flush(self, _: None) -> None:
        self._flush_at_seconds = np.inf
        now = self._engine.now
        due = self._start <= now
        if due.any():
            self._close(due)
        waiting = self._start[np.isfinite(self._start)]
        if len(waiting):
            self._schedule_flush(float(waiting.max()))

    # Results.

    def _publish(self) -> None:
        """Write down the changes whose sync has been closed on every connected node."""
        connected = self.connected
        everyone = bool(connected.all())
        while self._open:
            item = self._open[0]
            closed = self._closed_number >= item.numbers
            if not (closed.all() if everyone else closed[connected].all()):
                return
            self._open.popleft()
            if self._last_change_of.get(item.change.service) is item:
                del self._last_change_of[item.change.service]
            done = self._ring[item.numbers % _RING_COUNT, self._order]
            if not everyone:
                done = done[connected]
            if len(done):
                self._write(item.change, np.sort(done))

    def _write(self, change: SliceChange, done: FloatArray) -> None:
        n = len(done)
        half = float(done[(n - 1) // 2])
        most = float(done[min(n - 1, int(np.ceil(0.99 * n)) - 1)])
        last = float(done[-1])
        trigger = change.trigger_seconds
        if trigger >= 0.0:
            namespace, name = change.service
            self._programming.append(
                (
                    trigger,
                    namespace,
                    name,
                    change.commit_seconds - trigger,
                    half - trigger,
                    most - trigger,
                    last - trigger,
                    n,
                )
            )
        for uid in change.added_uids:
            self._transitions.append((half, uid, "programmed_50", ""))
            self._transitions.append((most, uid, "programmed_99", ""))
            self._transitions.append((last, uid, "programmed_100", ""))

    def check(self) -> list[str]:
        """Return broken invariants: no node may start a sync before its runner allows it."""
        problems = []
        pending = np.isfinite(self._start)
        if (self._start[pending] < self._free_at[pending] - 1e-9).any():
            problems.append("kube-proxy: a sync starts before min sync period has passed")
        if (self._closed_number > self._number).any():
            problems.append("kube-proxy: a sync was closed that never opened")
        return problems
