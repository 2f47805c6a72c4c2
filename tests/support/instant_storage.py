"""A store that commits at once and answers after a fixed delay: for tests above etcd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.base.api_object import APIObject, Key
from sim.components.ports import WatchEvent, Write
from sim.engine.engine import Engine


class InstantStorage:
    """Implements `ports.Storage`."""

    def __init__(self, engine: Engine, delay_seconds: float = 0.001) -> None:
        self.engine = engine
        self.delay_seconds = delay_seconds
        self.objects: dict[str, dict[Key, APIObject]] = {}
        self.streams: list[Callable[[list[WatchEvent]], None]] = []
        self._revision = 1
        self.error = ""
        """Set to answer every call with this error."""
        self.txn_count = 0
        self.get_count = 0
        self.list_count = 0
        self.compacted: list[int] = []

    @property
    def revision(self) -> int:
        return self._revision

    def txn(self, write: Write) -> None:
        self.txn_count += 1
        write.error = self.error
        if not self.error:
            self._commit(write)
        self.engine.call_later(self.delay_seconds, write.then, write)

    def _commit(self, write: Write) -> None:
        table = self.objects.setdefault(write.resource, {})
        old = table.get(write.key)
        if (old.resource_version if old is not None else 0) != write.expected_revision:
            write.actual, write.revision = old, self._revision
            return
        self._revision += 1
        write.succeeded, write.revision = True, self._revision
        if write.new is None:
            assert old is not None
            kind, new = "DELETED", table.pop(write.key)
        else:
            kind, new = "ADDED" if old is None else "MODIFIED", write.new
            new.resource_version = self._revision
            table[write.key] = new
        event = WatchEvent(
            kind, write.resource, write.key, new, old, self._revision, self.engine.now
        )
        for deliver in self.streams:
            self.engine.call_later(self.delay_seconds, deliver, [event])

    def get(
        self, resource: str, key: Key, then: Callable[[Any], object], argument: Any
    ) -> None:
        self.get_count += 1
        found = self.objects.get(resource, {}).get(key)
        answer = (argument, found, self._revision, self.error)
        self.engine.call_later(self.delay_seconds, then, answer)

    def list_objects(
        self,
        resource: str,
        namespace: str,
        limit_count: int,
        then: Callable[[Any], object],
        argument: Any,
    ) -> None:
        self.list_count += 1
        found: list[APIObject] = []
        if limit_count >= 0:
            found = [
                item
                for item in self.objects.get(resource, {}).values()
                if not namespace or item.namespace == namespace
            ]
        answer = (argument, found[: limit_count or None], self._revision, self.error)
        self.engine.call_later(self.delay_seconds, then, answer)

    def watch(self, deliver: Callable[[list[WatchEvent]], None], client_name: str) -> None:
        self.streams.append(deliver)
