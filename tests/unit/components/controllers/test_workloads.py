"""What the workload controllers must do whatever the timing."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sim.base.objects import (
    CronJob,
    DaemonSet,
    Deployment,
    HorizontalPodAutoscaler,
    Job,
    LabelSelector,
    Namespace,
    Pod,
    StatefulSet,
    Taint,
)
from sim.components.controllers.base import suffix
from sim.components.controllers.cronjob import civil, parse_schedule
from sim.components.controllers.deployment import fenceposts, resolve
from sim.components.controllers.hpa import desired_replicas
from sim.components.controllers.namespace import CONTENT_RESOURCES
from sim.components.controllers.replicaset import deletion_order
from tests.unit.components.controllers.stand_ins import World, make_template

WEB = LabelSelector((("app", "web"),))
QUIET = {"controllers": ("*", "-node_lifecycle")}


def make_deployment(count: int = 4, **options: object) -> Deployment:
    return Deployment(
        name="web", namespace="default", replica_count=count, selector=WEB,
        template=make_template(), **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_generated_suffixes_are_distinct_and_upstream_letters() -> None:
    made = [suffix(index) for index in range(50_000)]
    assert len(set(made)) == len(made)
    assert set("".join(made)) <= set("bcdfghjklmnpqrstvwxz2456789")
    assert {len(text) for text in made} == {5}


@pytest.mark.parametrize(
    ("value", "total", "up", "expected"),
    [("25%", 10, True, 3), ("25%", 10, False, 2), ("25%", 100, True, 25), ("3", 10, True, 3),
     ("0%", 10, True, 0), ("100%", 7, False, 7), ("1%", 50, False, 0)],
)  # fmt: skip
def test_percentages_round_up_or_down(value: str, total: int, up: bool, expected: int) -> None:
    assert resolve(value, total, up=up) == expected


def test_a_rollout_that_could_not_move_may_lose_one_pod() -> None:
    assert fenceposts(make_deployment(2, max_surge="0", max_unavailable="1%")) == (0, 1)


def test_a_rolling_update_never_leaves_its_fenceposts() -> None:
    world = World(start_seconds=0.3, **QUIET)
    world.driver.create(make_deployment(10))
    world.run(5.0)
    world.change("deployments", "web", template=make_template(digest="new"))
    lowest, highest = 10, 0
    for _ in range(400):
        world.run(0.02)
        pods = [pod for pod in world.objects("pods") if pod.deletion_seconds < 0]
        lowest = min(lowest, sum(pod.ready for pod in pods))
        highest = max(highest, len(pods))
    assert lowest == 8, "25 % of 10 unavailable, rounded down"
    assert highest == 13, "25 % of 10 surge, rounded up"
    assert len(world.objects("pods")) == 10


def test_recreate_stops_all_old_pods_first() -> None:
    world = World(start_seconds=0.3, **QUIET)
    world.kubelet.stop_spread_seconds = 0.5
    world.driver.create(make_deployment(5, strategy="Recreate"))
    world.run(4.0)
    world.change("deployments", "web", template=make_template(digest="new"))
    for _ in range(300):
        world.run(0.02)
        hashes = {pod.labels["pod-template-hash"] for pod in world.objects("pods")}
        assert len(hashes) <= 1, "old and new pods at the same time"
    assert sum(pod.ready for pod in world.objects("pods")) == 5
    assert len(world.objects("replicasets")) == 2


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    world = World(**QUIET)
    world.driver.create(make_deployment(3))
    world.run(3.0)
    world.change("deployments", "web", paused=True, template=make_template(digest="new"))
    world.run(2.0)
    world.change("deployments", "web", replica_count=6)
    world.run(3.0)
    assert len(world.objects("replicasets")) == 1
    assert len(world.objects("pods")) == 6


def test_old_replica_sets_beyond_the_history_limit_are_deleted() -> None:
    world = World(**QUIET)
    world.driver.create(make_deployment(2, revision_history_limit_count=2))
    world.run(3.0)
    for index in range(5):
        world.change("deployments", "web", template=make_template(digest=f"v{index}"))
        world.run(5.0)
    kept = world.objects("replicasets")
    assert len(kept) == 3
    assert sorted(item.revision for item in kept) == [4, 5, 6]


def test_pods_to_delete_first() -> None:
    """Upstream's order: unassigned, pending, not ready, crowded nodes, then the youngest."""
    template = make_template()

    def make(name: str, **fields: object) -> Pod:
        defaults = {"node_name": "a", "phase": "Running", "ready": True, "ready_seconds": 100.0,
                    "creation_seconds": 90.0, "uid": len(name)}  # fmt: skip
        return Pod(name=name, template=template, **{**defaults, **fields})  # type: ignore[arg-type]

    unassigned = make("u", node_name="", phase="Pending", ready=False)
    pending = make("pp", phase="Pending", ready=False, node_name="b")
    unready = make("nnn", ready=False, node_name="c")
    crowded = make("cccc", node_name="d", uid=40, ready_seconds=700.0)
    crowded_too = make("ccccc", node_name="d", uid=41, ready_seconds=1.0)
    young = make("yyyyyy", ready_seconds=990.0, node_name="e")
    old = make("ooooooo", ready_seconds=1.0, node_name="f")
    pods = [old, young, crowded, crowded_too, unready, pending, unassigned]
    ordered = deletion_order(pods, pods, 1000.0)
    assert ordered == [unassigned, pending, unready, crowded, crowded_too, young, old]


