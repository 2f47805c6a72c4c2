"""What goes wrong in etcd: members that die, elections, hand-over, time-outs, full disks.

**Modelled:** a dead leader's unanswered writes time out (5 s + 2 × election timeout) whether or not
the next leader finds them in its log; the next leader has every committed entry; election timeouts
are whole heartbeat ticks, uniform in [T, 2T), counted from the last message of the old leader;
pre-vote and vote with persisted term; SIGTERM hands leadership over first; a member that comes back
catches up from the log or, 5,000 entries behind, from a snapshot; a leader without a quorum steps
down after an election timeout. **Not modelled:** split votes, asymmetric partitions.
**Source:** `facts/model.md` d; `groundtruth/README.md`, etcd_kill_member.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sim.components.etcd_member import Batch, Member
from sim.components.ports import Write

if TYPE_CHECKING:
    from sim.components.etcd import Etcd
    from sim.components.etcd_endpoint import Frontend

CATCH_UP_ENTRY_COUNT: Final = 5_000
"""Entries kept behind the snapshot for members that lag (`facts/model.md` d.1)."""
SNAPSHOT_BYTES_PER_SECOND: Final = 100e6
"""Rate at which a lagging member receives and writes a snapshot: assumed."""
_RETRY_SECONDS: Final = 0.001


class FaultControl:
    """Kills, restarts and slows members of one etcd; holds what waits for a leader."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.started_seconds = 0.0
        self.transferring = False
        self._held: list[Write] = []
        self._orphans: set[Write] = set()
        """Writes whose answer was lost with a member; looked up, never iterated."""
        self.leader_lost_seconds = -1.0
        self.new_leader_after_seconds = -1.0
        """Time from the last loss of a leader to the next leader."""
        self._election_call: Any = None

    # Writes without a leader ----------------------------------------------------------------

    def strand(self, writes: list[Write]) -> None:
        """Let writes time out, or wait for the successor while leadership is handed over."""
        if self.transferring:
            self._held += writes
            return
        self._orphans.update(writes)
        self._etcd.engine.after(
            self._etcd.params.request_timeout_seconds, self._time_out, list(writes)
        )

    def _time_out(self, writes: list[Write]) -> None:
        self._etcd.failed_count += len(writes)
        for write in writes:
            write.error = "timeout"
            write.succeeded = False
            write.revision = 0
        self._etcd.respond(writes)

    def abandon(self, items: list[Any]) -> None:
        """Fail requests that a dead member had taken off the network."""
        writes = [item for item in items if item.__class__ is Write]
        if writes:
            self.strand(writes)
        reads = [item for item in items if item.__class__ is not Write]
        if reads:
            self._etcd.reads.fail_later(reads)

    # Followers as endpoints -----------------------------------------------------------------

    def forward(
        self, frontend: Frontend, leader: Member, writes: list[Write], size_bytes: int
    ) -> None:
        """Pass a follower's proposals on to the leader."""
        etcd = self._etcd
        for write in writes:
            etcd.forwarded[write] = frontend
        work = (leader, leader.term, writes, size_bytes)
        if etcd.raft.link.free:
            self._forwarded(work)
        else:
            etcd.engine.after(etcd.raft.link.sample_seconds(), self._forwarded, work)

    def _forwarded(self, work: tuple[Member, int, list[Write], int]) -> None:
        leader = work[0]
        law = self._etcd.law
        wake = law.params.receive_wake_seconds
        leader.run(wake, law.forward_seconds(len(work[2])), self._proposed, work)

    def _proposed(self, work: tuple[Member, int, list[Write], int]) -> None:
        leader, term, writes, size_bytes = work
        if term != leader.term or self._etcd.raft.leader is not leader:
            for write in writes:
                self._etcd.forwarded.pop(write, None)
            self.strand(writes)
        else:
            self._etcd.raft.propose(writes, size_bytes)

    def answer_elsewhere(self, batch: Batch) -> list[Write]:
        """Answer a batch's writes that came through followers; return those of the leader."""
        etcd = self._etcd
        own: list[Write] = []
        elsewhere: dict[int, list[Write]] = {}
        for write in batch.writes:
            frontend = etcd.forwarded.pop(write, None)
            if write in self._orphans:
                self._orphans.discard(write)
                continue
            if frontend is None:
                own.append(write)
            else:
                elsewhere.setdefault(frontend.member.index, []).append(write)
        for index, writes in elsewhere.items():
            member = etcd.members[index]
            if not member.alive:
                self.strand(writes)
                continue
            work = (member, member.term, writes)
            if etcd.raft.link.free:
                self._apply_at_follower(work)
            else:
                etcd.engine.after(
                    etcd.raft.link.sample_seconds(), self._apply_at_follower, work
                )
        return own

    def _apply_at_follower(self, work: tuple[Member, int, list[Write]]) -> None:
        member = work[0]
        law = self._etcd.law
        member.run(
            law.params.follow_apply_wake_seconds,
            law.follow_apply_seconds(len(work[2])) + law.forward_seconds(len(work[2])),
            self._answer_at_follower,
            work,
        )

    def _answer_at_follower(self, work: tuple[Member, int, list[Write]]) -> None:
        member, term, writes = work
        if term != member.term:
            self.strand(writes)
        else:
            self._etcd.send_answers(writes)

    def ask_leader(self, leader: Member, then: Callable[[Any], object], work: Any) -> None:
        """Carry a follower's question for the read index to the leader."""
        etcd = self._etcd
        wake = etcd.law.params.read_index_wake_seconds
        if etcd.raft.link.free:
            leader.run(wake, 0.0, then, work)
        else:
            there_and_back = 2.0 * etcd.raft.link.sample_seconds()
            etcd.engine.after(
                there_and_back, lambda item: leader.run(wake, 0.0, then, item), work
            )

    # Faults ---------------------------------------------------------------------------------

    def slow_disk(self, index: int, ratio: float) -> None:
        """Multiply the sync times of a member's disk by ``ratio`` (1 heals it)."""
        self._etcd.members[index].disk.slowdown_ratio = ratio
        self._etcd.fault("slow disk", f"member {index} times {ratio:g}")

    def fill_disk(self, index: int) -> None:
        """Let a member's disk run full: its WAL write fails and the process ends."""
        self._etcd.fault("full disk", f"member {index}")
        self.kill(index)

    def kill(self, index: int) -> None:
        """SIGKILL a member; its durable log survives. Killing a dead member does nothing."""
        etcd = self._etcd
        member = etcd.members[index]
        if not member.alive:
            return
        etcd.fault("member killed", f"member {index}")
        self._stop(member)
        raft = etcd.raft
        if raft.leader is member:
            self._lose_leader()
        elif raft.leader is not None and not raft.has_quorum():
            etcd.engine.after(
                etcd.params.election_timeout_seconds, self._step_down, raft.epoch
            )

    def _stop(self, member: Member) -> None:
        self._etcd.raft.settle()
        member.alive = False
        member.term += 1
        member.inbox.clear()
        member.busy = False
        member.begun_count = member.begun_bytes = 0
        member.applying = False
        member.learnt_count = 0
        member.matched_index = 0
        frontend = self._etcd.frontends[member.index]
        items = frontend.inbox
        frontend.inbox = []
        frontend.busy_count = 0
        items += [read for read, _ in frontend.long_reads]
        frontend.long_reads = []
        frontend.long_busy_count = 0
        if items:
            self.abandon(items)
        self._etcd.raft.hear_every_answer()

    def _step_down(self, epoch: int) -> None:
        raft = self._etcd.raft
        if epoch == raft.epoch and not raft.has_quorum():
            self._etcd.fault("leader stepped down", "no quorum")
            self._lose_leader()

    def _lose_leader(self) -> None:
        """Void the leader's work; decide later which of its entries the next leader has."""
        etcd = self._etcd
        raft = etcd.raft
        raft.settle()
        raft.epoch += 1
        dead = raft.leader
        raft.leader = None
        raft.busy = False
        raft.debt_seconds = 0.0
        pending, raft.pending, raft.pending_bytes = raft.pending, [], 0
        batches = etcd.take_unapplied()
        etcd.backend.abandon()
        etcd.reads.leader_lost()
        lost = list(pending)
        for batch in (*batches, *raft.uncommitted):
            for write in batch.writes:
                frontend = etcd.forwarded.get(write)
                if frontend is None or frontend.member is dead:
                    lost.append(write)
        lost = [write for write in lost if write not in self._orphans]
        if lost:
            self.strand(lost)
        self.leader_lost_seconds = etcd.engine.now
        etcd.fault("leader lost", f"{len(lost)} writes unanswered")
        self._call_election()

    def _call_election(self) -> None:
        etcd = self._etcd
        raft = etcd.raft
        if not raft.has_quorum() or self._election_call is not None:
            return
        heartbeat = etcd.params.heartbeat_interval_seconds
        ticks = max(1, round(etcd.params.election_timeout_seconds / heartbeat))
        timeouts = []
        for member in etcd.members:
            if member.alive:
                stream = etcd.engine.stream(f"etcd/{member.index}/election")
                timeout = (ticks + stream.integer(ticks) - stream.uniform()) * heartbeat
                timeouts.append((timeout, member.index))
        timeouts.sort()
        for timeout, index in timeouts:
            if self._electable(etcd.members[index]):
                self._election_call = etcd.engine.call_later(
                    timeout, self._campaign, etcd.members[index]
                )
                return

    def _electable(self, candidate: Member) -> bool:
        """Whether a majority would vote: its log is at least as long as theirs."""
        votes = sum(
            member.alive and member.synced_index <= candidate.synced_index
            for member in self._etcd.members
        )
        return votes >= self._etcd.raft.quorum_count

    def _cold_seconds(self) -> float:
        """What a stage costs that was last needed a heartbeat ago."""
        return self._etcd.law.cold_seconds(self._etcd.params.heartbeat_interval_seconds)

    def _campaign(self, candidate: Member) -> None:
        """Pre-vote and vote: two round trips, the second with two persisted terms."""
        self._election_call = None
        etcd = self._etcd
        if not candidate.alive or not etcd.raft.has_quorum():
            self._call_election()
            return
        link = etcd.raft.link
        voters = [member for member in etcd.members if member.alive and member is not candidate]
        duration = (
            (4.0 * link.sample_seconds() if voters else 0.0)
            + candidate.vote_sync_seconds()
            + (voters[0].vote_sync_seconds() if voters else 0.0)
            + 4.0 * (etcd.law.params.read_index_wake_seconds + self._cold_seconds())
        )
        self._election_call = etcd.engine.call_later(duration, self._elected, candidate)

    def _elected(self, leader: Member) -> None:
        self._election_call = None
        etcd = self._etcd
        raft = etcd.raft
        if not leader.alive or not raft.has_quorum():
            self._call_election()
            return
        if not self._electable(leader):
            self._call_election()
            return
        if leader.synced_index < raft.commit_index:
            raft.problems.append(
                f"etcd: leader {leader.index} has entries up to {leader.synced_index} but"
                f" {raft.commit_index} was committed"
            )
        raft.epoch += 1
        raft.leader = leader
        raft.followers = [member for member in etcd.members if member is not leader]
        raft.last_index = leader.synced_index
        leader.inbox.clear()
        leader.busy = False
        leader.begun_count = leader.begun_bytes = 0
        for follower in raft.followers:
            follower.inbox.clear()
            follower.begun_count = follower.begun_bytes = 0
            if follower.synced_index > leader.synced_index:
                follower.truncate(leader.synced_index)
            follower.matched_index = 0
        leader.matched_index = leader.synced_index
        uncommitted = raft.uncommitted
        gone = [b for b in uncommitted if b.last_index > leader.synced_index]
        raft.keep_uncommitted([b for b in uncommitted if b.last_index <= leader.synced_index])
        for batch in gone:
            left = [w for w in batch.writes if etcd.forwarded.pop(w, None) is not None]
            left = [w for w in left if w not in self._orphans]
            if left:
                self.strand(left)
        self.new_leader_after_seconds = etcd.engine.now - self.leader_lost_seconds
        etcd.fault("leader elected", f"member {leader.index} in epoch {raft.epoch}")
        raft.append_nothing()
        etcd.resume_apply()

    def terminate(self, index: int) -> None:
        """SIGTERM a member: a leader hands over to its best follower, then the process ends."""
        etcd = self._etcd
        member = etcd.members[index]
        if not member.alive:
            return
        if etcd.raft.leader is not member or etcd.raft.alive_count() == 1:
            self.kill(index)
            return
        self.transferring = True
        self.leader_lost_seconds = etcd.engine.now
        self._hand_over(member)

    def _hand_over(self, member: Member) -> None:
        etcd = self._etcd
        raft = etcd.raft
        if raft.leader is not member:
            self._release()
            return
        if raft.uncommitted or raft.pending or etcd.applied_index < raft.commit_index:
            etcd.engine.after(_RETRY_SECONDS, self._hand_over, member)
            return
        raft.settle()
        followers = [item for item in raft.followers if item.alive]
        best = max(followers, key=lambda item: (item.synced_index, -item.index))
        link = raft.link
        duration = (
            3.0 * link.sample_seconds()
            + best.vote_sync_seconds()
            + member.vote_sync_seconds()
            + 4.0 * (etcd.law.params.read_index_wake_seconds + self._cold_seconds())
        )
        etcd.engine.after(duration, self._handed_over, (member, best))

    def _handed_over(self, pair: tuple[Member, Member]) -> None:
        member, best = pair
        etcd = self._etcd
        etcd.fault("leadership transferred", f"member {member.index} to {best.index}")
        etcd.raft.settle()
        etcd.raft.epoch += 1
        etcd.raft.leader = None
        etcd.backend.abandon()
        etcd.reads.leader_lost()
        self._elected(best)
        self._stop(member)
        self._release()
        etcd.fault("member terminated", f"member {member.index}")

    def _release(self) -> None:
        self.transferring = False
        held, self._held = self._held, []
        for write in held:
            self._etcd.arrive(write, None)

    def restart(self, index: int) -> None:
        """Start a dead member again; it takes part once it has caught up."""
        etcd = self._etcd
        member = etcd.members[index]
        if member.alive:
            return
        raft = etcd.raft
        missing = max(0, raft.commit_index - member.synced_index)
        if missing <= CATCH_UP_ENTRY_COUNT:
            mean_bytes = etcd.store.put_bytes / max(1, etcd.store.put_count)
            size_bytes = missing * mean_bytes
        else:
            size_bytes = float(etcd.store.database_bytes)
        duration = size_bytes / SNAPSHOT_BYTES_PER_SECOND + member.vote_sync_seconds()
        etcd.fault("member restarted", f"member {index}, {missing} entries behind")
        etcd.engine.after(duration, self._rejoin, member)

    def _rejoin(self, member: Member) -> None:
        etcd = self._etcd
        raft = etcd.raft
        raft.settle()
        member.alive = True
        leader = raft.leader
        if leader is None:
            self._call_election()
            return
        member.truncate(raft.commit_index)
        if raft.commit_index > member.synced_index:
            member.synced_index = raft.commit_index
        terms = [item for item in leader.log_terms() if item[1] <= raft.commit_index]
        later = [item for item in leader.log_terms() if item[1] > raft.commit_index]
        if later and raft.commit_index > 0:
            terms.append((later[0][0], raft.commit_index))
        member.set_log_terms(terms)
        member.inbox.extend(raft.uncommitted)
        if member.inbox:
            raft.follow(member)
