"""Networks and runtimes that an experiment file can ask for, and who reaches whom at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim.cluster.assemble import build
from sim.cluster.cluster import Cluster
from sim.cluster.params import (
    ClusterParams,
    HostParams,
    KubeletParams,
    NetworkParams,
    NodePoolParams,
    NodesParams,
    OverlayParams,
)
from sim.components import facts
from sim.costs.profile import Profile
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.metrics.derive import Derivation
from sim.metrics.node_join import STEPS, node_join
from sim.workload import operations as ops

BASE = ClusterParams(nodes=NodesParams(pools=(NodePoolParams(count=6),)))
assert BASE.control_plane.host == HostParams()


def run(params: ClusterParams, *work: ops.Operation, seconds: float) -> Cluster:
    engine, recorder = Engine(1), Recorder(facts.ALL)
    cluster = build(params, work, engine, recorder, Profile())
    cluster.start()
    engine.run(seconds)
    assert cluster.check() == []
    return cluster


def rows(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    table = cluster.recorder[name]
    columns = {}
    for column in table.spec.columns:
        values = table.column(column.name).tolist()
        if column.dtype == "text":
            texts = table.categories(column.name)
            values = [texts[code] for code in values]
        columns[column.name] = values
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def with_backend(backend: str) -> ClusterParams:
    overlay = OverlayParams(backend=backend)  # type: ignore[arg-type]
    return replace(BASE, network=NetworkParams(overlay=overlay))


@pytest.mark.parametrize("backend", ["vxlan", "bgp", "cloud-routes"])
def test_a_node_that_joins_is_reached_by_half_99_percent_and_all(backend: str) -> None:
    cluster = run(
        with_backend(backend),
        ops.CreateNodes(count=1, name_prefix="late"),
        ops.Probe(target="node", name="late-0", interval_seconds=0.25, duration_seconds=8.0),
        seconds=12.0,
    )
    found = node_join(cluster.recorder)
    assert found.names == ("late-0",)
    times = dict(zip(STEPS, found.times[0].tolist(), strict=True))
    assert times["agent_started"] < times["programmed_50"] <= times["programmed_99"]
    assert times["programmed_99"] <= times["programmed_100"]
    delay = times["programmed_100"] - times["agent_started"]
    if backend == "cloud-routes":
        assert delay == pytest.approx(Profile().remote_node.cloud_route_seconds)
    else:
        assert delay < 0.1
    looks = rows(cluster, "reachability")
    assert {look["target"] for look in looks} == {"node/late-0"}
    for look in looks:  # from itself always, once it runs at all
        everyone = look["time_seconds"] >= times["programmed_100"] + 0.2
        assert (look["reached_count"] == look["asked_count"]) == everyone
    assert looks[-1]["asked_count"] == 8  # control plane, six workers and the late one
    values = Derivation(cluster.recorder)
    assert len(values.facts["reachability"].column("asked_count")) == len(looks) > 20


def test_bgp_writes_one_entry_where_vxlan_writes_three() -> None:
    counts = {}
    for backend in ("vxlan", "bgp", "cloud-routes"):
        join = ops.CreateNodes(count=1, name_prefix="late")
        counts[backend] = run(with_backend(backend), join, seconds=10.0).overlay.entry_count
    assert counts == {"vxlan": 3 * 2 * 7, "bgp": 2 * 7, "cloud-routes": 0}


def test_dual_stack_gives_nodes_two_ranges_and_pods_two_addresses() -> None:
    params = replace(BASE, network=NetworkParams(pod_cidr_ipv6="fd00:10::/48"))
    cluster = run(
        params,
        ops.CreateNodes(count=1, name_prefix="late"),
        ops.CreateDeployments(count=1, replicas=14, name_prefix="web"),
        seconds=20.0,
    )
    nodes = cluster.etcd.objects("nodes").values()
    assert all(len(node.pod_cidrs) == 2 for node in nodes)  # type: ignore[attr-defined]
    assert len({node.pod_cidrs[1] for node in nodes}) == len(nodes)  # type: ignore[attr-defined]
    ready = [
        row["detail"].split(",")
        for row in rows(cluster, "pod_transitions")
        if row["transition"] == "network_ready" and row["detail"].startswith("10.0.")
        and row["time_seconds"] > 0.0
    ]  # fmt: skip
    assert len(ready) == 14
    assert len({pair[1] for pair in ready}) == 14
    assert all(pair[1].startswith("fd00:10:") for pair in ready)
    assert cluster.overlay.entry_count == 2 * 3 * 2 * 7  # every entry once per family


def test_cri_dockerd_is_slower_and_needs_the_published_multiple_of_cpu() -> None:
    spent, took = {}, {}
    for runtime in ("containerd", "cri-dockerd"):
        params = replace(BASE, kubelet=KubeletParams(container_runtime=runtime))  # type: ignore[arg-type]
        cluster = run(
            params, ops.CreatePods(count=60, rate=ops.Rate(per_second=4.0)), seconds=25.0
        )
        spent[runtime] = sum(cluster.kubelets.context.runtime.cpu_seconds)
        startup = Derivation(cluster.recorder).startup
        assert len(startup) == 60
        took[runtime] = float(np.mean(startup.durations("kubelet_seconds")[0]))
    published = 1.0 / (1.0 - 0.6813)
    assert spent["cri-dockerd"] / spent["containerd"] == pytest.approx(published, rel=0.1)
    assert 1.05 < took["cri-dockerd"] / took["containerd"] < 1.35


def test_a_service_is_reached_from_a_pod_when_its_node_has_the_rules() -> None:
    cluster = run(
        BASE,
        ops.CreatePods(count=1, name_prefix="client"),
        ops.Barrier(stage="ready"),
        ops.Probe(target="service", name="web-0", from_pod="client-0", interval_seconds=0.1,
                  duration_seconds=6.0, background=True),
        ops.Probe(target="service", name="web-0", interval_seconds=0.1, duration_seconds=6.0,
                  background=True),
        ops.CreateDeployments(count=1, replicas=3, service=True, name_prefix="web"),
        ops.Barrier(stage="ready"),
        ops.Probe(target="pod", name="client-0"),
        ops.Probe(target="pod", name="nobody"),
        seconds=20.0,
    )  # fmt: skip
    looks = rows(cluster, "reachability")
    one = [look for look in looks if look["source"] == "pod/default/client-0"]
    everyone = [look for look in looks if look["target"] == "service/default/web-0"
                and look["source"] == "all nodes"]  # fmt: skip
    assert (one[0]["asked_count"], one[0]["reached_count"]) == (1, 0)
    assert (one[-1]["asked_count"], one[-1]["reached_count"]) == (1, 1)
    assert (everyone[0]["reached_count"], everyone[-1]["reached_count"]) == (0, 7)
    programmed = rows(cluster, "network_programming")
    last = max(row["time_seconds"] + row["programmed_seconds_max"] for row in programmed)
    first_full = next(x["time_seconds"] for x in everyone if x["reached_count"] == 7)
    assert first_full <= last + 0.11
    pods = [look for look in looks if look["target"].startswith("pod/")]
    assert [look["reached_count"] for look in pods] == [7, 0]
