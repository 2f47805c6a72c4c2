"""The watch cache of one resource on one apiserver replica.

Store, history ring and indexed watchers. Time is spent elsewhere (`apiserver_fanout`); this module
only knows who gets what, and in which order.

**Modelled:** the ring with its resize rule, resume from a revision or "too old", watcher index by
scope and by ``spec.nodeName``, ADDED/DELETED conversion for filtered watchers, channel sizes.
**Not modelled:** the B-tree's snapshots (exact LISTs of old revisions come from etcd), deep
copies. Bookmarks are counted by `apiserver_fanout`, not sent.
**Source:** `facts/model.md` c.1-c.3; staging/src/k8s.io/apiserver/pkg/storage/cacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from mypy_extensions import i64

from sim.base.api_object import APIObject, Key
from sim.components.ports import FleetWatcher, Watcher, WatchEvent
from sim.components.priority_and_fairness_formulas import WATCHES_PER_SEAT_COUNT

LOWER_BOUND_CAPACITY_COUNT: Final = 100
UPPER_BOUND_CAPACITY_COUNT: Final = 102_400
EVENT_FRESH_SECONDS: Final = 75.0
"""**Source:** watch_cache.go :: defaultLowerBoundCapacity, defaultUpperBoundCapacity;
cacher.go :: DefaultEventFreshDuration."""
_CHANNEL_WITH_INDEX_COUNT: Final = 10
_CHANNEL_WITHOUT_INDEX_COUNT: Final = 100
_CHANNEL_INDEX_UNUSED_COUNT: Final = 1000
_CHANNEL_LEAST_COUNT: Final = 10
_INDEXED_RESOURCES: Final = frozenset({"pods"})


class Ring:
    """The last events of a resource, a circular buffer that follows the rate of change."""

    __slots__ = (
        "_buffer", "_end", "_late_seconds", "_start", "capacity_count", "evicted_revision",
    )  # fmt: skip

    def __init__(self) -> None:
        self.capacity_count: i64 = LOWER_BOUND_CAPACITY_COUNT
        self._buffer: list[WatchEvent | None] = [None] * self.capacity_count
        self._start: i64 = 0
        self._end: i64 = 0
        self._late_seconds = -EVENT_FRESH_SECONDS
        """When the event in the ring's last quarter that was looked at last was committed."""
        self.evicted_revision = 0
        """Newest revision no longer in the ring; a watch from before it is too old."""

    def __len__(self) -> int:
        return self._end - self._start

    def append(self, event: WatchEvent) -> None:
        """Add an event, growing, shrinking or dropping the oldest as upstream does."""
        capacity = self.capacity_count
        if self._end - self._start == capacity:
            self._resize(event.commit_seconds)
            capacity = self.capacity_count
            if self._end - self._start == capacity:
                self._drop(1)
        self._buffer[self._end % capacity] = event
        self._end += 1

    def _drop(self, count: int) -> None:
        last = self._buffer[(self._start + count - 1) % self.capacity_count]
        assert last is not None
        self.evicted_revision = last.revision
        for index in range(self._start, self._start + count):
            self._buffer[index % self.capacity_count] = None
        self._start += count

    def _resize(self, now_seconds: float) -> None:
        capacity = self.capacity_count
        oldest = self._buffer[self._start % capacity]
        assert oldest is not None
        if now_seconds - oldest.commit_seconds < EVENT_FRESH_SECONDS:
            self._set_capacity(min(capacity * 2, UPPER_BOUND_CAPACITY_COUNT))
            return
        if now_seconds - self._late_seconds <= EVENT_FRESH_SECONDS:
            return  # nor is what is late by now, for it was committed after that
        late = self._buffer[(self._end - capacity // 4) % capacity]
        assert late is not None
        self._late_seconds = late.commit_seconds
        if now_seconds - late.commit_seconds > EVENT_FRESH_SECONDS:
            self._set_capacity(max(capacity // 2, LOWER_BOUND_CAPACITY_COUNT))

    def _set_capacity(self, capacity: int) -> None:
        if capacity == self.capacity_count:
            return
        surplus = len(self) - capacity
        if surplus > 0:
            self._drop(surplus)
        first, last = self._start % self.capacity_count, self._end % self.capacity_count
        if len(self) and last <= first:
            kept = self._buffer[first:] + self._buffer[:last]
        else:
            kept = self._buffer[first:last]
        self._buffer = [None] * capacity
        self._buffer[: len(kept)] = kept
        self._start, self._end, self.capacity_count = 0, len(kept), capacity
        self._late_seconds = -EVENT_FRESH_SECONDS  # another place in the ring counts as late

    def __iter__(self) -> Iterator[WatchEvent]:
        for index in range(self._start, self._end):
            event = self._buffer[index % self.capacity_count]
            assert event is not None
            yield event

    def since(self, revision: int) -> list[WatchEvent] | None:
        """Return the events after a revision, or None if some of them are gone (410)."""
        if revision < self.evicted_revision:
            return None
        found: list[WatchEvent] = []
        for index in range(self._end - 1, self._start - 1, -1):
            event = self._buffer[index % self.capacity_count]
            assert event is not None
            if event.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found

    def clear(self, revision: int) -> None:
        """Forget everything up to ``revision`` (the cache has been listed anew)."""
        self.capacity_count = LOWER_BOUND_CAPACITY_COUNT
        self._buffer = [None] * self.capacity_count
        self._start = self._end = 0
        self._late_seconds = -EVENT_FRESH_SECONDS
        self.evicted_revision = revision


class WatcherState:
    """What the server keeps for one watcher."""

    __slots__ = (
        "blocked", "channel_count", "decoding", "due_seconds", "inbox", "joined",
        "last_bookmark_seconds", "pending", "plain", "stalled", "unread_bytes",
    )  # fmt: skip

    def __init__(self, channel_count: int, plain: bool) -> None:
        self.pending: list[WatchEvent] = []
        """Events handed over by the dispatcher and not yet sent."""
        self.channel_count = channel_count
        self.blocked = False
        """Whether the dispatcher is waiting for this watcher's channel."""
        self.plain = plain
        """Sees every event of the resource as it is: no filter of any kind."""
        self.joined = False
        """Whether the initial state has reached the client."""
        self.inbox: list[WatchEvent] = []
        """Events at the client that wait for its CPU or for the initial state."""
        self.decoding = False
        self.due_seconds = 0.0
        """When the last delivery arrives that is on its way in one step."""
        self.unread_bytes = 0
        """Sent and not yet read by a client whose CPU is modelled."""
        self.stalled = False
        """Whether the flow-control window is full: nothing more can be sent."""
        self.last_bookmark_seconds = 0.0


class WatchCache:
    """Objects, history and watchers of one resource on one replica."""

    __slots__ = (
        "_by_name", "_by_namespace", "_by_node", "_cluster_wide", "backlog",
        "delivered_revision", "fleets",
        "initialized", "objects", "resource", "revision", "ring", "row_delivery_count",
        "row_event_count", "row_number", "size_bytes", "sole_watcher", "watcher_count",
    )  # fmt: skip

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.objects: dict[Key, APIObject] = {}
        self.revision = 0
        """Revision of the newest event of this resource, or of a proof that there is none."""
        self.initialized = True
        self.backlog: list[WatchEvent] = []
        """Events that came while the cache was being listed."""
        self.delivered_revision = 0
        """Newest revision of a batch all of whose deliveries have arrived."""
        self.ring = Ring()
        self.size_bytes = 0
        """Stored bytes of all objects."""
        self.fleets: list[FleetWatcher] = []
        self._cluster_wide: list[Watcher] = []
        self._by_namespace: dict[str, list[Watcher]] = {}
        self._by_name: dict[Key, list[Watcher]] = {}
        self._by_node: dict[str, list[Watcher]] = {}
        self.watcher_count = 0
        self.row_number = 0
        """How rows of deliveries name this resource, replica and these numbers, those of the last
        row and most often of the next."""
        self.row_event_count = 0
        self.row_delivery_count = 0
        self.sole_watcher: Watcher | None = None
        """The only watcher, if that sees every event as it is."""

    # ------------------------------------------------------------------------------- store

    def apply(self, event: WatchEvent) -> None:
        """Bring store and history up to date with one event."""
        key = event.key
        if event.type == "DELETED":
            gone = self.objects.pop(key, None)
            if gone is not None:
                self.size_bytes -= gone.size_bytes
        else:
            new = event.new
            # what it replaces is what the cache holds: events come in order, none is left out
            old = event.old if event.old is not None else self.objects.get(key)
            self.size_bytes += new.size_bytes - (old.size_bytes if old is not None else 0)
            self.objects[key] = new
        self.revision = event.revision
        self.ring.append(event)

    def replace(self, objects: list[APIObject], revision: int) -> None:
        """Start anew from a list read from etcd."""
        self.objects = {item.whole_key(): item for item in objects}
        self.size_bytes = sum(item.size_bytes for item in objects)
        self.revision = revision
        self.ring.clear(revision)
        self.initialized = True
        backlog, self.backlog = self.backlog, []
        for event in backlog:
            if event.revision > revision:
                self.apply(event)

    def as_delivered(self) -> dict[Key, APIObject]:
        """Return the objects as the watchers know them: without what is still on its way."""
        known = dict(self.objects)
        for event in reversed(self.ring.since(self.delivered_revision) or list(self.ring)):
            if event.old is None:
                known.pop(event.key, None)
            else:
                known[event.key] = event.old
        return known

    def difference(self, known: dict[Key, APIObject], now_seconds: float) -> list[WatchEvent]:
        """Return the events that lead from ``known`` to the present state, deletions first."""
        resource, revision = self.resource, self.revision
        found = [
            WatchEvent("DELETED", resource, key, item, item, revision, now_seconds)
            for key, item in known.items()
            if key not in self.objects
        ]
        for key, item in self.objects.items():
            old = known.get(key)
            if old is None or old.resource_version != item.resource_version:
                kind = "ADDED" if old is None else "MODIFIED"
                found.append(WatchEvent(kind, resource, key, item, old, revision, now_seconds))
        return found

    def select(
        self, namespace: str, selector: Callable[[APIObject], bool] | None
    ) -> list[APIObject]:
        """Return the objects of a namespace (all if empty) that satisfy the selector."""
        found: list[APIObject]
        if namespace:
            found = [item for item in self.objects.values() if item.namespace == namespace]
        else:
            found = list(self.objects.values())
        if selector is not None:
            found = [item for item in found if selector(item)]
        return found

    # ---------------------------------------------------------------------------- watchers

    def channel_size(self, watcher: Watcher) -> int:
        """Return how many events the server buffers for a watcher (facts c.3)."""
        suggested = math.ceil(int(self.ring.capacity_count) / EVENT_FRESH_SECONDS)
        if self.resource not in _INDEXED_RESOURCES:
            limit = _CHANNEL_WITHOUT_INDEX_COUNT
        elif watcher.field_node_name:
            limit = _CHANNEL_WITH_INDEX_COUNT
        else:
            limit = _CHANNEL_INDEX_UNUSED_COUNT
        return max(_CHANNEL_LEAST_COUNT, min(suggested, limit))

    def _shelf(self, watcher: Watcher) -> list[Watcher]:
        if watcher.field_node_name and self.resource in _INDEXED_RESOURCES:
            return self._by_node.setdefault(watcher.field_node_name, [])
        if watcher.name:
            return self._by_name.setdefault((watcher.namespace, watcher.name), [])
        if watcher.namespace:
            return self._by_namespace.setdefault(watcher.namespace, [])
        return self._cluster_wide

    def add(self, watcher: Watcher) -> None:
        """Register a watcher; it gets every event applied from now on."""
        plain = not (
            watcher.selector or watcher.namespace or watcher.name or watcher.field_node_name
        )
        watcher.state = WatcherState(self.channel_size(watcher), plain)
        watcher.connected_revision = self.revision
        self._shelf(watcher).append(watcher)
        self.watcher_count += 1
        self._note_sole_watcher()

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        shelf = self._shelf(watcher)
        if watcher in shelf:
            shelf.remove(watcher)
            self.watcher_count -= 1
            self._note_sole_watcher()

    def _note_sole_watcher(self) -> None:
        self.sole_watcher = None
        if self.watcher_count == 1 and self._cluster_wide and self._cluster_wide[0].state.plain:
            self.sole_watcher = self._cluster_wide[0]

    def watchers(self) -> list[Watcher]:
        """Return all registered watchers in a fixed order."""
        found = list(self._cluster_wide)
        for shelves in (self._by_namespace, self._by_name, self._by_node):
            for shelf in shelves.values():
                found.extend(shelf)
        return found

    @property
    def is_watched(self) -> bool:
        """Whether an event of this resource can interest anybody."""
        return self.watcher_count > 0 or bool(self.fleets)

    @property
    def may_be_wide(self) -> bool:
        """Whether enough watches for a second seat may see one write."""
        return self.watcher_count >= WATCHES_PER_SEAT_COUNT or len(self.fleets) > 0

    def interested_count(self, key: Key) -> int:
        """Return how many watchers count for the seats of a write to ``key`` (facts b.3).

        Watches of the whole resource, of the namespace and of the name; watches by node name are
        left out. Fleets count with their members, except fleets whose members each watch their
        own objects.
        """
        count = len(self._cluster_wide)
        if self._by_namespace and key[0]:
            count += len(self._by_namespace.get(key[0], ()))
        if self._by_name:
            count += len(self._by_name.get(key, ()))
        for fleet in self.fleets:
            if fleet.mode == "all":
                count += fleet.member_count
            elif self.resource not in _INDEXED_RESOURCES:
                count += 1
        return count

    def candidates(self, event: WatchEvent) -> list[Watcher]:
        """Return the watchers that the dispatcher visits for an event, in a fixed order."""
        found = self._cluster_wide
        if self._by_namespace:
            found = found + self._by_namespace.get(event.key[0], [])
        if self._by_name:
            found = found + self._by_name.get(event.key, [])
        if self._by_node:
            new_name: str = getattr(event.new, "node_name", "")
            old_name: str = getattr(event.old, "node_name", "") if event.old else new_name
            found = found + self._by_node.get(new_name, [])
            if old_name != new_name:
                found = found + self._by_node.get(old_name, [])
        return found


def matches(watcher: Watcher, item: APIObject) -> bool:
    """Return whether an object passes a watcher's scope and selector."""
    return (
        (not watcher.namespace or item.namespace == watcher.namespace)
        and (not watcher.name or item.name == watcher.name)
        and (
            not watcher.field_node_name or getattr(item, "node_name", "") == watcher.field_node_name
        )
        and (watcher.selector is None or watcher.selector(item))
    )


def retyped(event: WatchEvent, kind: str) -> WatchEvent:
    """Return the event as a watcher sees it for whom it has another type."""
    if kind == event.type:
        return event
    return WatchEvent(
        kind, event.resource, event.key, event.new, event.old, event.revision, event.commit_seconds
    )


def filtered(watcher: Watcher, event: WatchEvent) -> WatchEvent | None:
    """Return the event as the watcher sees it, or None if it sees nothing of it."""
    new = event.type != "DELETED" and matches(watcher, event.new)
    old = event.old is not None and matches(watcher, event.old)
    if event.type == "DELETED" and event.old is None:
        old = matches(watcher, event.new)
    if new:
        return retyped(event, "MODIFIED" if old else "ADDED")
    if old:
        return retyped(event, "DELETED")
    return None
