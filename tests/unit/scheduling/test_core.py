"""What the vectors do not reach: volumes, nominations, the user's plugins, the rotating start."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.scheduling import (
    Candidates,
    ClusterState,
    PodShape,
    SchedulerConfiguration,
    SchedulingCore,
    UserPlugins,
    speed_cases,
)

Json = dict[str, Any]


def node(name: str, *, cpu: str = "4", labels: Json | None = None, pods: str = "110") -> Json:
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "status": {"allocatable": {"cpu": cpu, "memory": "16Gi", "pods": pods}},
    }


def pod(cpu: str = "1", *, priority: int = 0, **spec: Any) -> Json:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    return {
        "metadata": {"namespace": "default", "name": "p", "labels": {"app": "x"}},
        "spec": {"containers": [container], "priority": priority, **spec},
    }


def make(
    *nodes: Json, config: Json | None = None, plugins: UserPlugins | None = None
) -> tuple[ClusterState, SchedulingCore]:
    state = ClusterState()
    state.set_namespace("default")
    for document in nodes:
        state.add_node(document)
    points = plugins.extension_points() if plugins else None
    configuration = SchedulerConfiguration.from_dict(config or {}, user_plugins=points)
    return state, SchedulingCore(state, configuration.profiles[0], user_plugins=plugins)


# ---------------------------------------------------------------------------------- shapes, state
def test_one_template_is_one_shape() -> None:
    state, _ = make()
    template = pod()
    shape = state.pod_shape(template)
    assert state.pod_shape(template) is shape
    assert state.pod_shape(pod()) is shape
    assert state.pod_shape(template, namespace="other") is not shape
    assert state.pod_shape(pod("2")).labels is shape.labels
    assert state.pod_shape(pod("2")).node_index == shape.node_index


def test_a_pod_cannot_be_bound_twice_and_unknown_ones_not_removed() -> None:
    state, _ = make(node("a"))
    shape = state.pod_shape(pod())
    state.add_pod("p", shape, "a")
    with pytest.raises(KeyError):
        state.add_pod("p", shape, "a")
    state.remove_pod("p")
    with pytest.raises(KeyError):
        state.remove_pod("p")
    with pytest.raises(KeyError):
        state.remove_node("b")


def test_a_pod_may_be_known_before_its_node() -> None:
    state, core = make(node("a", cpu="1"))
    state.add_pod("early", state.pod_shape(pod("3")), "b")
    assert core.schedule(state.pod_shape(pod("2"))).node_name is None
    state.add_node(node("b", cpu="4"))
    assert core.schedule(state.pod_shape(pod("2"))).node_name is None
    assert core.schedule(state.pod_shape(pod("1"))).node_name is not None
    state.remove_pod("early")
    assert core.schedule(state.pod_shape(pod("2"))).node_name == "b"


def test_a_heartbeat_changes_nothing() -> None:
    state, _ = make(node("a"))
    epoch = state.node_epoch
    assert not state.update_node(node("a"))
    assert state.node_epoch == epoch
    assert state.update_node(node("a", cpu="5"))


def test_the_start_index_rotates_over_feasible_and_rejected_nodes() -> None:
    names = [f"n{i:03d}" for i in range(400)]
    state, core = make(*(node(n, cpu="1" if i % 4 == 0 else "4") for i, n in enumerate(names)))
    decision = core.schedule(state.pod_shape(pod("2")))
    # 400 nodes: 47 % of them, 188 feasible are wanted; every fourth is rejected, so the 188th
    # feasible one is at index 250; 251 is feasible and ends the search at once.
    assert (decision.feasible_nodes, decision.processed_nodes) == (188, 251)
    assert core.next_start_index == 251
    after = core.schedule(state.pod_shape(pod("2")))
    assert (after.next_start_before, after.next_start_after) == (251, (251 + 251) % 400)


def test_no_score_plugin_means_the_first_feasible_node() -> None:
    config = {"profiles": [{"plugins": {"score": {"disabled": [{"name": "*"}]}}}]}
    state, core = make(node("a", cpu="1"), node("b"), node("c"), config=config)
    decision = core.schedule(state.pod_shape(pod("2")))
    assert (decision.node_name, decision.feasible_nodes) == ("b", 1)


# ---------------------------------------------------------------------------------- preemption
def full_cluster() -> tuple[ClusterState, SchedulingCore]:
    state, core = make(node("a"), node("b"))
    for name, priority in (("a", 5), ("b", 1)):
        for index in range(4):
            shape = state.pod_shape(pod(priority=priority))
            state.add_pod(f"default/{name}{index}", shape, name, start_time_seconds=float(index))
    return state, core


def test_preemption_takes_the_least_important_pods() -> None:
    state, core = full_cluster()
    shape = state.pod_shape(pod("2", priority=10))
    decision = core.schedule(shape)
    assert decision.unschedulable_plugins == {"NodeResourcesFit"}
    outcome = core.preempt(shape, rng=np.random.default_rng(0), diagnosis=decision.diagnosis)
    assert outcome.code == "Success"
    assert outcome.nominated_node == "b"
    assert outcome.victims == ("default/b2", "default/b3")
    assert outcome.message == "0/2 nodes are available: 2 Insufficient cpu."


def test_pods_may_decline_to_preempt() -> None:
    state, core = full_cluster()
    shape = state.pod_shape(pod("2", priority=10, preemptionPolicy="Never"))
    outcome = core.preempt(shape)
    assert outcome.code == "Unschedulable"
    assert outcome.message.endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_no_second_preemption_while_victims_terminate() -> None:
    state, core = full_cluster()
    shape = state.pod_shape(pod("2", priority=10))
    state.set_terminating("default/b3", preempted=True)
    outcome = core.preempt(shape, nominated_node="b")
    assert "terminating pod on the nominated node" in outcome.message
    assert core.preempt(shape, nominated_node="a").code == "Success"


def test_a_nomination_keeps_lower_priorities_out_but_not_its_owner() -> None:
    state, core = make(node("a"))
    urgent = state.pod_shape(pod("3", priority=10))
    small = state.pod_shape(pod("2", priority=1))
    state.nominate("default/urgent", urgent, "a")
    decision = core.schedule(small)
    assert decision.node_name is None
    assert decision.fit_error == "0/1 nodes are available: 1 Insufficient cpu."
    assert core.explain(small).fit_error == decision.fit_error
    assert core.schedule(state.pod_shape(pod("2", priority=11))).node_name == "a"
    own = core.schedule(urgent, nominated_node="a", pod_key="default/urgent")
    assert (own.node_name, own.evaluated_nodes, own.processed_nodes) == ("a", 1, 0)
    state.clear_nomination("default/urgent")
    assert core.schedule(small).node_name == "a"


# ---------------------------------------------------------------------------------- user plugins
class PreferManyPods:
    """Prefers nodes that have more pods."""

    name = "PreferManyPods"

    def score(self, pod: PodShape, nodes: Candidates) -> NDArray[np.int64]:
        return np.minimum(nodes.pod_count * 10, 100)


class Only:
    """Accepts nodes of one rack."""

    name = "Only"

    def filter(self, pod: PodShape, nodes: Candidates) -> NDArray[np.bool_]:
        return np.array([value == "r1" for value in nodes.label("rack")], np.bool_)


def test_user_plugins_filter_and_score() -> None:
    plugins = UserPlugins([PreferManyPods(), Only()])
    config = {"profiles": [{"plugins": {"multiPoint": {"enabled": [
        {"name": "PreferManyPods", "weight": 50}, {"name": "Only"}]}}}]}  # fmt: skip
    nodes = [node(f"n{i}", labels={"rack": "r1" if i < 2 else "r2"}) for i in range(4)]
    state, core = make(*nodes, config=config, plugins=plugins)
    shape = state.pod_shape(pod())
    state.add_pod("default/e", shape, "n1")
    state.add_pod("default/f", shape, "n3")
    decision = core.schedule(shape)
    assert decision.node_name == "n1"
    explained = core.explain(shape)
    assert explained.feasible == ["n0", "n1"]
    assert explained.scores["PreferManyPods"].weighted == [0, 500]
    assert explained.first_rejection["n2"].plugin == "Only"


@pytest.mark.parametrize("result", [np.zeros(1, np.int64), np.full(2, 101), np.zeros(2)])
def test_a_wrong_result_of_a_plugin_is_named(result: NDArray[Any]) -> None:
    class Wrong:
        name = "Wrong"

        def score(self, pod: PodShape, nodes: Candidates) -> NDArray[Any]:
            return result

    plugins = UserPlugins([Wrong()])
    config = {"profiles": [{"plugins": {"score": {"enabled": [{"name": "Wrong"}]}}}]}
    state, core = make(node("a"), node("b"), config=config, plugins=plugins)
    with pytest.raises(ValueError, match="plugin 'Wrong'"):
        core.schedule(state.pod_shape(pod()))


# ---------------------------------------------------------------------------------- volumes
def claim(name: str, *, volume: str = "", storage_class: str = "") -> Json:
    spec: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    if volume:
        spec["volumeName"] = volume
    if storage_class:
        spec["storageClassName"] = storage_class
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def volume(name: str, host: str = "", *, storage_class: str = "", zone: str = "") -> Json:
    spec: Json = {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"]}
    if host:
        terms = [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]  # fmt: skip
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    if storage_class:
        spec["storageClassName"] = storage_class
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    metadata = {"name": name, "labels": labels}
    return {"kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def with_claim(name: str = "data") -> Json:
    return pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": name}}])


def test_a_missing_claim_rejects_the_pod() -> None:
    state, core = make(node("a"))
    decision = core.schedule(state.pod_shape(with_claim()))
    assert decision.fit_error == (
        '0/1 nodes are available: persistentvolumeclaim "data" not found.'
    )
    state.add_object(claim("data"))
    decision = core.schedule(state.pod_shape(with_claim()))
    assert decision.fit_error == (
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    )
    assert decision.unschedulable_plugins == {"VolumeBinding"}


def test_a_bound_volume_ties_the_pod_to_its_nodes_and_zone() -> None:
    state, core = make(
        node("a", labels={"topology.kubernetes.io/zone": "z1"}),
        node("b", labels={"topology.kubernetes.io/zone": "z2"}),
    )
    state.add_object(claim("data", volume="pv"))
    state.add_object(volume("pv", host="b"))
    shape = state.pod_shape(with_claim())
    assert core.schedule(shape).node_name == "b"
    state.add_object(volume("pv", zone="z1"))
    assert core.schedule(shape).node_name == "a"
    state.add_object(volume("pv", host="b", zone="z1"))
    decision = core.schedule(shape)
    assert decision.fit_error == (
        "0/2 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity, "
        "1 node(s) had no available volume zone."
    )


def test_an_unbound_claim_waits_for_a_node_with_a_volume() -> None:
    state, core = make(node("a"), node("b"))
    storage_class = {
        "kind": "StorageClass",
        "metadata": {"name": "local"},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    state.add_object(storage_class)
    state.add_object(claim("data", storage_class="local"))
    shape = state.pod_shape(with_claim())
    assert core.schedule(shape).fit_error == (
        "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
    )
    state.add_object(volume("pv", host="b", storage_class="local"))
    assert core.schedule(shape).node_name == "b"
    state.add_object({**storage_class, "provisioner": "csi.example.com"})
    state.remove_object(volume("pv"))
    assert core.schedule(shape).node_name is not None


def test_read_write_once_pod_and_attach_limits() -> None:
    state, core = make(node("a"), node("b"))
    document = claim("data", volume="pv")
    document["spec"]["accessModes"] = ["ReadWriteOncePod"]
    state.add_object(document)
    attached = volume("pv")
    attached["spec"]["csi"] = {"driver": "csi.example.com"}
    state.add_object(attached)
    shape = state.pod_shape(with_claim())
    state.add_pod("default/user", shape, "a")
    assert core.schedule(shape).node_name == "b"
    state.add_object({
        "kind": "CSINode", "metadata": {"name": "b"},
        "spec": {"drivers": [{"name": "csi.example.com", "allocatable": {"count": 0}}]},
    })  # fmt: skip
    decision = core.schedule(shape)
    assert decision.unschedulable_plugins == {"VolumeRestrictions", "NodeVolumeLimits"}


# ---------------------------------------------------------------------------------- memory
@pytest.mark.parametrize("family", ["basic", "preferred_antiaffinity"])
def test_memory_per_node_and_per_pod(family: str) -> None:
    node_count, pod_count = 2000, 20_000
    documents = [speed_cases.node(i, family) for i in range(node_count)]
    keys = [f"default/{i}" for i in range(pod_count)]
    tracemalloc.start()
    state = ClusterState()
    for document in documents:
        state.add_node(document)
    shapes = [state.pod_shape(speed_cases.pod(i, family)) for i in range(speed_cases.APP_COUNT)]
    core = SchedulingCore(state, SchedulerConfiguration.from_dict({}).profiles[0])
    for shape in shapes:
        core.schedule(shape)
    of_nodes, _ = tracemalloc.get_traced_memory()
    for i, key in enumerate(keys):
        state.add_pod(key, shapes[i % len(shapes)], f"node-{i % node_count:06d}")
    with_pods, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert of_nodes / node_count <= 2048
    assert (with_pods - of_nodes) / pod_count <= 200


# ---------------------------------------------------------------------------------- other objects
def test_status_updates_do_not_disturb_compiled_plans() -> None:
    state, core = make(node("a"))
    replica_set: Json = {
        "kind": "ReplicaSet",
        "metadata": {"name": "rs", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "replicas": 1},
    }
    state.add_object(replica_set)
    shape = state.pod_shape(pod())
    plan = core.plan(shape)
    state.add_object({**replica_set, "status": {"replicas": 1}})
    assert core.plan(shape) is plan
    state.add_object({**replica_set, "spec": {"selector": {"matchLabels": {"app": "y"}}}})
    assert core.plan(shape) is not plan


def test_default_spreading_follows_services_and_owners() -> None:
    state, core = make(node("a"), node("b"))
    template = pod("100m")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "controller": True}
    template["metadata"]["ownerReferences"] = [owner]
    shape = state.pod_shape(template)
    assert "PodTopologySpread" in core.explain(shape).score_skipped
    state.add_object({
        "kind": "ReplicaSet", "metadata": {"name": "rs", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}},
    })  # fmt: skip
    state.add_pod("default/first", shape, "a")
    # One pod on a of two hostnames: raw 1 * ln(2 + 2) + 2 = 3.39 there, 2 on b; the missing zone
    # label adds nothing.
    score = core.explain(shape).scores["PodTopologySpread"]
    assert (score.raw, score.normalized) == ([3, 2], [66, 100])
    state.set_terminating("default/first")
    assert core.explain(shape).scores["PodTopologySpread"].raw == [2, 2]


def test_relabelling_a_namespace_changes_who_is_selected() -> None:
    state, core = make(node("a"), node("b"))
    far: Json = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {},
                    "namespaceSelector": {"matchLabels": {"noisy": "yes"}},
                }
            ]
        }
    }
    shape = state.pod_shape(pod("100m", affinity=far))
    state.add_pod("default/loud", state.pod_shape(pod("100m")), "a")
    assert core.explain(shape).feasible == ["a", "b"]
    state.set_namespace("default", {"noisy": "yes"})
    assert core.explain(shape).feasible == ["b"]
    assert core.schedule(shape).node_name == "b"
    state.set_namespace("default", {})
    assert core.explain(shape).feasible == ["a", "b"]
