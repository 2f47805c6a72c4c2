"""Node-level loops, joining, crashes, restarts, and the simulated kubelets."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sim.base.objects import Lease, Node, Pod
from sim.base.pod_template import ContainerSpec, PodTemplate
from sim.components.kubelet_params import KubeletParams
from sim.components.ports import Request
from sim.costs.kubelet import simulated_kubelet_law
from tests.unit.components.kubelet_rig import PAUSE, Rig, make_node


def test_leases_and_statuses_of_idle_nodes() -> None:
    """facts/model.md 0.3: 0.1 lease PUT/s per node with 0-4 % jitter, one status per 300 s."""
    rig = Rig(40)
    rig.engine.run(1200.0)
    counts = rig.counts()
    first = counts["create", "leases"]
    assert first == 40
    rate = (counts["update", "leases"] - first) / 40 / 1200.0
    assert rate == pytest.approx(1.0 / 10.204, rel=0.01)
    statuses = counts["patch", "nodes/status"] / 40
    assert 3.0 <= statuses <= 4.0
    leases = [item for item in rig.api.objects["leases"].values() if isinstance(item, Lease)]
    assert all(lease.renew_seconds > 1200.0 - 10.5 for lease in leases)
    assert len({round(lease.renew_seconds, 6) for lease in leases}) == 40
    rig.engine.run(1210.5)
    leases = [item for item in rig.api.objects["leases"].values() if isinstance(item, Lease)]
    assert all(lease.renew_seconds >= 1200.0 for lease in leases)


class FakeIPAM:
    """Gives every new node a range, as the controller would."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def allocate(self, name: str) -> None:
        def mutate(current: Node) -> Node:
            new = current.clone()
            new.pod_cidr = "10.244.9.0/24"
            return new

        self.rig.user.patch("nodes", "", name, mutate)  # type: ignore[arg-type]


def test_node_joins() -> None:
    """Registered, lease, CSINode, range, agent, Ready, entries everywhere, pods start."""
    rig = Rig(3, capacity=4)
    fresh = make_node(3, "")
    fresh.ready = "Unknown"
    fresh.backend_annotated = False
    fresh.uid = 0
    rig.at(1.0, rig.fleet.join_node, fresh)
    rig.at(2.0, rig.create, "early", 3)
    rig.at(3.0, FakeIPAM(rig).allocate, "node-3")
    rig.engine.run(2.9)
    node = rig.api.objects["nodes"]["", "node-3"]
    assert isinstance(node, Node)
    assert node.ready == "False"
    assert [taint.key for taint in node.taints] == ["node.kubernetes.io/not-ready"]
    assert ("kube-node-lease", "node-3") in rig.api.objects["leases"]
    assert ("", "node-3") in rig.api.objects["csinodes"]
    assert not rig.overlay.reachable(0, 3, 2.9)
    rig.engine.run(15.0)
    node = rig.api.objects["nodes"]["", "node-3"]
    assert isinstance(node, Node)
    assert (node.ready, node.backend_annotated) == ("True", True)
    pod = rig.pod("early")
    assert (pod.ready, pod.pod_ip) == (True, "10.244.9.2")
    entries = rig.overlay.programmed_seconds(3)
    assert len(entries) == 3
    assert 6.0 < entries[0] <= entries[-1] < 6.1
    assert rig.overlay.reachable(0, 3, float(entries[-1]))
    assert not rig.overlay.reachable(0, 3, float(entries[0]) - 0.01)
    assert rig.overlay.reachable(0, 1, 0.0)
    rig.check()


def test_network_agent_pod_opens_the_network() -> None:
    rig = Rig(1, capacity=2, params=KubeletParams(network_agent_label="app=flannel"))
    agent = PodTemplate(
        manifest={}, labels={"app": "flannel"}, containers=PAUSE.containers, host_network=True
    )
    rig.fleet.join_node(make_node(1, "10.244.1.0/24"))
    rig.at(1.0, FakeIPAM(rig).allocate, "node-1")
    rig.at(1.0, rig.create, "web", 1)
    rig.at(20.0, rig.create, "flannel", 1, agent)
    rig.engine.run(19.0)
    assert not rig.overlay.agent_ready[1]
    assert rig.pod("web").phase == "Pending"
    rig.engine.run(26.0)
    assert rig.overlay.agent_ready[1]
    assert rig.pod("web").ready


