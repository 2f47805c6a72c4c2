"""The watch path of one apiserver replica: etcd's stream → watch caches → watchers.

One CPU job brings a batch of events into the caches; everything that arrives meanwhile is the
next batch. Deliveries stand in the process' run queue like requests do, a chunk of watchers
per job.

**Modelled:** facts c.1, c.3: in-order fill and dispatch, shared serialisation, per-watcher send,
eviction of slow watchers with the dispatcher's time budget, progress notifications for consistent
reads, bookmarks as CPU, the flow-control window of a watch.
**Not modelled:** the dispatcher's own pause while it waits for blocked watchers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from mypy_extensions import mypyc_attr

from sim.components.apiserver_facts import CommitFacts
from sim.components.apiserver_fleets import Batch, FleetFanout
from sim.components.apiserver_garbage import GarbageCollector
from sim.components.apiserver_runqueue import RunQueue
from sim.components.ports import TOO_SLOW, Watcher, WatchEvent
from sim.components.watch_cache import WatchCache, WatcherState, filtered
from sim.costs.watch import WatchLaw
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder

PROGRESS_PERIOD_SECONDS: Final = 0.1
"""**Source:** watch_progress.go :: progressRequestPeriod."""
_PROGRESS_SECONDS: Final = 1e-3
"""From a progress request to the notification in the watch stream (assumed: one round trip)."""
_BUDGET_SECONDS_PER_SECOND: Final = 0.05
_BUDGET_MAX_SECONDS: Final = 0.1
"""**Source:** time_budget.go :: refreshPerSecond, maxBudget."""
_WINDOW_BYTES: Final = 4 << 20
"""**Source:** golang.org/x/net/http2 :: transportDefaultStreamFlow."""
_CHUNKS_PER_LANE_COUNT: Final = 16
_PARK_COUNT: Final = 64
"""Goroutines waiting to run from which on a collection parks those that serve watches. **Source:**
Go runtime, mgcmark.go :: gcParkAssist; assumed number; measured: some watches of pods are ended per
collection under full load (groundtruth/metrics: 38 in 19)."""
_PARK_SECONDS: Final = 0.22
"""How long a collection takes under full load. **Source:** groundtruth/metrics, apiserver:
go_cpu_classes_gc_mark_dedicated, 4.24 s of one processor in 19 collections."""


@mypyc_attr(free_list_len=1)
class _Delivery:
    """Events on their way to one watcher, in one step."""

    __slots__ = ("batch", "decoded", "events", "generation", "watcher")

    def __init__(
        self,
        generation: int,
        batch: Batch,
        watcher: Watcher,
        events: list[WatchEvent],
        decoded: bool,
    ) -> None:
        self.generation = generation
        self.batch = batch
        self.watcher = watcher
        self.events = events
        self.decoded = decoded
        """Whether the client's CPU for them is part of the way."""


@mypyc_attr(free_list_len=1)
class _Fill:
    """Events on their way into the caches."""

    __slots__ = ("events", "generation")

    def __init__(self, generation: int, events: list[WatchEvent]) -> None:
        self.generation = generation
        self.events = events


