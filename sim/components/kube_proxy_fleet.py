"""kube-proxy on every node, held as arrays: watch, bounded-frequency runner, rule syncs.

**Modelled:** Services and EndpointSlices delivered to each node at its own time (what is sent to a
node later arrives later; any number of apiserver replicas); the runner (first change after idle
runs at once, then at least ``min_sync_period_seconds`` from the *completion* of a sync to the start
of the next, a timer without changes, a retry after a failed run); coalescing of everything that
arrives before a sync starts; partial, initial and periodic full syncs; large-cluster mode and its
clean-up listing; nodes that join, die and come back; duration and CPU from the laws in
`sim.costs.kube_proxy`; network programming latency per node.
**Not modelled:** conntrack flushing, topology hints, the health-check server, waits for the
xtables lock.
**Source:** `facts/model.md` (f). The readable twin is `sim.components.kube_proxy_reference`.

How the arrays work. Node i has one next sync: its start (that of a timer as long as nothing is
requested) and its number. Changes arrive in batches with one delivery time per node. For a batch,
nodes whose next sync starts before the delivery are *closed* first: their sync's duration follows
from what it has coalesced. Then every node joins the sync requested already or requests the next
one. A change remembers, per node, the number of the sync that will program it; completions are
kept per node in a ring, so a change's programming times are one gather once all nodes have closed
that sync. Work per batch is a fixed number of operations on arrays of n nodes; without changes
there is one event per window of timers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from sim.base.api_object import APIObject, Key
from sim.base.objects import EndpointSlice, Service
from sim.components.client import Client
from sim.components.kube_proxy_arrays import first_true
from sim.components.kube_proxy_params import KubeProxyFleetParams
from sim.components.kube_proxy_runners import (
    BoolArray,
    FloatArray,
    IntArray,
    Numbers,
    ProxyRunners,
)
from sim.components.node_cpu import NodeCPUs
from sim.components.ports import APIEndpoint, FleetWatcher, Request, WatchEvent
from sim.components.proxy_state import NO_COUNTS, SERVICES, ProxyState, RuleChange
from sim.costs.kube_proxy import (
    KubeProxyParams,
    iptables_total_chains_count,
    iptables_total_rules_count,
    nftables_total_chains_count,
    nftables_total_rules_count,
)
from sim.engine.engine import Call, Engine
from sim.engine.tables import Recorder

__all__ = ["KubeProxyFleet", "KubeProxyFleetParams"]

_NEVER: Final = float("inf")
_RESOURCES: Final = ("services", "endpointslices")
_KNOWN_EVENTS_COUNT: Final = 8192
_UNDELIVERED_SECONDS: Final = 60.0
_DETAILED_SWITCHES_COUNT: Final = 256
_GROWTH_RATIO: Final = 0.125
_FLUSH_SECONDS: Final = 2.0
"""Syncs that no later change decides are decided so much later at most."""
_AFTER_SECONDS: Final = 1e-6
"""A sync is closed just after its start: what arrives at the same instant is part of it."""
_LIST_RETRY_SECONDS: Final = 0.8
"""First back-off of a failed list. **Source:** `facts/model.md` c.5."""


class _Item:
    """One change of rules on its way to all nodes."""

    __slots__ = ("change", "done", "done_last_seconds", "numbers", "previous", "turns_on", "whole")

    def __init__(self, change: RuleChange, previous: _Item | None) -> None:
        self.change = change
        self.previous = previous
        """The change of the same Service before this one, while some node has yet to act on it."""
        self.numbers: Numbers | None = None
        """Which sync of each node acts on the change: (n_nodes,), -1 for not delivered."""
        self.whole = False
        """Delivered to all nodes at once; ``numbers`` is shared with other changes."""
        was, now = change.before[SERVICES] > 0.0, change.after[SERVICES] > 0.0
        self.turns_on: bool | None = now if was != now else None
        """Whether the Service begins (or ceases, False) to have endpoints."""
        self.done: FloatArray | None = None
        self.done_last_seconds = _NEVER


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
        *,
        client: Client | None = None,
        cpus: NodeCPUs | None = None,
    ) -> None:
        """Make the proxies of ``node_count`` nodes, their rules installed.

        Args:
            engine: the clock.
            recorder: takes proxy_syncs, network_programming and pod_transitions.
            endpoint: where the watches are opened.
            params: kube-proxy's configuration.
            law: what syncs cost.
            node_count: nodes at the start; `add_node` adds more.
            client: sends the LISTs of nodes that join or come back; without one the initial
                state is there at once.
            cpus: cores of the nodes, shared with pods and kubelets; without, always enough.
        """
        self._engine = engine
        self._endpoint = endpoint
        self._client = client
        self._programming = recorder["network_programming"]
        self._transitions = recorder["pod_transitions"]
        self.params = params
        self.node_count = node_count
        """Nodes ever added; their indices are 0 … node_count - 1."""
        self.state = ProxyState(params.mode)
        self.runners = ProxyRunners(
            params, law, self.state, node_count, engine.stream("kube-proxy/jitter"),
            recorder["proxy_syncs"], cpus,
        )  # fmt: skip
        if cpus is not None:
            cpus.before_looking = self.runners.settle
        self.connected: BoolArray = np.ones(node_count, dtype=np.bool_)
        """Whether a node's kube-proxy runs and watches: (capacity,) bool."""
        self._everyone = True
        self._joined_at: FloatArray = np.full(node_count, -1.0)
        self._joined_last_seconds = -1.0
        self._generation: dict[int, int] = {}
        """How often a node has died; answers to an earlier life are void."""
        self._watchers: list[FleetWatcher] = []
        self._known: dict[tuple[str, int], _Item | None] = {}
        self._open: deque[_Item] = deque()
        self._last_of: dict[Key, _Item] = {}
        self._switches: dict[Key, list[_Item]] = {}
        self._detailed: deque[_Item] = deque()
        self._published: tuple[Numbers | None, float, float, float, int] = (None, 0.0, 0.0, 0.0, 0)
        self._flush_call: Call | None = None
        self._flush_seconds = _NEVER
        self._last_closed_index = 0
        """A node that some change was seen to wait for; others probably wait for it too."""
        self._delivery_count = 0
        self.change_count = 0
        """Changes of rules so far (each on its way to every node)."""
        self.published_count = 0

    # Life cycle.

    @property
    def cpu_seconds(self) -> FloatArray:
        """CPU used by each node's kube-proxy and its tools: (capacity,)."""
        self.runners.settle()
        return self.runners.cpu_seconds

    @property
    def sync_count(self) -> IntArray:
        """Syncs of each node: (capacity,)."""
        self.runners.settle()
        return self.runners.sync_count

    def start(self) -> None:
        """Open the watches on Services and EndpointSlices."""
        for resource in _RESOURCES:
            watcher = FleetWatcher(
                "kube-proxy", resource, "all", self.runners.capacity, deliver_all=self._deliver
            )
            watcher.connected = self.connected
            self._watchers.append(watcher)
            self._endpoint.watch_fleet(watcher)
        self._arm()

    def preload(self, objects: Sequence[APIObject]) -> None:
        """Take Services and EndpointSlices whose rules are installed on every node already."""
        for kind in (Service, EndpointSlice):
            for item in objects:
                if isinstance(item, kind):
                    self.state.object_changed(item, item)
        self.runners.preload()

    def add_node(self) -> int:
        """A node joins: list, then one initial full sync. Return its index."""
        index = self.node_count
        self.node_count += 1
        if index >= self.runners.capacity:
            self._grow(index + 1 + int(index * _GROWTH_RATIO))
        self.connected[index] = False
        self.reconnect(index)
        return index

    def disconnect(self, node_index: int) -> None:
        """A node died or left: its kube-proxy hears and does nothing until `reconnect`."""
        self.connected[node_index] = False
        self._everyone = False
        self._generation[node_index] = self._generation.get(node_index, 0) + 1
        self.runners.stop(node_index, self._engine.now)
        self._publish()

    def reconnect(self, node_index: int, *, rules_lost: bool = True) -> None:
        """A node's kube-proxy starts: list, then a full sync (an initial one if rules are lost)."""
        generation = self._generation.get(node_index, 0)
        if self._client is None:
            self._begin(node_index, rules_lost=rules_lost)
            return
        waiting = list(_RESOURCES)

        def listed(request: Request) -> None:
            if self._generation.get(node_index, 0) != generation:
                return
            if not request.ok:
                again = request.resource
                self._engine.call_later(_LIST_RETRY_SECONDS, lambda _: self._list(again, listed))
                return
            waiting.remove(request.resource)
            if not waiting:
                self._begin(node_index, rules_lost=rules_lost)

        for resource in _RESOURCES:
            self._list(resource, listed)

    def _list(self, resource: str, then: Callable[[Request], None]) -> None:
        assert self._client is not None
        self._client.submit(Request("list", resource, list_mode="cache", then=then))

    def fail_next(self, node_index: int) -> None:
        """Let the next sync of a node fail; it is retried as kube-proxy does."""
        self.runners.fail_next(node_index)

    def _begin(self, node_index: int, *, rules_lost: bool) -> None:
        now = self._engine.now
        if not self.runners.uniform:
            self._forget_undelivered(node_index)
        self.connected[node_index] = True
        self._everyone = bool(self.connected[: self.node_count].all())
        self._everyone &= self.node_count == self.runners.capacity
        self._joined_at[node_index] = now
        self._joined_last_seconds = now
        self.runners.begin(node_index, now, rules_lost=rules_lost)
        self._arm()

    def _forget_undelivered(self, node_index: int) -> None:
        """Changes that the node's list holds already will not count again for it."""
        for item in self._open:
            if item.numbers is not None and item.numbers[node_index] < 0:
                assert not item.whole
                item.numbers[node_index] = 0

    def _grow(self, capacity: int) -> None:
        more = capacity - self.runners.capacity
        self.runners.grow(capacity)
        self.connected = np.concatenate([self.connected, np.zeros(more, dtype=np.bool_)])
        self._joined_at = np.concatenate([self._joined_at, np.full(more, -1.0)])
        self._everyone = False
        for item in [*self._open, *self._detailed]:
            if item.numbers is not None:
                absent = np.full(more, -1, dtype=np.int32)
                item.numbers = np.concatenate([item.numbers, absent])
                item.whole = False
            if item.done is not None:
                item.done = np.concatenate([item.done, np.full(more, _NEVER)])
        self._published = (None, 0.0, 0.0, 0.0, 0)
        for watcher in self._watchers:
            replicas = int(watcher.replica_index.max(initial=0)) + 1
            new = np.arange(watcher.member_count, capacity, dtype=np.int64) % replicas
            watcher.replica_index = np.concatenate([watcher.replica_index, new.astype(np.int8)])
            watcher.member_count = capacity
            watcher.connected = self.connected

    # Changes arrive.

    def _deliver(self, events: Sequence[WatchEvent], times_seconds: FloatArray) -> None:
        """Take events that reach node i at ``times_seconds[i]``, infinite for never (from here)."""
        mask, uneven = self._mask(times_seconds)
        if len(times_seconds) < self.runners.capacity:
            missing = self.runners.capacity - len(times_seconds)
            times_seconds = np.concatenate([times_seconds, np.full(missing, _NEVER)])
        if uneven:
            self.runners.make_uneven()
        times = self.runners.advance(times_seconds, mask)
        items: list[tuple[_Item, bool]] = []
        for event in events:
            key = (event.resource, event.revision)
            if key in self._known:
                item = self._known[key]
                if item is not None:
                    items.append((item, False))
                continue
            change = self.state.change_of(event)
            item = None
            if change is not None:
                item = _Item(change, self._last_of.get(change.service))
                self._open_item(item)
                items.append((item, True))
            self._known[key] = item
        while len(self._known) > _KNOWN_EVENTS_COUNT:
            del self._known[next(iter(self._known))]
        if items:
            numbers = self.runners.request(times, mask)
            for item, fresh in items:
                self._stamp(item, numbers, mask, fresh=fresh)
            if self.runners.opened:
                self._arm()
        self._publish()

    def _mask(self, times_seconds: FloatArray) -> tuple[BoolArray | None, bool]:
        """Return the nodes reached (None: all) and whether others with a kube-proxy are not."""
        if self._everyone and float(np.maximum.reduce(times_seconds)) < _NEVER:
            return None, False
        mask = np.isfinite(times_seconds)
        if len(mask) < self.runners.capacity:
            missing = self.runners.capacity - len(mask)
            mask = np.concatenate([mask, np.zeros(missing, dtype=np.bool_)])
        mask &= self.connected
        return mask, not np.array_equal(mask, self.connected)

    def _open_item(self, item: _Item) -> None:
        self.change_count += 1
        self._open.append(item)
        service = item.change.service
        self._last_of[service] = item
        if item.turns_on is not None:
            self._switches.setdefault(service, []).append(item)
            del self._switches[service][:-2]

    def _stamp(self, item: _Item, numbers: Numbers, mask: BoolArray | None, *, fresh: bool) -> None:
        """Let a change be part of the next sync of the nodes of ``mask``."""
        change, runners = item.change, self.runners
        if fresh:
            item.whole = mask is None
            item.numbers = numbers if mask is None else np.where(mask, numbers, -1)
        elif item.numbers is None or item.whole:
            return
        else:
            missing = item.numbers < 0
            mask = missing if mask is None else mask & missing
            np.copyto(item.numbers, numbers, where=mask)
        if not runners.uniform:
            runners.add_totals(change.before, change.after, self._unaware(item, mask, fresh=fresh))
        previous = item.previous
        known = None
        counts = NO_COUNTS
        if previous is not None and previous.numbers is not None:
            counts = previous.change.after
            known = previous.numbers == numbers
        runners.add_changed(change.after, counts, known, mask, change.stale_count)

    def _unaware(self, item: _Item, mask: BoolArray | None, *, fresh: bool) -> BoolArray | None:
        """Return which nodes learn of a change now: not those whose list held it already."""
        if self._joined_last_seconds <= item.change.commit_seconds:
            return mask
        listed = self.connected & (self._joined_at > item.change.commit_seconds)
        reached = self.connected if mask is None else mask
        return reached | listed if fresh else reached & ~listed

    def _arm(self) -> None:
        """Close at some time what no later change will close."""
        soon = self._engine.now + _FLUSH_SECONDS
        if self._flush_call is not None and self._flush_seconds <= soon:
            return
        time = self.runners.next_flush_seconds()
        if self._flush_call is not None:
            if self._flush_seconds <= time:
                return
            self._flush_call.cancel()
        self._flush_seconds = time
        self._flush_call = None
        if np.isfinite(time):
            self._flush_call = self._engine.call_at(time + _AFTER_SECONDS, self._flush)

    def _flush(self, _: None) -> None:
        self._flush_call = None
        self.runners.settle()
        due = self.runners.start < self._engine.now
        if due.any():
            self.runners.close(due)
        self._publish()
        self._arm()

    # Results.

    def _publish(self) -> None:
        """Write down the changes whose sync has been closed on every connected node."""
        self._delivery_count += 1
        if self._open and self._delivery_count % 16 == 0:
            numbers = self._open[0].numbers
            assert numbers is not None
            self.runners.keep_numbers(numbers, self.connected)
        while self._open:
            item = self._open[0]
            if item.numbers is not self._published[0] and not self._measure(item):
                return
            self._open.popleft()
            item.previous = None
            self.published_count += 1
            if self._last_of.get(item.change.service) is item:
                del self._last_of[item.change.service]
            self._write(item.change)
            if item.turns_on is not None:
                self._keep(item)
            item.numbers = None

    def _measure(self, item: _Item) -> bool:
        """Find the programming times of a change; False while they are not known everywhere."""
        numbers, runners = item.numbers, self.runners
        assert numbers is not None
        if item.whole and self._everyone:
            last = self._last_closed_index
            if runners.closed_number[last] < numbers[last]:
                return False
            open_index = first_true(runners.closed_number < numbers)
            if open_index >= 0:
                self._last_closed_index = open_index
                return False
            done = runners.completions(numbers)
        else:
            closed = runners.closed_number >= numbers
            has = self.connected & (numbers > 0)
            if not closed[has].all() or self._undelivered(item, numbers):
                return False
            done = runners.completions(numbers)[has]
        n = len(done)
        if n == 0:
            self._published = (None, 0.0, 0.0, 0.0, 0)
            return True
        if not item.change.is_measured:  # nobody asks when half of the nodes had it
            self._published = (None, 0.0, 0.0, float(done.max()), 0)
            return True
        at_half, at_most = (n - 1) // 2, max(0, -(-99 * n // 100) - 1)
        done.partition((at_half, at_most))
        half, most = float(done[at_half]), float(done[at_most])
        latest = float(np.maximum.reduce(done[at_most:]))
        self._published = (numbers if item.whole else None, half, most, latest, n)
        return True

    def _undelivered(self, item: _Item, numbers: Numbers) -> bool:
        """Whether some node is still to receive a change (from another replica)."""
        commit = item.change.commit_seconds
        missing = self.connected & (numbers < 0) & (self._joined_at <= commit)
        if not missing.any():
            return False
        if self._engine.now - commit < _UNDELIVERED_SECONDS:
            return True
        self.runners.add_totals(item.change.before, item.change.after, missing)
        return False

    def _write(self, change: RuleChange) -> None:
        _, half, most, last, n = self._published
        if n == 0:
            return
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

    def _keep(self, item: _Item) -> None:
        """Remember per node when a Service began (or ceased) to have endpoints."""
        assert item.numbers is not None
        item.done_last_seconds = self._published[3]
        item.done = np.where(
            item.numbers > 0, self.runners.completions(item.numbers), self.runners.installed_at
        )
        self._detailed.append(item)
        if len(self._detailed) > _DETAILED_SWITCHES_COUNT:
            self._detailed.popleft().done = None

    def programmed(self, service: Key, node_index: int, time_seconds: float) -> bool:
        """Return whether a node's rules lead to an endpoint of a Service at a time.

        The time lies in the present or the near past. A Service's last two switches between
        having and not having endpoints are known; of old ones only when the last node had them.
        """
        if not self.connected[node_index]:
            return False
        self.runners.settle()
        if time_seconds < self.runners.installed_at[node_index]:
            return False
        switches = self._switches.get(service)
        if not switches:
            return self.state.has_endpoints(service)
        for item in reversed(switches):
            if self._done_seconds(item, node_index) <= time_seconds:
                return bool(item.turns_on)
        return not switches[0].turns_on

    def _done_seconds(self, item: _Item, node_index: int) -> float:
        if item.done is not None:
            return float(item.done[node_index])
        if item.numbers is None:
            return item.done_last_seconds
        number = int(item.numbers[node_index])
        if number <= 0:
            joined = float(self._joined_at[node_index])
            listed = joined > item.change.commit_seconds or number == 0
            return float(self.runners.installed_at[node_index]) if listed else _NEVER
        return self.runners.completion(node_index, number)

    def rules_count(self) -> tuple[FloatArray, FloatArray]:
        """Return the (rules, chains) installed on each node by its last sync: (node_count,) each.

        IPVS has virtual servers and destinations: they are counted as rules, without chains.
        """
        self.runners.settle()
        services, endpoints, rules, chains = self.runners.installed[:, : self.node_count]
        if self.params.mode == "ipvs":
            return services + endpoints, 0.0 * services
        if self.params.mode == "nftables":
            total = nftables_total_rules_count(services), nftables_total_chains_count(services)
        else:
            total = (
                iptables_total_rules_count(services, endpoints),
                iptables_total_chains_count(services, endpoints),
            )
        return np.asarray(total[0] + rules), np.asarray(total[1] + chains)

    def check(self) -> list[str]:
        """Return broken invariants of the runners, and changes that were lost."""
        problems = self.runners.check()
        if self.change_count != self.published_count + len(self._open):
            problems.append("kube-proxy: a change was lost on its way to the nodes")
        return problems