def test_crashed_node_falls_silent_and_comes_back() -> None:
    rig = Rig(2)
    for index in range(4):
        rig.create(f"pod-{index}", index % 2)
    rig.at(3.0, rig.create, "late", 0)
    rig.at(3.3, rig.fleet.kill_node, "node-0")
    rig.engine.run(3.4)
    requests = len(rig.api.requests)
    rig.at(10.0, rig.create, "unseen", 0)
    rig.engine.run(60.0)
    mine = [item for item in rig.api.requests[requests:] if item[1] == "system:node:node-0"]
    assert mine == []
    assert not rig.fleet.snapshot().up[0]
    assert rig.fleet.running_count == 2
    assert rig.overlay.pools[0][0].taken_count == 0
    rig.check()
    old = rig.pod("pod-0").pod_ip
    rig.at(61.0, rig.fleet.recover_node, "node-0")
    rig.engine.run(90.0)
    pods = rig.pods()
    assert all(pod.ready for pod in pods.values())
    assert pods["pod-0"].pod_ip != old
    assert {name: pod.restart_count for name, pod in pods.items()} == {
        "pod-0": 1, "pod-1": 0, "pod-2": 1, "pod-3": 0, "late": 0, "unseen": 0,
    }  # fmt: skip
    assert rig.counts(since_seconds=61.0)["update", "leases"] >= 2
    assert rig.fleet.running_count == 6
    rig.check()


@pytest.mark.parametrize("window_seconds", [0.5, 20.0])
def test_restarted_kubelets_resume(window_seconds: float) -> None:
    """Running pods are not touched; unfinished starts and stops are finished; nothing is lost."""
    rig = Rig(5)
    for index in range(40):
        rig.at(0.031 * index, rig.create, f"pod-{index}", index % 5)
    for index in range(0, 40, 7):
        rig.at(10.0 + 0.2 * index, rig.delete, f"pod-{index}")
    for index in range(40, 80):
        rig.at(9.0 + 0.113 * (index - 40), rig.create, f"pod-{index}", index % 5)
    rig.engine.run(8.0)
    before = {name: pod.pod_ip for name, pod in rig.pods().items()}
    rig.at(10.0, rig.fleet.restart_kubelets, window_seconds)

    def forced() -> None:
        rig.user.delete("pods", "default", "pod-1", grace_seconds=0.0)

    rig.at(11.0, forced)
    rig.engine.run(75.0)
    pods = rig.pods()
    assert sorted(pods) == sorted(f"pod-{index}" for index in range(80)
                                  if index >= 40 or (index % 7 and index != 1))  # fmt: skip
    assert all(pod.ready for pod in pods.values())
    assert all(pods[name].pod_ip == address for name, address in before.items() if name in pods)
    assert all(pod.restart_count == 0 for pod in pods.values())
    known = [uid for records in rig.fleet.context.by_node for uid in records]
    assert sorted(known) == sorted(pod.uid for pod in pods.values())
    assert rig.counts(since_seconds=10.0)["list", "pods"] == 5
    assert rig.runtime.operation_counts == [0] * 5
    rig.check()