class Fanout:
    """Cache fill and watch delivery of one replica."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        law: WatchLaw,
        run_queue: RunQueue,
        garbage: GarbageCollector,
        index: int,
        network_seconds: float,
    ) -> None:
        self._engine = engine
        self.law = law
        self._index = index
        self._rows = recorder["watch_deliveries"]
        self._faults = recorder["faults"]
        self.network_seconds = network_seconds
        self.facts = CommitFacts(recorder)
        """Replaced by one shared between the replicas when a balancer joins them."""
        self.caches: dict[str, WatchCache] = {}
        self._last_cache: WatchCache | None = None
        """The cache looked for last."""
        self.filled_revision = 0
        """Newest revision that the fill stream has brought."""
        self.generation = 0
        """Counts restarts: what was started before the last one is void."""
        self.run_queue = run_queue
        self.garbage = garbage
        self.fleets = FleetFanout(self, engine, run_queue.host, index)
        self._incoming: list[WatchEvent] = []
        self._filling = False
        self._waiting: list[tuple[int, WatchCache, Callable[[Any], object], Any]] = []
        self._progress_armed = False
        self._progress_last_seconds = -PROGRESS_PERIOD_SECONDS
        self._budget_seconds = _BUDGET_MAX_SECONDS
        self._budget_last_seconds = 0.0
        self.debt_seconds = 0.0
        """Work done for events that nobody watches, not yet charged to the CPU."""
        self.event_count = 0
        self.delivery_count = 0
        self.evicted_count = 0
        self._parked = False
        self._parked_watchers: dict[Watcher, None] = {}
        self._then_filled = self._filled
        self._then_sent = self._sent
        self._then_arrived = self._arrived
        self._then_decoded = self._decoded
        self._then_express_arrived = self._express_arrived
        """Bound once: they are called for every commit."""
        self.on_evict: Callable[[Watcher, str], object] = lambda _watcher, _reason: None

    def cache(self, resource: str) -> WatchCache:
        """Return the cache of a resource, made on first use."""
        found = self._known_cache(resource)
        if found is None:
            found = self.caches[resource] = WatchCache(resource)
            found.revision = self.filled_revision  # it has been there from the start
        return found

    def _known_cache(self, resource: str) -> WatchCache | None:
        """Return the cache of a resource if there is one: most often that of the last event."""
        found = self._last_cache
        if found is None or found.resource is not resource:
            found = self.caches.get(resource)
            if found is not None:
                self._last_cache = found
        return found

    def watch_count(self) -> int:
        """Return the number of open watches, members of fleets included."""
        count = 0
        for cache in self.caches.values():
            count += cache.watcher_count
            for fleet in cache.fleets:
                here = fleet.connected & (fleet.replica_index == self._index)
                count += int(here.sum())
        return count

    def reset(self) -> None:
        """Forget everything in memory: the process has died."""
        self.generation += 1
        for then, argument in self.run_queue.flush():
            self._engine.after(0.0, then, argument)  # requests are answered with an error
        self._incoming = []
        self._filling = False
        self._waiting = []
        self._parked = False
        self._parked_watchers = {}

    # -------------------------------------------------------------------------------- fill

    def receive(self, events: list[WatchEvent]) -> None:
        """Take a batch off etcd's watch stream."""
        if self._filling:
            self._incoming.extend(events)
            return
        self._filling = True
        self._fill(events)

    def _fill(self, events: list[WatchEvent]) -> None:
        demand, watched = self._cost_of(events)
        if watched or self._waiting:
            demand = self.garbage.charge(demand)
            if self.run_queue.occupy(demand):
                self._engine.after(demand, self._then_filled, _Fill(self.generation, events))
                return
            events = list(events)  # more may join them, and others may hold the same list
            begin = partial(self._begin_fill, events, demand)
            self.run_queue.submit(begin, self._then_filled, _Fill(self.generation, events))
        else:
            # Nobody waits for these events: their work rides on that of the next request.
            self.debt_seconds += demand
            self._filled(_Fill(self.generation, events))

    def _begin_fill(self, events: list[WatchEvent], demand: float) -> float:
        """Take along what has arrived while the fill waited for a processor."""
        if self._incoming:
            more, self._incoming = self._incoming, []
            events.extend(more)
            demand += self.garbage.charge(self._cost_of(more)[0])
        return demand

    def _cost_of(self, events: list[WatchEvent]) -> tuple[float, bool]:
        """Return the CPU seconds of filling in events, and whether anybody watches them."""
        law = self.law
        demand = 0.0
        watched = False
        for event in events:
            size = event.new.size_bytes
            demand += law.fill_seconds + law.fill_seconds_per_byte * size
            cache = self._known_cache(event.resource)
            if cache is not None and (cache.watcher_count or cache.fleets):
                watched = True
                demand += law.encode_seconds + law.encode_seconds_per_byte * size
        return demand, watched

    def _filled(self, fill: _Fill) -> None:
        if fill.generation != self.generation:
            return
        events = fill.events
        self.facts.batch(events)
        self.event_count += len(events)
        if len(events) == 1:
            event = events[0]
            watched = self._take(event)
            self.filled_revision = event.revision
            if watched is not None:
                self._dispatch(watched, events)
        else:
            self._take_all(events)
        if self._waiting:
            self._wake()
        if self._incoming:
            events, self._incoming = self._incoming, []
            self._fill(events)
        else:
            self._filling = False

    def _take(self, event: WatchEvent) -> WatchCache | None:
        """Bring one event into its cache; return that if somebody is to be told of it."""
        cache = self.cache(event.resource)
        if not cache.initialized:
            cache.backlog.append(event)
            return None
        if event.revision <= cache.revision:
            return None  # already part of the list that initialised the cache
        cache.apply(event)
        return cache if cache.watcher_count > 0 or len(cache.fleets) > 0 else None

    def _take_all(self, events: list[WatchEvent]) -> None:
        """Bring events into their caches, then tell the watchers, resource by resource."""
        watched: dict[str, list[WatchEvent]] = {}
        for event in events:
            if self._take(event) is not None:
                found = watched.get(event.resource)
                if found is None:
                    watched[event.resource] = [event]
                else:
                    found.append(event)
        self.filled_revision = events[-1].revision
        for resource, changed in watched.items():
            self._dispatch(self.caches[resource], changed)

    # ------------------------------------------------------------------ consistent reads

    def wait_for(
        self, cache: WatchCache, revision: int, then: Callable[[Any], object], argument: Any
    ) -> None:
        """Call back when a cache is known to be as new as ``revision`` (facts c.4)."""
        if cache.revision >= revision:
            then(argument)
            return
        self._waiting.append((revision, cache, then, argument))
        if not self._progress_armed:
            self._progress_armed = True
            due_seconds = self._progress_last_seconds + PROGRESS_PERIOD_SECONDS
            wait_seconds = max(0.0, due_seconds - self._engine.now) + _PROGRESS_SECONDS
            self._engine.after(wait_seconds, self._progress, self.generation)

    def _progress(self, generation: int) -> None:
        self._progress_armed = False
        if generation == self.generation:
            self._progress_last_seconds = self._engine.now
            for cache in self.caches.values():  # one stream carries the watches of all caches
                if cache.initialized and cache.revision < self.filled_revision:
                    cache.revision = self.filled_revision
            self._wake()
            if self._waiting:
                self._progress_armed = True
                self._engine.after(PROGRESS_PERIOD_SECONDS, self._progress, generation)

    def _wake(self) -> None:
        left = []
        for entry in self._waiting:
            revision, cache, then, argument = entry
            if cache.revision >= revision:
                then(argument)
            else:
                left.append(entry)
        self._waiting = left

    # ---------------------------------------------------------------------------- dispatch

    def _dispatch(self, cache: WatchCache, events: list[WatchEvent]) -> None:
        batch = Batch(events, self._engine.now)
        sole = cache.sole_watcher
        if sole is not None:
            self._send_all(sole, events, batch)
        elif cache.watcher_count:
            targets = self._hand_over(cache, events, batch)
            if targets:
                self._enqueue_chunks(targets, batch)
        for fleet in cache.fleets:
            if fleet.mode == "all":
                self.fleets.dispatch_all(fleet, events, batch)
            else:
                self.fleets.dispatch_own(fleet, events, batch)

    def _send_all(self, watcher: Watcher, events: list[WatchEvent], batch: Batch) -> None:
        """Do what `_hand_over` and `_enqueue` do, for one watcher that sees all as it is."""
        state: WatcherState = watcher.state
        pending = state.pending
        batch.delivery_count += len(events)
        if pending:
            if (
                len(pending) + len(events) > state.channel_count
                and pending[0].revision < events[0].revision
            ):
                self._blocked(watcher)
            pending.extend(events)
            return
        batch.open_count += 1
        if not self._expressed(watcher, state, events, batch):
            pending.extend(events)
            self._submit([watcher], batch)

    def _hand_over(
        self, cache: WatchCache, events: list[WatchEvent], batch: Batch
    ) -> list[Watcher]:
        targets: list[Watcher] = []
        oldest = events[0].revision
        for event in events:
            for watcher in cache.candidates(event):
                state: WatcherState = watcher.state
                seen = event if state.plain else filtered(watcher, event)
                if seen is None:
                    continue
                pending = state.pending
                if not pending:
                    targets.append(watcher)
                elif len(pending) >= state.channel_count and pending[0].revision < oldest:
                    self._blocked(watcher)
                pending.append(seen)
                batch.delivery_count += 1
        return targets

    def _enqueue_chunks(self, targets: list[Watcher], batch: Batch) -> None:
        if len(targets) == 1:
            self._enqueue(targets, batch)
            return
        chunk_count = self.run_queue.limit_count * _CHUNKS_PER_LANE_COUNT
        size = -(-len(targets) // chunk_count)
        start = 0
        while start < len(targets):
            self._enqueue(targets[start : start + size], batch)
            start += size

    def _enqueue(self, chunk: list[Watcher], batch: Batch) -> None:
        batch.open_count += 1
        if len(chunk) == 1:
            state: WatcherState = chunk[0].state
            if self._expressed(chunk[0], state, state.pending, batch):
                state.pending = []
                return
        self._submit(chunk, batch)

    def _submit(self, chunk: list[Watcher], batch: Batch) -> None:
        demand = partial(self._charged_demand, chunk)
        # The dispatcher puts into the channel of each watcher, whose goroutine runs next.
        work = (self.generation, batch, chunk)
        if len(chunk) == 1:
            self.run_queue.submit_handed(demand, self._then_sent, work)
        else:
            self.run_queue.submit(demand, self._then_sent, work)

    def _expressed(
        self, watcher: Watcher, state: WatcherState, events: list[WatchEvent], batch: Batch
    ) -> bool:
        """Send, carry and decode for one watcher in one step, on hosts with plenty of room."""
        if not state.joined or state.stalled or state.decoding or state.inbox:
            return False
        if not self.run_queue.host.has_room():
            return False
        seconds = self.garbage.charge(self._send_seconds(0.0, events))
        if not self.run_queue.occupy(seconds):
            return False
        seconds += self.network_seconds
        process: HostProcess | None = watcher.process
        if process is not None:
            decode_seconds = self.law.client_decode_seconds * float(len(events))
            if process.occupy(decode_seconds):
                seconds += decode_seconds
            else:
                process = None  # decoded on arrival, as a job of its own
        # a connection is ordered: what is sent later never arrives earlier
        due_seconds = self._engine.now + seconds
        if due_seconds < state.due_seconds:
            due_seconds = state.due_seconds
        state.due_seconds = due_seconds
        decoded = process is watcher.process
        work = _Delivery(self.generation, batch, watcher, events, decoded)
        self._engine.at(due_seconds, self._then_express_arrived, work)
        return True

    def _express_arrived(self, work: _Delivery) -> None:
        if work.generation != self.generation:
            return
        watcher = work.watcher
        events = work.events
        state: WatcherState | None = watcher.state
        if not work.decoded or state is None or state.inbox or state.decoding:
            self._arrived((work.batch, [(watcher, events)]))
            return
        self.note_arrival(work.batch)
        if not watcher.closed:
            self.delivery_count += len(events)
            watcher.hand_over(events)

    def _charged_demand(self, chunk: list[Watcher]) -> float:
        return self.garbage.charge(self._demand(chunk))

    def _demand(self, chunk: list[Watcher]) -> float:
        demand = 0.0
        for watcher in chunk:
            state: WatcherState = watcher.state
            demand = self._send_seconds(demand, state.pending)
        return demand

    def _send_seconds(self, demand: float, events: list[WatchEvent]) -> float:
        """Return a demand with that of sending events to one watcher added to it."""
        law = self.law
        if events:
            demand += law.deliver_wake_seconds
        for event in events:
            demand += law.deliver_seconds
            demand += law.deliver_seconds_per_byte * event.new.size_bytes
        return demand

    def park(self) -> None:
        """A collection begins: who allocates much more than it marks has to wait for its end."""
        if not self._parked and len(self.run_queue) >= _PARK_COUNT:
            self._parked = True
            self._engine.after(_PARK_SECONDS, self._unpark, self.generation)

    def _unpark(self, generation: int) -> None:
        if generation != self.generation:
            return
        self._parked = False
        watchers, self._parked_watchers = self._parked_watchers, {}
        for watcher in watchers:
            if not watcher.closed and watcher.state.pending:
                self._enqueue_chunks([watcher], Batch(watcher.state.pending, self._engine.now))

    def _blocked(self, watcher: Watcher) -> None:
        """Give a watcher whose channel is full what is left of the dispatcher's patience."""
        if watcher.state.blocked:
            return
        watcher.state.blocked = True
        now = self._engine.now
        gained = (now - self._budget_last_seconds) * _BUDGET_SECONDS_PER_SECOND
        self._budget_seconds = min(self._budget_seconds + gained, _BUDGET_MAX_SECONDS)
        self._budget_last_seconds = now
        patience, self._budget_seconds = self._budget_seconds, 0.0
        self._engine.after(patience, self._still_blocked, watcher)

    def _still_blocked(self, watcher: Watcher) -> None:
        state: WatcherState = watcher.state
        state.blocked = False
        if watcher.closed or len(state.pending) < state.channel_count:
            return
        self.evicted_count += 1
        self._faults.append(
            (self._engine.now, "kube-apiserver", "watch terminated: too slow", watcher.resource)
        )
        self.on_evict(watcher, TOO_SLOW)

    # ---------------------------------------------------------------------------- delivery

    def _sent(self, argument: tuple[int, Batch, list[Watcher]]) -> None:
        generation, batch, chunk = argument
        if generation != self.generation:
            return
        arrivals = []
        for watcher in chunk:
            state: WatcherState = watcher.state
            events = state.pending
            if self._parked:
                if events:
                    self._parked_watchers[watcher] = None
                continue
            if state.unread_bytes > _WINDOW_BYTES:
                state.stalled = True
            elif events:
                state.pending = []
                arrivals.append((watcher, events))
        due_seconds = self._engine.now + self.network_seconds
        for watcher, _ in arrivals:
            state = watcher.state
            due_seconds = max(due_seconds, state.due_seconds)
        if due_seconds > self._engine.now:
            self._engine.at(due_seconds, self._then_arrived, (batch, arrivals))
        else:
            self._arrived((batch, arrivals))

    def _arrived(self, argument: tuple[Batch, list[tuple[Watcher, list[WatchEvent]]]]) -> None:
        batch, arrivals = argument
        self.note_arrival(batch)
        for watcher, events in arrivals:
            if watcher.closed:
                continue
            self.delivery_count += len(events)
            state: WatcherState = watcher.state
            if watcher.process is None and state.joined:
                watcher.hand_over(events)
                continue
            state.inbox.extend(events)
            for event in events:
                state.unread_bytes += event.new.size_bytes
            if state.joined and not state.decoding:
                self._decode(watcher)

    def note_arrival(self, batch: Batch) -> None:
        """Count one of a batch's deliveries as arrived; the last one writes the batch's row."""
        since_commit = self._engine.now - batch.time_seconds
        batch.note_span(since_commit, since_commit)
        batch.open_count -= 1
        if batch.open_count == 0:
            self.write_row(batch)

    def write_row(self, batch: Batch) -> None:
        """Append the facts of a batch whose deliveries have all arrived."""
        cache = self.cache(batch.resource)
        if batch.revision > cache.delivered_revision:
            cache.delivered_revision = batch.revision
        if (
            cache.row_event_count != batch.event_count
            or cache.row_delivery_count != batch.delivery_count
        ):
            self._learn_row(cache, batch)
        batch.write_row(self._rows, cache.row_number)

    def _learn_row(self, cache: WatchCache, batch: Batch) -> None:
        cache.row_event_count = batch.event_count
        cache.row_delivery_count = batch.delivery_count
        shared = (cache.resource, self._index, batch.event_count, batch.delivery_count)
        cache.row_number = self._rows.share(shared)

    def joined(self, watcher: Watcher) -> None:
        """Deliver what came between a watcher's registration and its initial state."""
        state: WatcherState = watcher.state
        state.joined = True
        if state.inbox and not state.decoding:
            self._decode(watcher)

    def _decode(self, watcher: Watcher) -> None:
        state: WatcherState = watcher.state
        events = state.inbox
        state.inbox = []
        if watcher.process is None:
            state.unread_bytes = 0
            watcher.hand_over(events)
            return
        state.decoding = True
        demand = self.law.client_decode_seconds * float(len(events))
        process: HostProcess = watcher.process
        process.run(demand, self._then_decoded, (watcher, state, events))

    def _decoded(self, argument: tuple[Watcher, WatcherState, list[WatchEvent]]) -> None:
        watcher, state, events = argument
        state.decoding = False
        for event in events:
            state.unread_bytes -= event.new.size_bytes
        if state.stalled and state.unread_bytes <= _WINDOW_BYTES and not watcher.closed:
            state.stalled = False
            if state.pending:
                self._enqueue_chunks([watcher], Batch(state.pending, self._engine.now))
        if watcher.closed or watcher.state is not state:
            return
        watcher.hand_over(events)
        if state.inbox and not state.decoding:
            self._decode(watcher)
