"""End of pods: graceful deletion, grace periods, completion, restarts, force deletion."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from sim.base.objects import Pod
from sim.base.pod_template import ContainerSpec, PodTemplate
from tests.unit.components.kubelet_rig import PAUSE, Rig


def test_graceful_deletion_makes_the_measured_requests() -> None:
    """recipe_request_counts.csv, scale-down per pod: 2 GET, 1 PATCH, 1 DELETE, 1 event."""
    rig = Rig(1)
    rig.create("web")
    rig.at(5.0, rig.delete, "web")
    rig.engine.run(5.0)
    before = rig.counts()
    rig.engine.run(9.0)
    after = rig.counts()
    after.subtract(before)
    assert {key: count for key, count in after.items() if count and "leases" not in key[1]} == {
        ("create", "events"): 1,
        ("get", "pods"): 2,
        ("patch", "pods/status"): 1,
        ("delete", "pods"): 1,
    }
    assert rig.events()["Killing"] == 1
    assert rig.pods() == {}
    assert rig.overlay.pools[0][0].taken_count == 0
    assert rig.fleet.context.by_node[0] == {}
    rig.check()


@pytest.mark.parametrize(("stop_seconds", "grace_seconds", "expected"), [
    (0.0, 30.0, 0.0), (4.0, 30.0, 4.0), (90.0, 30.0, 30.0), (90.0, 2.0, 2.0),
])  # fmt: skip
def test_grace_period_cuts_the_stop(
    stop_seconds: float, grace_seconds: float, expected: float
) -> None:
    template = PodTemplate(
        manifest={}, containers=PAUSE.containers, stop_seconds=stop_seconds,
        termination_grace_period_seconds=grace_seconds,
    )  # fmt: skip
    rig = Rig(1)
    rig.create("web", 0, template)
    rig.at(5.0, rig.delete, "web")
    rig.engine.run(4.9)
    uid = rig.pod("web").uid
    rig.engine.run(60.0)
    stopped = [row["time_seconds"] for row in rig.table("pod_transitions")
               if row["pod_uid"] == uid and row["transition"] == "stopped"]  # fmt: skip
    # the deletion reaches the kubelet 2 + 4 ms after the request; container and sandbox stop,
    # plugin processes and veth take 0.06 + 0.08 + 0.045 + about 0.032 s
    assert stopped[0] - 5.006 - expected == pytest.approx(0.22, abs=0.05)


@pytest.mark.parametrize("moment", [0.002, 0.2, 0.45, 0.63, 0.7, 0.85, 1.0])
def test_deletion_at_every_step_of_the_start(moment: float) -> None:
    rig = Rig(1)
    rig.at(1.0, rig.create, "web")
    rig.at(1.0, rig.create, "other")
    rig.at(1.006 + moment, rig.delete, "web")
    rig.engine.run(20.0)
    assert list(rig.pods()) == ["other"]
    assert rig.pod("other").ready
    assert rig.runtime.operation_counts == [0]
    assert rig.overlay.adding_counts == [0]
    assert rig.overlay.pools[0][0].taken_count == 1
    rig.check()


def test_force_deletion_kills_without_asking() -> None:
    rig = Rig(1)
    rig.create("web")
    rig.at(5.0, lambda: rig.user.delete("pods", "default", "web", grace_seconds=0.0))
    rig.engine.run(5.0)
    before = rig.counts()["get", "pods"]
    rig.engine.run(10.0)
    assert rig.pods() == {}
    assert rig.counts()["get", "pods"] == before
    assert rig.overlay.pools[0][0].taken_count == 0
    rig.check()


def job(run_seconds: float, policy: str = "Never") -> PodTemplate:
    return PodTemplate(
        manifest={}, containers=(ContainerSpec(name="job", run_seconds=run_seconds),),
        restart_policy=policy,
    )  # fmt: skip


def test_completed_pod_keeps_its_object_and_frees_its_address() -> None:
    """recipe_request_counts.csv, job: one more GET + PATCH per completion."""
    rig = Rig(1)
    rig.create("job", 0, job(3.0))
    rig.engine.run(3.0)
    before = rig.counts()
    rig.engine.run(12.0)
    after = rig.counts()
    after.subtract(before)
    pod = rig.pod("job")
    assert (pod.phase, pod.ready, pod.ready_container_count) == ("Succeeded", False, 0)
    assert (after["get", "pods"], after["patch", "pods/status"]) == (1, 1)
    assert after["delete", "pods"] == 0
    assert rig.overlay.pools[0][0].taken_count == 0
    # the exit is noticed by the listing that follows it: within a second and a little
    started = rig.times("job")["containers_started"]
    assert started + 3.0 < pod.finished_seconds < started + 3.0 + 1.1
    rig.delete("job")
    rig.engine.run(13.0)
    assert rig.fleet.context.by_node[0] == {}
    rig.check()


def test_crash_loop_doubles_its_back_off() -> None:
    """10 s doubling: restarts after 0, 10, 20, 40 s beyond the listing that notices the exit."""
    rig = Rig(1)
    rig.create("crash", 0, job(1.0, "Always"))
    restarts: list[float] = []
    last = [0]

    def watch(_: None) -> None:
        pods = rig.pods()
        if "crash" in pods and pods["crash"].restart_count > last[0]:
            last[0] = pods["crash"].restart_count
            restarts.append(rig.engine.now)
        rig.engine.call_later(0.05, watch)

    rig.engine.call_later(0.0, watch)
    rig.engine.run(90.0)
    gaps = [after - before for before, after in pairwise(restarts)]
    assert len(restarts) == 4
    for gap, back_off in zip(gaps, (10.0, 20.0, 40.0), strict=True):
        assert 1.0 + back_off < gap < 1.0 + back_off + 1.7
    assert rig.pod("crash").reason == "CrashLoopBackOff"
    events = rig.events()
    assert events["Started"] == 5
    assert events["BackOff"] == 4
    kinds = Counter((verb, name.split(".")[-1]) for _, user, verb, resource, name
                    in rig.api.requests if resource == "events" and "node" in user)  # fmt: skip
    assert kinds["create", "Started0"] == 1
    assert kinds["patch", "Started0"] == 4
    rig.check()


def test_spam_filter_lets_25_events_of_a_pod_pass() -> None:
    rig = Rig(1)
    rig.create("crash", 0, job(0.1, "Always"))
    rig.engine.run(3000.0)
    written = [time for time, user, _, resource, name in rig.api.requests
               if resource == "events" and name.startswith("crash.")]  # fmt: skip
    assert rig.fleet.context.events.filtered_count > 0
    assert 25 <= len(written) <= 25 + 3000 / 300 + 1
    rig.check()


def test_replaced_pod_has_another_address() -> None:
    rig = Rig(1)
    rig.create("web")
    rig.at(5.0, rig.delete, "web")
    rig.engine.run(8.0)
    rig.create("web")
    rig.engine.run(12.0)
    pod = rig.pod("web")
    assert isinstance(pod, Pod)
    assert pod.pod_ip == "10.244.0.3"
