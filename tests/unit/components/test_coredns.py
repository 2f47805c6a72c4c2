"""CoreDNS: records follow the watches, load follows the pods, queries are conserved."""

from __future__ import annotations

import pytest

from sim.base.api_object import NEVER
from sim.base.objects import Endpoint, EndpointSlice, Namespace, Service
from sim.components.coredns import RESOLVER_TIMEOUT_SECONDS, CoreDNS, CoreDNSParams
from sim.components.facts import ALL
from sim.costs.dns import CoreDnsParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from tests.support.instant_apiserver import InstantAPIServer

LAW = CoreDnsParams()


class World:
    def __init__(self, pods: int = 0, **params: object) -> None:
        self.engine = Engine(1)
        self.server = InstantAPIServer(self.engine)
        self.recorder = Recorder(ALL)
        self.pods = pods
        self.dns = CoreDNS(
            self.engine, self.recorder, self.server.clients,
            CoreDNSParams(**params), LAW, lambda: self.pods,  # type: ignore[arg-type]
        )  # fmt: skip
        self.client = self.server.clients.client("tester")
        self.dns.start()

    def rows(self, name: str) -> list[float]:
        return list(self.recorder["dns_queries"].column(name))


def _slice(service: str, ready: bool, name: str = "s-1") -> EndpointSlice:
    endpoint = Endpoint("10.0.0.1", "node-0", ready, ready, False, 7, "pod")
    return EndpointSlice(name=name, namespace="ns", service_name=service, endpoints=(endpoint,))


def test_a_service_answers_once_every_replica_has_heard_of_it() -> None:
    world = World()
    world.engine.run(1.0)
    world.client.create(Service(name="web", namespace="ns"))
    assert world.dns.visible_seconds("ns", "web") == NEVER
    world.engine.run(2.0)
    # Half a round trip to the server, one delivery to the replicas.
    assert world.dns.visible_seconds("ns", "web") == pytest.approx(1.003)
    assert world.dns.propagation_seconds("ns", "web") == pytest.approx(0.002)
    world.client.delete("services", "ns", "web")
    world.engine.run(3.0)
    assert world.dns.visible_seconds("ns", "web") == NEVER
    assert world.dns.propagation_seconds("ns", "web") == NEVER
    assert world.dns.check() == []


def test_a_headless_service_needs_a_ready_endpoint() -> None:
    world = World()
    world.engine.run(1.0)
    world.client.create(Namespace(name="ns"))
    world.client.create(Service(name="db", namespace="ns", headless=True))
    world.client.create(_slice("db", ready=False))
    world.engine.run(2.0)
    assert world.dns.visible_seconds("ns", "db") == NEVER
    world.client.update(_slice("db", ready=True))
    world.engine.run(3.0)
    assert world.dns.visible_seconds("ns", "db") == pytest.approx(2.003)
    world.client.delete("endpointslices", "ns", "s-1")
    world.engine.run(4.0)
    assert world.dns.visible_seconds("ns", "db") == NEVER


def test_names_cost_what_the_search_list_says() -> None:
    """Four search domains: an external name is five look-ups of two types, a service's one."""
    dns = World(external_ratio=1.0, host_search_domain_count=1).dns
    assert dns.queries_per_name == 10.0
    assert World(external_ratio=0.0, other_namespace_ratio=0.0).dns.queries_per_name == 2.0
    assert World(external_ratio=0.0, other_namespace_ratio=1.0).dns.queries_per_name == 4.0
    assert World(external_ratio=1.0, ndots=1).dns.queries_per_name == 2.0
    assert World(external_ratio=1.0, autopath=True).dns.queries_per_name == 2.0


def test_capacity_is_the_published_rate_and_autopath_gains_what_was_published() -> None:
    plain = World(replica_count=1, external_ratio=1.0, record_types_count=1).dns
    assert plain.capacity_per_second == pytest.approx(33_669)
    assert plain.capacity_per_second / plain.queries_per_name == pytest.approx(6_733, rel=0.01)
    auto = World(replica_count=1, external_ratio=1.0, record_types_count=1, autopath=True).dns
    assert auto.capacity_per_second / auto.queries_per_name == pytest.approx(31_428)


def test_load_follows_the_running_pods() -> None:
    world = World(pods=1000, names_per_pod_per_second=1.0, external_ratio=0.0,
                  other_namespace_ratio=0.0)  # fmt: skip
    world.engine.run(15.0)
    world.pods = 3000
    world.engine.run(25.0)
    assert world.rows("query_count") == [20_000, 60_000]
    utilization = world.rows("utilization_ratio")
    assert utilization == pytest.approx([2_000 / 67_338, 6_000 / 67_338])
    latency = world.rows("latency_seconds_mean")
    assert LAW.query_cpu_seconds < latency[0] - LAW.network_round_trip_seconds < latency[1]
    # M/M/2 in closed form, half of the load on each replica.
    rho = 1_500.0 * 2.0 * LAW.query_cpu_seconds / 2.0
    expected = LAW.network_round_trip_seconds + LAW.query_cpu_seconds / (1.0 - rho**2)
    assert latency[1] == pytest.approx(expected)


def test_overload_builds_a_backlog_up_to_the_resolvers_timeout_and_is_reported() -> None:
    world = World(pods=100_000, names_per_pod_per_second=1.0, external_ratio=0.0,
                  other_namespace_ratio=0.0)  # fmt: skip
    world.engine.run(61.0)
    dns = world.dns
    capacity = dns.capacity_per_second
    assert world.rows("query_count")[-1] == pytest.approx(capacity * 10.0, abs=1)
    assert dns.pending_count == pytest.approx(capacity * RESOLVER_TIMEOUT_SECONDS)
    assert dns.timed_out_count == pytest.approx(60.0 * (200_000 - capacity) - dns.pending_count)
    assert world.rows("latency_seconds_mean")[-1] == pytest.approx(RESOLVER_TIMEOUT_SECONDS)
    world.pods = 10
    world.engine.run(121.0)
    assert dns.pending_count == 0.0
    assert world.rows("latency_seconds_mean")[-1] < 0.001
    assert world.recorder["faults"].categories("what") == ["saturated", "no longer saturated"]
    assert dns.check() == []


def test_few_external_names_are_nearly_always_cached() -> None:
    """At one query per lifetime and name half of the queries find an answer."""
    world = World(replica_count=1, external_ratio=1.0, ndots=0, external_name_count=30,
                  record_types_count=1)  # fmt: skip
    assert world.dns.forwarded_ratio(0.0) == 1.0
    assert world.dns.forwarded_ratio(30 / LAW.external_cache_seconds) == pytest.approx(0.5)
    assert world.dns.forwarded_ratio(1e6) < 1e-3
