"""One etcd process, what it writes in one round, and its answer to the leader."""

from __future__ import annotations

from collections import deque
from typing import Final

from mypy_extensions import i64, mypyc_attr

from sim.components.etcd_process import GoProcess
from sim.components.ports import Write
from sim.costs.disk import DiskLaw
from sim.costs.etcd import EtcdLaw
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Table

SEGMENT_BYTES: Final = 64_000_000
"""Size of a WAL file; a cut costs one more sync (`facts/model.md` d.1)."""


@mypyc_attr(free_list_len=1)  # what is over gives its memory to the next one
class Batch:
    """Entries appended by the leader in one round of its loop."""

    __slots__ = (
        "agreed",
        "commit_seconds",
        "epoch",
        "fsync_seconds",
        "last_index",
        "later",
        "quorum_seconds",
        "size_bytes",
        "start_seconds",
        "writes",
    )

    def __init__(
        self, writes: list[Write], size_bytes: int, last_index: i64, epoch: int, now: float
    ) -> None:
        self.writes = writes
        self.size_bytes = size_bytes
        self.last_index = last_index
        self.epoch = epoch
        self.start_seconds = now
        self.fsync_seconds = 0.0
        self.commit_seconds = 0.0
        self.quorum_seconds = 0.0
        """When the followers' answers make the quorum, if that is after the leader's own sync."""
        self.agreed = False
        """Whether commit and apply are one step, told at its end."""
        self.later: Batch | None = None
        """The next one that is not committed."""

    def write_row(self, table: Table, now: float, leader_index: int) -> None:
        """Write the row of a batch that has just been applied."""
        if not table.enabled:
            return
        table.put_float(self.start_seconds)
        table.put_integer(len(self.writes))
        table.put_integer(self.size_bytes)
        table.put_float(self.fsync_seconds)
        table.put_float(self.commit_seconds - self.start_seconds)
        table.put_float(now - self.commit_seconds)
        table.put_integer(leader_index)
        table.end_row()


