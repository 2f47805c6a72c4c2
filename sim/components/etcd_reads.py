"""etcd's reads: ReadIndex rounds, waiting for apply, execution of ranges.

**Modelled:** one round at a time; all linearizable reads that arrive during a round share the next
one; a read waits until everything committed when its round began is applied; a follower asks the
leader for the index; serializable reads skip all that. **Source:** `facts/model.md` d.2.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sim.base.api_object import Key

if TYPE_CHECKING:
    from sim.components.etcd import Etcd
    from sim.components.etcd_endpoint import Frontend

READ_CHUNK_KEY_COUNT: Final = 200
"""Ranges up to this many keys are executed together; longer ones each on their own."""


class Read:
    """One range request."""

    __slots__ = (
        "argument",
        "key",
        "key_count",
        "limit_count",
        "namespace",
        "resource",
        "serializable",
        "size_bytes",
        "then",
    )

    def __init__(
        self,
        resource: str,
        key: Key | None,
        namespace: str,
        limit_count: int,
        then: Callable[[Any], object],
        argument: Any,
        *,
        serializable: bool = False,
        key_count: int = -1,
    ) -> None:
        self.resource = resource
        self.key = key
        """None reads the whole resource (or namespace)."""
        self.namespace = namespace
        self.limit_count = limit_count
        """-1: the revision only; 0: no limit."""
        self.then = then
        self.argument = argument
        self.serializable = serializable
        self.key_count = key_count
        """Keys that the range touches; -1 asks the store (set it to model a range by size)."""
        self.size_bytes = 0


class ReadLoop:
    """The linearizable-read loop of each member and the execution of ranges."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self._waiting: list[tuple[Frontend, list[Read]]] = []
        self._round_busy = False
        self.blocked: list[tuple[int, Frontend, list[Read]]] = []
        """Reads whose index is not applied yet: (index, frontend, reads)."""
        self._order = etcd.engine.stream("etcd/run-queue")
        self.round_count = 0
        self.read_count = 0

    def submit(self, frontend: Frontend, reads: list[Read]) -> None:
        """Take reads off a member's network."""
        self.read_count += len(reads)
        serializable = [read for read in reads if read.serializable]
        if serializable:
            self._execute(frontend, serializable)
            if len(serializable) == len(reads):
                return
            reads = [read for read in reads if not read.serializable]
        self._waiting.append((frontend, reads))
        if not self._round_busy:
            self._round()

    def _round(self) -> None:
        etcd = self._etcd
        raft = etcd.raft
        leader = raft.leader
        groups = self._waiting
        self._waiting = []
        if leader is None or not raft.has_quorum():
            for _, reads in groups:
                self.fail_later(reads)
            return
        self.round_count += 1
        self._round_busy = True
        work = (raft.epoch, raft.commit_index, groups)
        if any(frontend.member is not leader for frontend, _ in groups):
            etcd.faults.ask_leader(leader, self._confirm, work)
        else:
            self._confirm(work)

    def _confirm(self, work: tuple[int, int, list[Any]]) -> None:
        self._etcd.raft.confirm_leader(self._confirmed, work)

    def _confirmed(self, work: tuple[int, int, list[Any]]) -> None:
        epoch, index, groups = work
        if epoch != self._etcd.raft.epoch:
            return
        self._round_busy = False
        if self._waiting:
            self._round()
        for frontend, reads in groups:
            if index <= self._etcd.applied_index:
                self._execute(frontend, reads)
            else:
                self.blocked.append((index, frontend, reads))

    def unblock(self, applied_index: int) -> None:
        """Go on with reads whose index has been applied."""
        ready = [item for item in self.blocked if item[0] <= applied_index]
        if ready:
            self.blocked = [item for item in self.blocked if item[0] > applied_index]
            for _, frontend, reads in ready:
                self._execute(frontend, reads)

    def _execute(self, frontend: Frontend, reads: list[Read]) -> None:
        law = self._etcd.law
        small: list[Read] = []
        small_key_count = 0
        for read in reads:
            count = read.key_count
            if count < 0:
                count = self._count(read)
            if count > READ_CHUNK_KEY_COUNT:
                frontend.long_reads.append((read, count))
            else:
                small.append(read)
                small_key_count += count
        if small:
            wake_seconds = law.params.read_wake_seconds
            work_seconds = law.read_seconds(len(small), small_key_count)
            seconds = frontend.member.express_seconds(wake_seconds, work_seconds)
            if seconds < 0.0:
                frontend.member.run(wake_seconds, work_seconds, self._executed, small)
            else:
                etcd = self._etcd
                if not etcd.direct:
                    seconds += etcd.client_link.sample_seconds()
                etcd.engine.after(seconds, self._respond, small)
        if frontend.long_reads:
            self._execute_long(frontend)

    def _execute_long(self, frontend: Frontend) -> None:
        """Start long ranges, one per core, in the random order of a busy run queue."""
        law = self._etcd.law
        waiting = frontend.long_reads
        cores = frontend.member.host.core_count or len(waiting) + frontend.long_busy_count
        while waiting and frontend.long_busy_count < cores:
            index = self._order.integer(len(waiting)) if len(waiting) > 1 else 0
            read, count = waiting.pop(index)
            frontend.long_busy_count += 1
            frontend.member.run(
                law.params.read_wake_seconds,
                law.read_seconds(1, count),
                self._executed_long,
                (frontend, frontend.member.term, read),
            )

    def _executed_long(self, work: tuple[Frontend, int, Read]) -> None:
        frontend, term, read = work
        if term != frontend.member.term:
            self.fail_later([read])
            return
        frontend.long_busy_count -= 1
        if frontend.long_reads:
            self._execute_long(frontend)
        self._executed([read])

    def _count(self, read: Read) -> int:
        if read.limit_count < 0:
            return 0
        if read.key is not None:
            return 1
        count = len(self._etcd.store.objects(read.resource))
        return min(count, read.limit_count) if read.limit_count else count

    def _executed(self, reads: list[Read]) -> None:
        etcd = self._etcd
        if etcd.direct:
            self._respond(reads)
        else:
            etcd.engine.after(etcd.client_link.sample_seconds(), self._respond, reads)

    def _respond(self, reads: list[Read]) -> None:
        store = self._etcd.store
        for read in reads:
            table = store.objects(read.resource)
            result: Any = None
            if read.limit_count < 0:
                result = []
            elif read.key is not None:
                result = table.get(read.key)
            else:
                items = iter(table.values())
                if read.namespace:
                    space = read.namespace
                    items = (item for item in table.values() if item.namespace == space)
                result = list(islice(items, read.limit_count or None))
            read.then((read.argument, result, store.revision, ""))

    def fail_later(self, reads: list[Read]) -> None:
        """Answer reads that met no leader or no quorum with an error after the timeout."""
        etcd = self._etcd
        etcd.engine.after(etcd.params.request_timeout_seconds, self._fail, reads)

    def _fail(self, reads: list[Read]) -> None:
        revision = self._etcd.store.revision
        self._etcd.failed_count += len(reads)
        for read in reads:
            read.then((read.argument, None, revision, "timeout"))

    def leader_lost(self) -> None:
        """Fail what waits for the lost leader's round."""
        self._round_busy = False
        groups = self._waiting
        self._waiting = []
        for _, reads in groups:
            self.fail_later(reads)
        for _, _, reads in self.blocked:
            self.fail_later(reads)
        self.blocked = []
