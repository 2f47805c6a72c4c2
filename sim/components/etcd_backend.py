"""etcd's backend database: commits of the batch transaction, compaction.

**Modelled:** a commit every 100 ms when dirty, or at 10,000 puts, or when forced by a deletion in
the database; two syncs per commit; apply waits for it; compaction in steps of 1,000 keys with a
forced commit and a pause of 10 ms each. **Source:** `facts/model.md` d.1 step 6, d.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sim.components.etcd_member import Member
from sim.components.etcd_raft import RaftGroup
from sim.components.etcd_store import Store
from sim.engine.engine import Engine
from sim.engine.tables import Table

if TYPE_CHECKING:
    from sim.components.etcd_params import EtcdParams

COMPACTION_STEP_KEY_COUNT: Final = 1_000
COMPACTION_PAUSE_SECONDS: Final = 0.010


class Backend:
    """The batch transaction of the leader; followers commit at the same times."""

    def __init__(
        self,
        engine: Engine,
        table: Table,
        raft: RaftGroup,
        store: Store,
        params: EtcdParams,
        resume: Callable[[], None],
        apply_idle: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._table = table
        self._raft = raft
        self._store = store
        self._interval_seconds = params.backend_batch_interval_seconds
        self._limit_count = params.backend_batch_limit_count
        self._resume = resume
        self._apply_idle = apply_idle
        self.stalled = False
        """A commit runs; nothing may be applied."""
        self.due = False
        """A commit has to run before anything else is applied."""
        self.put_count = 0
        self._bytes_before = 0
        self._armed = False
        self._ended_seconds = 0.0
        self._started_seconds = 0.0
        self.commit_count = 0
        self.stall_sum_seconds = 0.0
        self._compacting: list[int] = []

    def dirty(self, put_count: int) -> None:
        """Note puts in the batch transaction; called at the end of an apply round."""
        self.put_count += put_count
        if self.put_count >= self._limit_count:
            self.due = True
        elif not self._armed:
            self._armed = True
            interval = self._interval_seconds
            since = self._engine.now - self._ended_seconds
            self._engine.after(interval - since % interval, self._tick)

    def force(self, put_count: int) -> None:
        """Commit as soon as the present apply round has ended (deletions in the database)."""
        self.put_count += put_count
        self.due = True

    def _tick(self, _: None) -> None:
        self._armed = False
        if self.put_count and not self.stalled:
            self.due = True
            self._try()

    def _try(self) -> None:
        if self._apply_idle():
            self.commit()

    def commit(self) -> None:
        """Start a commit now; apply is locked out until it ends."""
        leader = self._raft.leader
        self.due = False
        if leader is None:
            return
        self.stalled = True
        self._started_seconds = self._engine.now
        store = self._store
        count = self.put_count
        size_bytes = store.put_bytes - self._bytes_before
        self._bytes_before = store.put_bytes
        self.put_count = 0
        law = self._raft.law
        cpu_seconds = law.commit_cpu_seconds(count, size_bytes)
        page_bytes = size_bytes * law.params.commit_page_ratio
        for follower in self._raft.followers:
            if follower.alive:
                follower.process.run(
                    cpu_seconds,
                    self._follower_done,
                    (follower, self._engine.now, count, page_bytes),
                )
        leader.process.run(
            cpu_seconds, self._written, (self._raft.epoch, leader, count, page_bytes)
        )

    def _written(self, work: tuple[int, Member, int, float]) -> None:
        epoch, leader, count, page_bytes = work
        if epoch != self._raft.epoch:
            return
        duration = leader.backend_sync_seconds(page_bytes)
        self._engine.after(duration, self._done, (epoch, leader, count))

    def _done(self, work: tuple[int, Member, int]) -> None:
        epoch, leader, count = work
        if epoch != self._raft.epoch:
            return
        now = self._engine.now
        self.stalled = False
        self._ended_seconds = now
        self.commit_count += 1
        duration = now - self._started_seconds
        self.stall_sum_seconds += duration
        self._table.append(
            (self._started_seconds, leader.index, count, duration, self._store.database_bytes)
        )
        self._resume()

    def _follower_done(self, work: tuple[Member, float, int, float]) -> None:
        follower, started_seconds, count, page_bytes = work
        syncs_seconds = follower.backend_sync_seconds(page_bytes)
        self._table.append(
            (
                started_seconds,
                follower.index,
                count,
                self._engine.now - started_seconds + syncs_seconds,
                self._store.database_bytes,
            )
        )

    def abandon(self) -> None:
        """The leader has died: its transaction is void, the next leader starts clean."""
        self.stalled = False
        self.due = False
        self._ended_seconds = self._engine.now

    def compact(self, revision: int) -> None:
        """Compact in steps; a second request waits for the first."""
        self._compacting.append(min(revision, self._store.revision))
        if len(self._compacting) == 1:
            self._compact_next()

    def _compact_next(self) -> None:
        revision = self._compacting[0]
        count = self._store.compact(revision)
        steps = max(1, -(-count // COMPACTION_STEP_KEY_COUNT))
        self._compact_step(steps)

    def _compact_step(self, steps: int) -> None:
        self.put_count += 1
        self.due = True
        if not self.stalled:
            self._try()
        if steps > 1:
            self._engine.after(COMPACTION_PAUSE_SECONDS, self._compact_step, steps - 1)
            return
        self._compacting.pop(0)
        if self._compacting:
            self._compact_next()
