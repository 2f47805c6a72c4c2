"""Addresses, CNI costs and the overlay's entries on every node."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.base.objects import Node
from sim.components import facts
from sim.components.overlay import Overlay, PodNetworkCosts
from sim.components.overlay_ipam import AddressPool
from sim.components.overlay_params import OverlayParams
from sim.components.ports import WatchEvent
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from tests.support.instant_apiserver import InstantAPIServer


@pytest.mark.parametrize(("cidr", "size"), [
    ("10.244.7.0/24", 253), ("10.244.7.64/26", 61), ("10.8.0.0/22", 1021), ("fd00:1::/120", 254),
    ("10.0.0.0/30", 1),
])  # fmt: skip
def test_pool_gives_every_address_once(cidr: str, size: int) -> None:
    pool = AddressPool(cidr)
    addresses = [pool.allocate() for _ in range(size)]
    assert len(set(addresses)) == size == pool.size_count
    network = ip_network(cidr)
    inside = [ip_address(address) for address in addresses]
    assert all(address in network for address in inside)
    assert network.network_address not in inside
    if network.version == 4:
        assert network.broadcast_address not in inside
    assert not pool.allocate()
    pool.release(addresses[0])
    assert pool.allocate() == addresses[0]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120),
)
def test_pool_agrees_with_a_list(steps: list[tuple[bool, int]]) -> None:
    """Round robin: the first free address after the last one given, wrapping at the end."""
    pool = AddressPool("10.1.2.0/27")
    hosts = [str(item) for item in ip_network("10.1.2.0/27").hosts()][1:]
    last, taken = -1, []
    for add, pick in steps:
        if add:
            order = hosts[last + 1 :] + hosts[: last + 1]
            free = [address for address in order if address not in taken]
            expected = free[0] if free else ""
            assert pool.allocate() == expected
            if expected:
                last = hosts.index(expected)
                taken.append(expected)
        elif taken:
            address = taken.pop(pick % len(taken))
            pool.release(address)
        assert pool.taken_count == len(taken)


def test_taking_an_address_twice_is_refused() -> None:
    pool = AddressPool("10.1.2.0/24")
    assert pool.take("10.1.2.9")
    assert not pool.take("10.1.2.9")
    assert not pool.take("10.1.3.9")
    assert not pool.take("10.1.2.255")
    assert pool.allocate() == "10.1.2.10"
    with pytest.raises(AssertionError, match="twice"):
        pool.release("10.1.2.11")


def test_cni_tables_equal_the_law() -> None:
    law = PodNetworkParams()
    costs = PodNetworkCosts(law)
    uniforms = (np.arange(0, 1024, 37) + 0.5) / 1024
    for existing in (0, 50, 200):
        for concurrency in (1, 2, 4, 9):
            expected = [
                float(law.cni_add_seconds(float(existing), float(concurrency), uniform))
                for uniform in uniforms.tolist()
            ]
            found = [costs.add_seconds(existing, concurrency, u) for u in uniforms.tolist()]
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    expected = [float(law.cni_del_seconds(uniform)) for uniform in uniforms.tolist()]
    np.testing.assert_allclose([costs.del_seconds(u) for u in uniforms.tolist()], expected)


class Cluster:
    def __init__(self, count: int, capacity: int, backend: str = "vxlan") -> None:
        self.engine = Engine(1)
        self.api = InstantAPIServer(self.engine, 0.004)
        self.overlay = Overlay(
            self.engine, Recorder(facts.ALL), self.api, OverlayParams(backend=backend),
            PodNetworkParams(), RemoteNodeParams(), capacity,
        )  # fmt: skip
        for index in range(count):
            node = Node(name=f"n{index}", uid=index + 1, pod_cidr=f"10.0.{index}.0/24",
                        backend_annotated=True)  # fmt: skip
            self.api.objects.setdefault("nodes", {})[node.key] = node
            self.overlay.add_node(node.name, [node.pod_cidr], running=True)
        self.overlay.start()

    def join(self, index: int) -> None:
        node = Node(name=f"n{index}", uid=index + 1, pod_cidr=f"10.0.{index}.0/24")
        self.api.objects.setdefault("nodes", {})[node.key] = node
        self.overlay.add_node(node.name, [node.pod_cidr], running=False)
        self.overlay.start_agent(index)


@pytest.mark.parametrize(("backend", "entries"), [("vxlan", 3), ("bgp", 1)])
def test_joining_node_costs_every_other_node_its_entries(backend: str, entries: int) -> None:
    cluster = Cluster(200, 202, backend)
    cluster.engine.call_at(5.0, cluster.join, 200)
    cluster.engine.call_at(9.0, cluster.join, 201)
    cluster.engine.run(20.0)
    overlay = cluster.overlay
    # each newcomer writes one entry set per node it finds, and every node it finds one for it
    assert overlay.entry_count == entries * (200 + 200 + 201 + 201)
    law = RemoteNodeParams()
    one = law.bgp_route_seconds if backend == "bgp" else float(law.node_joined_seconds(201))
    arrived = 5.0 + 0.002 + 0.004  # PATCH of the annotation, then delivery
    np.testing.assert_allclose(overlay.programmed_seconds(200)[:200], arrived + one, rtol=1e-6)
    assert not overlay.reachable(3, 200, 5.0)
    assert overlay.reachable(3, 200, 5.1)
    assert overlay.reachable(200, 201, 9.1)
    assert not overlay.reachable(200, 201, 9.0)
    whole = overlay.entry_seconds(200, 199) - 5.0
    expected = 200 * law.bgp_route_seconds if backend == "bgp" else float(
        law.full_programming_seconds(200))  # fmt: skip
    assert whole == pytest.approx(expected)


def test_deleted_node_is_forgotten_everywhere() -> None:
    cluster = Cluster(4, 4)
    client = cluster.api.clients.client("user")
    cluster.engine.call_at(1.0, lambda _: client.delete("nodes", "", "n2"))
    cluster.engine.run(2.0)
    assert not cluster.overlay.reachable(0, 2, 2.0)
    assert cluster.overlay.reachable(0, 1, 2.0)
    assert cluster.overlay.entry_count == 3 * 3


def test_deleted_node_may_come_back() -> None:
    cluster = Cluster(4, 4)
    client = cluster.api.clients.client("user")
    cluster.engine.call_at(1.0, lambda _: client.delete("nodes", "", "n2"))
    again = Node(name="n2", pod_cidr="10.0.9.0/24", backend_annotated=True)
    cluster.engine.call_at(5.0, lambda _: client.create(again))
    cluster.engine.run(9.0)
    assert cluster.overlay.entry_seconds(0, 2) == pytest.approx(5.006, abs=0.001)


def test_agent_programs_one_node_after_the_other() -> None:
    cluster = Cluster(3, 5)
    overlay = cluster.overlay
    events = []
    for index in (3, 4):
        name = f"n{index}"
        overlay.add_node(name, [f"10.0.{index}.0/24"], running=False)
        node = Node(name=name, pod_cidr=f"10.0.{index}.0/24", backend_annotated=True)
        events.append(WatchEvent("ADDED", "nodes", node.key, node, None, index, 1.0))
    overlay._deliver(events, np.full(5, 1.0))
    law = RemoteNodeParams()
    first = 1.0 + float(law.node_joined_seconds(4))
    assert overlay.entry_seconds(0, 3) == pytest.approx(first, rel=1e-9)
    second = first + float(law.node_joined_seconds(5))
    assert overlay.entry_seconds(0, 4) == pytest.approx(second, rel=1e-9)


def test_each_apiserver_replica_serves_its_own_agents() -> None:
    """The fleet's deliveries come once per replica, with infinity for agents of the others."""
    cluster = Cluster(6, 7)
    overlay = cluster.overlay
    overlay.add_node("n6", ["10.0.6.0/24"], running=False)
    node = Node(name="n6", uid=7, pod_cidr="10.0.6.0/24", backend_annotated=True)
    event = WatchEvent("MODIFIED", "nodes", node.key, node, None, 9, 1.0)
    first = np.array([1.0, np.inf, 1.0, np.inf, 1.0, np.inf, np.inf])
    second = np.array([np.inf, 2.0, np.inf, 2.0, np.inf, 2.0, np.inf])
    for times in (first, second, first):
        overlay._deliver([event], times)
    ready = [overlay.entry_seconds(agent, 6) for agent in range(6)]
    assert ready == pytest.approx([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], abs=0.001)
    assert overlay.entry_count == 6 * 3