def test_stateful_set_comes_up_in_order_and_goes_down_in_reverse() -> None:
    world = World(start_seconds=0.2, **QUIET)
    world.driver.create(
        StatefulSet(name="db", namespace="default", replica_count=4, selector=WEB,
                    template=make_template())
    )  # fmt: skip
    world.run(6.0)
    pods = sorted(world.objects("pods"), key=lambda pod: pod.creation_seconds)
    assert [pod.name for pod in pods] == ["db-0", "db-1", "db-2", "db-3"]
    for earlier, later in pairwise(pods):
        assert later.creation_seconds > earlier.ready_seconds
    world.change("statefulsets", "db", replica_count=1)
    world.run(5.0)
    assert [pod.name for pod in world.objects("pods")] == ["db-0"]
    deleted = [name for _, _, verb, res, name in world.server.requests
               if (verb, res) == ("delete", "pods")]  # fmt: skip
    assert list(dict.fromkeys(deleted)) == ["db-3", "db-2", "db-1"]
    world.change("statefulsets", "db", template=make_template(digest="new"))
    world.run(5.0)
    (pod,) = world.objects("pods")
    assert pod.template.digest != pods[0].template.digest
    (item,) = world.objects("statefulsets")
    assert item.ready_count == item.updated_count == 1
    assert item.current_revision == item.update_revision