def test_preloaded_pods_run_from_the_start() -> None:
    rig = Rig(2, start=False)
    pods = [
        Pod(
            name=f"pod-{index}", namespace="default", uid=index + 1, template=PAUSE,
            phase="Running",
            node_name=f"node-{index % 2}", ready=True, sandbox_ready=True, ready_container_count=1,
            pod_ip=f"10.244.{index % 2}.{index // 2 + 2}", start_seconds=0.0, ready_seconds=0.0,
        )
        for index in range(6)
    ]  # fmt: skip
    for pod in pods:
        rig.api.objects.setdefault("pods", {})[pod.key] = pod
    rig.api.next_uid = 100
    rig.fleet.preload_running(pods)
    rig.fleet.start()
    rig.create("new", 0)
    rig.at(5.0, rig.delete, "pod-0")
    rig.engine.run(10.0)
    assert rig.pod("new").pod_ip == "10.244.0.5"
    assert "pod-0" not in rig.pods()
    assert rig.overlay.pools[0][0].taken_count == 3
    rig.check()
    twice = Pod(name="x", uid=50, template=PAUSE, node_name="node-1", pod_ip="10.244.1.2")
    with pytest.raises(ValueError, match=r"10\.244\.1\.2"):
        rig.fleet.preload_running([twice])


def test_tokens_are_renewed() -> None:
    """facts/model.md 0.3: one request per pod about every 48 min."""
    rig = Rig(10)
    for index in range(100):
        rig.at(1.0 + 0.01 * index, rig.create, f"pod-{index}", index % 10)
    rig.engine.run(2880.0 - 10.0)
    assert rig.counts()["create", "serviceaccounts/token"] == 100
    rig.engine.run(2970.0)
    assert rig.counts()["create", "serviceaccounts/token"] == 200
    times = [time for time, _, _, resource, _ in rig.api.requests
             if resource == "serviceaccounts/token" and time > 1000.0]  # fmt: skip
    assert max(times) - min(times) > 40.0
    rig.engine.run(5950.0)
    assert rig.counts()["create", "serviceaccounts/token"] == 300


def test_dual_stack_pods_have_two_addresses() -> None:
    rig = Rig(0, capacity=1)
    node = make_node(0)
    node.pod_cidrs = ("10.244.0.0/24", "fd00:10:244::/64")
    rig.api.objects.setdefault("nodes", {})[node.key] = node
    rig.fleet.add_nodes([node])
    for index in range(3):
        rig.at(1.0 + index, rig.create, f"pod-{index}")
    rig.engine.run(8.0)
    addresses = [rig.fleet.address_of(pod.uid, "node-0") for pod in rig.pods().values()]
    assert addresses == [(f"10.244.0.{n}", f"fd00:10:244::{n}") for n in (2, 3, 4)]
    details = [row["detail"] for row in rig.table("pod_transitions")
               if row["transition"] == "network_ready"]  # fmt: skip
    assert details[0] == "10.244.0.2,fd00:10:244::2"
    rig.check()
    rig.delete("pod-1")
    rig.engine.run(12.0)
    assert [pool.taken_count for pool in rig.overlay.pools[0]] == [2, 2]


def test_lost_pods_are_named() -> None:
    rig = Rig(2)
    rig.create("seen", 0)
    rig.engine.run(5.0)
    unseen = Pod(name="unseen", namespace="default", uid=99, template=PAUSE, node_name="node-1",
                 creation_seconds=1.0)  # fmt: skip
    pods = [*rig.pods().values(), unseen]
    assert rig.fleet.lost_pods(pods, 4.0) == ["default/unseen"]
    assert rig.fleet.lost_pods(pods, 0.5) == []


def test_equal_runs_give_equal_rows() -> None:
    def rows() -> list[dict[str, object]]:
        rig = Rig(4, capacity=5)
        for index in range(60):
            rig.at(0.02 * index, rig.create, f"pod-{index}", index % 4)
        rig.at(2.0, rig.fleet.restart_kubelets, 5.0)
        rig.at(3.0, rig.fleet.join_node, make_node(4))
        rig.at(4.0, rig.fleet.kill_node, "node-2")
        rig.engine.run(30.0)
        return rig.table("pod_transitions")

    assert rows() == rows()


def test_a_shared_address_is_reported() -> None:
    rig = Rig(1)
    rig.create("one")
    rig.create("two")
    rig.engine.run(4.0)
    records = list(rig.fleet.context.by_node[0].values())
    records[0].ip = records[1].ip
    assert any("belongs to" in problem for problem in rig.fleet.check())