def test_cloud_routes_cost_the_nodes_nothing() -> None:
    cluster = Cluster(3, 4, "cloud-routes")
    cluster.engine.call_at(5.0, cluster.join, 3)
    cluster.engine.run(10.0)
    assert cluster.overlay.entry_count == 0
    assert not cluster.overlay.reachable(0, 3, 5.5)
    assert cluster.overlay.reachable(0, 3, 6.0)
    assert cluster.overlay.reachable(3, 1, 6.0)


def test_heartbeats_are_old_news_to_agents_and_changes_are_not() -> None:
    cluster = Cluster(3, 4)
    overlay = cluster.overlay
    assert overlay.watcher is not None
    is_old_news = overlay.watcher.is_old_news
    assert is_old_news is not None

    def event(kind: str, name: str) -> WatchEvent:
        node = cluster.api.objects["nodes"]["", name]
        return WatchEvent(kind, "nodes", node.key, node, node, 7, 1.0)

    assert is_old_news([event("MODIFIED", "n0"), event("MODIFIED", "n2")])
    assert not is_old_news([event("MODIFIED", "n0"), event("DELETED", "n1")])
    cluster.engine.call_at(5.0, cluster.join, 3)
    cluster.engine.run(5.01)
    assert not is_old_news([event("MODIFIED", "n3")])  # its entries are on their way
