"""The pod network: CNI on every node, and the agents that make nodes reach each other.

**Modelled:** CNI ADD and DEL with the contention of concurrent set-ups; host-local addresses from
the node's CIDRs; one agent per node that writes its backend data into its Node object and keeps,
for every other node, a neighbour entry, an FDB entry and a route (VXLAN), a route (BGP) or nothing
(cloud routes, made outside the nodes); entries disappear again when a node leaves.
**Not modelled:** packet loss, bandwidth between pods, ARP time-outs, agents that resync.
**Source:** `facts/model.md` (i), a.3; laws of `sim.costs.overlay`.

Streams: ``overlay/cni``, ``overlay/cni-del``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.base.api_object import APIObject
from sim.base.objects import Node
from sim.components.kubelet_client import FleetClient, FleetIdentities
from sim.components.node_cpu import NodeCPUs
from sim.components.overlay_ipam import AddressPool
from sim.components.overlay_params import OverlayParams
from sim.components.ports import APIEndpoint, FleetWatcher, Request, WatchEvent
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder

FloatArray = npt.NDArray[np.float64]

_QUANTILE_COUNT: Final = 1024
_SHAPE_CONCURRENCY_MAX: Final = 4
_BEFORE: Final = -1.0
"""Entries that were there before the run started."""


class PodNetworkCosts:
    """The law of CNI ADD and DEL as tables, so that one call costs a look-up."""

    def __init__(self, law: PodNetworkParams) -> None:
        self._law = law
        self._plugins_seconds = law.cni_plugin_process_seconds * law.cni_plugins_count
        self._medians: dict[tuple[int, int], float] = {}
        grid = (np.arange(_QUANTILE_COUNT) + 0.5) / _QUANTILE_COUNT
        self._ratios: list[list[float]] = []
        for concurrency in range(1, _SHAPE_CONCURRENCY_MAX + 1):
            ratios = np.asarray(law.total_shape.quantile_ratio(grid, float(concurrency)))
            self._ratios.append(np.broadcast_to(ratios, grid.shape).tolist())
        deletions = np.broadcast_to(np.asarray(law.cni_del_seconds(grid)), grid.shape)
        self._deletions: list[float] = deletions.tolist()

    def add_seconds(self, existing_count: int, concurrency_count: int, uniform: float) -> float:
        """One CNI ADD on a node with that many addresses in use and set-ups in progress."""
        key = (existing_count, concurrency_count)
        median = self._medians.get(key)
        if median is None:
            law = self._law
            concurrency = float(concurrency_count)
            mean = law.pod_setup_mean_seconds(float(existing_count), concurrency)
            median = float(mean) / law.total_shape.mean_ratio(concurrency)
            self._medians[key] = median
        shape = self._ratios[min(concurrency_count, _SHAPE_CONCURRENCY_MAX) - 1]
        return self._plugins_seconds + median * shape[int(uniform * _QUANTILE_COUNT)]

    def del_seconds(self, uniform: float) -> float:
        """One CNI DEL."""
        return self._deletions[int(uniform * _QUANTILE_COUNT)]


class Overlay:
    """CNI, addresses and overlay agents of all nodes, by node index."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        endpoint: APIEndpoint,
        params: OverlayParams,
        network_law: PodNetworkParams,
        remote_law: RemoteNodeParams,
        node_count_max: int,
    ) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._faults = recorder["faults"]
        self._transitions = recorder["node_transitions"]
        self._costs = PodNetworkCosts(network_law)
        self._remote_law = remote_law
        self._add_stream = engine.stream("overlay/cni")
        self._del_stream = engine.stream("overlay/cni-del")
        self.params = params
        self.identities = FleetIdentities(
            engine,
            endpoint,
            name=params.agent_user,
            user_prefix=params.agent_user,
            groups=params.agent_groups,
        )
        self._client = FleetClient(self.identities, params.agent_qps, params.agent_burst)
        self.node_count_max = node_count_max
        self.names: list[str] = []
        self.index_by_name: dict[str, int] = {}
        self.pools: list[tuple[AddressPool, ...]] = []
        """One pool per address family and node; empty without a CIDR."""
        self.agent_ready = np.zeros(node_count_max, dtype=np.bool_)
        """Whether the node's CNI is configured and its agent runs: (n_nodes,) bool."""
        self.adding_counts: list[int] = []
        """CNI ADD calls in progress, by node."""
        self._published = np.zeros(node_count_max, dtype=np.bool_)
        """Nodes whose backend data the agents know: (n_nodes,) bool."""
        self._agent_free_seconds = np.zeros(node_count_max)
        self._columns: dict[int, FloatArray] = {}
        """Remote node that joined in this run → when each member had its entries."""
        self._rows: dict[int, FloatArray] = {}
        """Agent that started in this run → when it had the entries of each remote node."""
        self._removed: dict[int, FloatArray] = {}
        self._joining: set[int] = set()
        """Nodes that joined, until all others have their entries."""
        self.family_count = 1
        """Address families; entries for a remote node are written once for each."""
        self.entry_count = 0
        """Entries written on all nodes (neighbours, FDB entries and routes)."""
        self.cpu_seconds = np.zeros(node_count_max)
        """CPU spent on entries, by node."""
        self.watcher: FleetWatcher | None = None
        self.cpus: NodeCPUs | None = None
        """Cores of the nodes, for the plugin processes; None for nodes never short of them."""

    # nodes

    def start(self) -> None:
        """Open the agents' watches of all nodes."""
        if self.params.backend == "cloud-routes":
            return
        watcher = FleetWatcher(
            "overlay-agent", "nodes", "all", self.node_count_max, deliver_all=self._deliver
        )
        watcher.is_old_news = self._is_old_news
        watcher.connected[:] = self.agent_ready
        self.watcher = watcher
        self._endpoint.watch_fleet(watcher)

    def add_node(self, name: str, pod_cidrs: Sequence[str], *, running: bool) -> int:
        """Add a node; ``running`` says that its agent and all entries exist already."""
        index = len(self.names)
        assert index < self.node_count_max, "more nodes than were announced"
        self.names.append(name)
        self.index_by_name[name] = index
        self.pools.append(())
        self.adding_counts.append(0)
        self.identities.add(name)
        self._client.add()
        if pod_cidrs:
            self.set_cidrs(index, pod_cidrs)
        if running:
            self.agent_ready[index] = True
            self._published[index] = True
        return index

    def set_cidrs(self, node: int, pod_cidrs: Sequence[str]) -> None:
        """The node IPAM controller has allocated the node's ranges."""
        if not self.pools[node]:
            self.pools[node] = tuple(AddressPool(cidr) for cidr in pod_cidrs)
            self.family_count = max(self.family_count, len(pod_cidrs))

    def has_cidr(self, node: int) -> bool:
        """Whether the node has a range to take addresses from."""
        return bool(self.pools[node])

    def start_agent(self, node: int) -> None:
        """The agent of a node comes up: writes its backend data, reads all nodes, programs them."""
        now = self._engine.now
        self.agent_ready[node] = True
        self._step(node, now, "agent_started")
        if self.watcher is not None:
            self.watcher.connected[node] = True
        if self.params.backend == "cloud-routes":
            ready = now + self._remote_law.cloud_route_seconds
            self._columns[node] = np.full(self.node_count_max, ready)
            self._joining.add(node)
            self._write_programmed(node)
            return
        others = np.flatnonzero(self._published)
        others = others[others != node]
        row = np.full(self.node_count_max, np.inf)
        if len(others):
            whole = self._full_seconds(len(others))
            row[others] = now + whole * np.arange(1, len(others) + 1) / len(others)
            self._agent_free_seconds[node] = now + whole
            self.cpu_seconds[node] += whole
            self.entry_count += len(others) * self._entries_per_node
        self._step(
            node, max(now, float(self._agent_free_seconds[node])), "reaches_all", len(others)
        )
        self._rows[node] = row
        for remote, column in self._columns.items():
            if row[remote] < np.inf:
                column[node] = row[remote]
                if remote in self._joining:
                    self._write_programmed(remote)
        name = self.names[node]
        self._client.submit(
            node, Request("patch", "nodes", "", name, mutate=_annotate, then=self._annotated)
        )

    def _step(self, node: int, time_seconds: float, what: str, count: int = 0) -> None:
        """Write down a step of a node's way into the network."""
        detail = f"{count} nodes" if count else ""
        self._transitions.append((time_seconds, self.names[node], what, detail))

    def _write_programmed(self, node: int) -> None:
        """Write down when half, 99 % and all of the others had a node's entries, once all have."""
        others = self.agent_ready.copy()
        others[node] = False
        done = self._columns[node][others]
        count = len(done)
        if count == 0 or not np.isfinite(done).all():
            return
        self._joining.discard(node)
        done = np.sort(done)
        for what, share in (("programmed_50", 50), ("programmed_99", 99), ("programmed_100", 100)):
            at = max(0, -(-share * count // 100) - 1)  # nearest rank
            self._step(node, float(done[at]), what, count)

    def _annotated(self, request: Request) -> None:
        if not request.ok and request.code != 404:
            self._engine.call_later(1.0, self._annotate_again, request.client.index)

    def _annotate_again(self, node: int) -> None:
        name = self.names[node]
        self._client.submit(
            node, Request("patch", "nodes", "", name, mutate=_annotate, then=self._annotated)
        )

    def stop_agent(self, node: int) -> None:
        """The node crashed: its agent hears nothing and its set-ups are lost."""
        self.agent_ready[node] = False
        if self.watcher is not None:
            self.watcher.connected[node] = False
        self.adding_counts[node] = 0

    @property
    def _entries_per_node(self) -> int:
        return self.family_count * (3 if self.params.backend == "vxlan" else 1)

    def _full_seconds(self, remote_count: int) -> float:
        law = self._remote_law
        if self.params.backend == "bgp":
            return self.family_count * law.bgp_route_seconds * remote_count
        return self.family_count * float(law.full_programming_seconds(remote_count))

    def _one_seconds(self, present_count: int) -> float:
        law = self._remote_law
        if self.params.backend == "bgp":
            return self.family_count * law.bgp_route_seconds
        return self.family_count * float(law.node_joined_seconds(present_count))

    def _is_old_news(self, events: Sequence[WatchEvent]) -> bool:
        """Whether every agent has the entries of these nodes already: they are mere heartbeats."""
        for event in events:
            index = self.index_by_name.get(event.new.name, -1)
            if index >= 0 and (
                event.type == "DELETED" or not self._published[index] or index in self._columns
            ):
                return False
        return True

    def _deliver(self, events: Sequence[WatchEvent], times_seconds: FloatArray) -> None:
        """Node events have reached agents; infinity: another call serves that agent."""
        for event in events:
            new = event.new
            assert isinstance(new, Node)
            index = self.index_by_name.get(new.name, -1)
            if index < 0:
                continue
            if event.type == "DELETED":
                if self._published[index]:
                    self._published[index] = False
                    self._columns.pop(index, None)
                    self._joining.discard(index)
                    self._removed[index] = np.full(self.node_count_max, np.inf)
                if index in self._removed:
                    self._program(index, self._removed[index], times_seconds)
            elif new.backend_annotated and new.pod_cidr:
                if not self._published[index]:
                    self._published[index] = True
                    self._removed.pop(index, None)
                    self._columns[index] = np.full(self.node_count_max, np.inf)
                    self._joining.add(index)
                if index in self._columns:
                    self._program(index, self._columns[index], times_seconds)
                    if index in self._joining:
                        self._write_programmed(index)

    def _program(self, index: int, done: FloatArray, times_seconds: FloatArray) -> None:
        """Change one remote node's entries on every agent that has just heard of it.

        ``done`` : (n_nodes,) float64 seconds, infinity where not done; modified.
        """
        members = self.agent_ready & (done == np.inf) & (times_seconds < np.inf)
        members[index] = False
        if not members.any():
            return
        cost = self._one_seconds(int(self._published.sum()))
        free = self._agent_free_seconds
        finished = np.maximum(times_seconds[members], free[members]) + cost
        done[members] = finished
        free[members] = finished
        self.cpu_seconds[members] += cost
        self.entry_count += int(members.sum()) * self._entries_per_node

    def entry_seconds(self, node: int, remote: int) -> float:
        """When a node had the entries of a remote node; infinity if it has not, -1 from before."""
        if node == remote:
            return _BEFORE
        if remote in self._removed:
            return float("inf")
        column = self._columns.get(remote)
        if self.params.backend == "cloud-routes":
            if column is None:
                return _BEFORE if self._published[remote] else float("inf")
            return float(column[node])
        row = self._rows.get(node)
        if row is not None and np.isfinite(row[remote]):
            return float(row[remote])
        if column is not None:
            return float(column[node])
        return _BEFORE if row is None and self._published[remote] else float("inf")

    def reachable(self, node_a: int, node_b: int, time_seconds: float) -> bool:
        """Whether pods of two nodes reach each other at a time: entries present on both."""
        return (
            self.entry_seconds(node_a, node_b) <= time_seconds
            and self.entry_seconds(node_b, node_a) <= time_seconds
        )

    def programmed_seconds(self, node: int) -> FloatArray:
        """When each other running node had the entries of a node that joined: sorted, seconds."""
        column = self._columns.get(node)
        if column is None:
            return np.empty(0)
        return np.sort(column[np.isfinite(column)])

    # pods

    def cni_add(self, node: int) -> tuple[float, str, str]:
        """Begin a CNI ADD: (duration in seconds, address, second address); no address if full.

        Call `cni_added` when the duration is over.
        """
        self.adding_counts[node] += 1
        pools = self.pools[node]
        existing = pools[0].taken_count if pools else 0
        seconds = self._costs.add_seconds(
            existing, self.adding_counts[node], self._add_stream.uniform()
        )
        if self.cpus is not None:
            seconds *= self.cpus.call_stretch(node, self._engine.now)
        if not pools:
            return seconds, "", ""
        address = pools[0].allocate()
        second = pools[1].allocate() if len(pools) > 1 and address else ""
        return seconds, address, second

    def cni_added(self, node: int) -> None:
        """A CNI ADD is over."""
        if self.adding_counts[node]:
            self.adding_counts[node] -= 1

    def cni_del_seconds(self) -> float:
        """Duration of a CNI DEL."""
        return self._costs.del_seconds(self._del_stream.uniform())

    def take(self, node: int, address: str) -> bool:
        """Take the address of a pod that runs already."""
        pools = self.pools[node]
        return bool(pools) and pools[0].take(address)

    def release(self, node: int, address: str, second: str) -> None:
        """Give a pod's addresses back."""
        pools = self.pools[node]
        if address and pools:
            pools[0].release(address)
        if second:
            pools[1].release(second)


def _annotate(current: APIObject) -> APIObject:
    assert isinstance(current, Node)
    if current.backend_annotated:
        return current
    new = current.clone()
    new.backend_annotated = True
    return new