def test_daemon_set_follows_the_nodes() -> None:
    world = World(5, **QUIET)
    world.driver.create(
        DaemonSet(name="agent", namespace="default", selector=WEB, template=make_template())
    )
    world.add_node("tainted", taints=(Taint("gpu", "", "NoSchedule"),))
    world.run(3.0)
    (item,) = world.objects("daemonsets")
    assert (item.desired_count, item.ready_count) == (5, 5)
    pinned = {
        pod.template.manifest["spec"]["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
        for pod in world.objects("pods")
    }
    assert pinned == {f"node-{index}" for index in range(5)}
    world.add_node("late")
    world.run(2.0)
    assert len(world.objects("pods")) == 6
    assert world.counts(0.0)["daemon-set-controller", "create", "controllerrevisions"] == 1


def test_failed_jobs_are_retried_with_back_off_up_to_the_limit() -> None:
    world = World(kubelet=False, **QUIET)
    world.driver.create(
        Job(name="sum", namespace="default", template=make_template(), backoff_limit_count=2)
    )
    created: list[float] = []
    for _ in range(1400):
        world.run(0.05)
        for pod in world.objects("pods"):
            if pod.phase == "Pending":
                created.append(pod.creation_seconds)
                world.change("pods", pod.name, phase="Failed")
                world.run(0.05)
    (job,) = world.objects("jobs")
    assert (job.condition, job.failed_count) == ("Failed", 3)
    assert len(created) == 3
    assert 10.0 <= created[1] - created[0] <= 13.5
    assert 20.0 <= created[2] - created[1] <= 23.5


def test_a_finished_job_is_deleted_after_its_ttl() -> None:
    world = World(**QUIET)
    world.kubelet.run_seconds = 0.1
    world.driver.create(
        Job(name="sum", namespace="default", template=make_template(), completion_count=3,
            parallelism_count=3, ttl_after_finished_seconds=5.0)
    )  # fmt: skip
    world.run(5.0)
    assert world.objects("jobs")[0].condition == "Complete"
    world.run(6.0)
    assert world.objects("jobs") == world.objects("pods") == []


def test_cron_jobs_run_on_the_minute() -> None:
    world = World(**QUIET)
    world.kubelet.run_seconds = 0.1
    world.driver.create(
        CronJob(name="tick", namespace="default", schedule="*/2 * * * *",
                job_template=make_template())
    )  # fmt: skip
    world.run(370.0)
    names = sorted(job.name for job in world.objects("jobs"))
    assert names == ["tick-2", "tick-4", "tick-6"]
    (item,) = world.objects("cronjobs")
    assert item.last_schedule_seconds == 360.0
    assert item.active == ()


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", 0.0, 60.0),
        ("*/15 * * * *", 59.9, 900.0),
        ("30 4 * * *", 0.0, 4.5 * 3600),
        ("@hourly", 3600.0, 7200.0),
        ("0 0 * * mon", 0.0, 4 * 86400.0),  # 1970-01-05 was a Monday
        ("0 0 1 feb *", 0.0, 31 * 86400.0),
        ("0 0 13 * 5", 0.0, 86400.0),  # a 13th or a Friday: 2 January 1970 was one
        ("0 0 29 2 *", 0.0, 789 * 86400.0),  # 29 February 1972
        ("5,10-12 0 * * *", 6 * 60.0, 600.0),
        ("0 0 31 2 *", 0.0, -1.0),
    ],
)
def test_schedules(schedule: str, after: float, expected: float) -> None:
    assert parse_schedule(schedule).next_after(after) == expected


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* 5-3 * * *", "*/0 * * * *", "x * * * *"]
)
def test_bad_schedules_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_schedule(text)


def test_the_calendar() -> None:
    assert civil(0) == (1970, 1, 1)
    assert civil(11016) == (2000, 2, 29)
    assert civil(19723) == (2024, 1, 1)


def test_a_deleted_namespace_is_emptied_as_measured() -> None:
    """groundtruth/recipe_request_counts.csv, namespace_delete_empty: one deletecollection and
    one list per resource, one status write, finalization."""
    world = World(**QUIET)
    world.driver.create(Namespace(name="team", finalizers=("kubernetes",)))
    world.run(2.0)
    made = {(item.resource, item.name) for resource in ("configmaps", "serviceaccounts")
            for item in world.objects(resource) if item.namespace == "team"}  # fmt: skip
    assert made == {("configmaps", "kube-root-ca.crt"), ("serviceaccounts", "default")}
    began = world.engine.now
    world.driver.delete("namespaces", "", "team")
    world.run(8.0)
    counts = world.counts(began)
    user = "namespace-controller"
    assert world.objects("namespaces") == []
    assert counts[user, "update", "namespaces/status"] == 1
    assert counts[user, "update", "namespaces/finalize"] == 1
    for verb in ("deletecollection", "list"):
        found = [key[2] for key in counts if key[:2] == (user, verb)]
        assert sorted(found) == sorted(CONTENT_RESOURCES)
    left = [item for table in world.server.objects.values() for item in table.values()
            if item.namespace == "team"]  # fmt: skip
    assert left == []


