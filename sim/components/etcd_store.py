"""etcd's key space: revisions, guarded transactions, size of the database, history, leases.

**Modelled:** one revision per transaction that writes; every version stays until compaction; bytes
freed by compaction are reused before the file grows (it never shrinks without defragmentation);
event leases of up to 1,000 keys or 60 s of creations. **Not modelled:** the B-tree's own shape.
**Source:** `facts/model.md` d.1 step 5, d.4, d.5, d.6.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64

from sim.base.api_object import RESOURCE_TYPES, APIObject, Key
from sim.components.ports import WatchEvent, Write

VERSION_OVERHEAD_BYTES: Final = 150
"""Key (about 80 B twice), revision and page headers of one stored version: assumed."""
LEASE_KEY_COUNT_MAX: Final = 1_000
LEASE_WINDOW_SECONDS: Final = 60.0
LEASE_TTL_SECONDS: Final = 3_660.0
"""**Source:** `facts/model.md` d.5."""

_NO_OBJECTS: Mapping[Key, APIObject] = {}


class Lease:
    """One etcd lease shared by the events created in one window."""

    __slots__ = ("created_seconds", "keys")

    def __init__(self, created_seconds: float) -> None:
        self.created_seconds = created_seconds
        self.keys: dict[tuple[str, Key], int] = {}
        """(resource, key) to the revision that attached it, in order of attachment."""


class Store:
    """The state machine that committed entries are applied to."""

    def __init__(self, lease_made: Callable[[], None]) -> None:
        self._lease_made = lease_made
        self.tables: dict[str, dict[Key, APIObject]] = {}
        self.revision = 1
        self.compacted_revision = 0
        self.put_count = 0
        """Versions written, tombstones included."""
        self.delete_count = 0
        self.put_bytes = 0
        self.database_bytes = 0
        """Size of the file."""
        self.free_bytes = 0
        """Pages inside the file that are free."""
        self.leases: deque[Lease] = deque()
        self._superseding_revisions = vec[i64]()
        """Of every old version the revision that superseded it, ascending, and below its bytes."""
        self._superseded_bytes = vec[i64]()

    @property
    def in_use_bytes(self) -> int:
        """Bytes of live and historic versions."""
        return self.database_bytes - self.free_bytes

    def objects(self, resource: str) -> Mapping[Key, APIObject]:
        """Return the live objects of one resource."""
        return self.tables.get(resource, _NO_OBJECTS)

    def preload(self, objects: Iterable[APIObject]) -> int:
        """Put objects without spending time; return how many. Revisions follow their order."""
        count = 0
        for item in objects:
            self.revision += 1
            item.resource_version = self.revision
            size_bytes = item.size_bytes
            if not size_bytes:
                kind = RESOURCE_TYPES.get(item.resource)
                size_bytes = kind.size_bytes if kind is not None else 1_000
            item.stored_key = None
            self.tables.setdefault(item.resource, {})[item.whole_key()] = item
            self._grow(size_bytes + VERSION_OVERHEAD_BYTES)
            count += 1
        return count

    def _grow(self, size_bytes: int) -> None:
        if self.free_bytes >= size_bytes:
            self.free_bytes -= size_bytes
        else:
            self.database_bytes += size_bytes - self.free_bytes
            self.free_bytes = 0

    def apply(self, writes: list[Write], now: float, events: list[WatchEvent]) -> None:
        """Apply transactions in order, filling in their results; append what watchers see."""
        tables = self.tables
        revision = self.revision
        for write in writes:
            resource = write.resource
            table = tables.get(resource)
            if table is None:
                table = tables[resource] = {}
            key = write.key
            old = table.get(key)
            expected = write.expected_revision
            if expected >= 0 and expected != (0 if old is None else old.resource_version):
                write.actual = old
                write.revision = revision
                continue
            new = write.new
            if new is None and old is None:
                write.succeeded = True
                write.revision = revision
                continue
            revision += 1
            size_bytes = write.size_bytes + VERSION_OVERHEAD_BYTES
            self.put_count += 1
            self.put_bytes += size_bytes
            self._grow(size_bytes)
            if old is not None:
                old_bytes = (old.size_bytes or write.size_bytes) + VERSION_OVERHEAD_BYTES
                self._supersede(revision, old_bytes)
            if new is None:
                assert old is not None
                del table[key]
                self.delete_count += 1
                new = old.clone()
                new.resource_version = revision
                self._supersede(revision, VERSION_OVERHEAD_BYTES)
                kind = "DELETED"
            else:
                new.resource_version = revision
                table[key] = new
                kind = "ADDED" if old is None else "MODIFIED"
                if write.lease:
                    self._attach(resource, key, revision, now)
            write.succeeded = True
            write.revision = revision
            events.append(WatchEvent(kind, resource, key, new, old, revision, now))
        self.revision = revision

    def _supersede(self, revision: int, size_bytes: int) -> None:
        """Note that a revision has made an old version of so many bytes superfluous."""
        self._superseding_revisions = append(self._superseding_revisions, revision)
        self._superseded_bytes = append(self._superseded_bytes, size_bytes)

    def _attach(self, resource: str, key: Key, revision: int, now: float) -> None:
        leases = self.leases
        if (
            not leases
            or len(leases[-1].keys) >= LEASE_KEY_COUNT_MAX
            or now - leases[-1].created_seconds >= LEASE_WINDOW_SECONDS
        ):
            leases.append(Lease(now))
            self._lease_made()
        leases[-1].keys[(resource, key)] = revision

    def revoke_oldest_lease(self, now: float, events: list[WatchEvent]) -> int:
        """Delete the keys of the oldest lease that it still holds; return how many."""
        lease = self.leases.popleft()
        deletes: list[Write] = []
        for (resource, key), attached_revision in lease.keys.items():
            current = self.tables[resource].get(key)
            if current is not None and current.resource_version == attached_revision:
                deletes.append(Write(resource, key, -1, None, 0, _nothing))
        if deletes:
            before = self.revision
            self.apply(deletes, now, events)
            for event in events[-len(deletes) :]:
                event.revision = before + 1
                event.new.resource_version = before + 1
            self.revision = before + 1
        return len(deletes)

    def compact(self, revision: int) -> int:
        """Free the versions superseded at or before ``revision``; return how many there were."""
        revisions = self._superseding_revisions
        count: i64 = 0
        freed_bytes = 0
        while count < len(revisions) and revisions[count] <= revision:
            freed_bytes += self._superseded_bytes[count]
            count += 1
        self._superseding_revisions = revisions[count:]
        self._superseded_bytes = self._superseded_bytes[count:]
        self.free_bytes += min(freed_bytes, self.in_use_bytes)
        self.compacted_revision = max(self.compacted_revision, revision)
        return int(count)


def _nothing(_: Write) -> None:
    return
