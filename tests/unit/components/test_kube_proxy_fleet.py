"""The fleet against the runner's rules and kube-proxy's own counts, one situation at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sim.base.api_object import NEVER
from sim.base.objects import Endpoint, EndpointSlice, Service, ServicePort
from sim.components.facts import ALL
from sim.components.kube_proxy_fleet import KubeProxyFleet, KubeProxyFleetParams
from sim.components.proxy_state import ProxyState, RuleChange
from sim.costs.kube_proxy import KubeProxyParams, SyncLoad
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from tests.support.instant_apiserver import InstantAPIServer

LAW = KubeProxyParams()
DELAY = 0.002


def service(name: str = "web", **fields: Any) -> Service:
    fields.setdefault("ports", (ServicePort("http", 80, "8080"),))
    return Service(name=name, namespace="ns", cluster_ip="10.0.0.1", **fields)


def slice_of(name: str = "web", ready: int = 1, trigger: float = NEVER, **fields: Any) -> Any:
    ends = tuple(
        Endpoint(f"10.1.{index >> 8}.{index & 255}", "", True, True, False, index + 1, "")
        for index in range(ready)
    )
    return EndpointSlice(
        name=f"{name}-a", namespace="ns", service_name=name, endpoints=ends,
        trigger_seconds=trigger, **fields,
    )  # fmt: skip


class World:
    def __init__(self, node_count: int = 3, objects: Any = (), **params: Any) -> None:
        self.engine = Engine(1)
        self.server = InstantAPIServer(self.engine, DELAY)
        self.recorder = Recorder(ALL)
        params.setdefault("jitter", False)
        self.params = KubeProxyFleetParams(**params)
        self.fleet = KubeProxyFleet(
            self.engine, self.recorder, self.server, self.params, LAW, node_count,
            client=self.server.clients.client("system:kube-proxy"),
        )  # fmt: skip
        self.syncs: list[tuple[Any, Any, Any]] = []
        self.fleet.preload(objects)
        for item in objects:
            item.resource_version = 1
            self.server.objects.setdefault(item.resource, {})[item.key] = item
        self.fleet.runners.on_close = lambda nodes, start, done: self.syncs.append(
            (np.arange(self.fleet.runners.capacity)[nodes].tolist(), start, done)
        )
        self.fleet.start()
        self.client = self.server.clients.client("tester")

    def create(self, *items: Any) -> None:
        for item in items:
            self.client.create(item)

    def run(self, until: float) -> None:
        self.engine.run(until)
        assert self.fleet.check() == []

    def times(self, node: int) -> list[tuple[float, float]]:
        found = []
        for nodes, start, done in self.syncs:
            if node in nodes:
                at = nodes.index(node)
                found.append((float(start[at]), float(done[at])))
        return found

    def rows(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        table = self.recorder[name]
        values = []
        for column in columns:
            spec = next(item for item in table.spec.columns if item.name == column)
            data = table.column(column).tolist()
            if spec.dtype == "text":
                names = table.categories(column)
                data = [names[code] for code in data]
            values.append(data)
        return list(zip(*values, strict=True))


def test_the_first_change_runs_at_once_and_the_next_waits_from_the_completion() -> None:
    world = World(objects=[service(), slice_of()])
    world.run(5.0)
    world.client.update(slice_of(ready=2))
    world.run(5.001 + DELAY + 0.001)
    world.engine.run(5.010)
    world.client.update(slice_of(ready=3))
    world.run(5.020)
    world.client.update(slice_of(ready=4))
    world.run(9.0)
    (first, first_done), (second, second_done) = world.times(0)
    assert first == pytest.approx(5.0 + 1.5 * DELAY)
    assert second == pytest.approx(first_done + 1.0)
    one = SyncLoad(services_count=1.0, endpoints_count=2.0, changed_services_count=1.0,
                   changed_endpoints_count=2.0, cleanup_listing=1.0)  # fmt: skip
    assert first_done - first == pytest.approx(float(LAW.sync_seconds(one, "iptables")))
    # Two changes of one Service are emitted once, as it is then.
    both = SyncLoad(services_count=1.0, endpoints_count=4.0, changed_services_count=1.0,
                    changed_endpoints_count=4.0, cleanup_listing=1.0)  # fmt: skip
    assert second_done - second == pytest.approx(float(LAW.sync_seconds(both, "iptables")))


def test_latency_runs_from_the_trigger_and_deletions_are_not_measured() -> None:
    world = World(objects=[service(), slice_of()])
    world.run(5.0)
    world.client.update(slice_of(ready=2, trigger=4.5))
    world.run(8.0)
    world.client.delete("endpointslices", "ns", "web-a")
    world.run(12.0)
    rows = world.rows("network_programming", "time_seconds", "service",
                      "programmed_seconds_max", "node_count")  # fmt: skip
    assert rows == [(4.5, "web", pytest.approx(world.times(0)[0][1] - 4.5), 3)]
    assert len(world.times(0)) == 2
    moments = world.rows("pod_transitions", "pod_uid", "transition")
    assert moments == [(2, "programmed_50"), (2, "programmed_99"), (2, "programmed_100")]


def test_headless_and_external_name_services_cost_no_sync() -> None:
    world = World()
    world.create(service("a", headless=True), slice_of("a"), service("b", type="ExternalName"))
    world.run(5.0)
    assert world.syncs == []
    assert world.fleet.state.service_ports_count == 0


def test_labels_and_repeated_states_cost_no_sync() -> None:
    world = World(objects=[service(), slice_of()])
    world.client.update(service(labels={"a": "b"}))
    world.client.update(slice_of(labels={"a": "b"}, trigger=1.0))
    world.run(5.0)
    assert world.syncs == []


def test_a_terminating_endpoint_costs_a_sync_though_nothing_becomes_ready() -> None:
    start = slice_of(ready=2)
    world = World(objects=[service(), start])
    gone = start.clone()
    gone.endpoints = (start.endpoints[0]._replace(ready=False, terminating=True),
                      start.endpoints[1])  # fmt: skip
    removed = start.clone()
    removed.endpoints = start.endpoints[1:]
    gone.resource_version = removed.resource_version = 0
    world.client.update(gone)
    world.run(5.0)
    world.client.update(removed)
    world.run(9.0)
    assert len(world.times(0)) == 2


@pytest.mark.parametrize(
    ("fields", "emitted_rules", "emitted_chains", "always_rules"),
    [
        ({}, 0, 0, 0),
        ({"session_affinity": "ClientIP"}, 3, 0, 0),
        ({"type": "NodePort"}, 2, 1, 1),
        ({"type": "LoadBalancer"}, 2, 1, 2),
        ({"type": "LoadBalancer", "session_affinity": "ClientIP"}, 5, 1, 2),
    ],
)
def test_kinds_of_services_add_their_rules(
    fields: dict[str, Any], emitted_rules: int, emitted_chains: int, always_rules: int
) -> None:
    """Three endpoints: affinity one rule each; external chain two rules, ports one rule each."""
    state = ProxyState("iptables")
    state.object_changed(service(**fields), service(**fields))
    assert state.totals == [0, 0, 0, 0, 1], "a Service without endpoints rejects"
    found = slice_of(ready=3)
    change = state.object_changed(found, found)
    assert isinstance(change, RuleChange)
    assert change.after == (1, 3, emitted_rules, emitted_chains, always_rules)
    assert state.totals == list(change.after)
    last = state.object_changed(found, None)
    assert last is not None
    assert last.stale_count == 1 + 3 + emitted_chains


def test_two_ports_double_the_endpoints_and_a_lost_port_leaves_its_chains() -> None:
    ports = (ServicePort("a", 80, "80"), ServicePort("b", 81, "81"))
    state = ProxyState("iptables")
    state.object_changed(service(ports=ports), service(ports=ports))
    found = slice_of(ready=4)
    state.object_changed(found, found)
    assert state.totals[:2] == [2, 8]
    change = state.object_changed(service(ports=ports[:1]), service(ports=ports[:1]))
    assert change is not None
    assert change.stale_count == 1 + 4


def test_a_large_cluster_cleans_up_only_once_per_sync_period() -> None:
    world = World(1, objects=[service(), slice_of(ready=1001)])
    for step in range(4):
        world.run(5.0 + 10.0 * step)
        world.client.update(slice_of(ready=1002 + step))
    world.run(60.0)
    durations = [done - start for start, done in world.times(0)]
    listing = LAW.iptables_nf_tables.save_per_endpoint_seconds * 1001
    assert durations[0] - durations[1] == pytest.approx(listing, rel=0.3)
    assert durations[2] == pytest.approx(durations[1], rel=0.01)
    assert durations[3] == pytest.approx(durations[0], rel=0.02) or durations[3] < durations[0]


@pytest.mark.parametrize(("mode", "period"), [("iptables", 100.0), ("nftables", 100.0),
                                              ("ipvs", 30.0)])  # fmt: skip
def test_idle_proxies_sync_by_their_timers(mode: str, period: float) -> None:
    world = World(4, objects=[service(), slice_of()], mode=mode, full_sync_period_seconds=100.0)
    world.run(4.0 * period)
    times = world.times(2)
    assert len(times) == 3
    assert times[0][0] == pytest.approx(period)
    assert times[1][0] == pytest.approx(times[0][1] + period)
    kinds = {kind for (kind,) in world.rows("proxy_syncs", "kind")}
    assert kinds <= {"full", "partial"}
    assert "full" in kinds
    # An idle fleet costs a handful of events, whatever the number of nodes.
    assert world.engine.event_count < 40


def test_running_nodes_are_out_of_step_with_jitter() -> None:
    world = World(200, objects=[service(), slice_of()], jitter=True)
    start = world.fleet.runners.start
    assert 1500.0 < float(start.mean()) < 2100.0
    assert len(np.unique(start)) == 200


def test_a_failed_sync_is_retried_in_full_and_a_change_brings_it_forward() -> None:
    world = World(2, objects=[service(), slice_of()])
    world.run(5.0)
    world.fleet.fail_next(0)
    world.client.update(slice_of(ready=2, trigger=5.0))
    world.run(60.0)
    (_, failed), (retried, done) = world.times(0)
    assert retried == pytest.approx(failed + 30.0)
    assert len(world.times(1)) == 1
    rows = world.rows("network_programming", "programmed_seconds_p50", "programmed_seconds_max")
    assert rows == [(pytest.approx(world.times(1)[0][1] - 5.0), pytest.approx(done - 5.0))]
    world.fleet.fail_next(0)
    world.client.update(slice_of(ready=3))
    world.run(65.0)
    world.client.update(slice_of(ready=4))
    world.run(120.0)
    third, fourth = world.times(0)[2:]
    assert third[0] < fourth[0] < 65.1


def test_a_joining_node_lists_and_then_installs_everything() -> None:
    world = World(2, objects=[service(), slice_of(ready=5)])
    world.run(10.0)
    assert world.fleet.add_node() == 2
    world.run(20.0)
    assert [(verb, resource) for _, user, verb, resource, _ in world.server.requests
            if user == "system:kube-proxy"] == [("list", "services"),
                                                ("list", "endpointslices")]  # fmt: skip
    ((start, done),) = world.times(2)
    assert start == pytest.approx(10.0 + DELAY)
    whole = SyncLoad(services_count=1.0, endpoints_count=5.0, changed_services_count=1.0,
                     changed_endpoints_count=5.0, full=1.0, initial=1.0,
                     cleanup_listing=1.0)  # fmt: skip
    assert done - start == pytest.approx(float(LAW.sync_seconds(whole, "iptables")))
    assert world.rows("proxy_syncs", "kind", "node_count") == [("initial_full", 1)]
    key = ("ns", "web")
    assert not world.fleet.programmed(key, 2, done - 0.001)
    assert world.fleet.programmed(key, 2, done)
    assert world.fleet.programmed(key, 0, 0.0)
    rules, chains = world.fleet.rules_count()
    assert rules.tolist() == [22 + 2 + 15] * 3
    assert chains.tolist() == [17 + 1 + 5] * 3
    # From now on it hears of changes as everyone does.
    world.client.update(slice_of(ready=6, trigger=20.0))
    world.run(25.0)
    assert len(world.times(2)) == 2
    assert world.rows("network_programming", "node_count") == [(3,)]


def test_a_dead_node_hears_nothing_and_holds_nobody_up() -> None:
    world = World(3, objects=[service(), slice_of()])
    world.run(1.0)
    world.fleet.disconnect(1)
    world.client.update(slice_of(ready=2, trigger=1.0))
    world.run(5.0)
    assert world.times(1) == []
    assert world.rows("network_programming", "node_count") == [(2,)]
    assert not world.fleet.programmed(("ns", "web"), 1, 5.0)
    world.fleet.reconnect(1)
    world.run(9.0)
    assert len(world.times(1)) == 1
    assert world.fleet.programmed(("ns", "web"), 1, 9.0)


def test_a_restarted_proxy_with_its_rules_in_place_syncs_in_full_but_not_initially() -> None:
    world = World(2, objects=[service(), slice_of()])
    world.fleet.disconnect(0)
    world.fleet.reconnect(0, rules_lost=False)
    world.run(5.0)
    assert world.rows("proxy_syncs", "kind") == [("full",)]
    assert world.fleet.programmed(("ns", "web"), 0, 0.0), "old rules keep working"


def test_a_service_is_reachable_from_the_end_of_the_sync_that_wrote_it() -> None:
    world = World(2)
    world.create(service(), slice_of())
    world.run(9.0)
    key = ("ns", "web")
    done = world.times(0)[0][1]
    assert not world.fleet.programmed(key, 0, done - 1e-6)
    assert world.fleet.programmed(key, 0, done)
    world.client.delete("endpointslices", "ns", "web-a")
    world.run(20.0)
    gone = world.times(0)[-1][1]
    assert world.fleet.programmed(key, 0, gone - 1e-6)
    assert not world.fleet.programmed(key, 0, gone)
    assert not world.fleet.programmed(("ns", "unknown"), 0, 20.0)


def test_halves_of_the_nodes_on_two_replicas_hear_of_a_change_once_each() -> None:
    """The same event comes from either replica, infinite for the other's nodes."""
    world = World(4, objects=[service(), slice_of()])
    server = world.server
    world.run(5.0)
    (fleet,) = [item for item in server.fleets if item.resource == "endpointslices"]
    deliver = fleet.deliver_all
    assert deliver is not None

    def twice(events: Any, times: Any) -> None:
        now = world.engine.now
        deliver(events, np.array([now, np.inf, now + 0.1, np.inf]))
        world.engine.call_later(
            0.5, lambda _: deliver(events, np.array([np.inf, now + 0.5, np.inf, now + 0.6]))
        )

    fleet.deliver_all = twice
    world.client.update(slice_of(ready=2, trigger=5.0))
    world.run(9.0)
    starts = [world.times(node)[0][0] - 5.003 for node in range(4)]
    assert starts == pytest.approx([0.0, 0.5, 0.1, 0.6])
    assert [len(world.times(node)) for node in range(4)] == [1, 1, 1, 1]
    assert world.fleet.state.endpoints_count == 2
    ((half, most),) = world.rows(
        "network_programming", "programmed_seconds_p50", "programmed_seconds_max"
    )
    assert most - half == pytest.approx(0.5)