@pytest.mark.parametrize(
    ("current", "ratio", "expected"),
    [(4, 1.6, 8), (4, 0.84, 4), (4, 0.76, 4), (10, 0.4, 5), (3, None, 3), (0, 2.0, 0)],
)
def test_replicas_wanted_for_a_metric(current: int, ratio: float | None, expected: int) -> None:
    assert desired_replicas(current, ratio, 0.8) == expected


def test_autoscaler_doubles_at_once_and_shrinks_after_five_minutes() -> None:
    world = World(**QUIET)
    load = {"total": 2.0}
    world.manager.stop()
    world.manager._metric_source = lambda ns, kind, name, count: load["total"] / count
    world.manager.start()
    world.run(20.0)
    world.driver.create(make_deployment(2))
    world.driver.create(
        HorizontalPodAutoscaler(name="web", namespace="default", target_name="web",
                                replica_count_min=2, replica_count_max=30,
                                cpu_utilization_target_ratio=0.5)
    )  # fmt: skip
    world.run(40.0)
    assert len(world.objects("pods")) == 4
    load["total"] = 20.0
    world.run(90.0)
    assert len(world.objects("pods")) == 30, "capped by maxReplicas"
    load["total"] = 1.0
    world.run(200.0)
    assert len(world.objects("pods")) == 30, "inside the stabilisation window"
    world.run(140.0)
    assert len(world.objects("pods")) == 2


def test_pods_are_created_in_batches_that_double() -> None:
    world = World(delay_seconds=0.1, **QUIET)
    world.driver.create(make_deployment(20))
    world.run(5.0)
    sent = [
        seconds for seconds, _, verb, resource, _ in world.server.requests
        if (verb, resource) == ("create", "pods")
    ]  # fmt: skip
    sizes = [1]
    for earlier, later in pairwise(sent):
        if later - earlier > 0.05:
            sizes.append(0)
        sizes[-1] += 1
    sizes[0] -= 0 if sizes[0] == 1 else 1
    assert sizes == [1, 2, 4, 8, 5]


def test_a_rollout_with_pods_that_never_get_ready_stalls() -> None:
    """maxSurge 3 and maxUnavailable 2 of 10: upstream's arithmetic ends at 8 old and 5 new."""
    world = World(kubelet=False, **QUIET)
    world.driver.create(make_deployment(10))
    world.run(3.0)
    world.change("deployments", "web", template=make_template(digest="new"))
    world.run(10.0)
    sizes = {item.revision: item.replica_count for item in world.objects("replicasets")}
    assert sizes == {1: 8, 2: 5}


def test_replica_sets_wait_for_their_own_writes() -> None:
    """With watches 50 ms behind, a sync on a stale cache would be answered 409."""
    world = World(start_seconds=0.3, **QUIET)
    world.server.watch_lag_seconds = 0.05
    world.kubelet.start_spread_seconds = 1.0
    world.driver.create(make_deployment(30))
    world.run(6.0)
    counts = world.counts(0.0)
    assert sum(pod.ready for pod in world.objects("pods")) == 30
    assert len(world.objects("pods")) == 30
    assert counts["replicaset-controller", "update", "replicasets/status 409"] == 0
    assert counts["replicaset-controller", "update", "replicasets/status"] > 5
    results = world.recorder["controller_syncs"]
    assert results.mask_equal("result", "requeued").sum() > 0


def test_pods_that_appear_after_their_owner_has_gone_are_deleted_too() -> None:
    world = World(delay_seconds=0.1, **QUIET)
    world.server.watch_lag_seconds = 0.2
    world.driver.create(make_deployment(30))
    while len(world.objects("pods")) < 5:
        world.run(0.02)
    (replica_set,) = world.objects("replicasets")
    world.driver.delete("deployments", "default", "web")
    world.driver.delete("replicasets", "default", replica_set.name)
    world.run(0.06)
    at_deletion = len(world.objects("pods"))
    world.run(10.0)
    created = [name for _, _, verb, resource, name in world.server.requests
               if (verb, resource) == ("create", "pods")]  # fmt: skip
    assert len(created) > at_deletion, "some came later"
    assert world.objects("pods") == []
