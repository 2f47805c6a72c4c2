"""kube-scheduler as a component: what it writes through the API, and when."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim.base.api_object import OwnerReference
from sim.base.errors import UserError
from sim.base.objects import LabelSelector, Pod, ReplicaSet, Taint
from sim.components.scheduler import SchedulerParams
from sim.components.scheduler_params import with_configuration
from sim.costs.scheduler import SchedulerLawParams
from sim.scheduling import ConfigurationError, SchedulerConfiguration, UserPlugins
from tests.unit.components.scheduler_rig import Rig


def _requests(rig: Rig, verb: str, resource: str) -> list[tuple[float, str]]:
    return [
        (time, name)
        for time, _, known, where, name in rig.server.requests
        if (known, where) == (verb, resource)
    ]


def test_pods_are_bound_through_the_binding_subresource_and_told_by_an_event() -> None:
    rig = Rig()
    rig.node("a")
    rig.start()
    rig.run(1.0)
    for index in range(5):
        rig.pod(f"p{index}")
    rig.run(2.0)
    assert [rig.stored(f"p{i}").node_name for i in range(5)] == ["a"] * 5
    assert len(_requests(rig, "create", "pods/binding")) == 5
    events = list(rig.server.objects["events"].values())
    assert sorted(event.involved_name for event in events) == [f"p{i}" for i in range(5)]
    assert {event.reason for event in events} == {"Scheduled"}
    rows = rig.attempts()
    assert [(row["result"], row["node_name"], row["attempt_count"]) for row in rows] == [
        ("scheduled", "a", 1)
    ] * 5
    assert all(row["evaluated_nodes"] == 1 and row["cycle_seconds"] > 100e-6 for row in rows)
    assert rig.scheduler.check() == []


def test_binds_are_limited_to_fifty_per_second_after_a_burst_of_a_hundred() -> None:
    rig = Rig(params=SchedulerParams())
    for index in range(4):
        rig.node(f"n{index}", cpu=64)
    for index in range(300):
        rig.pod(f"p{index}", "10m")
    rig.start()
    rig.run(20.0)
    times = [time for time, _ in _requests(rig, "create", "pods/binding")]
    assert len(times) == 300
    # Reservation: the n-th call leaves (n - 100) / 50 s after the bucket was full.
    assert times[-1] - times[0] == pytest.approx(200 / 50, rel=0.03)


def test_a_pod_that_fits_nowhere_gets_one_event_and_one_patch_and_is_tried_with_back_off() -> None:
    rig = Rig()
    rig.node("a")
    rig.pod("big", "8")
    rig.start()
    rig.run(400.0)
    pod = rig.stored("big")
    assert pod.message.startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert len(_requests(rig, "patch", "pods/status")) == 1
    assert [event.reason for event in rig.server.objects["events"].values()] == [
        "FailedScheduling"
    ]
    rows = rig.attempts()
    # Nothing happens in the cluster: only the sweep for pods older than 5 minutes tries again.
    assert [row["attempt_count"] for row in rows] == [1, 2]
    assert {row["result"] for row in rows} == {"unschedulable"}
    assert {row["plugin"] for row in rows} == {"NodeResourcesFit"}
    assert {row["evaluated_nodes"] for row in rows} == {1}
    assert 300.0 < rows[1]["time_seconds"] - rows[0]["time_seconds"] <= 331.0


def test_a_node_that_joins_wakes_the_pod_after_its_back_off_only() -> None:
    rig = Rig()
    rig.node("a")
    rig.pod("big", "8")
    rig.start()
    rig.run(10.0)
    rig.node("small", cpu=2)
    rig.run(2.0)
    assert len(rig.attempts()) == 1, "a node that is too small must not wake the pod"
    rig.node("large", cpu=16)
    rig.run(2.0)
    assert rig.stored("big").node_name == "large"
    assert len(rig.attempts()) == 2


def test_preemption_deletes_victims_through_the_api_and_binds_on_the_nominated_node() -> None:
    rig = Rig()
    rig.node("a", cpu=2)
    rig.node("b", cpu=2, taints=(Taint("k", "v", "NoSchedule"),))
    for index in range(4):
        rig.pod(f"low{index}", "500m", priorityClassName="low")
    rig.start()
    rig.run(2.0)
    assert all(rig.stored(f"low{index}").node_name == "a" for index in range(4))
    rig.kill_when_deleted()
    rig.pod("high", "1", priorityClassName="high")
    rig.run(0.5)
    pod = rig.stored("high")
    assert pod.nominated_node_name == "a"
    deleted = _requests(rig, "delete", "pods")
    assert len(deleted) == 2, "two of four victims are enough"
    assert rig.scheduler.preemption_victim_count == 2
    marked = [name for _, name in _requests(rig, "patch", "pods/status") if name != "high"]
    assert sorted(marked) == sorted(name for _, name in deleted)
    assert all(rig.stored(name).disruption_target for _, name in deleted)
    rig.run(10.0)
    assert rig.stored("high").node_name == "a"
    assert rig.scheduler.state.nominated == {}
    rows = [row for row in rig.attempts() if row["plugin"] != ""]
    assert rows[0]["node_name"] == "a", "the attempt states the nominated node"
    events = [item.reason for item in rig.server.objects["events"].values()]
    assert events.count("Preempted") == 2


def test_the_room_of_a_nominated_pod_is_not_given_to_lower_priorities() -> None:
    rig = Rig()
    rig.node("a", cpu=2)
    rig.pod("low", "2", priorityClassName="low")
    rig.start()
    rig.run(2.0)
    rig.pod("high", "2", priorityClassName="high")
    rig.run(1.0)
    assert rig.stored("high").nominated_node_name == "a"
    rig.client.delete("pods", "default", "low", grace_seconds=0.0)
    rig.pod("thief", "1", priorityClassName="low")
    rig.run(15.0)
    assert rig.stored("high").node_name == "a"
    assert rig.stored("thief").node_name == ""


def test_a_conflicting_bind_is_undone_and_tried_again_after_the_error_back_off() -> None:
    rig = Rig()
    rig.node("a", cpu=2)
    rig.start()
    rig.run(1.0)
    rig.server.binding_codes = [500]
    rig.pod("p", "2")
    rig.run(0.2)
    refused_seconds = _requests(rig, "create", "pods/binding")[0][0]
    assert len(rig.scheduler.state.pods) == 0, "the assumption is undone"
    assert rig.scheduler.queue.backoff_count == 1
    rig.run(3.0)
    assert rig.stored("p").node_name == "a"
    first, second = rig.attempts()
    assert (first["result"], second["result"]) == ("scheduled", "scheduled")
    # One error: 1 s, ended by the tick after its one-second window.
    assert 1.0 <= second["time_seconds"] - refused_seconds <= 2.0
    assert rig.recorder["bindings"].column("code").tolist() == [500, 200]
    assert rig.scheduler.failed_bind_count == 1


def test_only_the_leader_schedules_and_another_takes_over_when_its_lease_has_run_out() -> None:
    rig = Rig(replicas=2)
    rig.node("a", cpu=64)
    rig.start()
    rig.run(5.0)
    leader = next(item for item in rig.schedulers if item.leading)
    other = next(item for item in rig.schedulers if item is not leader)
    assert not other.leading
    rig.pod("p0")
    rig.run(1.0)
    assert leader.bound_count == 1
    assert other.queue.pods == {}, "bound pods leave the other replica's queue too"
    assert rig.lease_holder() == leader.name
    killed_seconds = rig.engine.now
    leader.stop()
    rig.pod("p1")
    rig.run(12.0)
    assert rig.stored("p1").node_name == ""
    rig.run(13.0)
    assert other.leading
    assert rig.stored("p1").node_name == "a"
    bound_seconds = _requests(rig, "create", "pods/binding")[-1][0]
    # The lease lasts 15 s from its last renewal (every 2 s); a candidate looks every 2-4.4 s.
    assert 12.0 <= bound_seconds - killed_seconds <= 15.0 + 4.4 + 0.5


def test_a_restarted_process_lists_anew_and_knows_what_is_bound() -> None:
    rig = Rig()
    rig.node("a", cpu=2)
    rig.pod("first", "1500m")
    rig.start()
    rig.run(2.0)
    assert rig.stored("first").node_name == "a"
    scheduler = rig.scheduler
    scheduler.stop()
    assert scheduler.queue.pods == {}
    assert [w for w in rig.server.watchers if w.resource == "pods"] == []
    rig.pod("second", "1")
    rig.run(5.0)
    scheduler.restart()
    assert len(scheduler.state.pods) == 0
    rig.run(25.0)
    assert scheduler.leading
    assert len(scheduler.state.pods) == 1
    assert rig.stored("second").node_name == ""
    assert "Insufficient cpu" in rig.stored("second").message
    assert rig.lease_holder() == "kube-scheduler-0_3"


def test_scheduling_begins_when_the_handlers_have_seen_the_whole_initial_state() -> None:
    rig = Rig()
    for index in range(1000):
        rig.node(f"n{index}")
    rig.pod("p")
    rig.start()
    rig.run(5.0)
    (first,) = [time for time, _ in _requests(rig, "create", "pods/binding")]
    handling_seconds = 1000 * SchedulerLawParams().node_event_seconds
    assert handling_seconds < first < handling_seconds + 0.3
    (row,) = rig.attempts()
    assert row["evaluated_nodes"] > 100


def test_a_pod_is_tried_when_its_event_has_been_handled() -> None:
    rig = Rig()
    rig.node("a")
    rig.start()
    rig.run(1.0)
    created_seconds = rig.engine.now
    rig.pod("p")
    rig.run(1.0)
    (row,) = rig.attempts()
    assert row["time_seconds"] >= created_seconds + SchedulerLawParams().watch_event_seconds


def test_cycles_stand_in_line_only_where_all_cores_are_busy() -> None:
    """And a gap between two cycles costs a small host's scheduler its caches."""

    def mean_cycle_seconds(core_count: int, neighbours_count: int) -> float:
        rig = Rig(core_count=core_count)
        for index in range(20):
            rig.node(f"n{index}")
        rig.start()
        rig.run(1.0)
        neighbour = rig.hosts[0].process("neighbour")
        for _ in range(neighbours_count):
            neighbour.run(100.0, lambda _: None)
        for index in range(20):
            rig.pod(f"p{index}")
        rig.run(10.0)
        rows = rig.attempts()
        assert len(rows) == 20
        return float(np.mean([row["cycle_seconds"] for row in rows]))

    alone = mean_cycle_seconds(2, 0)
    crowded = mean_cycle_seconds(2, 2)
    assert crowded > 1.5 * alone
    assert mean_cycle_seconds(16, 2) == pytest.approx(mean_cycle_seconds(16, 0), rel=1e-6)


