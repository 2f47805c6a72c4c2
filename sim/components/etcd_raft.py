"""Raft inside etcd: the leader's loop, group commit, replication, quorum, elections.

**Modelled:** one fdatasync at a time, everything proposed meanwhile is the next batch; followers
receive a batch before the leader's own sync has ended and group what they receive in the same way;
commit at the quorum's matching index; heartbeats as idle CPU; leader loss, pre-vote and vote with
persisted term, randomised election timeouts in whole ticks, leadership transfer on SIGTERM, members
that come back and catch up. **Not modelled:** single heartbeat messages, flow-control windows,
learners, membership changes.
**Source:** `facts/model.md` d.1, d.2; Raft (Ongaro 2014) for the safety rules that `check` tests.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import i64

from sim.components.etcd_member import Answer, Answers, Batch, Member
from sim.components.ports import Write
from sim.costs.etcd import EtcdLaw
from sim.costs.network import LinkLaw
from sim.engine.engine import Engine

if TYPE_CHECKING:
    from sim.components.etcd import Etcd

SYSCALL_KEPT_SECONDS: Final = 50e-6
"""A system call shorter than this keeps its processor (Go's monitor looks every 20 µs or more):
assumed from the runtime's published constants."""
ENTRY_OVERHEAD_BYTES: Final = 120
"""Key, request header and WAL record around a value.

**Source:** etcd_put_closed.csv, ``leader_peer_sent_bytes_per_op`` / 2 - value_bytes at 1 KiB.
"""


def _nothing(_: object) -> None:
    return


class RaftGroup:
    """The members' consensus: proposals in, committed batches out, in one order."""

    def __init__(
        self,
        engine: Engine,
        members: list[Member],
        law: EtcdLaw,
        link: LinkLaw,
        etcd: Etcd,
    ) -> None:
        self._engine = engine
        self.members = members
        self.law = law
        self.link = link
        self._etcd = etcd
        self.leader: Member | None = members[0]
        self.followers = members[1:]
        self.quorum_count = len(members) // 2 + 1
        self.epoch = 1
        """Grows with every leader (Raft's term)."""
        self.pending: list[Write] = []
        self.pending_bytes = 0
        self.busy = False
        self._oldest: Batch | None = None
        """The first batch that is not committed; each names the next, and this is the last:"""
        self._newest: Batch | None = None
        self._answers = Answers()
        """On their way from followers, each taken note of by the first step after its arrival."""
        self._first_answer_seconds = inf
        self.last_index = 0
        self.commit_index = 0
        self.debt_seconds = 0.0
        """CPU of acknowledgements that the leader's next stage has to do first."""
        self.batch_count = 0
        self.entry_count = 0
        self.problems: list[str] = []
        self._then_answered = self._answered
        self._then_ready = self._synced_and_ready
        """Bound once: they are called for every batch."""

    @property
    def uncommitted(self) -> list[Batch]:
        """Batches that are not committed, oldest first; a few at most while there is a quorum."""
        found: list[Batch] = []
        batch = self._oldest
        while batch is not None:
            found.append(batch)
            batch = batch.later
        return found

    def keep_uncommitted(self, kept: list[Batch]) -> None:
        """Forget the batches that are not committed, but for some of them, in their order."""
        self._oldest = self._newest = None
        for batch in kept:
            self._add_uncommitted(batch)

    def _add_uncommitted(self, batch: Batch) -> None:
        batch.later = None
        newest = self._newest
        if newest is None:
            self._oldest = batch
        else:
            newest.later = batch
        self._newest = batch

    # Leader ---------------------------------------------------------------------------------

    def propose(self, writes: list[Write], size_bytes: int) -> None:
        """Hand proposals to the leader's loop, the list too; there must be a leader."""
        if self.pending:
            self.pending += writes
        else:
            self.pending = writes
        self.pending_bytes += size_bytes
        if not self.busy:
            self._append()

    def append_nothing(self) -> None:
        """Append a new leader's first, empty entry: what it has inherited commits with it."""
        self._append()

    def _append(self) -> None:
        leader = self.leader
        if leader is None:
            return
        writes = self.pending
        size_bytes = self.pending_bytes + ENTRY_OVERHEAD_BYTES * len(writes)
        self.pending = []
        self.pending_bytes = 0
        self.busy = True
        self.last_index += len(writes) or 1
        engine = self._engine
        batch = Batch(writes, size_bytes, self.last_index, self.epoch, engine.now)
        self.batch_count += 1
        self.entry_count += len(writes)
        self._add_uncommitted(batch)
        before = self._answers.last
        for follower in self.followers:
            if follower.alive:
                self._send(follower, batch, before)
        answer = self._answers.first if before is None else before.later
        batch.fsync_seconds = leader.sync_seconds(size_bytes)
        ready_seconds = self._express_ready_seconds(leader, batch)
        if ready_seconds >= 0.0:
            ready_seconds += batch.fsync_seconds
            self._expect(batch, answer, engine.now + ready_seconds)
            engine.after(ready_seconds, self._then_ready, batch)
        else:
            self._expect(batch, answer, -1.0)
            engine.after(batch.fsync_seconds, self._returned, batch)

    def _expect(self, batch: Batch, answer: Answer | None, ready_seconds: float) -> None:
        """Plan for a batch's answers, from the first on: an event only for what makes the quorum.

        Where every follower's answer is known as well as the end of the leader's round
        (``ready_seconds``, -1.0 if it is not), so is the time of the commit; the answers that do
        not decide it are taken note of by whatever happens next.
        """
        if answer is None:
            return
        if answer.seconds < self._first_answer_seconds:
            self._first_answer_seconds = answer.seconds
        engine = self._engine
        with_leader_seconds = without_seconds = inf  # when the answers make the quorum
        count = 0
        later: Answer | None = answer
        while later is not None:
            count += 1
            if count == self.quorum_count - 1:
                with_leader_seconds = later.seconds
            elif count == self.quorum_count:
                without_seconds = later.seconds
            later = later.later
        if ready_seconds < 0.0 or count < len(self.followers):
            later = answer
            while later is not None:
                engine.at(later.seconds, self._then_answered)
                later = later.later
        elif without_seconds < ready_seconds:
            engine.at(without_seconds, self._then_answered)
        elif with_leader_seconds > ready_seconds:
            batch.quorum_seconds = with_leader_seconds

    def _answered(self, _: None) -> None:
        if self.leader is not None:
            self._advance()

    def _await_quorum(self, batch: Batch) -> None:
        """Commit when the followers' answers make the quorum; and apply in the same step."""
        leader = self.leader
        assert leader is not None
        if self._oldest is self._newest and leader.host.has_room():
            apply_seconds = self._etcd.merged_apply_seconds(batch)
            if apply_seconds >= 0.0:
                wake = self.law.params.apply_wake_seconds
                seconds = leader.express_seconds(wake, apply_seconds + self.take_debt())
                assert seconds >= 0.0, "a host with room has none"
                batch.agreed = True
                self._engine.at(batch.quorum_seconds + seconds, self._then_answered)
                return
        self._engine.at(batch.quorum_seconds, self._then_answered)

    def settle(self) -> None:
        """Take note of the answers that have arrived by now."""
        now = self._engine.now
        if now < self._first_answer_seconds:
            return
        first_seconds = inf
        earlier: Answer | None = None
        answer = self._answers.first
        while answer is not None:
            later = answer.later
            if answer.seconds > now:
                first_seconds = min(first_seconds, answer.seconds)
                earlier = answer
            else:
                self._answers.drop(answer, earlier)
                self._take(answer)
            answer = later
        self._first_answer_seconds = first_seconds

    def _take(self, answer: Answer) -> None:
        """Take note of an answer that has arrived."""
        follower, batch = answer.follower, answer.batch
        if answer.term != follower.term or batch.epoch != self.epoch:
            return
        if batch.last_index > follower.synced_index:
            follower.adopt(self.leader, batch.epoch)
            follower.persist(batch.epoch, batch.last_index)
        if self.leader is not None:
            self._note(follower, batch, len(batch.writes))

    def hear_every_answer(self) -> None:
        """A member has died, plans are void: each answer still on its way gets an event."""
        answer = self._answers.first
        while answer is not None:
            self._engine.at(answer.seconds, self._then_answered)
            answer = answer.later

    def _ready_demand(self, batch: Batch) -> tuple[float, float]:
        """Return (wake-up, work) of the loop's way back from a sync; pays the debts."""
        law = self.law
        demand = self.take_debt() + law.append_seconds(
            len(batch.writes), batch.size_bytes, len(self.followers)
        )
        wake = law.params.append_wake_seconds
        if batch.fsync_seconds > SYSCALL_KEPT_SECONDS:
            # the thread has slept in the kernel: no part of the way back is saved
            demand += wake
            wake = 0.0
        if self.quorum_count == 1 and not self.pending and self._oldest is self._newest:
            apply_seconds = self._etcd.merged_apply_seconds(batch)
            if apply_seconds >= 0.0:
                wake += law.params.apply_wake_seconds
                demand += apply_seconds
        return wake, demand

    def _express_ready_seconds(self, leader: Member, batch: Batch) -> float:
        """Return the time from the sync to the end of the loop's round, -1.0 if not known yet."""
        if not leader.host.has_room():
            return -1.0
        wake, demand = self._ready_demand(batch)
        return leader.express_seconds(wake, demand)

    def _synced_and_ready(self, batch: Batch) -> None:
        if batch.epoch == self.epoch and self.leader is not None:
            self.leader.persist(batch.epoch, batch.last_index)
            self._ready(batch)

    def _returned(self, batch: Batch) -> None:
        """The sync is done; its thread may have to wait for a processor."""
        leader = self.leader
        if batch.epoch != self.epoch or leader is None:
            return
        if batch.fsync_seconds > SYSCALL_KEPT_SECONDS:
            wait_seconds = leader.sync_stall_seconds(self._etcd.present_count)
            if wait_seconds > 0.0:
                batch.fsync_seconds += wait_seconds
                self._engine.after(wait_seconds, self._synced, batch)
                return
        self._synced(batch)

    def _synced(self, batch: Batch) -> None:
        leader = self.leader
        if batch.epoch != self.epoch or leader is None:
            return
        leader.persist(batch.epoch, batch.last_index)
        wake, demand = self._ready_demand(batch)
        leader.run(wake, demand, self._ready, batch)

    def _ready(self, batch: Batch) -> None:
        leader = self.leader
        if batch.epoch != self.epoch or leader is None:
            return
        leader.matched_index = batch.last_index
        self.busy = False
        if self.pending:
            self._append()
        self._advance()
        if batch.quorum_seconds > self._engine.now:
            self._await_quorum(batch)

    def _advance(self) -> None:
        self.settle()
        now = self._engine.now
        while True:
            batch = self._oldest
            if batch is None or not self._is_durable(batch.last_index):
                return
            self._oldest = batch.later
            batch.later = None
            if self._oldest is None:
                self._newest = None
            batch.commit_seconds = min(now, batch.quorum_seconds) if batch.agreed else now
            self.commit_index = batch.last_index
            for follower in self.followers:
                if follower.alive:
                    self._tell_commit(follower, len(batch.writes))
            self._etcd.committed(batch)

    def _is_durable(self, index: i64) -> bool:
        """Whether a quorum has the log up to ``index`` on disk."""
        count: i64 = 0
        for member in self.members:
            if member.matched_index >= index:
                count += 1
        return count >= self.quorum_count

    def take_debt(self) -> float:
        """Return the CPU of acknowledgements not paid yet, and forget it."""
        self.settle()
        debt = self.debt_seconds
        self.debt_seconds = 0.0
        return debt

    # Followers ------------------------------------------------------------------------------

    def _send(self, follower: Member, batch: Batch, before: Answer | None) -> None:
        """Send a batch to a follower; its answer, if its arrival is known, goes in by that.

        The answers to this batch stand behind ``before``.
        """
        if self.link.free:
            self._receive((follower, follower.term, batch))
            return
        engine = self._engine
        due = max(engine.now + self.link.sample_seconds(), follower.arrival_seconds)
        follower.arrival_seconds = due
        if not follower.busy and not follower.inbox and follower.slow_until_seconds <= engine.now:
            count = len(batch.writes)
            seconds = follower.express_seconds(
                0.0,
                self.law.params.follow_wake_seconds
                + self.law.follow_seconds(count, batch.size_bytes)
                + follower.debt_seconds,
            )
            if seconds >= 0.0:
                follower.debt_seconds = 0.0
                begin_seconds = max(due, follower.free_seconds)
                sync_seconds = follower.sync_seconds(batch.size_bytes)
                follower.free_seconds = begin_seconds + seconds + sync_seconds
                seconds = follower.free_seconds + self.link.sample_seconds()
                self._answers.add(before, seconds, follower, batch)
                return
        follower.slow_until_seconds = max(due, follower.free_seconds)
        engine.at(follower.slow_until_seconds, self._receive, (follower, follower.term, batch))

    def _receive(self, message: tuple[Member, int, Batch]) -> None:
        follower, term, batch = message
        if term != follower.term or batch.epoch != self.epoch:
            return
        follower.inbox.append(batch)
        if follower.busy:
            return
        count = len(batch.writes)
        if count < 2:
            self.follow(follower)
            return
        # one message per entry: the first wakes the idle loop, which syncs it alone
        size_bytes = batch.size_bytes // count
        follower.busy = True
        follower.begun_count = 1
        follower.begun_bytes = size_bytes
        follower.run(
            0.0,
            self.law.params.follow_wake_seconds + self.law.follow_seconds(1, size_bytes),
            self._write,
            (follower, follower.term, None, 1, size_bytes),
        )

    def follow(self, follower: Member) -> None:
        """Start a round of a follower over everything it has received."""
        count = -follower.begun_count
        size_bytes = -follower.begun_bytes
        follower.begun_count = 0
        follower.begun_bytes = 0
        batch = follower.inbox[-1]
        for item in follower.inbox:
            count += len(item.writes)
            size_bytes += item.size_bytes
        follower.inbox.clear()
        follower.busy = True
        wake = self.law.params.follow_wake_seconds
        follower.run(
            0.0,
            wake + self.law.follow_seconds(count, size_bytes),
            self._write,
            (follower, follower.term, batch, count, size_bytes),
        )

    def _write(self, work: tuple[Member, int, Batch | None, int, int]) -> None:
        follower, term, _, _, size_bytes = work
        if term == follower.term:
            self._engine.after(follower.sync_seconds(size_bytes), self._written, work)

    def _written(self, work: tuple[Member, int, Batch | None, int, int]) -> None:
        follower, term, batch, count, _ = work
        if term != follower.term:
            return
        follower.busy = False
        if batch is not None and batch.epoch == self.epoch:
            follower.adopt(self.leader, batch.epoch)
            follower.persist(batch.epoch, batch.last_index)
            acknowledgement = (follower, term, batch, count)
            if self.link.free:
                self._acknowledged(acknowledgement)
            else:
                self._engine.after(self.link.sample_seconds(), self._acknowledged, acknowledgement)
        if follower.inbox:
            self.follow(follower)

    def _acknowledged(self, message: tuple[Member, int, Batch, int]) -> None:
        follower, term, batch, count = message
        if term != follower.term or batch.epoch != self.epoch or self.leader is None:
            return
        self._note(follower, batch, count)
        self._advance()

    def _note(self, follower: Member, batch: Batch, count: int) -> None:
        self.debt_seconds += (
            self.law.params.acknowledge_wake_seconds + self.law.acknowledge_seconds(count)
        )
        if batch.last_index > follower.matched_index:
            follower.matched_index = batch.last_index

    def _tell_commit(self, follower: Member, count: int) -> None:
        if not follower.applying and follower.free_seconds > 0.0 and follower.host.has_room():
            # nobody waits for a follower's apply: its work rides on that of its next round
            follower.debt_seconds += (
                self.law.params.follow_apply_wake_seconds * self.law.params.awake_ratio
                + self.law.follow_apply_seconds(count)
            )
            return
        follower.learnt_count += count
        if not follower.applying:
            follower.applying = True
            self._follower_apply(follower)

    def _follower_apply(self, follower: Member) -> None:
        count = follower.learnt_count
        follower.learnt_count = 0
        follower.run(
            self.law.params.follow_apply_wake_seconds,
            self.law.follow_apply_seconds(count),
            self._follower_applied,
            (follower, follower.term),
        )

    def _follower_applied(self, work: tuple[Member, int]) -> None:
        follower, term = work
        if term != follower.term:
            return
        if follower.learnt_count:
            self._follower_apply(follower)
        else:
            follower.applying = False

    # Reads ----------------------------------------------------------------------------------

    def confirm_leader(self, then: Callable[[Any], object], argument: Any) -> None:
        """Prove leadership to a quorum (ReadIndex), then call back; at once for one member."""
        leader = self.leader
        if leader is None:
            return
        if self.quorum_count == 1:
            then(argument)
            return
        alive = [follower for follower in self.followers if follower.alive]
        if len(alive) + 1 < self.quorum_count:
            return
        wake = self.law.params.read_index_wake_seconds
        express_seconds = self._express_confirm_seconds(leader, alive, wake)
        if express_seconds >= 0.0:
            self._engine.after(express_seconds, then, argument)
            return
        state = [self.quorum_count - 1]
        there_seconds = 0.0 if self.link.free else self.link.sample_seconds()

        def answered(_: object) -> None:
            state[0] -= 1
            if state[0] == 0:
                leader.run(wake, 0.0, then, argument)

        def arrived(follower: Member) -> None:
            follower.run(wake, 0.0, answered if self.link.free else back, None)

        def back(_: object) -> None:
            self._engine.after(self.link.sample_seconds(), answered)

        for follower in alive:
            if there_seconds > 0.0:
                self._engine.after(there_seconds, arrived, follower)
            else:
                arrived(follower)

    def _express_confirm_seconds(
        self, leader: Member, followers: list[Member], wake_seconds: float
    ) -> float:
        """Return the time of a quorum's round trip on hosts with room, -1.0 if not known."""
        if self.link.free or not leader.host.has_room():
            return -1.0
        link = self.link
        there_seconds = link.sample_seconds()
        answers = []
        for follower in followers:
            seconds = follower.express_seconds(wake_seconds, 0.0)
            if seconds < 0.0:
                return -1.0
            answers.append(there_seconds + seconds + link.sample_seconds())
        answers.sort()
        seconds = leader.express_seconds(wake_seconds, 0.0)
        return answers[self.quorum_count - 2] + seconds if seconds >= 0.0 else -1.0

    # State ----------------------------------------------------------------------------------

    def alive_count(self) -> int:
        """Return the number of members that run."""
        return sum(member.alive for member in self.members)

    def has_quorum(self) -> bool:
        """Return whether a majority of the members runs."""
        return self.alive_count() >= self.quorum_count

    def check(self) -> list[str]:
        """Return what is broken of Raft's safety rules (log matching, leader completeness)."""
        self.settle()
        problems = list(self.problems)
        problems += [
            f"etcd-{member.index}: log runs past the leader's"
            for member in self.members
            if member.alive and self.leader is not None and member.synced_index > self.last_index
        ]
        durable = sorted((member.synced_index for member in self.members), reverse=True)
        if durable[self.quorum_count - 1] < self.commit_index:
            problems.append(
                f"etcd: commit index {self.commit_index} is durable on no quorum: {durable}"
            )
        first = self.members[0]
        for member in self.members[1:]:
            common = min(first.synced_index, member.synced_index, self.commit_index)
            for _, last in first.log_terms():
                index = min(last, common)
                if index > 0 and first.epoch_at(index) != member.epoch_at(index):
                    problems.append(
                        f"etcd-{member.index}: log differs from etcd-0 at index {index}"
                    )
                    break
        return problems
