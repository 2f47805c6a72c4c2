"""Start of pods: requests, phases, published breakdown, containers in order, probes, limits."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import pytest

from sim.base.objects import Pod
from sim.base.pod_template import ContainerSpec, PodTemplate, ProbeSpec
from sim.components.image import Layer
from sim.components.kubelet_params import KubeletParams
from tests.unit.components.kubelet_rig import PAUSE, Rig

RUNNING_REQUESTS = {
    ("get", "pods"): 3,
    ("patch", "pods/status"): 3,
    ("create", "serviceaccounts/token"): 1,
    ("create", "events"): 3,
    ("list", "configmaps"): 1,
}
"""facts/model.md a.1 step 5: 2-4 patches, as many GETs, 3-4 events, one token."""


def test_one_pod_makes_the_requests_of_a_kubelet() -> None:
    rig = Rig(1)
    rig.create("web")
    rig.engine.run(4.0)
    counts = rig.counts()
    for key, count in RUNNING_REQUESTS.items():
        assert counts[key] == count, key
    pod = rig.pod("web")
    assert (pod.phase, pod.ready, pod.pod_ip, pod.host_ip) == (
        "Running", True, "10.244.0.2", "172.16.0.1",
    )  # fmt: skip
    assert rig.events() == {"Pulled": 1, "Created": 1, "Started": 1}
    times = rig.times("web")
    order = ["observed", "volumes_mounted", "sandbox_created", "network_ready", "images_pulled",
             "containers_started"]  # fmt: skip
    assert [times[name] for name in order] == sorted(times[name] for name in order)
    rig.check()


def test_volumes_wait_for_the_300_ms_poll() -> None:
    """facts/model.md h.2 step 3: +300 ms for a pod with a token, nothing without volumes."""
    rig = Rig(1)
    bare = PodTemplate(
        manifest={}, containers=PAUSE.containers, volume_count=0, service_account_token=False
    )
    rig.create("token")
    rig.at(0.5, rig.create, "bare", 0, bare)
    rig.engine.run(4.0)
    law = rig.fleet.law
    first = law.dispatch_seconds + law.pod_directories_seconds
    times = rig.times("token")
    assert times["volumes_mounted"] - times["observed"] == pytest.approx(first + 0.3)
    times = rig.times("bare")
    assert times["volumes_mounted"] - times["observed"] == pytest.approx(first)


def published(shared_dir: Path, row_id: str) -> float:
    with (shared_dir / "facts" / "published.csv").open() as file:
        for row in csv.reader(file):
            if row[0] == row_id:
                return float(row[3]) / 1000.0
    raise AssertionError(row_id)


@pytest.mark.parametrize("on_demand", [True, False])
def test_start_agrees_with_the_published_breakdown(shared_dir: Path, on_demand: bool) -> None:
    """kind, 1.36, two workers, ten pods in parallel: first sync to Running within 0.80-1.25."""
    if on_demand:
        whole = published(shared_dir, "pleg-total-ondemand")
        before = sum(
            published(shared_dir, name)
            for name in ("pleg-request-to", "pleg-pod-to", "pleg-scheduled-first")
        )
        expected = whole - before
    else:
        expected = published(shared_dir, "pleg-first-to")
    rig = Rig(2, params=KubeletParams(pleg_on_demand_relist=on_demand), delay_seconds=0.002)
    waves, parallel = 20, 10
    for wave in range(waves):
        for index in range(parallel):
            name = f"pod-{wave}-{index}"
            rig.at(1.0 + 10.377 * wave + 0.001 * index, rig.create, name, index % 2)
            rig.at(8.0 + 10.377 * wave, rig.delete, name)
    running: list[float] = []

    def collect() -> None:
        for pod in rig.pods().values():
            if pod.phase == "Running":
                running.append(pod.ready_seconds - pod.start_seconds)

    for wave in range(waves):
        rig.at(7.9 + 10.377 * wave, collect)
    rig.engine.run(10.0 + 10.377 * waves)
    assert len(running) == waves * parallel
    mean = sum(running) / len(running)
    assert 0.80 <= mean / expected <= 1.25
    rig.check()


def test_containers_start_in_order() -> None:
    """Init containers one by one with a sync in between, then sidecars, then the others."""
    template = PodTemplate(
        manifest={},
        containers=(
            ContainerSpec(name="init-a", is_init=True, run_seconds=0.5),
            ContainerSpec(name="init-b", is_init=True, run_seconds=0.5),
            ContainerSpec(name="side", is_init=True, is_sidecar=True),
            ContainerSpec(name="main-a"),
            ContainerSpec(name="main-b"),
        ),
    )
    rig = Rig(1)
    rig.create("web", 0, template)
    rig.engine.run(15.0)
    started = sorted(
        (event.first_seconds, event.message)  # type: ignore[attr-defined]
        for event in rig.api.objects["events"].values()
        if event.reason == "Started"  # type: ignore[attr-defined]
    )
    names = [message.rpartition(" ")[2] for _, message in started]
    assert names == ["init-a", "init-b", "side", "main-a", "main-b"]
    gaps = [after[0] - before[0] for before, after in pairwise(started)]
    start = 0.095 + 0.190 + 0.004
    assert gaps[0] > 0.5 + start
    assert gaps[1] > 0.5 + start
    assert gaps[3] == pytest.approx(start)
    pod = rig.pod("web")
    assert (pod.phase, pod.ready, pod.ready_container_count) == ("Running", True, 3)


def test_readiness_probe_delays_ready_only() -> None:
    probe = ProbeSpec(initial_delay_seconds=3.0, period_seconds=2.0, success_threshold_count=2)
    template = PodTemplate(
        manifest={}, containers=(ContainerSpec(name="web", readiness_probe=probe),)
    )
    rig = Rig(1)
    rig.create("web", 0, template)
    rig.engine.run(4.0)
    assert (rig.pod("web").phase, rig.pod("web").ready) == ("Running", False)
    rig.engine.run(10.0)
    pod = rig.pod("web")
    started = rig.times("web")["containers_started"]
    assert pod.ready
    expected = started + 3.0 + 2.0 + rig.fleet.law.probe_seconds
    assert pod.ready_seconds == pytest.approx(expected)
    assert rig.counts()["patch", "pods/status"] == 4


def test_pods_beyond_max_pods_are_rejected() -> None:
    rig = Rig(1)
    rig.fleet.context.nodes[0].pods_allocatable_count = 3
    for index in range(5):
        rig.at(0.1 * index, rig.create, f"pod-{index}")
    rig.engine.run(5.0)
    phases = [rig.pod(f"pod-{index}").phase for index in range(5)]
    assert phases == ["Running", "Running", "Running", "Failed", "Failed"]
    assert rig.pod("pod-4").reason == "OutOfpods"
    rig.check()


def test_a_full_address_range_is_an_event_and_a_retry() -> None:
    """A /29 has 5 pod addresses; the sixth pod runs as soon as one is free."""
    rig = Rig(1, cidr="10.244.0.0/29")
    for index in range(6):
        rig.at(0.01 * index, rig.create, f"pod-{index}")
    rig.engine.run(5.0)
    running = [name for name, pod in rig.pods().items() if pod.phase == "Running"]
    waiting = next(name for name in rig.pods() if name not in running)
    assert len(running) == 5
    assert rig.events()["FailedCreatePodSandBox"] >= 1
    assert any(row["what"] == "address range exhausted" for row in rig.table("faults"))
    freed = rig.pod(running[0]).pod_ip
    rig.delete(running[0])
    rig.engine.run(40.0)
    assert (rig.pod(waiting).phase, rig.pod(waiting).pod_ip) == ("Running", freed)
    rig.check()


def test_status_manager_is_serial_and_limited_by_its_bucket() -> None:
    """facts/model.md h.5: 110 pods × 3 versions × 2 requests at 50/100 take about 11 s."""
    rig = Rig(1)
    for index in range(110):
        rig.at(0.001 * index, rig.create, f"pod-{index}")
    rig.engine.run(60.0)
    last = max(pod.ready_seconds for pod in rig.pods().values())
    pods = rig.pods().values()
    assert all(pod.ready for pod in pods)
    written = [time for time, _, verb, resource, _ in rig.api.requests
               if (verb, resource) == ("patch", "pods/status")]  # fmt: skip
    assert len(written) <= 330
    tokens = rig.counts()["get", "pods"] + len(written) + 110 + 1
    assert max(written) == pytest.approx((tokens - 100) / 50.0, abs=1.0)
    assert max(written) > last
    rig.check()


def test_host_network_pods_have_the_node_address_and_need_no_range() -> None:
    template = PodTemplate(manifest={}, containers=PAUSE.containers, host_network=True)
    rig = Rig(1)
    rig.create("proxy", 0, template)
    rig.engine.run(4.0)
    assert rig.pod("proxy").pod_ip == "172.16.0.1"
    assert rig.overlay.pools[0][0].taken_count == 0


def test_static_pods_have_mirror_pods_that_come_back() -> None:
    rig = Rig(1)
    etcd = PodTemplate(
        manifest={}, namespace="kube-system", containers=PAUSE.containers, host_network=True,
        service_account_token=False,
    )  # fmt: skip
    rig.fleet.add_static_pod("node-0", "etcd-node-0", etcd)
    rig.engine.run(4.0)
    found = rig.api.objects["pods"]["kube-system", "etcd-node-0"]
    assert isinstance(found, Pod)
    assert found.phase == "Running"
    first = found.uid
    rig.user.delete("pods", "kube-system", "etcd-node-0")
    rig.engine.run(40.0)
    again = rig.api.objects["pods"]["kube-system", "etcd-node-0"]
    assert isinstance(again, Pod)
    assert (again.phase, again.uid != first) == ("Running", True)


def test_pull_failure_backs_off_and_recovers() -> None:
    """registryPullQPS fails attempts instead of delaying them (facts/model.md h.4)."""
    from sim.components.image_params import ImageParams

    catalogue = {f"image-{index}": [Layer(f"layer-{index}", 1_000)] for index in range(8)}
    rig = Rig(
        1,
        catalogue=catalogue,
        images=ImageParams(serialize_image_pulls=False, registry_pull_qps=1.0, registry_burst=2),
    )
    for index in range(8):
        container = ContainerSpec(name="c", image=f"image-{index}")
        template = PodTemplate(manifest={}, containers=(container,))
        rig.at(0.001 * index, rig.create, f"pod-{index}", 0, template)
    rig.engine.run(3.0)
    assert rig.images.qps_failure_count >= 5
    assert {rig.pod(f"pod-{index}").reason for index in range(8)} >= {"ErrImagePull"}
    rig.engine.run(120.0)
    assert all(pod.ready for pod in rig.pods().values())
    results = [row["result"] for row in rig.table("image_pulls")]
    assert results.count("pulled") == 8
    assert results.count("qps_exceeded") == rig.images.qps_failure_count
    rig.check()