def per_unit(shared_dir: Path, scenario: str) -> dict[tuple[str, str], float]:
    found = {}
    with (shared_dir / "groundtruth" / "recipe_request_counts.csv").open() as file:
        for row in csv.DictReader(file):
            if row["component"] == "kubelet" and row["scenario"] == scenario:
                resource = row["resource"].replace("coordination.k8s.io/", "")
                if row["code"] in {"200", "201"} and row["verb"] != "watch":
                    found[row["verb"], resource] = int(row["count"]) / float(row["units"])
    return found


PODS = ("pods", "pods/status", "events", "serviceaccounts/token")


@pytest.mark.parametrize("simulated", [True, False])
def test_requests_per_pod_are_those_of_the_measurement(shared_dir: Path, simulated: bool) -> None:
    """Scale-up and scale-down of 100 pods on 50 nodes, requests by verb and resource.

    The real kubelet's sandbox-ready status comes on top of the simulated kubelets' two.
    """
    if simulated:
        params = KubeletParams(simulated_start_seconds=0.0, kube_api_qps=0.0)
        rig = Rig(50, params=params, law=simulated_kubelet_law())
    else:
        rig = Rig(50, params=KubeletParams(sandbox_ready_status=False))
    for index in range(100):
        rig.at(0.02 * index, rig.create, f"pod-{index}", index % 50)
        rig.at(10.0 + 0.02 * index, rig.delete, f"pod-{index}")
    rig.engine.run(9.0)
    assert all(pod.ready for pod in rig.pods().values())
    up = rig.counts()
    rig.engine.run(30.0)
    down = rig.counts()
    down.subtract(up)
    assert rig.pods() == {}
    for scenario, counts in (("deployment_scale_up", up), ("deployment_scale_down", down)):
        for key, expected in per_unit(shared_dir, scenario).items():
            if key[1] in PODS:
                assert counts[key] / 100 == expected, (scenario, key)
    rig.check()


def test_exits_and_restarts_survive_a_restarted_kubelet() -> None:
    """Whatever a crash-looping container was doing, it goes on when the kubelet is back."""
    short = ContainerSpec(name="loop", run_seconds=0.8)
    template = PodTemplate(manifest={}, containers=(short,))
    rig = Rig(8)
    for index in range(8):
        rig.at(0.07 * index, rig.create, f"loop-{index}", index, template)
    # the restart of each kubelet falls into another phase: running, noticing, starting, waiting
    rig.at(1.5, rig.fleet.restart_kubelets, 4.0)
    away: list[int] = []

    def look(_: None) -> None:
        for node, up in enumerate(rig.fleet.context.up):
            if not up:
                away.append(rig.runtime.operation_counts[node])
        rig.engine.call_later(0.05, look)

    rig.engine.call_later(1.5, look)
    rig.engine.run(60.0)
    assert away
    assert set(away) == {0}
    counts = [rig.pod(f"loop-{index}").restart_count for index in range(8)]
    assert min(counts) >= 3
    assert rig.runtime.operation_counts == [0] * 8
    rig.check()


def test_a_status_that_somebody_else_wrote_is_put_right_within_ten_seconds() -> None:
    rig = Rig(1)
    rig.create("web")
    rig.engine.run(20.0)
    assert rig.pod("web").ready

    def unready(current: Pod) -> Pod:
        new = current.clone()
        new.ready = False
        return new

    rig.user.submit(
        Request("patch", "pods", "default", "web", subresource="status", mutate=unready)
    )
    rig.engine.run(20.1)
    assert not rig.pod("web").ready
    patches = rig.counts()["patch", "pods/status"]
    rig.engine.run(30.2)
    assert rig.pod("web").ready
    assert rig.counts()["patch", "pods/status"] == patches + 1
    rig.engine.run(60.0)
    assert rig.counts()["patch", "pods/status"] == patches + 1
    rig.check()
