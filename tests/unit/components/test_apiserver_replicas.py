"""Watches, fleets, several replicas, crashes: nothing is lost, nothing comes out of order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim.base.objects import EndpointSlice, Generic, Lease, Pod
from sim.base.pod_template import PodTemplate
from sim.components import facts
from sim.components.apiserver import APIServer, APIServerParams
from sim.components.client import ClientFactory
from sim.components.endpoint import LoadBalancer
from sim.components.informer import Informer
from sim.components.ports import FleetWatcher, Request, Watcher
from sim.costs.apiserver import APIServerLaw
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from tests.support.instant_storage import InstantStorage

TEMPLATE = PodTemplate(manifest={})


class Cluster:
    def __init__(self, replica_count: int = 1, **params: Any) -> None:
        self.engine = Engine(1)
        self.recorder = Recorder(facts.ALL)
        self.storage = InstantStorage(self.engine)
        self.replicas = [
            APIServer(
                self.engine,
                self.recorder,
                APIServerParams(startup_seconds=2.0, startup_cpu_seconds=0.5, **params),
                APIServerLaw(),
                self.storage,
                Host(self.engine, f"cp-{index}", 2).process("kube-apiserver"),
                index,
            )
            for index in range(replica_count)
        ]
        self.endpoint = LoadBalancer(self.engine, self.replicas)
        for replica in self.replicas:
            replica.start()
        self.clients = ClientFactory(self.engine, self.endpoint)
        self.admin = self.clients.client("admin", groups=("system:masters",))

    def run(self, seconds: float) -> None:
        self.engine.run(self.engine.now + seconds)


def test_an_informer_sees_every_change_once_and_in_order() -> None:
    cluster = Cluster()
    cluster.admin.create(Lease(name="l", namespace="n"))
    cluster.run(1.0)
    informer: Informer[Any] = Informer(cluster.engine, cluster.endpoint, cluster.admin, "leases")
    seen: list[tuple[str, int]] = []
    informer.add_handler(lambda kind, new, old: seen.append((kind, new.transition_count)))
    informer.start()
    left = [50]

    def more(_: Request) -> None:
        if left[0]:
            left[0] -= 1
            cluster.admin.patch("leases", "n", "l", bump, more)

    def bump(lease: Any) -> Any:
        new = lease.clone()
        new.transition_count += 1
        return new

    cluster.admin.patch("leases", "n", "l", bump, more)
    cluster.run(5.0)
    counts = [count for _, count in seen]
    assert counts == sorted(counts)
    assert counts[-1] == 51
    assert seen[0][0] == "ADDED"
    assert {kind for kind, _ in seen[1:]} == {"MODIFIED"}
    assert informer.revision == cluster.storage.revision


def test_informers_of_a_dead_replica_list_again_elsewhere() -> None:
    cluster = Cluster(2)
    informers = []
    for index in range(2):
        client = cluster.clients.client(f"u{index}", groups=("system:masters",))
        made: Informer[Any] = Informer(cluster.engine, cluster.endpoint, client, "configmaps")
        made.start()
        informers.append(made)
    cluster.run(1.0)
    cluster.admin.create(Generic(name="a", namespace="n"))
    cluster.run(1.0)
    cluster.replicas[0].crash()
    for name in ("b", "c"):
        cluster.admin.create(Generic(name=name, namespace="n"))
    cluster.run(5.0)
    assert [sorted(key[1] for key in item.objects) for item in informers] == [list("abc")] * 2
    assert sum(item.relist_count for item in informers) == 1
    assert cluster.replicas[1].fanout.cache("configmaps").watcher_count == 2


def test_a_restarted_replica_fills_its_caches_from_etcd() -> None:
    cluster = Cluster()
    informer: Informer[Any] = Informer(
        cluster.engine, cluster.endpoint, cluster.admin, "configmaps"
    )
    informer.start()
    for index in range(20):
        cluster.admin.create(Generic(name=f"c{index}", namespace="n"))
    cluster.run(1.0)
    cluster.replicas[0].crash()
    codes: list[int] = []
    cluster.admin.get("configmaps", "n", "c1", lambda request: codes.append(request.code))
    cluster.run(0.5)
    assert codes == [503]
    cluster.replicas[0].restart()
    cluster.run(1.0)
    cluster.admin.get("configmaps", "n", "c1", lambda request: codes.append(request.code))
    cluster.run(0.5)
    assert codes == [503, 503]
    cluster.run(60.0)
    assert cluster.replicas[0].fanout.cache("configmaps").objects.keys() == informer.objects.keys()
    cluster.admin.create(Generic(name="late", namespace="n"))
    cluster.run(1.0)
    assert ("n", "late") in informer.objects
    assert len(informer.objects) == 21


def test_requests_in_flight_at_a_crash_are_answered_with_an_error() -> None:
    cluster = Cluster()
    codes: list[int] = []
    for index in range(30):
        new = Generic(name=f"c{index}", namespace="n")
        cluster.admin.create(new, lambda request: codes.append(request.code))
    cluster.run(0.0015)
    cluster.replicas[0].crash()
    cluster.run(5.0)
    assert len(codes) == 30
    assert 503 in codes
    assert cluster.replicas[0].in_flight_count == 0


def own_fleet(cluster: Cluster, seen: list[tuple[int, str, str]], count: int = 3) -> FleetWatcher:
    names = [f"n{index}" for index in range(count)]

    def member_of(item: Any) -> int:
        return names.index(item.node_name) if item.node_name in names else -1

    fleet = FleetWatcher(
        "kubelets",
        "pods",
        "own",
        count,
        member_of=member_of,
        deliver_own=lambda member, event: seen.append((member, event.type, event.key[1])),
    )
    cluster.endpoint.watch_fleet(fleet)
    return fleet


def test_a_fleet_of_kubelets_gets_only_its_own_pods() -> None:
    cluster = Cluster()
    seen: list[tuple[int, str, str]] = []
    own_fleet(cluster, seen)
    cluster.admin.create(Pod(name="p", namespace="n", template=TEMPLATE))
    cluster.run(1.0)
    assert seen == []

    def bind(pod: Any) -> Any:
        new = pod.clone()
        new.node_name = "n1"
        return new

    cluster.admin.patch("pods", "n", "p", bind, subresource="binding")
    cluster.run(1.0)
    cluster.admin.delete("pods", "n", "p", grace_seconds=0.0)
    cluster.run(1.0)
    assert seen == [(1, "ADDED", "p"), (1, "MODIFIED", "p"), (1, "DELETED", "p")]


@pytest.mark.parametrize("replica_count", [1, 2])
def test_a_fleet_misses_nothing_when_its_replica_dies(replica_count: int) -> None:
    cluster = Cluster(replica_count)
    seen: list[tuple[int, str, str]] = []
    own_fleet(cluster, seen, 4)
    for index in range(4):
        cluster.admin.create(
            Pod(name=f"p{index}", namespace="n", template=TEMPLATE, node_name=f"n{index}")
        )
    cluster.run(1.0)
    assert sorted(seen) == [(index, "ADDED", f"p{index}") for index in range(4)]
    seen.clear()
    cluster.replicas[0].crash()
    if replica_count == 1:
        # etcd changes behind the server's back, as another replica would do it
        cluster.replicas[0].restart()
        cluster.run(10.0)
    for index in range(4):
        cluster.admin.delete("pods", "n", f"p{index}", grace_seconds=0.0)
    cluster.run(10.0)
    assert {row for row in seen if row[1] == "DELETED"} == {
        (index, "DELETED", f"p{index}") for index in range(4)
    }


def test_a_fleet_that_sees_everything_is_told_when_each_member_does() -> None:
    cluster = Cluster(2)
    told: list[tuple[int, Any]] = []
    fleet = FleetWatcher(
        "kube-proxy",
        "endpointslices",
        "all",
        500,
        deliver_all=lambda events, times: told.append((len(events), times)),
    )
    cluster.endpoint.watch_fleet(fleet)
    fleet.connected[7] = False
    cluster.admin.create(EndpointSlice(name="s", namespace="n"))
    cluster.run(1.0)
    assert [count for count, _ in told] == [1, 1]
    times = np.minimum(told[0][1], told[1][1])
    assert np.isinf(times[7])
    reached = np.isfinite(times)
    assert reached.sum() == 499
    law = cluster.replicas[0].fanout.law
    spread = np.ptp(times[reached])
    alone = 250 * law.deliver(600) / 2  # 250 members per replica, two cores each
    assert alone * 0.98 <= spread <= alone * 1.52  # the response to the write is a third job


def test_a_watcher_that_does_not_keep_up_is_closed_and_lists_again() -> None:
    cluster = Cluster()
    reasons: list[str] = []
    host = Host(cluster.engine, "client", 1)
    for _ in range(200_000):  # the client's machine is hopelessly busy
        host.process("other").run(1e6, lambda _: None)
    watcher = Watcher("leases", lambda events: None, on_close=reasons.append)
    watcher.process = host.process("client")
    cluster.endpoint.watch(cluster.admin, watcher, lambda objects, revision: None)
    cluster.run(1.0)
    for index in range(20):
        cluster.admin.create(Lease(name=f"l{index}", namespace="n", size_bytes=1_000_000))
        cluster.run(0.05)
    cluster.run(0.2)
    # 4 MiB fill the window (five objects and the one being read), ten fill the channel
    assert reasons == ["too slow"]
    assert cluster.replicas[0].fanout.evicted_count == 1


def test_a_consistent_list_waits_for_a_proof_of_freshness() -> None:
    """Writes to other resources move etcd's revision: a progress request proves the cache fresh."""
    cluster = Cluster()
    cluster.admin.create(Generic(name="c", namespace="n"))
    cluster.run(1.0)
    cluster.admin.create(Lease(name="l", namespace="n"))
    cluster.run(1.0)
    waits: list[float] = []

    def done(request: Request) -> None:
        waits.append(cluster.engine.now - request.submitted_seconds)

    cluster.admin.submit(Request("list", "configmaps", "n", then=done))
    cluster.run(1.0)
    cluster.admin.submit(Request("list", "configmaps", "n", list_mode="cache", then=done))
    cluster.run(1.0)
    cluster.admin.submit(Request("list", "leases", "n", then=done))
    cluster.run(1.0)
    assert 0.001 < waits[0] < 0.01, "asked for at once: nobody has asked for a while"
    assert waits[1] < 0.01
    assert waits[2] < 0.01
    cluster.admin.create(Lease(name="m", namespace="n"))
    cluster.run(0.1)
    cluster.admin.submit(Request("list", "configmaps", "n", then=done))
    cluster.run(0.01)
    cluster.admin.create(Lease(name="k", namespace="n"))
    cluster.run(0.01)
    cluster.admin.submit(Request("list", "configmaps", "n", then=done))
    cluster.run(1.0)
    assert waits[3] < 0.01
    assert 0.05 < waits[4] < 0.11, "at most one proof is asked for in 100 ms"


def test_overload_is_rejected_with_retry_after_and_retried() -> None:
    cluster = Cluster(max_requests_inflight=2, max_mutating_requests_inflight=1)
    client = cluster.clients.client("system:serviceaccount:default:x")
    codes: list[int] = []
    for index in range(2000):
        new = Generic(name=f"c{index}", namespace="n")
        client.create(new, lambda request: codes.append(request.code))
    cluster.run(200.0)
    assert client.rejected_count > 0
    assert len(codes) == 2000
    level = cluster.replicas[0].fairness.levels["workload-low"]
    assert level.seats_in_use == 0
    assert level.rejected_count == client.rejected_count
