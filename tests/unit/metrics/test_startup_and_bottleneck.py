"""Pod start-up on timelines drawn by hand; bottlenecks that were put there on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.components import facts
from sim.engine.tables import Recorder
from sim.metrics.bottleneck import covered_seconds, find_bottleneck
from sim.metrics.derive import Derivation
from sim.metrics.startup import MILESTONES, PHASES, pod_startup


def recorder_with(steps: list[tuple[float, int, str]]) -> Recorder:
    recorder = Recorder(facts.ALL)
    for time, uid, transition in steps:
        recorder["pod_transitions"].append((time, uid, transition, ""))
    return recorder


LIFE = [
    (1.0, 7, "created"), (1.5, 7, "scheduled"), (1.6, 7, "observed"), (1.8, 7, "volumes_mounted"),
    (2.4, 7, "network_ready"), (2.5, 7, "sandbox_created"), (4.5, 7, "images_pulled"),
    (4.7, 7, "containers_started"), (5.0, 7, "running"), (5.5, 7, "ready"),
]  # fmt: skip


def phase(startup, name: str) -> float:
    return float(startup.phases[0, PHASES.index(name)])


def test_phases_of_a_life_drawn_by_hand() -> None:
    startup = pod_startup(recorder_with(LIFE))
    assert startup.uids.tolist() == [7]
    assert phase(startup, "scheduled") == pytest.approx(0.5)
    assert phase(startup, "sandbox") == pytest.approx(0.7)
    assert phase(startup, "network") == 0.0  # came before its sandbox was reported
    assert phase(startup, "images") == pytest.approx(2.0)
    assert phase(startup, "ready") == pytest.approx(0.5)
    assert np.isnan(phase(startup, "in slice"))
    assert np.nansum(startup.phases) == pytest.approx(4.5)  # phases add up to created → ready


def test_sli_leaves_pulls_out_and_users_do_not() -> None:
    startup = pod_startup(recorder_with(LIFE))
    assert startup.durations("total_seconds")[0].tolist() == pytest.approx([4.0])
    assert startup.durations("sli_seconds")[0].tolist() == pytest.approx([2.0])
    assert startup.durations("kubelet_seconds")[0].tolist() == pytest.approx([3.4])
    values, at = startup.durations("ready_seconds")
    assert (values.tolist(), at.tolist()) == (pytest.approx([4.5]), [5.5])


def test_first_passage_counts_and_half_lives_are_kept() -> None:
    again = [*LIFE, (9.0, 7, "ready"), (2.0, 8, "created"), (2.5, 8, "scheduled")]
    startup = pod_startup(recorder_with(again))
    assert startup.times[0, MILESTONES.index("ready")] == 5.5
    assert len(startup) == 2
    assert len(startup.durations("ready_seconds")[0]) == 1
    assert startup.active_window() == (1.0, 5.5)


def test_pods_that_ran_before_the_run_did_not_start() -> None:
    before = [(0.0, 1, "created"), (0.0, 1, "scheduled"), (0.0, 1, "running"), (0.0, 1, "ready")]
    assert pod_startup(recorder_with([*before, *LIFE])).uids.tolist() == [7]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), max_size=20),
    st.integers(0, 20),
    st.integers(0, 30),
)
def test_covered_seconds_counts_every_second_once(intervals, low: int, length: int) -> None:
    seconds = set()
    for start, size in intervals:
        seconds |= set(range(start, start + size))
    expected = len([second for second in seconds if low <= second < low + length])
    starts = np.array([float(start) for start, _ in intervals])
    sizes = np.array([float(size) for _, size in intervals])
    assert covered_seconds(starts, sizes, (float(low), float(low + length))) == expected


def request(recorder: Recorder, time: float, user: str, limiter: float, resource="pods") -> None:
    recorder["requests"].append(
        (time, "create", resource, "", "resource", user, "system", 0, 201, limiter, 0.0, 0.01,
         limiter + 0.02, 100)
    )  # fmt: skip


def test_a_saturated_host_is_named() -> None:
    recorder = recorder_with(LIFE)
    for time in (1.0, 2.0, 3.0, 4.0, 5.0):
        recorder["gauges"].append((time, "host_utilization_ratio", "cp-0", 0.95))
        recorder["gauges"].append((time, "host_utilization_ratio", "cp-1", 0.20))
    found = find_bottleneck(Derivation(recorder))
    assert found.resource is not None
    assert (found.resource.kind, found.resource.name) == ("host", "cp-0")
    assert found.sentence.startswith("The bottleneck is the CPU of host cp-0: 95 %")


def test_a_saturated_limiter_comes_before_the_queue_behind_it() -> None:
    recorder = recorder_with(LIFE)
    for index in range(9):
        request(recorder, 1.0 + 0.5 * index, "system:kube-scheduler", 0.45)
        request(recorder, 1.0 + 0.5 * index, "system:kube-scheduler", 5.0, resource="events")
        recorder["controller_syncs"].append((1.6 + 0.5 * index, "replicaset", 0.5, 0.1, "ok"))
    found = find_bottleneck(Derivation(recorder))
    assert found.resource is not None
    assert (found.resource.kind, found.resource.name) == ("limiter", "kube-scheduler")
    kinds = [item.kind for item in found.resources if item.busy_ratio > 0.7]
    assert set(kinds[1:]) == {"event limiter", "workqueue"}


def test_a_fleet_of_limiters_is_judged_per_member() -> None:
    recorder = recorder_with(LIFE)
    for index in range(100):
        request(recorder, 1.0 + 0.04 * index, f"system:node:node-{index}", 0.045)
    found = find_bottleneck(Derivation(recorder))
    assert found.resource is None
    limiter = next(item for item in found.resources if item.kind == "limiter")
    assert limiter.busy_ratio == pytest.approx(0.01, rel=0.01)


def test_an_idle_run_names_the_longest_phase() -> None:
    found = find_bottleneck(Derivation(recorder_with(LIFE)))
    assert found.resource is None
    assert "“images” (44 % of the time to ready, 2 s on average)" in found.sentence


def test_nothing_at_all() -> None:
    assert "Nothing happened" in find_bottleneck(Derivation(recorder_with([]))).sentence
