"""Client limits and retries; informers' order, handlers and re-lists."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sim.base.api_object import APIObject
from sim.base.objects import Lease
from sim.components.client import RETRY_COUNT_MAX, Client
from sim.components.informer import Informer
from sim.components.ports import Request, Watcher, WatchEvent
from sim.engine.engine import Engine
from sim.engine.host import Host
from tests.support.instant_apiserver import InstantAPIServer


class Refusing:
    """Answers 429 a number of times, then 200."""

    def __init__(self, engine: Engine, refusals: int, retry_after_seconds: float) -> None:
        self.engine = engine
        self.left = refusals
        self.retry_after_seconds = retry_after_seconds
        self.arrivals: list[float] = []

    def send(self, request: Request) -> None:
        self.arrivals.append(self.engine.now)
        request.code = 200
        if self.left:
            self.left -= 1
            request.code = 429
            request.retry_after_seconds = self.retry_after_seconds
        self.engine.call_later(0.0, request.client.receive, request)


@pytest.mark.parametrize(("refusals", "code", "sent"), [(3, 200, 4), (50, 429, 11)])
def test_a_refused_request_is_sent_again_ten_times_after_what_it_was_told(
    refusals: int, code: int, sent: int
) -> None:
    engine = Engine(1)
    endpoint = Refusing(engine, refusals, 2.0)
    client = Client(engine, endpoint, user="u")  # type: ignore[arg-type]
    answered: list[int] = []
    client.get("pods", "n", "p", lambda request: answered.append(request.code))
    engine.run(1000.0)
    assert answered == [code]
    assert len(endpoint.arrivals) == sent <= RETRY_COUNT_MAX + 1
    assert endpoint.arrivals == [2.0 * index for index in range(sent)]
    assert client.in_flight_count == 0


def test_the_token_bucket_spaces_requests_beyond_its_burst() -> None:
    """facts 0.1: wait = max(0, (n - burst) / qps) for the n-th request of a burst."""
    engine = Engine(1)
    endpoint = Refusing(engine, 0, 0.0)
    client = Client(engine, endpoint, user="u", qps=20.0, burst=30)  # type: ignore[arg-type]
    for _ in range(50):
        client.get("pods", "n", "p")
    engine.run(100.0)
    expected = [max(0.0, (n - 30) / 20.0) for n in range(1, 51)]
    assert endpoint.arrivals == pytest.approx(expected)


def test_a_client_on_a_host_spends_cpu_before_it_sends_and_on_every_answer() -> None:
    engine = Engine(1)
    endpoint = Refusing(engine, 1, 2.0)
    process = Host(engine, "h", 1).process("controller")
    client = Client(
        engine,
        endpoint,  # type: ignore[arg-type]
        user="u",
        process=process,
        cpu_per_request_seconds=0.25,
        cpu_per_answer_seconds=0.5,
    )
    answered_seconds: list[float] = []
    client.get("pods", "n", "p", lambda _: answered_seconds.append(engine.now))
    engine.run(10.0)
    again_seconds = 0.25 + 0.5 + 2.0 + 0.25  # the first answer was a refusal
    assert endpoint.arrivals == [0.25, again_seconds]
    assert answered_seconds == [again_seconds + 0.5]
    assert process.cpu_seconds == 2 * 0.75


class World:
    def __init__(self) -> None:
        self.engine = Engine(1)
        self.server = InstantAPIServer(self.engine)
        self.client = self.server.clients.client("u")
        self.seen: list[tuple[str, str]] = []

    def informer(self) -> Informer[Any]:
        made: Informer[Any] = Informer(self.engine, self.server, self.client, "leases")
        made.add_handler(lambda kind, new, old: self.seen.append((kind, new.name)))
        made.start()
        return made

    def run(self, seconds: float = 1.0) -> None:
        self.engine.run(self.engine.now + seconds)


def test_handlers_hear_the_initial_state_and_then_every_change() -> None:
    world = World()
    world.client.create(Lease(name="a", namespace="n"))
    world.run()
    informer = world.informer()
    world.run()
    assert world.seen == [("ADDED", "a")]
    assert informer.synced
    world.client.create(Lease(name="b", namespace="n"))
    world.client.delete("leases", "n", "a")
    world.run()
    assert world.seen[1:] == [("ADDED", "b"), ("DELETED", "a")]
    assert informer.get("n", "b") is world.server.objects["leases"]["n", "b"]
    assert informer.get("n", "a") is None
    assert informer.revision == world.server.revision


def test_after_a_lost_watch_the_difference_is_handled_once() -> None:
    world = World()
    for name in ("kept", "changed", "gone"):
        world.client.create(Lease(name=name, namespace="n"))
    world.run()
    informer = world.informer()
    world.run()
    watcher = world.server.watchers[0]
    world.server.unwatch(watcher)
    world.seen.clear()

    def touch(lease: Any) -> APIObject:
        new: Lease = lease.clone()
        new.holder = "x"
        return new

    world.client.patch("leases", "n", "changed", touch)
    world.client.delete("leases", "n", "gone")
    world.client.create(Lease(name="new", namespace="n"))
    world.run()
    assert world.seen == []
    assert watcher.on_close is not None
    watcher.on_close("server gone")
    world.run(2.0)
    assert sorted(world.seen) == [("ADDED", "new"), ("DELETED", "gone"), ("MODIFIED", "changed")]
    assert informer.relist_count == 1


def test_lists_that_keep_failing_back_off() -> None:
    """client-go: 0.8 s doubling to 30 s, each with up to as much again at random."""
    engine = Engine(1)
    starts: list[float] = []

    class Failing:
        def watch(self, client: Any, watcher: Watcher, then: Any) -> None:
            starts.append(engine.now)
            assert watcher.on_close is not None
            engine.call_later(0.0, watcher.on_close, "server gone")

    client = Client(engine, Failing(), user="u")  # type: ignore[arg-type]
    Informer[Any](engine, Failing(), client, "leases").start()  # type: ignore[arg-type]
    engine.run(400.0)
    gaps = [after - before for before, after in pairwise(starts)]
    for index, gap in enumerate(gaps):
        limit = min(0.8 * 2.0**index, 30.0)
        assert limit <= gap <= 2.0 * limit


def test_deliveries_of_changed_types_follow_the_cache() -> None:
    """What the server calls MODIFIED is ADDED to an informer that has not seen it."""
    world = World()
    informer = world.informer()
    world.run()
    item = Lease(name="z", namespace="n")
    watcher = world.server.watchers[0]
    event = WatchEvent("MODIFIED", "leases", item.key, item, None, 9, world.engine.now)
    watcher.deliver([event, event])
    assert world.seen == [("ADDED", "z"), ("MODIFIED", "z")]
    assert informer.event_count == 2