class Member(GoProcess):
    """One etcd process on its host and disk."""

    __slots__ = (
        "alive",
        "applying",
        "arrival_seconds",
        "begun_bytes",
        "begun_count",
        "busy",
        "cut_count",
        "debt_seconds",
        "disk",
        "earlier_log_terms",
        "free_seconds",
        "inbox",
        "index",
        "learnt_count",
        "log_epoch",
        "log_epoch_index",
        "matched_index",
        "segment_bytes",
        "slow_until_seconds",
        "sync_count",
        "synced_index",
        "term",
    )  # fmt: skip

    def __init__(self, engine: Engine, index: int, host: Host, disk: DiskLaw, law: EtcdLaw) -> None:
        super().__init__(engine, host, f"etcd-{index}", law)
        self.index = index
        self.disk = disk
        self.alive = True
        self.term = 0
        """Incarnation: grows whenever the process dies, so that its pending work is void."""
        self.synced_index = 0
        """Last log index that survives a crash of this member."""
        self.matched_index: i64 = 0
        """Last log index that the leader knows to be durable here."""
        self.log_epoch = 0
        """Epoch of the last entry of the durable log, 0 if there is none, and its index."""
        self.log_epoch_index = 0
        self.earlier_log_terms: list[tuple[int, int]] = []
        """(epoch, last index of that epoch) of the entries of earlier epochs, ascending."""
        self.inbox: deque[Batch] = deque()
        self.busy = False
        self.begun_count = 0
        """Entries of the first batch of the inbox that are being written already."""
        self.begun_bytes = 0
        self.arrival_seconds = 0.0
        self.debt_seconds = 0.0
        """As a follower: work of applies that the next round does first."""
        self.free_seconds = 0.0
        """As a follower on a roomy host: when its rounds known in advance are over."""
        self.slow_until_seconds = 0.0
        """As a follower: when the last message arrives that takes the way with an event a step."""
        self.learnt_count = 0
        """Entries that this follower may apply and has not started to."""
        self.applying = False
        self.segment_bytes: i64 = 0
        self.cut_count = 0
        self.sync_count: i64 = 0

    def sync_seconds(self, size_bytes: int) -> float:
        """Draw the duration of a WAL sync, a segment cut included when one is due."""
        self.sync_count += 1
        now = self._engine.now
        duration = self.disk.sync_seconds(now, size_bytes)
        self.segment_bytes += size_bytes
        if self.segment_bytes >= SEGMENT_BYTES:
            self.segment_bytes = 0
            self.cut_count += 1
            duration += self.disk.sync_seconds(now + duration, 0)
        self.spin_cpu_seconds += duration * self._law.params.monitor_ratio
        return duration

    def backend_sync_seconds(self, page_bytes: float) -> float:
        """Draw the duration of a backend commit's two syncs: pages, then the meta page."""
        now = self._engine.now
        duration = self.disk.sync_seconds(now, page_bytes)
        duration += self.disk.sync_seconds(now + duration, 0)
        self.spin_cpu_seconds += duration * self._law.params.monitor_ratio
        return duration

    def vote_sync_seconds(self) -> float:
        """Draw the duration of persisting a vote."""
        return self.disk.sync_seconds(self._engine.now, 0)

    def persist(self, epoch: int, index: int) -> None:
        """Note that the log up to ``index``, written in ``epoch``, is durable."""
        self.synced_index = index
        if self.log_epoch != epoch:
            self.earlier_log_terms = self.log_terms()
            self.log_epoch = epoch
        self.log_epoch_index = index

    def log_terms(self) -> list[tuple[int, int]]:
        """Return (epoch, last index of that epoch) of the durable log, ascending."""
        if not self.log_epoch:
            return []
        return [*self.earlier_log_terms, (self.log_epoch, self.log_epoch_index)]

    def set_log_terms(self, terms: list[tuple[int, int]]) -> None:
        """Let the durable log consist of these epochs."""
        self.log_epoch, self.log_epoch_index = terms[-1] if terms else (0, 0)
        self.earlier_log_terms = terms[:-1]

    def adopt(self, leader: Member | None, epoch: int) -> None:
        """Take what this log lacks of earlier epochs from the leader's, with its epochs."""
        if leader is not None and self.log_epoch != epoch:
            self.set_log_terms([item for item in leader.log_terms() if item[0] < epoch])

    def truncate(self, index: int) -> None:
        """Forget durable entries above ``index`` (they conflict with the leader's log)."""
        terms = self.log_terms()
        while terms and terms[-1][1] > index:
            epoch, _ = terms.pop()
            before = terms[-1][1] if terms else 0
            if before < index:
                terms.append((epoch, index))
                break
        self.set_log_terms(terms)
        self.synced_index = min(self.synced_index, index)
        if self.matched_index > index:
            self.matched_index = index

    def epoch_at(self, index: int) -> int:
        """Return the epoch in which the durable entry ``index`` was written."""
        for epoch, last in self.log_terms():
            if index <= last:
                return epoch
        return -1


class Answer:
    """A follower's acknowledgement on its way to the leader, its arrival known."""

    __slots__ = ("batch", "follower", "later", "seconds", "term")

    def __init__(self, seconds: float, follower: Member, batch: Batch) -> None:
        self.seconds = seconds
        self.follower = follower
        self.term = follower.term
        self.batch = batch
        self.later: Answer | None = None


class Answers:
    """Acknowledgements on their way, batch by batch, those of one batch in order of arrival.

    They are linked, and what has arrived is used again: there are two with every batch.
    """

    __slots__ = ("_arrived", "first", "last")

    def __init__(self) -> None:
        self.first: Answer | None = None
        self.last: Answer | None = None
        self._arrived: Answer | None = None

    def add(self, after: Answer | None, seconds: float, follower: Member, batch: Batch) -> None:
        """Put in an answer to the batch of which all answers come after ``after``."""
        answer = self._arrived
        if answer is None:
            answer = Answer(seconds, follower, batch)
        else:
            self._arrived = answer.later
            answer.seconds = seconds
            answer.follower = follower
            answer.term = follower.term
            answer.batch = batch
        earlier = after
        later = self.first if earlier is None else earlier.later
        while later is not None and later.seconds <= seconds:
            earlier = later
            later = later.later
        answer.later = later
        if later is None:
            self.last = answer
        if earlier is None:
            self.first = answer
        else:
            earlier.later = answer

    def drop(self, answer: Answer, earlier: Answer | None) -> None:
        """Take out an answer that has arrived; ``earlier`` is the one before it."""
        later = answer.later
        if later is None:
            self.last = earlier
        if earlier is None:
            self.first = later
        else:
            earlier.later = later
        answer.later = self._arrived
        self._arrived = answer
