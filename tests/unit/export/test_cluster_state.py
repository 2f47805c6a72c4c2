"""The cluster at one moment, from transitions and commits drawn by hand."""

from __future__ import annotations

from sim.components import facts
from sim.engine.tables import Recorder
from sim.export.cluster_state import events_at, objects_at, pods_at, resources_recorded


def pod(recorder: Recorder, uid: int, created: float, *steps: tuple[float, str, str]) -> None:
    recorder["pods"].append(
        (created, uid, "default", f"pod-{uid}", "ReplicaSet", "rs", 2, 1, 1, 0, "app=web,tier=a")
    )
    recorder["pod_transitions"].append((created, uid, "created", ""))
    for time, transition, detail in steps:
        recorder["pod_transitions"].append((time, uid, transition, detail))


def test_a_pod_through_its_life() -> None:
    recorder = Recorder(facts.ALL)
    pod(
        recorder, 1, 1.0, (2.0, "scheduled", "node-3"), (2.1, "observed", ""),
        (3.0, "network_ready", "10.0.3.7"), (4.0, "running", "10.0.3.7"), (5.0, "ready", ""),
        (8.0, "deleting", "node-3"), (9.0, "deleted", "node-3"),
    )  # fmt: skip
    assert pods_at(recorder, 0.5) == []
    seen = []
    for time in (1.0, 2.0, 4.0, 5.0, 8.0):
        (found,) = pods_at(recorder, time)
        seen.append((found.status, found.node_name, found.pod_ip, found.ready_count))
    assert seen == [
        ("Pending", "", "", 0), ("ContainerCreating", "node-3", "", 0),
        ("Running", "node-3", "10.0.3.7", 0), ("Running", "node-3", "10.0.3.7", 2),
        ("Terminating", "node-3", "10.0.3.7", 2),
    ]  # fmt: skip
    assert pods_at(recorder, 9.0) == []
    assert found.labels == {"app": "web", "tier": "a"}


def test_finished_pods() -> None:
    recorder = Recorder(facts.ALL)
    pod(recorder, 1, 1.0, (1.0, "running", ""), (2.0, "succeeded", ""))
    pod(recorder, 2, 1.0, (1.0, "running", ""), (2.0, "failed", "Evicted"))
    assert [item.status for item in pods_at(recorder, 3.0)] == ["Completed", "Evicted"]


def test_pods_from_before_the_run_are_running() -> None:
    recorder = Recorder(facts.ALL)
    pod(recorder, 1, 0.0, (0.0, "scheduled", "node-0"))
    pod(recorder, 2, 0.0, (0.0, "scheduled", "node-0"), (0.1, "observed", ""))
    assert [item.status for item in pods_at(recorder, 5.0)] == ["Running", "ContainerCreating"]


def test_objects_are_what_was_committed_last() -> None:
    recorder = Recorder(facts.ALL)
    for time, name, kind, text in (
        (1.0, "b", "ADDED", '{"ready":0}'), (1.5, "a", "ADDED", "{}"),
        (2.0, "b", "MODIFIED", '{"ready":3}'), (3.0, "a", "DELETED", "{}"),
        (4.0, "a", "ADDED", '{"ready":9}'),
    ):  # fmt: skip
        row = (time, "deployments", "default", name, kind, text, f"app={name}")
        recorder["objects"].append(row)
    assert [item.name for item in objects_at(recorder, "deployments", 2.5)] == ["a", "b"]
    (b,) = objects_at(recorder, "deployments", 3.5)
    assert b.labels == {"app": "b"}
    assert (b.detail, b.created_seconds, b.changed_seconds) == ({"ready": 3}, 1.0, 2.0)
    again = objects_at(recorder, "deployments", 5.0)[0]
    assert (again.name, again.created_seconds) == ("a", 4.0)
    assert objects_at(recorder, "services", 5.0) == []
    assert resources_recorded(recorder) == ["deployments", "events", "pods"]


def test_repeated_events_are_folded() -> None:
    recorder = Recorder(facts.ALL)
    for time, count in ((1.0, 1), (5.0, 2), (9.0, 3)):
        recorder["events"].append(
            (time, "default", "Warning", "FailedScheduling", "Pod", "x", "scheduler", count, "no")
        )
    (event,) = events_at(recorder, 6.0)
    assert (event.count, event.first_seconds, event.last_seconds) == (2, 1.0, 5.0)
