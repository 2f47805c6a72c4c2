"""Whole runs: a small cluster, one write and one watch delivery end to end, an idle large cluster.

Everything is on. Each benchmark asserts the work it has done: events, requests, and one digest of
all fact tables that must not differ between rounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from sim.base.api_object import APIObject
from sim.base.objects import Lease
from sim.cluster.assemble import build
from sim.cluster.cluster import Cluster
from sim.cluster.params import ClusterParams, ControlPlaneParams, NodePoolParams, NodesParams
from sim.components import facts
from sim.components.apiserver import APIServer, APIServerParams
from sim.components.client import ClientFactory
from sim.components.endpoint import LoadBalancer
from sim.components.etcd import Etcd, EtcdParams
from sim.components.ports import Request, Watcher, WatchEvent
from sim.costs.etcd import EtcdLaw
from sim.costs.profile import Profile
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from sim.workload.operations import Barrier, CreateDeployments, Operation, Sleep

Size = Callable[[int, int], int]


def make(node_count: int, operations: list[Operation]) -> Cluster:
    """A default cluster of that many nodes."""
    params = ClusterParams(
        control_plane=ControlPlaneParams(),
        nodes=NodesParams(pools=(NodePoolParams(count=node_count),)),
    )
    return build(params, operations, Engine(1), Recorder(facts.ALL), Profile())


def request_count(cluster: Cluster) -> int:
    return sum(replica.request_count for replica in cluster.replicas)


def digest(recorder: Recorder) -> str:
    """One digest of every value of every fact table."""
    found = hashlib.sha256()
    for name, table in recorder.tables.items():
        for column in table.spec.columns:
            found.update(f"{name}.{column.name}".encode())
            found.update(table.column(column.name).tobytes())
            if column.dtype == "text":
                found.update("\0".join(table.categories(column.name)).encode())
    return found.hexdigest()


def run_small(node_count: int, pod_count: int) -> Cluster:
    """Create the pods as Deployments with Services and wait until they are ready."""
    cluster = make(
        node_count,
        [
            CreateDeployments(count=4, replicas=pod_count // 4, service=True, name_prefix="web"),
            Barrier(stage="ready"),
            Sleep(duration_seconds=2.0),
        ],
    )
    cluster.start()
    while not cluster.settled():
        assert cluster.engine.now < 600.0
        cluster.engine.run(cluster.engine.now + 1.0)
    return cluster


def test_whole_small_run(benchmark: Any, bench_size: Size) -> None:
    """200 pods on 20 nodes, from the first request to the last."""
    nodes, pods = bench_size(5, 20), bench_size(20, 200)
    rounds: list[Cluster] = []

    def work() -> Cluster:
        rounds.append(run_small(nodes, pods))
        return rounds[-1]

    benchmark.pedantic(work, rounds=bench_size(2, 3))
    cluster = rounds[-1] if len(rounds) > 1 else work()
    events, requests = cluster.engine.event_count, request_count(cluster)
    running = cluster.recorder["pod_transitions"].mask_equal("transition", "ready").sum()
    assert running >= pods
    assert requests > 8 * pods  # create, bind, statuses, events, endpoints
    assert events > requests
    assert cluster.check() == []
    assert len(rounds) > 1
    assert len({digest(found.recorder) for found in rounds}) == 1
    assert {found.engine.event_count for found in rounds} == {events}
    benchmark.extra_info["events_per_request"] = events / requests
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.min
        benchmark.extra_info["events_per_second"] = events / seconds
        benchmark.extra_info["simulated_seconds_per_second"] = cluster.engine.now / seconds


class Road:
    """Client → LoadBalancer → APIServer → Etcd and back, on hosts that are never contended."""

    def __init__(self, client_count: int) -> None:
        profile = Profile()
        self.engine = Engine(1)
        recorder = Recorder(facts.ALL)
        self.etcd = Etcd(
            self.engine, recorder, EtcdParams(), EtcdLaw(profile.etcd), [Host(self.engine, "e", 0)]
        )
        self.etcd.start()
        self.server = APIServer(
            self.engine,
            recorder,
            APIServerParams(),
            profile.apiserver,
            self.etcd,
            Host(self.engine, "a", 0).process("kube-apiserver"),
        )
        self.server.start()
        self.endpoint = LoadBalancer(self.engine, [self.server])
        clients = ClientFactory(self.engine, self.endpoint)
        self.client = clients.client("system:node:any", groups=("system:nodes",))
        self.watcher_client = clients.client("watcher", groups=("system:masters",))
        self.leases: list[APIObject] = [
            Lease(name=f"l{index}", namespace="n") for index in range(client_count)
        ]
        self.endpoint.preload(self.leases, self.etcd.preload)
        self.left_count = 0
        self.done_count = 0
        self.delivered_count = 0

    def watch(self, watcher_count: int) -> None:
        """Let so many clients watch the leases."""
        for _ in range(watcher_count):
            watcher = Watcher("leases", deliver=self._delivered)
            self.endpoint.watch(self.watcher_client, watcher, lambda found, revision: None)
        self.engine.run(self.engine.now + 1.0)

    def _delivered(self, events: list[WatchEvent]) -> None:
        self.delivered_count += len(events)

    def write(self, count: int) -> None:
        """Renew leases ``count`` times; every client sends the next when the last is answered."""
        self.left_count = count
        for index in range(len(self.leases)):
            self._renew(index)
        self.engine.run(self.engine.now + 3_600.0)

    def _renew(self, index: int) -> None:
        if self.left_count == 0:
            return
        self.left_count -= 1
        new: Any = self.leases[index].clone()
        new.renew_seconds = self.engine.now

        def answered(request: Request) -> None:
            assert request.ok, request.code
            self.leases[index] = request.result
            self.done_count += 1
            if self.done_count % len(self.leases) == 0 and self.left_count == 0:
                self.engine.call_later(1.0, lambda _: self.engine.stop("done"))
            self._renew(index)

        self.client.update(new, answered)


def test_one_write(benchmark: Any, bench_size: Size) -> None:
    """From the client and back, everything on, one at a time and thus without batching."""
    count = bench_size(200, 5_000)
    roads: list[Road] = []

    def prepare() -> tuple[tuple[Road], dict[str, Any]]:
        roads.append(Road(1))
        return (roads[-1],), {}

    benchmark.pedantic(lambda road: road.write(count), setup=prepare, rounds=bench_size(1, 5))
    road = roads[-1]
    assert road.done_count == count
    assert road.etcd.answered_count >= count
    assert road.engine.event_count / count < 12.0
    benchmark.extra_info["events_per_write"] = road.engine.event_count / count
    if benchmark.stats is not None:
        benchmark.extra_info["microseconds_per_write"] = benchmark.stats.stats.min / count * 1e6


def test_one_watch_delivery(benchmark: Any, bench_size: Size) -> None:
    """50 watchers: a write is delivered 50 times."""
    watchers, count = 50, bench_size(20, 1_000)
    roads: list[Road] = []

    def prepare() -> tuple[tuple[Road], dict[str, Any]]:
        roads.append(Road(1))
        roads[-1].watch(watchers)
        return (roads[-1],), {}

    benchmark.pedantic(lambda road: road.write(count), setup=prepare, rounds=bench_size(1, 5))
    road = roads[-1]
    assert road.done_count == count
    assert road.delivered_count == watchers * count
    deliveries = watchers * count
    benchmark.extra_info["events_per_delivery"] = road.engine.event_count / deliveries
    if benchmark.stats is not None:
        benchmark.extra_info["microseconds_per_delivery"] = (
            benchmark.stats.stats.min / deliveries * 1e6
        )


def test_idle_cluster(benchmark: Any, bench_size: Size) -> None:
    """5,000 nodes with nothing to do but heartbeats: simulated seconds per wall second."""
    nodes, seconds = bench_size(50, 5_000), bench_size(30, 60)
    clusters: list[Cluster] = []
    started: list[int] = []

    def prepare() -> tuple[tuple[Cluster], dict[str, Any]]:
        cluster = make(nodes, [Sleep(duration_seconds=1e6)])
        cluster.start()
        cluster.engine.run(15.0)  # informers have listed, every node has renewed once
        clusters.append(cluster)
        started.append(cluster.engine.event_count)
        return (cluster,), {}

    def work(cluster: Cluster) -> None:
        cluster.engine.run(15.0 + seconds)

    benchmark.pedantic(work, setup=prepare, rounds=bench_size(1, 2))
    cluster = clusters[-1]
    leases = cluster.recorder["requests"]
    renewed = leases.mask_equal("resource", "leases") & (leases.column("time_seconds") > 15.0)
    # every 10 s with up to 4 % jitter, nodes and the control plane's own leases
    assert 0.9 * nodes * seconds / 10.0 <= renewed.sum() <= 1.3 * nodes * seconds / 10.0 + seconds
    assert cluster.check() == []
    events = cluster.engine.event_count - started[-1]
    assert events > renewed.sum()
    benchmark.extra_info["events_per_simulated_second"] = events / seconds
    if benchmark.stats is not None:
        benchmark.extra_info["simulated_seconds_per_second"] = seconds / benchmark.stats.stats.min
