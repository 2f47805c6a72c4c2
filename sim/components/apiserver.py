"""One kube-apiserver replica: from the arrival of a request to its response.

A request costs two CPU jobs on the replica's host (before and after storage) and, when its priority
level is busy, a third one before priority and fairness. Writes start from the object in the watch
cache and are one guarded etcd transaction; a conflict re-runs the change on the object that the
transaction returned.

**Modelled:** facts 0, a.2, b, c: the verbs with their storage calls, priority and fairness, watch
caches and fan-out, consistent reads, CPU by request class with wake-ups and garbage collection,
crash and restart with cache initialisation, compaction, consistency checks.
**Not modelled:** webhooks, aggregated APIs, audit, encryption at rest, TLS handshakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sim.components.apiserver_facts import CommitFacts
from sim.components.apiserver_fanout import Fanout
from sim.components.apiserver_reads import Reads
from sim.components.apiserver_writes import Writes
from sim.components.ports import FleetWatcher, Request, Storage, Watcher
from sim.costs.apiserver import APIServerLaw, RequestCost
from sim.costs.watch import WatchLaw
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder

_JITTER_BLOCK_COUNT = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class APIServerParams:
    """Flags of kube-apiserver by their own names, and where it stands."""

    max_requests_inflight: int = field(
        default=400, metadata={"source": "defaults.csv: max-requests-inflight"}
    )
    max_mutating_requests_inflight: int = field(
        default=200, metadata={"source": "defaults.csv: max-mutating-requests-inflight"}
    )
    request_timeout_seconds: float = field(
        default=60.0, metadata={"source": "defaults.csv: request-timeout"}
    )
    etcd_compaction_interval_seconds: float = field(
        default=300.0, metadata={"source": "defaults.csv: etcd-compaction-interval"}
    )
    consistency_check_period_seconds: float = field(
        default=300.0, metadata={"source": "defaults.csv: cache consistency checker period"}
    )
    network_seconds: float = field(
        default=0.0001, metadata={"source": "assumed: one way within a data centre"}
    )
    """One way between any client and the replica."""
    startup_seconds: float = field(
        default=5.6,
        metadata={"source": "measured: apiserver_restart.csv, killed until ready, 500 nodes"},
    )
    """From exec to serving, before the caches are filled."""
    startup_cpu_seconds: float = field(
        default=5.3, metadata={"source": "measured: apiserver_restart.csv, CPU until ready"}
    )


class Route:
    """What the replica knows about one class of requests after the first of its kind."""

    __slots__ = ("authentication_seconds", "cost", "handle", "merged_seconds", "mutating",
                 "scope")  # fmt: skip

    def __init__(self, cost: RequestCost, handle: Callable[[Request], None], scope: str) -> None:
        self.cost = cost
        self.handle = handle
        self.scope = scope
        self.authentication_seconds = cost.authentication_seconds
        self.merged_seconds = cost.authentication_seconds + cost.before_seconds


class ReplicaGroup:
    """What the replicas of one cluster share although no process holds it: identity and facts."""

    def __init__(self, facts: CommitFacts) -> None:
        self.facts = facts
        self._last_uid = 0

    def next_uid(self) -> int:
        """Return the next uid, in order of creation over all replicas."""
        self._last_uid += 1
        return self._last_uid


class APIServer:
    """A replica. Requests come by `receive`, watches by `watch` and `watch_fleet`."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        params: APIServerParams,
        law: APIServerLaw,
        storage: Storage,
        host_process: HostProcess,
        index: int = 0,
        *,
        watch_law: WatchLaw | None = None,
    ) -> None:
        self.engine = engine
        self.recorder = recorder
        self.params = params
        self.law = law
        self.storage = storage
        self.process = host_process
        self.index = index
        self.fanout = Fanout(
            engine, recorder, watch_law or WatchLaw(), host_process, index, params.network_seconds
        )
        self.fanout.on_evict = self.close_watch
        self.group = ReplicaGroup(self.fanout.facts)
        self.serving = False
        """Whether the process is up and takes connections."""
        self.crashed_seconds = -1.0
        """Time of the last crash: requests that arrived before are answered with an error."""
        self.in_flight_count = 0
        self.request_count = 0
        self._routes: dict[tuple[str, str, str], Route] = {}
        self._rows = recorder["requests"]
        self._writes = Writes(self)
        self._reads = Reads(self)
        self._garbage_debt_seconds = 0.0
        self._jitter: Iterator[float] = iter(())
        self._jitter_stream = engine.stream(f"apiserver/{index}/demand")

    # --------------------------------------------------------------------------- lifecycle

    def start(self) -> None:
        """Begin to serve at once; the caches begin empty, as etcd does."""
        self.storage.watch(self._from_etcd, f"apiserver/{self.index}")
        self.serving = True

    def join(self, group: ReplicaGroup) -> None:
        """Share identity and facts with the other replicas."""
        self.group = group
        self.fanout.facts = group.facts

    def _from_etcd(self, events: list[Any]) -> None:
        if self.serving:
            self.fanout.receive(events)
        else:
            self.group.facts.batch(events)

    # -------------------------------------------------------------------------- the request

    def receive(self, request: Request) -> None:
        """Take a request off the network."""
        request.arrived_seconds = self.engine.now
        request.replica = self
        self.request_count += 1
        self.in_flight_count += 1
        key = (request.verb, request.resource, request.subresource)
        route = self._routes.get(key)
        if route is None:
            route = self._route(key, request)
        request.state = route
        self.run(route.merged_seconds, route.handle, request)

    def receive_internal(self, request: Request) -> None:
        """Run a request that one handler makes of another: no network, no authentication."""
        self.receive(request)

    def _route(self, key: tuple[str, str, str], request: Request) -> Route:
        verb, resource, subresource = key
        cost = self.law.request_cost(verb, resource, subresource)
        handle = self._writes.handler(verb, subresource) or self._reads.handler(verb)
        scope = "cluster"
        if request.name or verb == "create":
            scope = "resource"
        elif request.namespace:
            scope = "namespace"
        route = self._routes[key] = Route(cost, handle, scope)
        return route

    def run(
        self, demand_seconds: float, then: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Spend CPU on a request: with a wake-up if the process sleeps."""
        law = self.law
        process = self.process
        if process.running_count == 0:
            demand_seconds += law.wake_seconds
        self._garbage_debt_seconds += demand_seconds
        if self._garbage_debt_seconds > law.garbage_cycle_seconds:
            self._collect_garbage()
        self.fanout.run(demand_seconds, then, argument)

    def _collect_garbage(self) -> None:
        law = self.law
        share = law.garbage_share_ratio / (1.0 - law.garbage_share_ratio)
        work = self._garbage_debt_seconds * share
        self._garbage_debt_seconds = 0.0
        cores = max(1, self.process.host.core_count)
        for _ in range(cores):
            self.process.run(work / cores, _ignore)

    def finish(self, request: Request, extra_seconds: float = 0.0) -> None:
        """Encode the response and send it."""
        cost = request.state.cost
        self.run(cost.after_seconds + extra_seconds, self._respond, request)

    def refuse(self, request: Request, code: int) -> None:
        """Answer with an error that needs no storage."""
        request.code = code
        self._respond(request)

    def _respond(self, request: Request) -> None:
        now = self.engine.now
        route: Route = request.state
        self.in_flight_count -= 1
        if request.arrived_seconds <= self.crashed_seconds:
            request.code, request.result = 503, None
        network = self.params.network_seconds
        server_seconds = now - request.arrived_seconds
        request.execution_seconds = server_seconds - request.queue_wait_seconds
        self._rows.append(
            (
                request.submitted_seconds,
                request.verb,
                request.resource,
                request.subresource,
                route.scope,
                request.client.user,
                request.priority_level,
                self.index,
                request.code,
                request.limiter_wait_seconds,
                request.queue_wait_seconds,
                server_seconds,
                now + network - request.submitted_seconds,
                request.response_bytes,
            )
        )
        if network > 0.0:
            self.engine.call_later(network, request.client.receive, request)
        else:
            request.client.receive(request)

    # ----------------------------------------------------------------------------- watches

    def watch_fleet(self, fleet: FleetWatcher) -> None:
        """Register the watches of a fleet."""
        self.fanout.cache(fleet.resource).fleets.append(fleet)

    def unwatch(self, watcher: Watcher) -> None:
        """Forget a watch that its client has closed."""
        watcher.closed = True
        self.fanout.cache(watcher.resource).remove(watcher)

    def close_watch(self, watcher: Watcher, reason: str) -> None:
        """End a watch from the server's side and tell the client."""
        if watcher.closed:
            return
        self.unwatch(watcher)
        if watcher.on_close is not None:
            self.engine.call_later(self.params.network_seconds, watcher.on_close, reason)


def _ignore(_: object) -> None:
    return
