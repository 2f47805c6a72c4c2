"""Where clients meet etcd: the gRPC frontend of each member, and a storage client bound to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sim.base.api_object import Key
from sim.components.etcd_member import Member
from sim.components.etcd_reads import Read
from sim.components.ports import WatchEvent, Write

if TYPE_CHECKING:
    from sim.components.etcd import Etcd


class Frontend:
    """The gRPC server of one member: takes requests in chunks, a few readers at a time."""

    __slots__ = (
        "busy_count",
        "inbox",
        "long_busy_count",
        "long_reads",
        "member",
        "reader_count_max",
    )

    def __init__(self, member: Member, reader_count_max: int) -> None:
        self.member = member
        self.inbox: list[Any] = []
        self.busy_count = 0
        self.long_reads: list[tuple[Read, int]] = []
        """Ranges over many keys that wait for a core, with their key counts."""
        self.long_busy_count = 0
        self.reader_count_max = reader_count_max


class Endpoint:
    """`ports.Storage` through one member, as an apiserver beside that member uses it."""

    def __init__(self, etcd: Etcd, frontend: Frontend) -> None:
        self._etcd = etcd
        self._frontend = frontend

    def _target(self) -> Frontend | None:
        return self._frontend if self._frontend.member.alive else None

    def txn(self, write: Write) -> None:
        """Propose a transaction through this member (the leader if it is down)."""
        self._etcd.submit_write(write, self._target())

    def get(self, resource: str, key: Key, then: Callable[[Any], object], argument: Any) -> None:
        """Read one key, linearizable, from this member."""
        self._etcd.submit_read(Read(resource, key, "", 1, then, argument), self._target())

    def list_objects(
        self,
        resource: str,
        namespace: str,
        limit_count: int,
        then: Callable[[Any], object],
        argument: Any,
    ) -> None:
        """Read a resource, linearizable, from this member."""
        read = Read(resource, None, namespace, limit_count, then, argument)
        self._etcd.submit_read(read, self._target())

    def watch(self, deliver: Callable[[list[WatchEvent]], None], client_name: str) -> None:
        """Watch every commit."""
        self._etcd.watch(deliver, client_name)

    @property
    def revision(self) -> int:
        """Current store revision."""
        return self._etcd.revision