def test_profiles_have_their_own_plugins_and_unknown_schedulers_leave_pods_pending() -> None:
    configuration = {
        "profiles": [
            {"schedulerName": "default-scheduler"},
            {
                "schedulerName": "packer",
                "pluginConfig": [
                    {
                        "name": "NodeResourcesFit",
                        "args": {
                            "scoringStrategy": {
                                "type": "MostAllocated",
                                "resources": [{"name": "cpu", "weight": 1}],
                            }
                        },
                    }
                ],
                "plugins": {"score": {"disabled": [{"name": "NodeResourcesBalancedAllocation"}]}},
            },
        ]
    }
    rig = Rig(configuration=configuration)
    for name in ("a", "b", "c"):
        rig.node(name)
    rig.start()
    rig.run(1.0)
    rig.pod("seed", "1")
    rig.run(0.2)
    for index in range(2):
        rig.pod(f"spread{index}", "500m")
        rig.run(0.2)
        rig.pod(f"packed{index}", "500m", schedulerName="packer")
        rig.run(0.2)
    rig.pod("orphan", schedulerName="nobody")
    rig.run(2.0)
    seed = rig.stored("seed").node_name
    assert {rig.stored(f"packed{i}").node_name for i in range(2)} == {seed}
    assert seed not in {rig.stored(f"spread{i}").node_name for i in range(2)}
    assert rig.stored("orphan").node_name == ""
    profiles = {row["pod_uid"]: row["profile"] for row in rig.attempts()}
    assert sorted(profiles.values()) == ["default-scheduler"] * 3 + ["packer"] * 2


