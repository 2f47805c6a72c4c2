"""Watches of whole fleets (kubelets, kube-proxies, CNI agents) at one apiserver replica.

A fleet is one object for all its members. Events that concern one member each are found by
``member_of`` and sent in one job; events for every member are charged for all of them, and the
fleet is told when each member gets them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from mypy_extensions import mypyc_attr

from sim.base.api_object import APIObject, Key
from sim.components.ports import FleetWatcher, WatchEvent
from sim.components.watch_cache import retyped
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Table

if TYPE_CHECKING:
    from sim.components.apiserver_fanout import Fanout

_Start = tuple[
    int, "Batch", FleetWatcher, list[WatchEvent], npt.NDArray[np.bool_], int, float, int
]
"""Of a fan-out to a whole fleet: generation, batch, fleet, events, members, how many, CPU seconds
of each, lanes."""

ROOMY_LANES_DIVISOR: Final = 4
"""On a host with eight cores or more a fan-out to a fleet keeps a quarter of the processors busy
(assumed): the senders wait for each other's locks and for the sockets."""


@mypyc_attr(acyclic=True, free_list_len=1)
class Batch:
    """The deliveries of one batch of one resource, until the last has arrived."""

    __slots__ = ("cache_seconds", "delivery_count", "event_count", "first_seconds",
                 "last_seconds", "open_count", "resource", "revision",
                 "time_seconds")  # fmt: skip

    def __init__(self, events: list[WatchEvent], now_seconds: float) -> None:
        newest = events[-1]
        self.time_seconds = newest.commit_seconds
        self.resource = newest.resource
        self.revision = newest.revision
        self.event_count = len(events)
        self.cache_seconds = now_seconds - newest.commit_seconds
        self.first_seconds = -1.0
        self.last_seconds = 0.0
        self.delivery_count = 0
        self.open_count = 0

    def note_span(self, first_seconds: float, last_seconds: float) -> None:
        """Some of the deliveries arrive within this span, counted from the commit."""
        if self.first_seconds < 0.0 or first_seconds < self.first_seconds:
            self.first_seconds = first_seconds
        self.last_seconds = max(self.last_seconds, last_seconds)

    def write_row(self, table: Table, shared_number: int) -> None:
        """Write the row of a batch whose deliveries have all arrived."""
        if not table.enabled:
            return
        table.put_integer(shared_number)
        table.put_float(self.time_seconds)
        table.put_float(self.cache_seconds)
        table.put_float(self.first_seconds)
        table.put_float(self.last_seconds)
        table.end_row()


class _Members:
    """The members of a fleet at one replica, and the bytes of the arrays that say so."""

    __slots__ = ("connected", "count", "mask", "replicas")

    def __init__(self, connected: bytes, replicas: bytes, mask: npt.NDArray[np.bool_]) -> None:
        self.connected = connected
        self.replicas = replicas
        self.mask = mask
        self.count = int(np.count_nonzero(mask))