def test_more_syncs_than_the_ring_holds_are_still_told_apart() -> None:
    """One slow node has not closed the first change while the others have closed hundreds."""
    world = World(2, objects=[service(), slice_of(ready=5)], mode="ipvs", min_sync_period_seconds=0)
    world.run(1.0)
    runners = world.fleet.runners
    runners.free_at[1] = runners.start[1] = 60.0
    for step in range(400):
        world.run(1.0 + 0.1 * step)
        world.client.update(slice_of(ready=5 + step % 3 + 1, trigger=1.0 + 0.1 * step))
    world.run(70.0)
    assert len(world.times(0)) > 300
    rows = world.rows("network_programming", "time_seconds", "programmed_seconds_p50",
                      "programmed_seconds_max")  # fmt: skip
    assert len(rows) == 400
    fast = dict(world.times(0))
    slow = world.times(1)[0][1]
    for trigger, half, last in rows:
        start = next(at for at in fast if at >= trigger + 1.5 * DELAY - 1e-9)
        assert trigger + half == pytest.approx(fast[start])
        assert trigger + last == pytest.approx(slow)


def test_the_fleet_grows_far_beyond_its_first_size() -> None:
    world = World(2, objects=[service(), slice_of()])
    world.run(1.0)
    assert [world.fleet.add_node() for _ in range(100)] == list(range(2, 102))
    world.client.update(slice_of(ready=2, trigger=1.0))
    world.run(9.0)
    assert len(world.fleet.rules_count()[0]) == 102
    assert set(world.fleet.rules_count()[0].tolist()) == {22.0 + 2.0 + 6.0}
    assert (world.fleet.sync_count[:2] == 1).all()
    assert (world.fleet.sync_count[2:102] >= 1).all()
    assert world.fleet.change_count == world.fleet.published_count == 1