def test_gated_pods_wait_for_their_gates() -> None:
    rig = Rig()
    rig.node("a")
    rig.start()
    rig.run(1.0)
    rig.pod("gated", schedulingGates=[{"name": "wait"}])
    rig.run(400.0)
    assert rig.attempts() == []
    assert rig.scheduler.queue.unschedulable_count == 1
    free = rig.pod("free").template

    def ungate(current: Any) -> Any:
        new = current.clone()
        new.template = free
        return new

    rig.client.patch("pods", "default", "gated", ungate)
    rig.run(1.0)
    assert rig.stored("gated").node_name == "a"


def test_a_deleted_pod_gives_its_room_back() -> None:
    rig = Rig()
    rig.node("a", cpu=2)
    rig.pod("p", "2")
    rig.start()
    rig.run(2.0)
    rig.client.delete("pods", "default", "p", grace_seconds=0.0)
    rig.pod("q", "2")
    rig.run(5.0)
    assert rig.stored("q").node_name == "a"
    assert rig.scheduler.check() == []


class _Broken:
    name = "Broken"

    def score(self, pod: Any, nodes: Any) -> Any:
        return np.zeros(len(nodes) + 1, dtype=np.int64)


def test_a_wrong_answer_of_a_users_plugin_is_a_users_error() -> None:
    plugins = UserPlugins([_Broken()])
    rig = Rig(
        configuration={"profiles": [{"plugins": {"score": {"enabled": [{"name": "Broken"}]}}}]},
        user_plugins={"default-scheduler": plugins},
        extension_points=plugins.extension_points(),
    )
    rig.node("a")
    rig.node("b")
    rig.pod("p")
    rig.start()
    with pytest.raises(UserError, match="Broken"):
        rig.run(2.0)


