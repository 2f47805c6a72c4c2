"""An apiserver and store that answer after a fixed short delay: for tests of single components.

It keeps the semantics of the one road (guarded writes, revisions, graceful deletion, watches in
order, owner of nothing else) without its costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sim.base.api_object import APIObject, Key
from sim.base.objects import Pod
from sim.components.client import ClientFactory
from sim.components.ports import FleetWatcher, Request, Watcher, WatchEvent
from sim.engine.engine import Engine


class InstantAPIServer:
    """Implements `APIEndpoint`; every call takes ``delay_seconds``, every delivery as well."""

    def __init__(self, engine: Engine, delay_seconds: float = 0.002) -> None:
        self.engine = engine
        self.delay_seconds = delay_seconds
        self.objects: dict[str, dict[Key, APIObject]] = {}
        self.revision = 1
        self.next_uid = 1
        self.watchers: list[Watcher] = []
        self.fleets: list[FleetWatcher] = []
        self.requests: list[tuple[float, str, str, str, str]] = []
        """(time, user, verb, resource/subresource, name) of every request handled."""
        self.clients = ClientFactory(engine, self)

    def send(self, request: Request) -> None:
        self.engine.call_later(self.delay_seconds / 2, self._handle, request)

    def _handle(self, request: Request) -> None:
        resource = request.resource
        sub = f"/{request.subresource}" if request.subresource else ""
        self.requests.append(
            (self.engine.now, request.client.user, request.verb, resource + sub, request.name)
        )
        handler: Callable[[Request], None] = getattr(self, f"_{request.verb}")
        handler(request)
        self.engine.call_later(self.delay_seconds / 2, request.client.receive, request)

    def _table(self, resource: str) -> dict[Key, APIObject]:
        return self.objects.setdefault(resource, {})

    def _get(self, request: Request) -> None:
        request.result = self._table(request.resource).get((request.namespace, request.name))
        request.code = 200 if request.result is not None else 404

    def _list(self, request: Request) -> None:
        request.result = [
            item
            for item in self._table(request.resource).values()
            if (not request.namespace or item.namespace == request.namespace)
            and (request.selector is None or request.selector(item))
        ]
        request.code = 200

    def _create(self, request: Request) -> None:
        if request.subresource:  # tokens: nothing is stored
            request.code = 201
            return
        new = request.api_object
        assert new is not None
        home = self._table("namespaces").get(("", new.namespace))
        if getattr(home, "phase", "") == "Terminating":
            request.code = 403
            return
        if new.key in self._table(new.resource):
            request.code = 409
            return
        if not new.uid:
            new.uid = self.next_uid
            self.next_uid += 1
        if new.creation_seconds < 0.0:
            new.creation_seconds = self.engine.now
        self._commit("ADDED", new, None)
        request.result = new
        request.code = 201

    def _update(self, request: Request) -> None:
        new = request.api_object
        assert new is not None
        current = self._table(new.resource).get(new.key)
        if current is None:
            request.code = 404
        elif new.resource_version and new.resource_version != current.resource_version:
            request.code = 409
        else:
            self._replace(request, new, current)

    def _patch(self, request: Request) -> None:
        current = self._table(request.resource).get((request.namespace, request.name))
        if current is None:
            request.code = 404
            return
        assert request.mutate is not None
        new = request.mutate(current)
        if new is None:
            request.code = 409
        elif new is current:
            request.code, request.result = 200, current
        else:
            self._replace(request, new, current)

    def _replace(self, request: Request, new: APIObject, current: APIObject) -> None:
        if new.deletion_seconds >= 0.0 and not new.finalizers and not isinstance(new, Pod):
            self._commit("DELETED", new, current)
        else:
            self._commit("MODIFIED", new, current)
        request.code, request.result = 200, new

    def _delete(self, request: Request) -> None:
        current = self._table(request.resource).get((request.namespace, request.name))
        if current is None or (
            request.precondition_uid and request.precondition_uid != current.uid
        ):
            request.code = 404 if current is None else 409
            return
        request.code, request.result = 200, current
        if isinstance(current, Pod):
            grace = request.grace_seconds
            if grace < 0.0:
                grace = current.template.termination_grace_period_seconds
            if not current.node_name or current.is_terminal:
                grace = 0.0
            if grace > 0.0:
                if current.deletion_seconds < 0.0:
                    new = current.clone()
                    new.deletion_seconds = self.engine.now + grace
                    new.deletion_grace_seconds = grace
                    self._commit("MODIFIED", new, current)
                return
        if current.finalizers:
            new = current.clone()
            new.deletion_seconds = self.engine.now
            self._commit("MODIFIED", new, current)
            return
        self._commit("DELETED", current, current)

    def _commit(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        self.revision += 1
        table = self._table(new.resource)
        if kind == "DELETED":
            del table[new.key]
        else:
            new.resource_version = self.revision
            table[new.key] = new
        event = WatchEvent(kind, new.resource, new.key, new, old, self.revision, self.engine.now)
        self.engine.call_later(self.delay_seconds, self._deliver, event)

    def _deliver(self, event: WatchEvent) -> None:
        for watcher in list(self.watchers):
            if watcher.resource == event.resource and watcher.connected_revision < event.revision:
                filtered = _filtered(watcher, event)
                if filtered is not None:
                    watcher.deliver([filtered])
        for fleet in self.fleets:
            if fleet.resource != event.resource:
                continue
            if fleet.mode == "all":
                times = np.full(fleet.member_count, self.engine.now)
                assert fleet.deliver_all is not None
                fleet.deliver_all([event], times)
                continue
            assert fleet.member_of is not None
            assert fleet.deliver_own is not None
            new_member = -1 if event.type == "DELETED" else fleet.member_of(event.new)
            old_member = fleet.member_of(event.old) if event.old is not None else -1
            if old_member >= 0 and old_member != new_member:
                fleet.deliver_own(old_member, _as(event, "DELETED"))
            if new_member >= 0:
                kind = "MODIFIED" if old_member == new_member else "ADDED"
                fleet.deliver_own(new_member, _as(event, kind))

    def watch(
        self, client: Any, watcher: Watcher, then: Callable[[list[APIObject], int], object]
    ) -> None:
        def connect(_: None) -> None:
            watcher.connected_revision = self.revision
            self.watchers.append(watcher)
            objects = [
                item for item in self._table(watcher.resource).values() if _matches(watcher, item)
            ]
            then(objects, self.revision)

        self.engine.call_later(self.delay_seconds, connect)

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        self.fleets.append(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        watcher.closed = True
        if watcher in self.watchers:
            self.watchers.remove(watcher)


def _as(event: WatchEvent, kind: str) -> WatchEvent:
    return WatchEvent(
        kind, event.resource, event.key, event.new, event.old, event.revision,
        event.commit_seconds,
    )  # fmt: skip


def _matches(watcher: Watcher, item: APIObject) -> bool:
    return (
        (not watcher.namespace or item.namespace == watcher.namespace)
        and (not watcher.name or item.name == watcher.name)
        and (
            not watcher.field_node_name or getattr(item, "node_name", "") == watcher.field_node_name
        )
        and (watcher.selector is None or watcher.selector(item))
    )


def _filtered(watcher: Watcher, event: WatchEvent) -> WatchEvent | None:
    new = event.type != "DELETED" and _matches(watcher, event.new)
    old = event.old is not None and _matches(watcher, event.old)
    if new:
        kind = "MODIFIED" if old else "ADDED"
    elif old:
        kind = "DELETED"
    else:
        return None
    return event if kind == event.type else _as(event, kind)
