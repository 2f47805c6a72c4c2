"""client-go's event correlator against the numbers of its own constants and the audit log."""

from __future__ import annotations

from itertools import pairwise

from sim.base.objects import Generic
from sim.components.events import EventRecorder, EventRecorderParams
from sim.engine.engine import Engine
from tests.support.instant_apiserver import InstantAPIServer


def make(**options: object) -> tuple[Engine, InstantAPIServer, EventRecorder, Generic]:
    engine = Engine(seed=1)
    server = InstantAPIServer(engine)
    recorder = EventRecorder(engine, server.clients.client("c"), "source", **options)  # type: ignore[arg-type]
    thing = Generic(name="thing", namespace="default", uid=7)
    return engine, server, recorder, thing


def verbs(server: InstantAPIServer) -> list[str]:
    return [verb for _, _, verb, _, _ in server.requests]


def test_a_hundred_distinct_events_make_ten_posts_and_fifteen_patches() -> None:
    """As in recipe_request_counts.csv for the pods of one ReplicaSet."""
    engine, server, recorder, thing = make()
    for index in range(100):
        recorder.event(thing, "Normal", "SuccessfulCreate", f"Created pod {index}")
    engine.run(10.0)
    assert verbs(server) == ["create"] * 10 + ["patch"] * 15
    assert recorder.filtered_count == 75
    assert recorder.dropped_count == 0


def test_the_same_event_again_is_a_patch_of_its_count() -> None:
    engine, server, recorder, thing = make()
    for _ in range(3):
        recorder.event(thing, "Warning", "BackOff", "again")
    engine.run(10.0)
    assert verbs(server) == ["create", "patch", "patch"]
    (stored,) = server.objects["events"].values()
    assert stored.count == 3  # type: ignore[attr-defined]


def test_the_spam_filter_refills_one_event_per_five_minutes() -> None:
    engine, server, recorder, thing = make()
    for _ in range(30):
        recorder.event(thing, "Normal", "Tick", "tick")
    engine.run(10.0)
    assert len(server.requests) == 25
    for _ in range(4):
        engine.run(engine.now + 301.0)
        recorder.event(thing, "Normal", "Tick", "tick")
    engine.run(engine.now + 1.0)
    assert len(server.requests) == 29


def test_writes_are_serial_and_the_queue_is_bounded() -> None:
    engine, server, recorder, _ = make(params=EventRecorderParams(queue_count_max=20))
    for index in range(50):
        recorder.event(Generic(name=f"t{index}", namespace="a", uid=index + 1), "Normal", "R", "m")
    engine.run(10.0)
    assert recorder.dropped_count == 50 - 1 - 20
    times = [seconds for seconds, *_ in server.requests]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= server.delay_seconds * 0.999


def test_a_series_is_patched_once_and_then_silent() -> None:
    engine, server, recorder, thing = make(serial=False)
    for index in range(40):
        engine.run(index * 60.0 + 1.0)
        recorder.event(thing, "Warning", "FailedScheduling", f"0/{index} nodes are available")
    engine.run(engine.now + 1.0)
    assert verbs(server) == ["create", "patch", "patch"], "refreshed after half an hour"


def test_an_event_that_has_expired_is_written_anew() -> None:
    engine, server, recorder, thing = make()
    recorder.event(thing, "Normal", "R", "m")
    engine.run(1.0)
    server.objects["events"].clear()
    recorder.event(thing, "Normal", "R", "m")
    engine.run(2.0)
    assert verbs(server) == ["create", "patch", "create"]
