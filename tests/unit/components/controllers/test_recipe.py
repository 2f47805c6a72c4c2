"""Requests per scenario against the counts in a real control plane's audit log.

Method: controllers against an apiserver with 50 ms per call (what the measured one and its
clients took under this load), with stand-ins for scheduler and kubelet that spread pods as the
measured timeline does. Requests of the recipe that do not depend on timing must match exactly;
those that are batched (status writes) must lie within a factor of two of the measured count, as
repeated measurements do.
**Source:** groundtruth/recipe_request_counts.csv, conditions qps_high_delay0.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from sim.base.objects import Deployment, Job, LabelSelector, Service, ServicePort
from tests.unit.components.controllers.stand_ins import World, make_template

_BATCHED = {"deployments/status", "replicasets/status", "endpointslices", "endpoints",
            "replicasets"}  # fmt: skip
_OUT_OF_SCOPE = {"service-ca-cert-publisher", "shared-informers", "resourcequota-controller"}
Counts = Counter[tuple[str, str, str]]


def measured(shared_dir: Path, scenario: str) -> Counts:
    """Successful requests of the controllers in one scenario."""
    counts: Counts = Counter()
    with (shared_dir / "groundtruth" / "recipe_request_counts.csv").open() as file:
        for row in csv.DictReader(file):
            component, _, controller = row["component"].partition("/")
            resource = row["resource"].removeprefix("/")
            for group in ("apps/", "batch/", "discovery.k8s.io/"):
                resource = resource.removeprefix(group)
            if (
                row["scenario"] == scenario
                and component == "kcm"
                and controller not in _OUT_OF_SCOPE
                and not resource.startswith("api")
                and row["code"] in {"200", "201"}
            ):
                counts[controller, row["verb"], resource] += int(row["count"])
    assert counts, scenario
    return counts


def modelled(world: World, since_seconds: float) -> Counts:
    return Counter(
        {
            key: count
            for key, count in world.counts(since_seconds).items()
            if key[0].endswith(("-controller", "-collector")) and not key[2].endswith(" 409")
        }
    )


def compare(got: Counts, want: Counts) -> None:
    assert set(got) == set(want), "a kind of request is missing or invented"
    for key, count in want.items():
        if key[1] == "update" and key[2] in _BATCHED and count > 1:
            assert count / 2.0 <= got[key] <= count * 2.0, (key, got[key], count)
        elif key[1:] == ("create", "events") and key[0] == "deployment-controller":
            assert abs(got[key] - count) <= 1, (key, got[key], count)
        else:
            assert got[key] == count, key


def make_world(delay_seconds: float = 0.05) -> World:
    world = World(50, delay_seconds=delay_seconds, controllers=("*", "-node_lifecycle"))
    world.kubelet.start_spread_seconds = 1.0
    world.kubelet.stop_spread_seconds = 0.4
    return world


def deploy(world: World, name: str, count: int, seconds: float = 6.0) -> float:
    now = world.engine.now
    world.driver.create(
        Deployment(
            name=name,
            namespace="default",
            replica_count=count,
            selector=LabelSelector((("app", name),)),
            template=make_template(name),
        )
    )
    world.run(seconds)
    return now


def test_scale_up_and_down(shared_dir: Path) -> None:
    world = make_world()
    began = deploy(world, "web", 100)
    compare(modelled(world, began), measured(shared_dir, "deployment_scale_up"))
    assert all(pod.ready for pod in world.objects("pods"))
    began = world.engine.now
    world.change("deployments", "web", replica_count=0)
    world.run(6.0)
    compare(modelled(world, began), measured(shared_dir, "deployment_scale_down"))
    assert world.objects("pods") == []


def test_rolling_update(shared_dir: Path) -> None:
    world = make_world(0.03)
    world.kubelet.start_spread_seconds = world.kubelet.stop_spread_seconds = 0.1
    deploy(world, "web", 20)
    began = world.engine.now
    world.change("deployments", "web", template=make_template("web", digest="second"))
    world.run(6.0)
    got, want = modelled(world, began), measured(shared_dir, "rolling_update_20")
    retried = ("replicaset-controller", "get", "replicasets")
    assert got.pop(retried, 0) <= 8
    want.pop(retried)  # the GET after a conflict: 2 measured, a matter of timing
    compare(got, want)
    assert {pod.template.digest != "second" for pod in world.objects("pods")} == {True}
    (deployment,) = world.objects("deployments")
    assert deployment.updated_count == deployment.available_count == 20


def test_service_follows_its_pods(shared_dir: Path) -> None:
    world = make_world()
    deploy(world, "web", 40)
    world.kubelet.start_spread_seconds = 0.5
    world.kubelet.stop_spread_seconds = 0.1
    began = world.engine.now
    world.driver.create(
        Service(
            name="web",
            namespace="default",
            selector=LabelSelector((("app", "web"),)),
            ports=(ServicePort("http", 80, "8080"),),
        )
    )
    world.run(4.0)
    compare(modelled(world, began), measured(shared_dir, "service_create_40_backends"))
    began = world.engine.now
    world.change("deployments", "web", replica_count=60)
    world.run(5.0)
    compare(modelled(world, began), measured(shared_dir, "service_scale_up_by_20"))
    began = world.engine.now
    world.change("deployments", "web", replica_count=40)
    world.run(5.0)
    got, want = modelled(world, began), measured(shared_dir, "service_scale_down_by_20")
    mirror = ("endpoint-controller", "update", "endpoints")
    assert 1 <= got.pop(mirror) <= 2 * want.pop(mirror)
    compare(got, want)
    (item,) = world.objects("endpointslices")
    assert len(item.endpoints) == 40


def test_deletion_of_the_owner_deletes_the_pods(shared_dir: Path) -> None:
    world = make_world()
    deploy(world, "web", 50)
    began = world.engine.now
    world.driver.delete("deployments", "default", "web")
    world.run(5.0)
    compare(modelled(world, began), measured(shared_dir, "deployment_delete_background_gc"))
    assert world.objects("pods") == world.objects("replicasets") == []


def test_job(shared_dir: Path) -> None:
    world = World(50, delay_seconds=0.01, controllers=("*", "-node_lifecycle"))
    world.kubelet.start_spread_seconds = 0.05
    world.kubelet.run_seconds = 0.0
    began = world.engine.now
    world.driver.create(
        Job(
            name="sum",
            namespace="default",
            template=make_template("sum"),
            completion_count=20,
            parallelism_count=20,
        )
    )
    world.run(8.0)
    compare(modelled(world, began), measured(shared_dir, "job_20_completions"))
    (job,) = world.objects("jobs")
    assert (job.condition, job.succeeded_count, job.active_count) == ("Complete", 20, 0)
    assert all(not pod.finalizers for pod in world.objects("pods"))
    began = world.engine.now
    world.driver.delete("jobs", "default", "sum")
    world.run(5.0)
    compare(modelled(world, began), measured(shared_dir, "job_delete"))
    assert world.objects("pods") == []


def test_default_client_limits_hold_back_pod_creation(shared_dir: Path) -> None:
    """200 pods at 20 qps / 30 burst, against the measured times and counts of the same."""
    world = World(100, high_qps=False, controllers=("*", "-node_lifecycle"))
    began = deploy(world, "web", 200, seconds=30.0)
    times = [
        seconds
        for seconds, _, verb, resource, _ in world.server.requests
        if (verb, resource) == ("create", "pods")
    ]
    since_first = sorted(seconds - times[0] for seconds in times)
    with (shared_dir / "groundtruth" / "recipe_density_latency.csv").open() as file:
        (row,) = [
            row
            for row in csv.DictReader(file)
            if row["qps_profile"] == "default" and row["metric"] == "created_since_first"
        ]
    assert len(since_first) == 200
    assert sum(since_first) / 200 == pytest.approx(float(row["mean_ms"]) / 1000, rel=0.1)
    assert since_first[-1] == pytest.approx(float(row["max_ms"]) / 1000, rel=0.1)
    counts = world.counts(began)
    statuses = counts["replicaset-controller", "update", "replicasets/status"]
    assert statuses == 2, "measured: 2 status writes for 200 pods, the client being the limit"
