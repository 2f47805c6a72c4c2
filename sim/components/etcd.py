"""etcd: the replicated, revisioned store behind the apiserver.

One write: a connection's reader takes it (with everything else that has arrived) → raft loop: one
WAL sync per round, replication in parallel → quorum → serial apply, guard evaluated there → answer
and watch events. Work is per batch: one event per stage and batch, none per write.

**Modelled:** requests taken in chunks, group commit, serial apply, backend commits that stall
apply, ReadIndex rounds for linearizable reads, watch fan-out, endpoints on followers, compaction,
quota alarm, event leases, member loss. **Not modelled:** TLS, authentication, defragmentation.
**Source:** `facts/model.md` d; costs in `sim/costs/etcd.py` and `sim/costs/disk.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from sim.base.api_object import APIObject, Key
from sim.components.etcd_backend import Backend
from sim.components.etcd_endpoint import Endpoint, Frontend
from sim.components.etcd_faults import FaultControl
from sim.components.etcd_member import Batch, Member
from sim.components.etcd_params import EtcdParams
from sim.components.etcd_raft import RaftGroup
from sim.components.etcd_reads import Read, ReadLoop
from sim.components.etcd_store import LEASE_TTL_SECONDS, Store
from sim.components.etcd_watch import WatchFanOut
from sim.components.ports import WatchEvent, Write
from sim.costs.disk import DISKS, DiskLaw, DiskParams
from sim.costs.etcd import EtcdLaw
from sim.costs.network import LINKS, LinkLaw, LinkParams
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder


def _place(
    engine: Engine,
    params: EtcdParams,
    law: EtcdLaw,
    hosts: Sequence[Host],
    disks: Sequence[DiskParams],
) -> list[Member]:
    """Place the members on their hosts; members on one host share its disk and its caches."""
    placed = [hosts[index % len(hosts)] for index in range(params.member_count)]
    disk_laws: dict[tuple[int, DiskParams], DiskLaw] = {}
    members: list[Member] = []
    for index, host in enumerate(placed):
        disk = disks[index % len(disks)]
        place = (placed.index(host), disk)
        if place not in disk_laws:
            disk_laws[place] = DiskLaw(disk, engine.stream(f"etcd/{index}/fsync"))
        member = Member(engine, index, host, disk_laws[place], law)
        member.crowd_count = placed.count(host)
        member.crowding_ratio += law.params.crowding_ratio * (member.crowd_count - 1)
        members.append(member)
    return members


class Etcd:
    """Implements `ports.Storage`; bound to the leader. See `endpoint` for one member."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        params: EtcdParams,
        law: EtcdLaw,
        hosts: Sequence[Host],
        *,
        disks: Sequence[DiskParams] = (),
        link: LinkParams | None = None,
        client_link: LinkParams | None = None,
    ) -> None:
        """Place ``params.member_count`` members on ``hosts`` (in turn when there are fewer).

        Args:
            engine: clock and streams.
            recorder: etcd_commits, etcd_backend_commits, faults.
            params: settings.
            law: CPU demands.
            hosts: machines.
            disks: one per member or for all; the measured disk when empty.
            link: between members; loopback when None.
            client_link: apiserver to etcd; loopback when None.
        """
        self.engine = engine
        self.params = params
        self.law = law
        self.members = _place(engine, params, law, hosts, tuple(disks) or (DISKS["measured"],))
        self.client_link = LinkLaw(
            client_link or LINKS["loopback"], engine.stream("etcd/client-link")
        )
        member_link = LinkLaw(link or LINKS["loopback"], engine.stream("etcd/link"))
        self.direct = self.client_link.free
        self._waiting: list[Batch] = []
        """Committed, not yet being applied."""
        self._applying: list[Batch] = []
        self.applied_index = 0
        self._merged: Batch | None = None
        self.forwarded: dict[Write, Frontend] = {}
        self.no_space = False
        self._quota_bytes = params.quota_backend_bytes
        self._commits = recorder["etcd_commits"]
        self._fault_rows = recorder["faults"]
        self.present_count = 0
        """Writes that have come and not been answered."""
        self._area_seconds = 0.0
        self._area_at_seconds = 0.0
        self._sojourn_sum_seconds = 0.0
        self._started_sum_seconds = 0.0
        # below is what knows this object: of the fields above compiled code is sure
        self.raft = RaftGroup(engine, self.members, law, member_link, self)
        self.store = Store(self._lease_made)
        self.frontends = [Frontend(member, self._readers(member)) for member in self.members]
        self.backend = Backend(
            engine,
            recorder["etcd_backend_commits"],
            self.raft,
            self.store,
            params,
            self.resume_apply,
            self._apply_idle,
        )
        self.reads = ReadLoop(self)
        self.faults = FaultControl(self)
        self.watches = WatchFanOut(self)
        self._then_received, self._then_respond = self._received, self.respond
        self._then_applied = self._applied
        """Bound once: they are called for every commit."""
        self._open_accounts()

    def _open_accounts(self) -> None:
        self.answered_count = 0
        self.acknowledged_index = 0
        self.acknowledged_revision = 0
        self.failed_count = 0
        self._problems: list[str] = []

    def _readers(self, member: Member) -> int:
        return self.params.receiver_count_max or max(1, member.host.core_count // 2)

    # Storage --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the life of the members (they cost idle CPU from the present instant)."""
        self.faults.started_seconds = self.engine.now

    def preload(self, objects: Iterable[APIObject]) -> int:
        """Put an initial state into the store before the run; return the number of objects."""
        return self.store.preload(objects)

    @property
    def revision(self) -> int:
        """Current store revision."""
        return self.store.revision

    def objects(self, resource: str) -> Mapping[Key, APIObject]:
        """Return the stored objects of a resource, for monitors: spends no time."""
        return self.store.objects(resource)

    def endpoint(self, member_index: int) -> Endpoint:
        """Return a storage client bound to one member (followers pass proposals on)."""
        return Endpoint(self, self.frontends[member_index])

    def txn(self, write: Write) -> None:
        """Propose a transaction through the leader."""
        self.submit_write(write, None)

    def submit_write(self, write: Write, frontend: Frontend | None) -> None:
        """Send a write to a member, the leader if None."""
        engine = self.engine
        now = engine.now
        write.proposed_seconds = now
        self._area_seconds += self.present_count * (now - self._area_at_seconds)
        self._area_at_seconds = now
        self.present_count += 1
        self._started_sum_seconds += now
        if self.direct:
            self.arrive(write, frontend)
        elif not self._express(write, write.size_bytes, frontend):
            self._arrive_later(write, frontend)

    def _arrive_later(self, write: Write, frontend: Frontend | None) -> None:
        engine = self.engine
        seconds = self.client_link.sample_seconds()
        engine.after(seconds, lambda item: self.arrive(item, frontend), write)

    def _express(self, item: Any, size_bytes: int, frontend: Frontend | None) -> bool:
        """Let a request travel and be received in one step, if nothing can come in between."""
        leader = self.raft.leader
        if leader is None or self.no_space:
            return False
        if frontend is None:
            frontend = self.frontends[leader.index]
        if frontend.inbox or frontend.busy_count >= frontend.reader_count_max:
            return False
        member = frontend.member
        seconds = member.express_seconds(
            self.law.params.receive_wake_seconds, self.law.receive_seconds(1, size_bytes)
        )
        if seconds < 0.0:
            return False
        frontend.busy_count += 1
        self.engine.after(
            self.client_link.sample_seconds() + seconds,
            self._then_received,
            (frontend, [item], size_bytes, member.term),
        )
        return True

    def arrive(self, write: Write, frontend: Frontend | None) -> None:
        """Take a write that has reached a member (None: whoever leads)."""
        leader = self.raft.leader
        if frontend is None:
            if leader is None:
                self.faults.strand([write])
                return
            frontend = self.frontends[leader.index]
        if self.no_space and write.new is not None:
            self._refuse(write, "no space")
            return
        if self.raft.commit_index - self.applied_index > self.params.apply_gap_count_max:
            self._refuse(write, "too many requests")
            return
        self._take(frontend, write)

    def _take(self, frontend: Frontend, item: Any) -> None:
        frontend.inbox.append(item)
        if frontend.busy_count < frontend.reader_count_max:
            self._receive(frontend)

    def _receive(self, frontend: Frontend, *, goes_on: bool = False) -> None:
        inbox = frontend.inbox
        chunk_count = self.params.receive_chunk_count_max
        if len(inbox) <= chunk_count:
            items = inbox
            frontend.inbox = []
        else:
            items = inbox[:chunk_count]
            del inbox[:chunk_count]
        frontend.busy_count += 1
        size_bytes = 0
        for item in items:
            size_bytes += item.size_bytes
        member = frontend.member
        member.run(
            self.law.params.receive_wake_seconds,
            self.law.receive_seconds(len(items), size_bytes),
            self._received,
            (frontend, items, size_bytes, member.term),
            goes_on=goes_on,
        )

    def _received(self, work: tuple[Frontend, list[Any], int, int]) -> None:
        frontend, items, size_bytes, term = work
        if term != frontend.member.term:
            self.faults.abandon(items)
            return
        frontend.busy_count -= 1
        if frontend.inbox:
            self._receive(frontend, goes_on=True)
        for item in items:
            if isinstance(item, Read):
                break
        else:
            self._propose(frontend, items, size_bytes)
            return
        writes = [item for item in items if isinstance(item, Write)]
        if writes:
            self._propose(frontend, writes, sum(item.size_bytes for item in writes))
        self.reads.submit(frontend, [item for item in items if isinstance(item, Read)])

    def _propose(self, frontend: Frontend, writes: list[Write], size_bytes: int) -> None:
        leader = self.raft.leader
        if leader is None or self.faults.transferring:
            self.faults.strand(writes)
        elif frontend.member is leader:
            self.raft.propose(writes, size_bytes)
        else:
            self.faults.forward(frontend, leader, writes, size_bytes)

    # Commit and apply -----------------------------------------------------------------------

    def merged_apply_seconds(self, batch: Batch) -> float:
        """Apply in the same stage as the raft loop's end, if nothing else is in the way."""
        if (
            self._applying
            or self._waiting
            or self._merged is not None
            or self.backend.stalled
            or self.backend.due
        ):
            return -1.0
        self._merged = batch
        return self._apply_demand(len(batch.writes), batch.size_bytes)

    def _apply_demand(self, count: int, size_bytes: int) -> float:
        demand = self.law.apply_seconds(count, size_bytes)
        if self.watches.watcher_count:
            demand += self.watches.apply_seconds(count)
        return demand

    def committed(self, batch: Batch) -> None:
        """Take a batch that a quorum has."""
        if self._merged is batch:
            self._merged = None
            self._applying = [batch]
            self._finish_apply(self._applying)
            return
        self._waiting.append(batch)
        if not self._applying and not self.backend.stalled and self._merged is None:
            self._apply()

    def resume_apply(self) -> None:
        """Go on after a backend commit or an election."""
        if self._waiting and not self._applying and not self.backend.stalled:
            self._apply()

    def take_unapplied(self) -> list[Batch]:
        """The leader is gone: take back what it was applying; the next leader applies it."""
        self._waiting = [*self._applying, *self._waiting]
        self._applying = []
        self._merged = None
        return self._waiting

    def _apply_idle(self) -> bool:
        return not self._applying and self._merged is None

    def _apply(self, *, goes_on: bool = False) -> None:
        leader = self.raft.leader
        if leader is None:
            return
        batches = self._waiting
        self._waiting = []
        self._applying = batches
        count = 0
        size_bytes = 0
        for batch in batches:
            count += len(batch.writes)
            size_bytes += batch.size_bytes
        leader.run(
            self.law.params.apply_wake_seconds,
            self._apply_demand(count, size_bytes) + self.raft.take_debt(),
            self._then_applied,
            (self.raft.epoch, batches),
            goes_on=goes_on,
        )

    def _applied(self, work: tuple[int, list[Batch]]) -> None:
        epoch, batches = work
        if epoch == self.raft.epoch:
            self._finish_apply(batches)

    def _finish_apply(self, batches: list[Batch]) -> None:
        now = self.engine.now
        store = self.store
        events: list[WatchEvent] = []
        leader_index = self.raft.leader.index if self.raft.leader is not None else -1
        put_count = store.put_count
        for batch in batches:
            if not batch.writes:
                continue
            self._apply_batch(batch, now, events)
            batch.write_row(self._commits, now, leader_index)
        self.applied_index = batches[-1].last_index
        self._applying = []
        if store.put_count > put_count:
            self.backend.dirty(store.put_count - put_count)
            if store.database_bytes > self._quota_bytes and not self.no_space:
                self._raise_no_space()
        if not self.backend.stalled:
            if self.backend.due:
                self.backend.commit()
            elif self._waiting:
                self._apply(goes_on=True)
        if events and self.watches.watcher_count:
            self.watches.notify(events)
        for batch in batches:
            self._answer(batch)
        if self.reads.blocked:
            self.reads.unblock(self.applied_index)

    def _apply_batch(self, batch: Batch, now: float, events: list[WatchEvent]) -> None:
        store = self.store
        is_plain = True
        if store.leases:
            for write in batch.writes:
                is_plain = is_plain and write.resource != _REVOKE
        if is_plain:
            store.apply(batch.writes, now, events)
            return
        writes = [write for write in batch.writes if write.resource != _REVOKE]
        store.apply(writes, now, events)
        for _ in range(len(batch.writes) - len(writes)):
            if store.leases:
                self.backend.force(store.revoke_oldest_lease(now, events))

    # Answers --------------------------------------------------------------------------------

    def _answer(self, batch: Batch) -> None:
        writes = batch.writes
        if self.forwarded or batch.epoch != self.raft.epoch:
            writes = self.faults.answer_elsewhere(batch)
        if not writes:
            return
        self.acknowledged_index = batch.last_index
        self.send_answers(writes)

    def send_answers(self, writes: list[Write]) -> None:
        """Send answers to the clients."""
        if self.direct:
            self.respond(writes)
        else:
            self.engine.after(self.client_link.sample_seconds(), self._then_respond, writes)

    def respond(self, writes: list[Write]) -> None:
        """Hand answers over to the clients: the end of each write here."""
        now = self.engine.now
        count = len(writes)
        self._area_seconds += self.present_count * (now - self._area_at_seconds)
        self._area_at_seconds = now
        self.present_count -= count
        self.answered_count += count
        sojourn = count * now
        for write in writes:
            sojourn -= write.proposed_seconds
            self._started_sum_seconds -= write.proposed_seconds
        self._sojourn_sum_seconds += sojourn
        self.acknowledged_revision = max(self.acknowledged_revision, writes[-1].revision)
        for write in writes:
            write.then(write)

    def _refuse(self, write: Write, error: str) -> None:
        write.error = error
        self.failed_count += 1
        delay_seconds = 0.0 if self.direct else self.client_link.sample_seconds()
        self.engine.after(delay_seconds, self.respond, [write])

    def _raise_no_space(self) -> None:
        self.no_space = True
        self.fault("no space", f"database {self.store.database_bytes} bytes exceeds the quota")

    def disarm(self) -> None:
        """Clear the NOSPACE alarm (after compaction and defragmentation by an operator)."""
        store = self.store
        store.database_bytes = store.in_use_bytes
        store.free_bytes = 0
        self.no_space = store.database_bytes > self.params.quota_backend_bytes
        self.fault("alarm disarmed", f"database {store.database_bytes} bytes")

    def fault(self, what: str, detail: str) -> None:
        """Write a row into the table of faults."""
        self._fault_rows.append((self.engine.now, "etcd", what, detail))

    # Watches --------------------------------------------------------------------------------

    def watch(
        self,
        deliver: Callable[[list[WatchEvent]], None],
        client_name: str,
        watcher_count: int = 1,
    ) -> None:
        """Deliver every commit, one call per apply round.

        Args:
            deliver: called with the events of a round.
            client_name: who watches, for the snapshot.
            watcher_count: streams this stands for; each costs its own CPU.
        """
        self.watches.add(deliver, client_name, watcher_count)

    def unwatch(self, deliver: Callable[[list[WatchEvent]], None]) -> None:
        """Drop the watch registered with ``deliver`` (its apiserver has died)."""
        self.watches.remove(deliver)

    # Reads ----------------------------------------------------------------------------------

    def get(self, resource: str, key: Key, then: Callable[[Any], object], argument: Any) -> None:
        """Read one key, linearizable: ``then((argument, object or None, revision, error))``."""
        self.submit_read(Read(resource, key, "", 1, then, argument), None)

    def list_objects(
        self,
        resource: str,
        namespace: str,
        limit_count: int,
        then: Callable[[Any], object],
        argument: Any,
    ) -> None:
        """Read a resource, linearizable; ``limit_count`` 0 means all, -1 the revision only."""
        self.submit_read(Read(resource, None, namespace, limit_count, then, argument), None)

    def submit_read(self, read: Read, frontend: Frontend | None) -> None:
        """Send a read to a member, the leader if None."""
        if frontend is None:
            leader = self.raft.leader
            if leader is None:
                self.reads.fail_later([read])
                return
            frontend = self.frontends[leader.index]
        if self.direct:
            self._take(frontend, read)
        elif not self._express(read, read.size_bytes, frontend):
            target = frontend
            self.engine.after(
                self.client_link.sample_seconds(), lambda item: self._take(target, item), read
            )

    # Maintenance ----------------------------------------------------------------------------

    def compact(self, revision: int) -> None:
        """Start a compaction up to ``revision`` (the apiserver asks every 5 minutes)."""
        self.backend.compact(revision)

    def _lease_made(self) -> None:
        self.engine.after(LEASE_TTL_SECONDS, self._expire_lease)

    def _expire_lease(self, _: None) -> None:
        """Propose the revocation of the oldest lease."""
        if self.raft.leader is None:
            self.engine.after(1.0, self._expire_lease)
            return
        revocation = Write(_REVOKE, ("", ""), -1, None, 64, _ignore)
        revocation.proposed_seconds = self.engine.now
        self.submit_write(revocation, None)

    # Accounts -------------------------------------------------------------------------------

    def cpu_seconds(self) -> float:
        """CPU time of all members so far, wake-ups on idle cores and idle ticks included."""
        elapsed = self.engine.now - self.faults.started_seconds
        total = 0.0
        for member in self.members:
            total += member.cpu_seconds()
            if member.alive:
                total += self.law.tick_seconds(elapsed, member.process.cpu_seconds)
        return total

    def check(self) -> list[str]:
        """Return broken invariants: Little's law, revisions, acknowledged writes, Raft's rules."""
        now = self.engine.now
        problems = [*self._problems, *self.raft.check()]
        area = self._area_seconds + self.present_count * (now - self._area_at_seconds)
        residual = self.present_count * now - self._started_sum_seconds
        sojourn = self._sojourn_sum_seconds + residual
        if abs(area - sojourn) > 1e-6 + 1e-6 * max(area, sojourn):
            problems.append(
                f"etcd: Little's law broken: writes present integrate to {area:.9g} s but"
                f" sojourn times sum to {sojourn:.9g} s"
            )
        if self.acknowledged_index > self.raft.commit_index:
            problems.append("etcd: a write was acknowledged before it was committed")
        if self.acknowledged_revision > self.store.revision:
            problems.append(
                f"etcd: acknowledged revision {self.acknowledged_revision} is not in the store"
                f" ({self.store.revision})"
            )
        for resource, table in self.store.tables.items():
            newest = max((item.resource_version for item in table.values()), default=0)
            if newest > self.store.revision:
                problems.append(f"etcd: {resource} hold revision {newest} of the future")
        return problems

    def snapshot(self) -> dict[str, Any]:
        """Return counters for reports."""
        raft = self.raft
        return {
            "revision": self.store.revision,
            "answered_count": self.answered_count,
            "failed_count": self.failed_count,
            "batch_count": raft.batch_count,
            "entry_count": raft.entry_count,
            "present_count": self.present_count,
            "database_bytes": self.store.database_bytes,
            "database_in_use_bytes": self.store.in_use_bytes,
            "backend_commit_count": self.backend.commit_count,
            "leader": raft.leader.index if raft.leader is not None else -1,
            "alive_count": raft.alive_count(),
            "cpu_seconds": self.cpu_seconds(),
        }


__all__ = ["Etcd", "EtcdParams"]

_REVOKE: Final = "lease-revocation"


def _ignore(_: Write) -> None:
    return
