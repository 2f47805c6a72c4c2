"""The runners of all kube-proxies as arrays: when each node syncs, what with, how long.

Pure bookkeeping: no events, no watches. Node i has one next sync; see `kube_proxy_fleet` for how
the arrays work together. Shapes are (n_nodes,) unless said otherwise, times simulated seconds.

A sync that starts is first *frozen*: what it will do is put aside, later changes go to the next.
Its duration is decided later, together with the others', but before the min sync period after its
start is over: until then no node can start another one. One pass of array operations per second
serves all nodes this way, however many changes there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.components.kube_proxy_arrays import add_where, first_true, padded
from sim.components.kube_proxy_params import KubeProxyFleetParams
from sim.components.kube_proxy_rows import write_rows
from sim.components.node_cpu import NodeCPUs
from sim.components.proxy_state import (
    ALWAYS_RULES,
    EMITTED_CHAINS,
    EMITTED_RULES,
    ENDPOINTS,
    NO_COUNTS,
    SERVICES,
    Counts,
    ProxyState,
)
from sim.costs.kube_proxy import KubeProxyParams, cleanup_listing
from sim.costs.kube_proxy_payload import LARGE_CLUSTER_ENDPOINTS_COUNT, Real, SyncLoad
from sim.engine.streams import Stream
from sim.engine.tables import Table

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
"""Of syncs, by node."""
Nodes = IntArray | slice

_RING_COUNT: Final = 64
"""A power of two, so that a position is a mask away."""
_RING_RESERVE_COUNT: Final = 40
_JITTER_POOL_COUNT: Final = 8192
_NO_SYNC: Final = float("inf")
_LAZY_SECONDS_MIN: Final = 0.1
"""With a shorter min sync period syncs are decided when they start."""
_highest: Final = np.maximum.reduce
_lowest: Final = np.minimum.reduce
"""What the methods max and min do, without their way through Python."""


class ProxyRunners:
    """One runner per node."""

    def __init__(
        self,
        params: KubeProxyFleetParams,
        law: KubeProxyParams,
        state: ProxyState,
        node_count: int,
        stream: Stream,
        syncs: Table,
        cpus: NodeCPUs | None = None,
    ) -> None:
        self.params = params
        self._cpus = cpus
        if cpus is not None:
            cpus.reserve(node_count)
        self._law = law
        self._state = state
        self._syncs = syncs
        ipvs = params.mode == "ipvs"
        self._min_sync_seconds = 0.0 if ipvs else params.min_sync_period_seconds
        self.timer_seconds = params.sync_period_seconds if ipvs else params.full_sync_period_seconds
        n = self.capacity = node_count
        self.number: Numbers = np.zeros(n, dtype=np.int32)
        """Number of the sync requested last."""
        self.closed_number: Numbers = np.zeros(n, dtype=np.int32)
        """Number of the sync whose duration was decided last."""
        self.start: FloatArray = np.full(n, self.timer_seconds)
        """Start of the next sync; infinite for a node without a kube-proxy."""
        self.requested: BoolArray = np.zeros(n, dtype=np.bool_)
        """Whether the next sync has been requested by a change (else it is the timer's)."""
        self.opened = False
        """Whether the last `request` found nodes without a requested sync."""
        self._begin_frozen(n)
        self._fails: BoolArray = np.zeros(n, dtype=np.bool_)
        self._failing = False
        """Whether any node's next sync is going to fail."""
        self.free_at: FloatArray = np.full(n, -1.0e9)
        """Earliest start of the next sync: completion of the last + min sync period."""
        self._last_delivery: FloatArray = np.zeros(n)
        self.totals: FloatArray = np.zeros((len(NO_COUNTS), n))
        """What each node knows of all Services, when they do not all know the same: (5, n)."""
        self.uniform = True
        """Whether all nodes with a kube-proxy know the same at the start of their next sync."""
        self._changed: FloatArray = np.zeros((4, n))
        self._extras = False
        """Whether any Service needs rules beyond those of a plain ClusterIP Service."""
        self._stale_chains: FloatArray = np.zeros(n)
        self._initial: FloatArray = np.zeros(n)
        self._needs_full: FloatArray = np.zeros(n)
        self._last_full: FloatArray = np.zeros(n)
        self._last_listing: FloatArray = np.full(n, -1.0e9)
        self._ring: FloatArray = np.zeros((_RING_COUNT, n))
        self.cpu_seconds: FloatArray = np.zeros(n)
        self.sync_count: IntArray = np.zeros(n, dtype=np.int64)
        self.installed_at: FloatArray = np.full(n, -1.0)
        """Completion of each node's first sync; infinite before, -1 for nodes preloaded."""
        self.installed: FloatArray = np.zeros((4, n))
        """Services, endpoints, extra rules and extra chains installed by the last sync: (4, n)."""
        self._order: IntArray = np.arange(n)
        self._snapshot: Numbers | None = None
        pool = stream.generator("durations").standard_normal(_JITTER_POOL_COUNT)
        self._mode_law = law.mode(params.mode, params.iptables_backend)
        spread = self._mode_law.jitter_log_sd
        self._factors: FloatArray = np.exp(spread * np.concatenate([pool, pool]))
        self._factors_offset = 0
        self._stream = stream
        self.on_close: Callable[[Nodes, FloatArray, FloatArray], object] | None = None
        """Called with (nodes, starts, completions) of every group of syncs; for tests."""

    def _begin_frozen(self, n: int) -> None:
        """No sync has started."""
        self._frozen: BoolArray = np.zeros(n, dtype=np.bool_)
        """Whether a sync has started whose duration is not decided."""
        self._frozen_first_seconds = _NO_SYNC
        self._lazy_seconds = (
            self._min_sync_seconds if self._min_sync_seconds >= _LAZY_SECONDS_MIN else -_NO_SYNC
        )
        self._frozen_number: Numbers = np.zeros(n, dtype=np.int32)
        """Number of the newest sync that has started."""
        self._frozen_start: FloatArray = np.zeros(n)
        self._frozen_shared: list[float] | None = None
        self._frozen_totals: FloatArray = np.zeros((len(NO_COUNTS), n))
        self._frozen_changed: FloatArray = np.zeros((4, n))
        self._frozen_stale: FloatArray = np.zeros(n)
        self._resume_at: FloatArray = np.zeros(n)
        """When the newest sync was requested."""

    # Arrivals.

    def advance(self, times_seconds: FloatArray, mask: BoolArray | None) -> FloatArray:
        """Freeze every sync that starts before its node's time; return the times kept in order.

        Whatever is sent to a node later arrives later (one connection carries all watches).
        ``mask`` names the nodes concerned, None for all with a kube-proxy.
        """
        times = np.maximum(times_seconds, self._last_delivery)
        if mask is None:
            self._last_delivery = times
        else:
            np.copyto(self._last_delivery, times, where=mask)
        newest = float(_highest(times if mask is None else times[mask], initial=0.0))
        while True:
            if newest > self._frozen_first_seconds + self._lazy_seconds:
                self.settle()
            late = self.start < times
            if mask is not None:
                late &= mask
            if first_true(late) < 0:
                return times
            if self._lazy_seconds <= 0.0:
                self.close(late)
                continue
            self._freeze(late)
            if newest <= self._frozen_first_seconds + self._lazy_seconds:
                return times

    def request(self, times_seconds: FloatArray, mask: BoolArray | None) -> Numbers:
        """Request a sync of the nodes of ``mask``; return the numbers of their next syncs.

        The array is shared by requests between which nothing changes: not to be written to.
        """
        opens = ~self.requested
        if mask is not None:
            opens &= mask
        nodes = opens.nonzero()[0]
        self.opened = len(nodes) > 0
        if self.opened:
            self.requested[nodes] = True
            asked = times_seconds[nodes]
            self._resume_at[nodes] = asked
            start = np.maximum(asked, self.free_at[nodes])
            if self._frozen_first_seconds < _NO_SYNC:
                start[self._frozen[nodes]] = _NO_SYNC
            self.start[nodes] = start
            number = self.number[nodes]
            self.number[nodes] = number + (number == self._frozen_number[nodes])
            self._snapshot = None
        if self._snapshot is None:
            self._snapshot = self.number.copy()
        return self._snapshot

    def add_totals(self, before: Counts, after: Counts, mask: BoolArray | None) -> None:
        """Let the nodes of ``mask`` know of one Service's new counts."""
        for row, (old, new) in enumerate(zip(before, after, strict=True)):
            if new != old:
                target = self.totals[row]
                if mask is None:
                    target += new - old
                else:
                    np.add(target, new - old, out=target, where=mask)

    def add_changed(self, counts: Counts, previous: Counts, known: BoolArray | None,
                    mask: BoolArray | None, stale_count: float) -> None:  # fmt: skip
        """Have the next syncs of ``mask`` emit a Service with ``counts``.

        Args:
            counts: what is emitted.
            previous: what those nodes would have emitted for it that had it in the sync already.
            known: these nodes: (n_nodes,) bool, None for none.
            mask: nodes concerned, None for all.
            stale_count: chains that become stale.
        """
        for row in range(4):
            new, old = counts[row], previous[row]
            if row >= EMITTED_RULES and (new or old):
                self._extras = True
            target = self._changed[row]
            if known is None or old == 0.0:
                if new:
                    add_where(target, new, mask)
            elif row < EMITTED_RULES:  # whole numbers: the order of additions does not matter
                add_where(target, new, mask)
                target[known if mask is None else known & mask] -= old
            else:
                add_where(target, new - old * known, mask)
        if stale_count and self.params.mode == "iptables":
            add_where(self._stale_chains, stale_count, mask)

    # Syncs.

    def _total(self, row: int, nodes: Nodes) -> Real:
        if self._frozen_shared is not None:
            return self._frozen_shared[row]
        values: FloatArray = self._frozen_totals[row][nodes]
        first = float(values[0])
        return first if (values == first).all() else values

    def _load(self, nodes: Nodes, start: FloatArray) -> SyncLoad:
        params = self.params
        endpoints = self._total(ENDPOINTS, nodes)
        initial = self._initial[nodes]
        full = np.maximum(initial, self._needs_full[nodes])
        listing: Real = 0.0
        stale: Real = 0.0
        if params.mode == "iptables":
            small: Any = np.asarray(endpoints) <= LARGE_CLUSTER_ENDPOINTS_COUNT
            since = start - self._last_listing[nodes]
            listing = cleanup_listing(endpoints, since, params.sync_period_seconds)
            stale = self._frozen_stale[nodes] * listing
        else:
            small = np.True_
        if params.mode == "ipvs":
            full = np.ones_like(full)
        elif small.any():
            due = start - self._last_full[nodes] > params.full_sync_period_seconds
            full = np.maximum(full, due & small)
        rules: Real = self._total(ALWAYS_RULES, nodes)
        chains: Real = 0.0
        if self._extras:
            rest = 1.0 - full
            rules = rules + full * self._total(EMITTED_RULES, nodes)
            rules = rules + rest * self._frozen_changed[EMITTED_RULES][nodes]
            chains = full * self._total(EMITTED_CHAINS, nodes)
            chains = chains + rest * self._frozen_changed[EMITTED_CHAINS][nodes]
        services = self._total(SERVICES, nodes)
        changed_services: FloatArray = self._frozen_changed[SERVICES][nodes]
        changed_endpoints: FloatArray = self._frozen_changed[ENDPOINTS][nodes]
        if initial.any():
            first = initial > 0.0
            changed_services = np.where(first, services, changed_services)
            changed_endpoints = np.where(first, endpoints, changed_endpoints)
        return SyncLoad(
            services_count=services,
            endpoints_count=endpoints,
            changed_services_count=changed_services,
            changed_endpoints_count=changed_endpoints,
            stale_chains_count=stale,
            full=full,
            initial=initial,
            cleanup_listing=listing,
            extra_rules_count=rules,
            extra_chains_count=chains,
        )

    def close(self, which: BoolArray) -> None:
        """Let the next sync of these nodes start and decide it: (n_nodes,) bool, some true."""
        self.settle()
        self._decide(self._put_aside(which))

    def _freeze(self, which: BoolArray) -> None:
        """Let the syncs of these nodes start, to be decided later: none of them frozen."""
        nodes = self._put_aside(which)
        self._frozen |= which
        first = float(_lowest(self._frozen_start[nodes]))
        self._frozen_first_seconds = min(self._frozen_first_seconds, first)

    def _put_aside(self, which: BoolArray) -> Nodes:
        """Put aside what the syncs of these nodes do, which start now; return the nodes."""
        found = which.nonzero()[0]
        nodes: Nodes = slice(None) if len(found) == self.capacity else found
        start = self.start[nodes]
        self._freeze_totals(nodes)
        self._frozen_start[nodes] = start
        self.start[nodes] = _NO_SYNC
        number = self.number[nodes]
        if not self.requested[nodes].all():
            number = np.maximum(number, self.closed_number[nodes] + 1)
            self.number[nodes] = number
            self._snapshot = None
        self._frozen_number[nodes] = number
        self.requested[nodes] = False
        for row in range(4 if self._extras else 2):  # row by row: far faster than both indices
            changed = self._changed[row]
            self._frozen_changed[row][nodes] = changed[nodes]
            changed[nodes] = 0.0
        if self.params.mode == "iptables":
            self._frozen_stale[nodes] = self._stale_chains[nodes]
            self._stale_chains[nodes] = 0.0
        return nodes

    def _freeze_totals(self, nodes: Nodes) -> None:
        """Put aside what these nodes know; one list as long as all frozen ones know the same."""
        now = list(self._state.totals) if self.uniform else None
        if self._frozen_first_seconds == _NO_SYNC:
            self._frozen_shared = now
        elif self._frozen_shared is not None and self._frozen_shared != now:
            self._frozen_totals[:, self._frozen] = np.asarray(self._frozen_shared)[:, None]
            self._frozen_shared = None
        if self._frozen_shared is None:
            for row, target in enumerate(self._frozen_totals):
                target[nodes] = self.totals[row][nodes] if now is None else now[row]

    def settle(self) -> None:
        """Decide the durations of all syncs that have started."""
        if self._frozen_first_seconds == _NO_SYNC:
            return
        found = self._frozen.nonzero()[0]
        nodes: Nodes = slice(None) if len(found) == self.capacity else found
        self._frozen[nodes] = False
        self._frozen_first_seconds = _NO_SYNC
        self._decide(nodes)

    def _decide(self, nodes: Nodes) -> None:
        """Decide the durations of the syncs of these nodes, which have been put aside."""
        params = self.params
        start = self._frozen_start[nodes].copy()
        count = len(start)
        load = self._load(nodes, start)
        steps = self._mode_law.components(load)
        seconds: Any = steps.total * self._law.speed_ratio
        if self._cpus is not None:
            seconds = self._stretched(seconds, steps.wait * self._law.speed_ratio, nodes)
        if params.jitter:
            seconds = seconds * self._next_factors(count)
        elif np.ndim(seconds) == 0:
            seconds = np.full(count, seconds)
        done: FloatArray = start + seconds
        cpu = self._law.cpu_seconds_of(steps, params.mode, params.iptables_backend)
        self.cpu_seconds[nodes] += cpu
        self.sync_count[nodes] += 1
        write_rows(self._syncs, self._state, load, start, seconds)
        if self._cpus is not None:
            self._cpus.sync_runs(self._by_index(nodes), start, done)
        if self.on_close is not None:
            self.on_close(nodes, start, done)
        self.free_at[nodes] = done + self._min_sync_seconds
        if self._failing:
            nodes, start, done, load = self._leave_out_failed(nodes, start, done, load)
            if len(start) == 0:
                return
        number = self._frozen_number[nodes]
        places = (number & (len(self._ring) - 1)) * self.capacity + self._order[nodes]
        self._ring.reshape(-1)[places] = done
        self.closed_number[nodes] = number
        after = done + self.timer_seconds
        asked = self.requested[nodes]
        if asked.any():
            resumed = np.maximum(self._resume_at[nodes], self.free_at[nodes])
            after = np.where(asked, resumed, after)
        self.start[nodes] = after
        self._book(nodes, start, done, load)

    def _by_index(self, nodes: Nodes) -> Nodes:
        """Return nodes for arrays that have more room than these."""
        return slice(0, self.capacity) if isinstance(nodes, slice) else nodes

    def _stretched(self, seconds: Any, wait_seconds: Any, nodes: Nodes) -> Any:
        """Lengthen what is computed, where pods and kubelet leave less than a core."""
        assert self._cpus is not None
        stretch = self._cpus.sync_stretch(self._by_index(nodes))
        if float(stretch.max()) == 1.0:
            return seconds
        return seconds + (seconds - wait_seconds) * (stretch - 1.0)

    def _next_factors(self, count: int) -> FloatArray:
        offset = self._factors_offset
        self._factors_offset = (offset + count) % _JITTER_POOL_COUNT
        if count <= _JITTER_POOL_COUNT:
            return self._factors[offset : offset + count]
        return np.resize(self._factors[offset:], count)

    def _book(self, nodes: Nodes, start: FloatArray, done: FloatArray, load: SyncLoad) -> None:
        full: Any = np.asarray(load.full)
        if self.params.mode == "ipvs" and not np.asarray(load.initial).any():
            pass  # every sync is a full one
        elif full.any():
            self._last_full[nodes] = np.where(full > 0.0, start, self._last_full[nodes])
            self._needs_full[nodes] = 0.0
            first = self._initial[nodes] > 0.0
            if first.any():
                self.installed_at[nodes] = np.where(first, done, self.installed_at[nodes])
                self._initial[nodes] = 0.0
        if self.params.mode == "iptables":
            listing: Any = load.cleanup_listing
            self._last_listing[nodes] = np.where(
                np.asarray(listing) > 0.0, start, self._last_listing[nodes]
            )
            self._stale_chains[nodes] += self._frozen_stale[nodes] * (1.0 - listing)
        self.installed[0][nodes] = load.services_count
        self.installed[1][nodes] = load.endpoints_count
        if self._extras:
            self.installed[3][nodes] = self._total(EMITTED_CHAINS, nodes)
        extra = self._total(EMITTED_RULES, nodes)
        self.installed[2][nodes] = extra + self._total(ALWAYS_RULES, nodes)

    def _leave_out_failed(
        self, nodes: Nodes, start: FloatArray, done: FloatArray, load: SyncLoad
    ) -> tuple[IntArray, FloatArray, FloatArray, SyncLoad]:
        """Put failed syncs back; return what is left of the arguments.

        What a failed sync should have done stays with the node: it is done in full by the retry
        or by a sync that a change requests before it.
        """
        every = self._order[nodes]
        fails = self._fails[every]
        kept = ~fails
        failed, good = every[fails], every[kept]
        retry = done[fails] + self.params.sync_period_seconds
        self.start[failed] = np.maximum(retry, self.free_at[failed])
        self.requested[failed] = False
        self._needs_full[failed] = 1.0
        self._changed[:, failed] += self._frozen_changed[:, failed]
        self._stale_chains[failed] += self._frozen_stale[failed]
        self._frozen_number[failed] = self.closed_number[failed]
        self._fails[failed] = False
        self._failing = bool(self._fails.any())

        def part(value: Real) -> Any:
            array: Any = np.asarray(value)
            return array[kept] if array.ndim else value

        names = SyncLoad.__dataclass_fields__
        left = SyncLoad(**{name: part(getattr(load, name)) for name in names})
        return good, start[kept], done[kept], left

    # Looking.

    def completions(self, numbers: Numbers) -> FloatArray:
        """Return when the syncs of these numbers, closed on every node, are complete: (n,)."""
        places = (numbers & (len(self._ring) - 1)) * self.capacity + self._order
        done: FloatArray = self._ring.reshape(-1).take(places)
        return done

    def completion(self, node_index: int, number: int) -> float:
        """Return when a sync of one node is complete, infinite while that is not known."""
        if number > self.closed_number[node_index]:
            return _NO_SYNC
        return float(self._ring[number & (len(self._ring) - 1), node_index])

    def next_flush_seconds(self) -> float:
        """Return when to close what no later arrival will close."""
        waiting = (self.number > self.closed_number) & np.isfinite(self.start)
        decided = self._frozen_first_seconds + max(self._lazy_seconds, 0.0)
        if waiting.any():
            requested = self.start[waiting]
            first, last = float(requested.min()), float(requested.max())
            return min(last, first + 2.0, decided)
        return min(float(self.start.min()) + self.timer_seconds / 30.0, decided)

    def keep_numbers(self, numbers: Numbers, nodes: BoolArray) -> None:
        """Make sure that the completions of these syncs of ``nodes`` are not overwritten soon."""
        size = len(self._ring)
        behind = np.where(nodes & (numbers > 0), self.number - numbers, 0)
        if int(behind.max(initial=0)) < size - _RING_RESERVE_COUNT:
            return
        bigger: FloatArray = np.zeros((2 * size, self.capacity))
        for age in range(size):
            numbers = np.maximum(self.closed_number - age, 0)
            bigger[numbers % (2 * size), self._order] = self._ring[numbers % size, self._order]
        self._ring = bigger

    # Nodes come and go.

    def preload(self) -> None:
        """Put the timers of nodes whose rules are installed out of step, as on a running cluster.

        **Source:** the nodes of a running cluster were started at different times.
        """
        self._extras = self._state.totals[EMITTED_RULES] > 0.0
        self.installed[0] = self._state.totals[SERVICES]
        self.installed[1] = self._state.totals[ENDPOINTS]
        self.installed[2] = self._state.totals[EMITTED_RULES] + self._state.totals[ALWAYS_RULES]
        self.installed[3] = self._state.totals[EMITTED_CHAINS]
        if self.params.jitter:
            phase = self._stream.generator("phases").random(self.capacity)
            alive = np.isfinite(self.start)
            np.copyto(self.start, self.timer_seconds * phase, where=alive)
            self._last_full = (phase - 1.0) * self.params.full_sync_period_seconds - 1.0

    def fail_next(self, node_index: int) -> None:
        """Let the next sync of a node fail; from now on syncs are decided when they start."""
        self.settle()
        self._lazy_seconds = -_NO_SYNC
        self._fails[node_index] = True
        self._failing = True

    def stop(self, node_index: int, time_seconds: float) -> None:
        """A node's kube-proxy is gone; a sync that has started is finished nevertheless."""
        self.settle()
        if self.start[node_index] < time_seconds:
            self.close(self._order == node_index)
        self.start[node_index] = _NO_SYNC
        self.requested[node_index] = False

    def begin(self, node_index: int, time_seconds: float, *, rules_lost: bool) -> None:
        """A node's kube-proxy has listed everything: full sync at once."""
        self.settle()
        for row, total in enumerate(self._state.totals):
            self.totals[row, node_index] = total
        self._needs_full[node_index] = 1.0
        if rules_lost:
            self._initial[node_index] = 1.0
            self._stale_chains[node_index] = 0.0
            self._last_listing[node_index] = -1.0e9
            self.installed_at[node_index] = _NO_SYNC
        self.start[node_index] = time_seconds
        self.free_at[node_index] = time_seconds
        self._last_delivery[node_index] = time_seconds
        self.requested[node_index] = True
        # A sync that never came is made up for by the first after the return.
        self.number[node_index] = self.closed_number[node_index] + 1
        self._frozen_number[node_index] = self.closed_number[node_index]
        self._snapshot = None

    def make_uneven(self) -> None:
        """From now on nodes may know different things: count per node."""
        if self.uniform:
            self.settle()
            self.uniform = False
            self.totals[:] = np.asarray(self._state.totals)[:, None]

    def grow(self, capacity: int) -> None:
        """Make room for ``capacity`` nodes; the new ones have no kube-proxy yet."""
        self.settle()
        more = capacity - self.capacity
        if self._cpus is not None:
            self._cpus.reserve(capacity)
        for name in ("number", "closed_number", "requested", "_fails", "free_at",
                     "_last_delivery", "totals", "_changed", "_stale_chains", "_initial",
                     "_frozen", "_frozen_number", "_frozen_start", "_frozen_totals",
                     "_frozen_changed", "_frozen_stale", "_resume_at", "_needs_full",
                     "_last_full", "_last_listing", "_ring", "cpu_seconds", "sync_count",
                     "installed"):  # fmt: skip
            setattr(self, name, padded(getattr(self, name), more, 0))
        self.start = padded(self.start, more, _NO_SYNC)
        self.installed_at = padded(self.installed_at, more, _NO_SYNC)
        self._order = np.arange(capacity)
        self._snapshot = None
        self.capacity = capacity

    def check(self) -> list[str]:
        """Return broken invariants: no sync before its runner allows it, none closed twice."""
        self.settle()
        problems = []
        if (self.start < self.free_at - 1e-9).any():
            problems.append("kube-proxy: a sync starts before min sync period has passed")
        if (self.closed_number > self.number).any():
            problems.append("kube-proxy: a sync was closed that was never requested")
        if (self._changed < 0.0).any() or (self._stale_chains < 0.0).any():
            problems.append("kube-proxy: a sync would emit less than nothing")
        if self.uniform and min(self._state.totals) < 0.0:
            problems.append("kube-proxy: less than no rules are wanted")
        return problems
