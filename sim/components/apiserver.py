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

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from mypy_extensions import i64

from sim.base.api_object import RESOURCE_TYPES, APIObject, Key
from sim.components import registry
from sim.components.apiserver_background import Background
from sim.components.apiserver_fanout import Fanout
from sim.components.apiserver_garbage import GarbageCollector
from sim.components.apiserver_params import APIServerParams
from sim.components.apiserver_parts import ReplicaGroup, Route
from sim.components.apiserver_reads import Reads
from sim.components.apiserver_runqueue import QUANTUM_SECONDS, RunQueue
from sim.components.apiserver_widths import Widths
from sim.components.apiserver_writes import Writes
from sim.components.etcd_process import SCATTER_COUNT, scatter_table
from sim.components.ports import (
    Caller,
    FleetWatcher,
    Request,
    Storage,
    Watcher,
    WatchEvent,
    answer,
)
from sim.components.priority_and_fairness import Controller, Ticket, flow_hash
from sim.components.priority_and_fairness_config import (
    BY_NAMESPACE,
    BY_USER,
    classify,
    full_groups,
    with_built_in_levels,
    with_built_in_schemas,
)
from sim.costs.apiserver import SCATTERED_SECONDS, APIServerLaw
from sim.costs.watch import WatchLaw
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder

__all__ = ["APIServer", "APIServerParams", "ReplicaGroup"]