def test_the_configuration_file_overrides_flags() -> None:
    configuration = SchedulerConfiguration.from_dict(
        {
            "clientConnection": {"qps": 500, "burst": 1000},
            "leaderElection": {"leaderElect": False, "leaseDuration": "30s"},
            "podMaxBackoffSeconds": 60,
        }
    )
    params = with_configuration(SchedulerParams(), configuration)
    assert (params.kube_api_qps, params.kube_api_burst) == (500.0, 1000)
    assert params.leader_elect is False
    assert params.leader_election.leader_elect_lease_duration_seconds == 30.0
    assert params.leader_election.leader_elect_renew_deadline_seconds == 10.0
    assert params.queue.pod_max_backoff_seconds == 60.0
    assert params.queue.pod_initial_backoff_seconds == 1.0
    wrong = replace(configuration, client_connection={"qps": "fast"})
    with pytest.raises(ConfigurationError, match=r"clientConnection\.qps"):
        with_configuration(SchedulerParams(), wrong)


def test_pods_of_a_replica_set_are_spread_over_the_nodes_by_default() -> None:
    """As measured: equal shares on all nodes, where equal pods without an owner pile up."""
    rig = Rig()
    for index in range(5):
        rig.node(f"n{index}", cpu=64)
    selector = LabelSelector((("app", "web"),))
    template = rig.templates.template(
        {
            "metadata": {"namespace": "default", "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        }
    )
    owner = ReplicaSet(
        name="web", namespace="default", replica_count=20, selector=selector, template=template
    )
    rig.client.create(owner)
    rig.start()
    rig.run(1.0)
    for index in range(20):
        rig.client.create(
            Pod(
                name=f"web-{index}",
                namespace="default",
                labels=template.labels,
                template=template,
                owner=OwnerReference("ReplicaSet", "web", owner.uid),
            )
        )
    rig.run(5.0)
    placed = Counter(rig.stored(f"web-{index}").node_name for index in range(20))
    assert placed == {f"n{index}": 4 for index in range(5)}