class FleetFanout:
    """Watch delivery of one replica to its members of all fleets."""

    def __init__(self, fanout: Fanout, engine: Engine, host: Host, index: int) -> None:
        self._fanout = fanout
        self._engine = engine
        self._host = host
        self._index = index
        self._law = fanout.law
        self._network_seconds = fanout.network_seconds
        self._run_queue = fanout.run_queue
        self._own_due_seconds: dict[int, float] = {}
        """By fleet: when the last delivery arrives that is on its way in one step."""
        self._members: dict[int, _Members] = {}
        """By fleet: its members here, as found last."""

    def catch_up(
        self, fleet: FleetWatcher, members: npt.NDArray[np.bool_], known: dict[Key, APIObject]
    ) -> None:
        """Send what members have missed since they knew ``known``; each lists anew.

        Args:
            fleet: whose members have come to this replica.
            members: which of them: (n_members,) bool.
            known: the state that they had seen.
        """
        events = self._fanout.cache(fleet.resource).difference(known, self._engine.now)
        if not events:
            return
        batch = Batch(events, self._engine.now)
        wanted = members & fleet.connected & (fleet.replica_index == self._index)
        if fleet.mode == "all":
            self.dispatch_all(fleet, events, batch, wanted)
        else:
            self.dispatch_own(fleet, events, batch, wanted)

    def dispatch_own(
        self,
        fleet: FleetWatcher,
        events: list[WatchEvent],
        batch: Batch,
        wanted: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Find the member that each event concerns; one job sends them all."""
        member_of = fleet.member_of
        assert member_of is not None
        connected, replica = fleet.connected, fleet.replica_index
        if wanted is not None:
            connected = wanted
        here = self._index
        found: list[tuple[int, WatchEvent]] = []
        demand = 0.0
        for event in events:
            new_member = -1 if event.type == "DELETED" else member_of(event.new)
            source = event.old if event.old is not None else event.new
            old_member = -1 if event.type == "ADDED" else member_of(source)
            cost = self._law.deliver(event.new.size_bytes)
            if (
                old_member >= 0
                and old_member != new_member
                and connected[old_member]
                and replica[old_member] == here
            ):
                found.append((old_member, retyped(event, "DELETED")))
                demand += cost
            if new_member >= 0 and connected[new_member] and replica[new_member] == here:
                kind = "MODIFIED" if old_member == new_member else "ADDED"
                found.append((new_member, retyped(event, kind)))
                demand += cost
        if found:
            batch.delivery_count += len(found)
            batch.open_count += 1
            work = (self._fanout.generation, batch, fleet, found)
            demand = self._fanout.garbage.charge(demand)
            if not self._run_queue.occupy(demand):
                self._run_queue.submit_handed(demand, self._sent_own, work)
                return
            now = self._engine.now
            due_seconds = self._own_due_seconds.get(id(fleet), 0.0)
            due_seconds = max(due_seconds, now + demand + self._network_seconds)
            self._own_due_seconds[id(fleet)] = due_seconds
            self._engine.at(due_seconds, self._express_own, work)

    def _express_own(
        self, argument: tuple[int, Batch, FleetWatcher, list[tuple[int, WatchEvent]]]
    ) -> None:
        if argument[0] == self._fanout.generation:
            self._arrived_own(argument)

    def _sent_own(
        self, argument: tuple[int, Batch, FleetWatcher, list[tuple[int, WatchEvent]]]
    ) -> None:
        if argument[0] != self._fanout.generation:
            return
        due_seconds = self._engine.now + self._network_seconds
        due_seconds = max(due_seconds, self._own_due_seconds.get(id(argument[2]), 0.0))
        if due_seconds > self._engine.now:
            self._engine.at(due_seconds, self._arrived_own, argument)
        else:
            self._arrived_own(argument)

    def _arrived_own(
        self, argument: tuple[int, Batch, FleetWatcher, list[tuple[int, WatchEvent]]]
    ) -> None:
        _, batch, fleet, found = argument
        self._fanout.note_arrival(batch)
        self._fanout.delivery_count += len(found)
        deliver = fleet.deliver_own
        assert deliver is not None
        connected = fleet.connected
        for member, event in found:
            if connected[member]:
                deliver(member, event)

    def dispatch_all(
        self,
        fleet: FleetWatcher,
        events: list[WatchEvent],
        batch: Batch,
        wanted: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Charge the CPU of all members and tell the fleet when each one gets the events.

        The times are a forecast made when the sending starts, from the share of the host's cores
        that the lanes get then: members are reached one after another, by all lanes.
        """
        if wanted is None:
            here = self._members_here(fleet)
            mask, count = here.mask, here.count
        else:
            mask, count = wanted, int(np.count_nonzero(wanted))
        if count == 0:
            return
        batch.delivery_count += count * len(events)
        batch.open_count += 1
        each = 0.0
        for event in events:
            each += self._law.deliver(event.new.size_bytes)
        each -= (len(events) - 1) * self._law.deliver_wake_seconds
        lanes = self._run_queue.limit_count
        if self._host.roomy:
            lanes = -(-lanes // ROOMY_LANES_DIVISOR)
        share = self._fanout.garbage.charge(each * float(count)) / float(lanes)
        start: _Start = (self._fanout.generation, batch, fleet, events, mask, count, each, lanes)
        for lane in range(lanes):
            if self._run_queue.occupy(share, long=True):
                if lane == 0:
                    self._forecast(start, share)
                continue
            work = partial(self._start_share, start, share) if lane == 0 else share
            self._run_queue.submit(work, _ignore, None)

    def _members_here(self, fleet: FleetWatcher) -> _Members:
        """Return the members of a fleet that watch this replica.

        They hardly ever change, and whether they have is seen by comparing bytes in a tenth of the
        time that it takes to find them.
        """
        connected, replicas = fleet.connected.tobytes(), fleet.replica_index.tobytes()
        found = self._members.get(id(fleet))
        if found is None or found.connected != connected or found.replicas != replicas:
            mask = fleet.connected & (fleet.replica_index == self._index)
            found = self._members[id(fleet)] = _Members(connected, replicas, mask)
        return found

    def _start_share(self, start: _Start, share_seconds: float) -> float:
        if start[0] == self._fanout.generation:
            self._forecast(start, share_seconds)
        return share_seconds

    def _forecast(self, start: _Start, share_seconds: float) -> None:
        _, batch, fleet, events, mask, count, each, lanes = start
        host = self._host
        runnable = host.running_count + lanes
        cores = host.core_count
        rate = 1.0 if cores == 0 or runnable <= cores else cores / runnable
        now = self._engine.now
        first = now + self._network_seconds + each / rate
        last = now + self._network_seconds + max(share_seconds, each) / rate
        batch.note_span(first - batch.time_seconds, last - batch.time_seconds)
        work = (batch, fleet, events, mask, count, first, last)
        self._engine.after(first - now, self._arrived_all, work)

    def _arrived_all(
        self,
        argument: tuple[
            Batch, FleetWatcher, list[WatchEvent], npt.NDArray[np.bool_], int, float, float
        ],
    ) -> None:
        batch, fleet, events, mask, count, first, last = argument
        deliver = fleet.deliver_all
        assert deliver is not None
        self._fanout.delivery_count += count * len(events)
        batch.open_count -= 1
        if batch.open_count == 0:
            self._fanout.write_row(batch)
        if fleet.is_old_news is not None and fleet.is_old_news(events):
            return
        turn = int(events[-1].revision * 0.618033988749895 * count) % count
        times = _spread_out(first, last, count, turn)
        if count < fleet.member_count:
            reached, times = times, np.full(fleet.member_count, np.inf)
            times[mask] = reached
        deliver(events, times)


def _spread_out(first: float, last: float, count: int, turn: int) -> npt.NDArray[np.float64]:
    """Return ``count`` times evenly from first to last, the first of them at place ``turn``."""
    step = (last - first) / (count - 1) if count > 1 else 0.0
    times: npt.NDArray[np.float64] = np.arange(-turn, count - turn, dtype=np.float64)
    times[:turn] += count
    times *= step
    times += first
    return times


def _ignore(_: object) -> None:
    return
