"""An informer: a consumer's own, possibly stale, copy of one resource, kept by a watch.

**Modelled:** initial list through WatchList, ordered application of events, handlers; a watch that
the server ends because it is too slow goes on at once from the last revision; after errors a
re-list (client-go back-off 0.8 s doubling to 30 s with full jitter).
**Source:** `facts/model.md` c.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from sim.base.api_object import APIObject, Key
from sim.components.client import Client
from sim.components.ports import TOO_SLOW, APIEndpoint, Watcher, WatchEvent
from sim.engine.engine import Engine
from sim.engine.host import HostProcess

T = TypeVar("T", bound=APIObject)

_BACKOFF_BASE_SECONDS: Final = 0.8
_BACKOFF_MAX_SECONDS: Final = 30.0


class Listener:
    """Who hears of the changes in an informer's cache, by a compiled call."""

    def changed(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        """Take note of one change; ``kind`` is ADDED, MODIFIED or DELETED."""


class _Handler(Listener):
    """A function that hears of the changes."""

    def __init__(self, handler: Callable[[str, Any, Any], object]) -> None:
        self._handler = handler

    def changed(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        """Call the function."""
        self._handler(kind, new, old)


class _InformerWatcher(Watcher):
    """An informer's watch: events go to it by a compiled call."""

    __slots__ = ("_informer",)

    def __init__(self, informer: Informer[Any], resource: str, namespace: str) -> None:
        super().__init__(resource, informer.bring, namespace=namespace)
        self._informer = informer

    def hand_over(self, events: list[WatchEvent]) -> None:
        """Bring events to the informer."""
        self._informer.bring(events)


class Informer(Generic[T]):
    """The local cache of one resource; read ``objects``, never change what is in it.

    Handlers are called as ``handler(type, new, old)`` with type ADDED, MODIFIED or DELETED,
    after the cache has been brought up to date.
    """

    def __init__(
        self,
        engine: Engine,
        endpoint: APIEndpoint,
        client: Client,
        resource: str,
        *,
        namespace: str = "",
        selector: Callable[[APIObject], bool] | None = None,
        process: HostProcess | None = None,
    ) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._client = client
        self._namespace = namespace
        self._selector = selector
        self._process = process
        self._listeners: list[Listener] = []
        """Who hears of everything but updates of objects that nobody owns, and of these below."""
        self._update_listeners: list[Listener] = []
        self._failure_count = 0
        self.resource = resource
        self.objects: dict[Key, T] = {}
        self.revision = 0
        """Revision of the newest event applied."""
        self.synced = False
        self.relist_count = 0
        self.event_count = 0

    def add_handler(
        self, handler: Callable[[str, T, T | None], object], *, plain_updates: bool = True
    ) -> None:
        """Register a handler; before `start`.

        Without ``plain_updates`` it is not told MODIFIED of an object that had no owner and has
        none: heartbeats are such, and who looks after owners need not be called for them.
        """
        self.add_listener(_Handler(handler), plain_updates=plain_updates)

    def add_listener(self, listener: Listener, *, plain_updates: bool = True) -> None:
        """Do as `add_handler`, for what is called most often."""
        self._listeners.append(listener)
        if plain_updates:
            self._update_listeners.append(listener)

    def get(self, namespace: str, name: str) -> T | None:
        """Return the cached object, or None."""
        return self.objects.get((namespace, name))

    def start(self) -> None:
        """List and watch."""
        self._watch(0)

    def _watch(self, resume_revision: int) -> None:
        watcher = _InformerWatcher(self, self.resource, self._namespace)
        watcher.selector = self._selector
        watcher.on_close = self._closed
        watcher.process = self._process
        watcher.resume_revision = resume_revision
        self._endpoint.watch(self._client, watcher, self._listed)

    def _listed(self, objects: list[APIObject], revision: int) -> None:
        self._failure_count = 0
        stale = self.objects
        fresh = {item.whole_key(): cast(T, item) for item in objects}
        self.objects = fresh
        self.revision = revision
        self.synced = True
        for key, item in fresh.items():
            old = stale.pop(key, None)
            if old is None:
                self._handle("ADDED", item, None)
            elif old.resource_version != item.resource_version:
                self._handle("MODIFIED", item, old)
        for item in stale.values():
            self._handle("DELETED", item, item)

    def bring(self, events: list[WatchEvent]) -> None:
        """Apply the events of one delivery, in order."""
        objects = self.objects
        for event in events:
            new = cast(T, event.new)
            kind = event.type
            if kind == "DELETED":
                old = objects.pop(event.key, None)
            else:
                old = objects.get(event.key)
                objects[event.key] = new
                kind = "ADDED" if old is None else "MODIFIED"
            self.revision = event.revision
            self._handle(kind, new, old)
        self.event_count += len(events)

    def _handle(self, kind: str, new: T, old: T | None) -> None:
        listeners = self._listeners
        if kind == "MODIFIED" and new.owner is None and (old is None or old.owner is None):
            listeners = self._update_listeners
        for listener in listeners:
            listener.changed(kind, new, old)

    def _closed(self, reason: str) -> None:
        self.relist_count += 1
        if reason == TOO_SLOW and self.synced:
            self._watch(self.revision)
            return
        limit_seconds = min(_BACKOFF_BASE_SECONDS * 2.0**self._failure_count, _BACKOFF_MAX_SECONDS)
        self._failure_count += 1
        draw = self._engine.stream(f"informer/{self._client.user}/{self.resource}/backoff")
        self._engine.after(limit_seconds * (1.0 + draw.uniform()), lambda _: self.start())