_ADOPT_RETRY_SECONDS: Final = 0.5
"""Between attempts to watch a cache that is still being filled (assumed)."""
_answer: Final = answer
"""A name of its own: compiled code looks up what it has imported at every use."""
_SOME_NAMESPACE: Final = "*"
"""Stands for all namespaces where no flow schema tells them apart."""


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
        queue = RunQueue(host_process, engine.stream(f"apiserver/{index}/monitor"))
        queue.saving_half_count = law.crowd_saving_half_count
        self._run_queue = queue
        self._submit = queue.submit
        self._then_respond = self._respond
        self._garbage = GarbageCollector(law, queue)
        watching = watch_law or WatchLaw()
        network_seconds = params.network_seconds
        self.fanout = Fanout(
            engine, recorder, watching, queue, self._garbage, index, network_seconds
        )
        self._garbage.on_begin = self.fanout.park
        self.fanout.on_evict = self.close_watch
        self.group = ReplicaGroup(self.fanout.facts)
        self.serving = False
        """Whether the process is up and takes connections."""
        self.crashed_seconds = -1.0
        """Time of the last crash: requests that arrived before are answered with an error."""
        self.in_flight_count = 0
        self.request_count = 0
        self._schemas = with_built_in_schemas(params.flow_schemas)
        limit = params.max_requests_inflight + params.max_mutating_requests_inflight
        levels = with_built_in_levels(params.priority_levels)
        self.fairness = Controller(engine, levels, limit, params.request_timeout_seconds / 4.0)
        rules = [rule for schema in self._schemas for rule in schema.rules]
        self._namespaces_matter = any(
            not rule.cluster_scope or "*" not in rule.namespaces for rule in rules
        )
        self._users_matter = any(
            user.startswith("system:node:") for rule in rules for user in rule.users
        )
        """Whether members of a fleet may be classified differently."""
        self._routes: dict[tuple[str, str, str, str, str], Route] = {}
        self._last_route: Route | None = None
        self._hashes: dict[tuple[str, str], int] = {}
        self._light = params.light_admission
        self._widths = Widths(engine)
        self._rows = recorder["requests"]
        self._writes = Writes(self)
        self._reads = Reads(self)
        self._host = host_process.host
        self._awake_seconds = 0.0
        self._stalls = engine.stream(f"apiserver/{index}/stall")
        self._scatter_draws = engine.stream(f"apiserver/{index}/scatter")
        self._scatter = scatter_table(law.scatter_sigma_ratio)
        self.spin_cpu_seconds = 0.0
        """CPU burnt on otherwise idle cores; in no host's accounts because it delays nobody."""
        self.background = Background(self)
        self.on_down: Callable[[APIServer], object] = _ignore
        self.on_up: Callable[[APIServer], object] = _ignore
        """Told to the balancer, which moves the fleets' watches."""

    # --------------------------------------------------------------------------- lifecycle

    def start(self) -> None:
        """Begin to serve at once; the caches begin empty, as etcd does."""
        self.storage.watch(self._from_etcd, f"apiserver/{self.index}")
        self.serving = True
        self.fairness.start()
        self.background.start()

    def crash(self) -> None:
        """Die: memory is lost, connections break, requests in flight are never answered well."""
        if not self.serving:
            return
        self.serving = False
        self.crashed_seconds = self.engine.now
        self.recorder["faults"].append(
            (self.engine.now, f"kube-apiserver/{self.index}", "crashed", "")
        )
        for level in self.fairness.levels.values():
            for ticket in level.abandon():
                ticket.argument.seats = 0
                self._respond(ticket.argument)
        self.on_down(self)
        self._garbage.forget()
        self.fanout.reset()
        for cache in self.fanout.caches.values():
            cache.initialized = False
            for watcher in cache.watchers():
                self.close_watch(watcher, "server gone")

    def restart(self, then: Callable[[Any], object] | None = None) -> None:
        """Start again: CPU and time until the process serves, then the caches are filled."""
        engine = self.engine
        ready_seconds = engine.now + self.params.startup_seconds

        def loaded(_: None) -> None:
            engine.at(ready_seconds, serve)

        def serve(_: None) -> None:
            self.serving = True
            self.recorder["faults"].append(
                (engine.now, f"kube-apiserver/{self.index}", "serving again", "")
            )
            self._reads.initialize_caches()
            self.on_up(self)
            if then is not None:
                then(self)

        self.process.run(self.params.startup_cpu_seconds, loaded)

    def preload(self, objects: list[APIObject]) -> None:
        """Take objects that etcd already holds into the caches, spending no time."""
        self.group.note_uids(objects)
        by_resource: dict[str, list[APIObject]] = {}
        for item in objects:
            by_resource.setdefault(item.resource, []).append(item)
        for resource, items in by_resource.items():
            cache = self.fanout.cache(resource)
            revision = max(item.resource_version for item in items)
            cache.replace([*cache.objects.values(), *items], max(revision, cache.revision))
            self.fanout.filled_revision = max(self.fanout.filled_revision, revision)

    def join(self, group: ReplicaGroup) -> None:
        """Share identity and facts with the other replicas."""
        self.group = group
        self.fanout.facts = group.facts

    def _from_etcd(self, events: list[WatchEvent]) -> None:
        if self.serving:
            self.fanout.receive(events)
        else:
            self.group.facts.batch(events)

    # -------------------------------------------------------------------------- the request

    def send(self, request: Request) -> None:
        """Take a request from its client: over the network, and to its handler if that is easy.

        On a host with plenty of room, and with seats to spare, arrival, authentication and the
        way to the handler are one step.
        """
        network_seconds = self.fanout.network_seconds
        if self.serving and self._host.has_room():
            route = self._find_route(request)
            if self._take_light(route, request):
                demand_seconds = route.merged_seconds
                if route.byte_seconds:
                    demand_seconds += self._object_seconds(route, request)
                seconds = self.express_seconds(demand_seconds, has_room=True)
                if seconds >= 0.0:
                    self._arrive(request, route, self.engine.now + network_seconds)
                    self.engine.after(network_seconds + seconds, route.handle, request)
                    return
                route.level.drop_light()
        if network_seconds > 0.0:
            self.engine.after(network_seconds, self.receive, request)
        else:
            self.receive(request)

    def _arrive(self, request: Request, route: Route, now: float) -> None:
        queue = self._run_queue
        if queue.busy_count >= queue.limit_count and len(queue):  # else nobody waits
            queue.note_caller(request.client, self.law.crowd_saving_ratio)
        request.arrived_seconds = now
        request.replica = self
        self.request_count += 1
        self.in_flight_count += 1
        request.route = route
        request.ticket = None
        request.priority_level = route.level.name
        request.queue_wait_seconds = 0.0
        request.seats = 1

    def _find_route(self, request: Request) -> Route:
        space = request.namespace
        if space and not self._namespaces_matter:
            space = _SOME_NAMESPACE
        client = request.client
        user: str
        if isinstance(client, Caller) and not self._users_matter:  # whose fields are no look-up
            user = client.fleet_user
        else:
            user = client.user if self._users_matter else client.fleet_user
        last = self._last_route
        if last is not None and last.fits(request, user, space):
            return last  # most often: heartbeats come one after another
        key = (user, request.verb, request.resource, request.subresource, space)
        self._last_route = route = self._routes.get(key) or self._route(key, request)
        return route

    def _take_light(self, route: Route, request: Request) -> bool:
        """Take a seat at once if the request is narrow and its level far from full."""
        return (
            not route.wide
            and not (
                route.mutating
                and route.cache.may_be_wide
                and self._widths.is_wide_write(route.cache, request)
            )
            and self._light
            and route.level.try_light()
        )

    def receive(self, request: Request) -> None:
        """Take a request off the network."""
        if not self.serving:
            request.code, request.result = 503, None
            self.engine.after(self.params.network_seconds, _answer, request)
            return
        route = self._find_route(request)
        self._arrive(request, route, self.engine.now)
        if self._take_light(route, request):
            demand = route.merged_seconds
            if route.byte_seconds:
                demand += self._object_seconds(route, request)
            self.run(demand, route.handle, request)
        else:
            request.seats = 0
            self.run(0.5 * route.authentication_seconds, self._framed, request)

    def _object_seconds(self, route: Route, request: Request) -> float:
        item = request.api_object
        if item is None:
            item = route.cache.objects.get((request.namespace, request.name))
            if item is None:
                return 0.0
        return route.byte_seconds * (item.size_bytes or registry.default_size_bytes(item))

    def receive_internal(self, request: Request) -> None:
        """Take a request that the server makes of itself (user system:apiserver, exempt)."""
        request.submitted_seconds = self.engine.now
        self.receive(request)

    def _route(self, key: tuple[str, str, str, str, str], request: Request) -> Route:
        _, verb, resource, subresource, _ = key
        user = request.client.user
        cost = self.law.request_cost(verb, resource, subresource)
        handle = self._writes.handler(verb, subresource) or self._reads.handler(verb)
        scope = "cluster"
        if request.name or verb == "create":
            scope = "resource"
        elif request.namespace:
            scope = "namespace"
        kind = RESOURCE_TYPES.get(resource)
        schema = classify(
            self._schemas,
            user,
            full_groups(user, request.client.groups),
            verb,
            kind.group if kind is not None else "",
            f"{resource}/{subresource}" if subresource else resource,
            request.namespace,
        )
        level = self.fairness.levels[schema.priority_level]
        cache = self.fanout.cache(resource)
        if not level.exempt:
            extra = self.law.authorization_seconds
            cost = cost._replace(before_seconds=cost.before_seconds + extra)
        facts = (verb, resource, subresource, scope, request.client.fleet_user, level.name,
                 self.index)  # fmt: skip
        route = Route(key, cost, handle, level, schema, cache, facts, self._rows)
        route.byte_seconds = self.law.write_byte_seconds(verb, subresource)
        self._routes[key] = route
        return route

    # ---------------------------------------------------------------- priority and fairness

    def _framed(self, request: Request) -> None:
        """Start the handler: the connection's reader wakes the serve loop, and that the handler."""
        route: Route = request.route
        demand_seconds = 0.5 * route.authentication_seconds
        demand_seconds += self._scatter_seconds(demand_seconds)
        self._run_queue.submit_next(self._charged(demand_seconds), self._authenticated, request)

    def _authenticated(self, request: Request) -> None:
        route: Route = request.route
        if route.distinguisher == BY_USER:
            flow = request.flow or request.client.user
        elif route.distinguisher == BY_NAMESPACE:
            flow = request.namespace
        else:
            flow = ""
        request.flow = flow
        pair = (route.schema_name, flow)
        hash_value = self._hashes.get(pair)
        if hash_value is None:
            hash_value = self._hashes[pair] = flow_hash(route.schema_name, flow)
        width = self._widths.width(route.cache, request, route.level)
        ticket = Ticket(width[0], width[1], width[2], self._admitted, request)
        request.ticket = ticket
        route.level.submit(ticket, hash_value)

    def _admitted(self, request: Request, admitted: bool) -> None:
        ticket: Ticket = request.ticket
        if admitted:
            # The waiting goroutine has to be woken and to find a processor: part of its wait. In a
            # busy process it does not stand behind those that have used up their quantum.
            request.seats = ticket.seats
            queue = self._run_queue
            if queue.busy_count < queue.limit_count:
                self.engine.after(self.law.wake_seconds, self._awoken, request)
            else:
                self._awoken(request)
            return
        request.queue_wait_seconds = self.engine.now - ticket.enqueued_seconds
        request.code = 429
        route: Route = request.route
        request.retry_after_seconds = float(route.level.retry_after.seconds)
        self.run(self.law.rejection_seconds, self._respond, request)

    def _awoken(self, request: Request) -> None:
        """Go on after the wait for seats: the rest of the handler as soon as there is a processor.

        A LIST from the cache is one piece of work: nothing in it waits.
        """
        in_one_go = request.verb == "list" and request.list_mode == "cache"
        then = self._respond if in_one_go else request.route.handle
        self._run_queue.submit_next(partial(self._begin, request, in_one_go), then, request)

    def _begin(self, request: Request, in_one_go: bool) -> float:
        """End the wait for seats; return the CPU until the first storage call or the end."""
        ticket: Ticket = request.ticket
        wait_seconds = self.engine.now - ticket.enqueued_seconds
        request.queue_wait_seconds = ticket.wait_seconds = wait_seconds
        route: Route = request.route
        demand = route.cost.before_seconds
        if route.byte_seconds:
            demand += self._object_seconds(route, request)
        if in_one_go:
            demand += route.cost.after_seconds + self._reads.list_in_one_go(request)
        demand += self._scatter_seconds(demand)
        return self._charged(demand)

    def run(
        self, demand_seconds: float, then: Callable[[Any], object], argument: Any = None
    ) -> None:
        """Spend CPU on a request: with a wake-up if the process sleeps, a stall if it is busy."""
        law = self.law
        host = self._host
        now = self.engine.now
        cores = host.core_count
        demand_seconds += self._scatter_seconds(demand_seconds)
        if self.process.idle:
            slept_seconds = now - self._awake_seconds
            if slept_seconds > 0.0:
                cold_seconds = law.cold(slept_seconds)
                demand_seconds += cold_seconds
                if cores == 0:
                    self.spin_cpu_seconds += law.spin_ratio * cold_seconds
                else:  # others may want the core meanwhile
                    self.process.run(law.spin_ratio * cold_seconds, _ignore)
        if 0 < cores <= host.running_count and self._stalls.uniform() < law.stall_ratio:
            wait_seconds = self._stalls.exponential(law.stall_seconds)
            self.engine.after(wait_seconds, self._run_late, (demand_seconds, then, argument))
            return
        self._run_queue.submit(self._charged(demand_seconds), then, argument)

    def _scatter_seconds(self, demand_seconds: float) -> float:
        """Draw by how much a job's CPU differs from its mean; in long jobs it evens out."""
        if demand_seconds > SCATTERED_SECONDS:
            demand_seconds = SCATTERED_SECONDS
        place: i64 = i64(self._scatter_draws.uniform() * SCATTER_COUNT)
        return demand_seconds * (self._scatter[place] - 1.0)

    def _charged(self, demand_seconds: float) -> float:
        """Return the CPU of a piece of work with what the process makes it do besides."""
        fanout = self.fanout
        demand_seconds += fanout.debt_seconds
        fanout.debt_seconds = 0.0
        self._awake_seconds = self.engine.now + demand_seconds
        return self._garbage.charge(demand_seconds)

    def express_seconds(self, demand_seconds: float, *, has_room: bool = False) -> float:
        """Spend CPU on a host with plenty of room, without an event for its end.

        Returns the time it takes, as `run` would make it, or -1.0 (and nothing is done) where the
        end cannot be known in advance.
        """
        queue = self._run_queue
        host = self._host
        if (
            demand_seconds > QUANTUM_SECONDS
            or queue.busy_count >= queue.limit_count
            or not (has_room or host.has_room())
        ):
            return -1.0
        law = self.law
        now = self.engine.now
        demand_seconds += self._scatter_seconds(demand_seconds)
        process = self.process
        if process.idle:
            slept_seconds = now - self._awake_seconds
            if slept_seconds > 0.0:
                cold_seconds = law.cold(slept_seconds)
                demand_seconds += cold_seconds
                self.spin_cpu_seconds += law.spin_ratio * cold_seconds
        demand_seconds = self._charged(demand_seconds)
        host.occupy(process, demand_seconds)
        return demand_seconds

    def _run_late(self, work: tuple[float, Callable[[Any], object], Any]) -> None:
        demand_seconds, then, argument = work
        self._submit(demand_seconds, then, argument)

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, idle spinning included."""
        return self.process.cpu_seconds + self.spin_cpu_seconds

    def finish(self, request: Request, extra_seconds: float = 0.0) -> None:
        """Encode the response and send it."""
        route: Route = request.route
        demand_seconds = route.cost.after_seconds + extra_seconds
        seconds = self.express_seconds(demand_seconds)
        if seconds >= 0.0:
            self._respond(request, seconds)
        else:
            self.run(demand_seconds, self._then_respond, request)

    def refuse(self, request: Request, code: int) -> None:
        """Answer with an error that needs no storage."""
        request.code = code
        self._respond(request)

    def _respond(self, request: Request, ahead_seconds: float = 0.0) -> None:
        """Send the response; ``ahead_seconds`` from now if its end is known in advance."""
        now = self.engine.now + ahead_seconds
        route: Route = request.route
        self.in_flight_count -= 1
        if request.seats:
            ticket = request.ticket
            if ticket is None:
                route.level.end_light(now - request.arrived_seconds)
            else:
                route.level.finish(ticket)
        if request.arrived_seconds <= self.crashed_seconds:
            request.code, request.result = 503, None
        network = self.fanout.network_seconds
        server_seconds = now - request.arrived_seconds
        request.execution_seconds = server_seconds - request.queue_wait_seconds
        rows = self._rows
        if rows.enabled:
            rows.put_integer(route.facts_number(request.code))
            rows.put_float(request.submitted_seconds)
            rows.put_float(request.limiter_wait_seconds)
            rows.put_float(request.queue_wait_seconds)
            rows.put_float(server_seconds)
            rows.put_float(now + network - request.submitted_seconds)
            rows.put_integer(request.response_bytes)
            rows.end_row()
        request.ticket = None  # a ticket knows its request: no cycle is left behind
        if network + ahead_seconds > 0.0:
            self.engine.after(network + ahead_seconds, _answer, request)
        else:
            answer(request)

    # ----------------------------------------------------------------------------- watches

    def watch_fleet(self, fleet: FleetWatcher) -> None:
        """Register the watches of a fleet."""
        self.fanout.cache(fleet.resource).fleets.append(fleet)

    def adopt(
        self, fleet: FleetWatcher, members: npt.NDArray[np.bool_], known: dict[Key, APIObject]
    ) -> None:
        """Take over members of a fleet: each makes a watch request and gets what it has missed."""
        cache = self.fanout.cache(fleet.resource)
        if not self.serving or not cache.initialized:
            retry = partial(self._adopt_later, fleet, members)
            self.engine.after(_ADOPT_RETRY_SECONDS, retry, known)
            return
        cost = self.law.request_cost("watch", fleet.resource, "")
        each = cost.authentication_seconds + cost.before_seconds + cost.after_seconds
        demand = each * float(np.count_nonzero(members))
        self.run(demand, partial(self.fanout.fleets.catch_up, fleet, members), known)

    def _adopt_later(
        self, fleet: FleetWatcher, members: npt.NDArray[np.bool_], known: dict[Key, APIObject]
    ) -> None:
        self.adopt(fleet, members, known)

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
            self.engine.after(self.params.network_seconds, watcher.on_close, reason)


def _ignore(_: object) -> None:
    return
