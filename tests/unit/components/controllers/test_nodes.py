"""Node failure, return and disruption; node IPAM; leader election."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

import pytest

from sim.base.objects import Deployment, LabelSelector, Taint
from sim.components.controllers.node_ipam import CIDRSet
from sim.components.controllers.node_lifecycle_params import NodeLifecycleParams
from sim.components.controllers.taint_eviction import stay_seconds, tolerates
from tests.unit.components.controllers.stand_ins import World, make_template

WEB = LabelSelector((("app", "web"),))


class Beating:
    """A world whose live nodes renew their leases every 10 s."""

    def __init__(self, node_count: int, phase_seconds: float = 0.0, **params: object) -> None:
        self.world = World(node_count, **params)
        self.dead: set[str] = set()
        self.names = [f"node-{index}" for index in range(node_count)]
        self.world.engine.call_later(phase_seconds, self._beat)

    def _beat(self, _: None) -> None:
        for name in self.names:
            if name not in self.dead:
                self.world.heartbeat(name)
        self.world.engine.call_later(10.0, self._beat)

    def kill(self, *names: str) -> float:
        self.dead.update(names)
        self.world.kubelet.dead_nodes.update(names)
        return self.world.engine.now

    def until(self, condition: object, limit_seconds: float, step_seconds: float = 0.25) -> float:
        end = self.world.engine.now + limit_seconds
        while self.world.engine.now < end:
            if condition():  # type: ignore[operator]
                return self.world.engine.now
            self.world.run(step_seconds)
        raise AssertionError("did not happen in time")

    def node(self, name: str) -> object:
        return self.world.server.objects["nodes"]["", name]


@pytest.mark.parametrize("wait_seconds", [31.0, 35.0, 39.5])
def test_a_dead_node_is_noticed_and_emptied(wait_seconds: float) -> None:
    """facts a.4: detected U(40, 60) s after the crash, pods evicted 300 s after the taint."""
    beating = Beating(8)
    world = beating.world
    world.driver.create(
        Deployment(name="web", namespace="default", replica_count=16, selector=WEB,
                   template=make_template())
    )  # fmt: skip
    world.run(wait_seconds)
    crashed = beating.kill("node-3")
    on_node = [pod for pod in world.objects("pods") if pod.node_name == "node-3"]
    assert len(on_node) == 2
    seen = beating.until(lambda: beating.node("node-3").ready == "Unknown", 70.0)
    assert 40.0 <= seen - crashed <= 61.0
    began = seen - 1.0
    beating.until(
        lambda: all(not p.ready for p in world.objects("pods") if p.node_name == "node-3"), 3.0
    )
    tainted = beating.until(
        lambda: (
            ("node.kubernetes.io/unreachable", "NoExecute")
            in [(t.key, t.effect) for t in beating.node("node-3").taints]
        ),
        12.0,
    )
    gone = beating.until(
        lambda: all(p.deletion_seconds >= 0 for p in world.objects("pods")
                    if p.node_name == "node-3"), 310.0
    )  # fmt: skip
    assert gone - tainted == pytest.approx(300.0, abs=1.0)
    world.run(5.0)
    alive = [pod for pod in world.objects("pods") if pod.deletion_seconds < 0]
    assert len(alive) == 16
    counts = world.counts(began)
    assert counts["node-controller", "update", "nodes/status"] == 1
    assert counts["node-controller", "update", "pods/status"] == 2
    assert counts["node-controller", "patch", "pods/status"] == 2
    assert counts["node-controller", "delete", "pods"] == 2


def test_a_node_that_returns_loses_its_taints_and_keeps_its_pods() -> None:
    beating = Beating(8)
    world = beating.world
    world.driver.create(
        Deployment(name="web", namespace="default", replica_count=8, selector=WEB,
                   template=make_template())
    )  # fmt: skip
    world.run(30.0)
    beating.kill("node-2")
    beating.until(lambda: len(beating.node("node-2").taints) == 2, 80.0)
    beating.dead.clear()
    world.change("nodes", "node-2", "", ready="True", ready_transition_seconds=world.engine.now,
                 heartbeat_seconds=world.engine.now)  # fmt: skip
    world.run(15.0)
    assert beating.node("node-2").taints == ()
    world.run(320.0)
    assert all(pod.deletion_seconds < 0 for pod in world.objects("pods"))
    reasons = [item.reason for item in world.objects("events")]
    assert "TaintManagerEviction" in reasons


def test_zones_limit_the_rate_of_taints() -> None:
    """0.1 nodes per second and zone, the first at once."""
    beating = Beating(20)
    beating.world.run(30.0)
    beating.kill("node-0", "node-1", "node-2", "node-3")
    times = []
    for count in (1, 2, 3, 4):
        times.append(
            beating.until(
                lambda count=count: sum(
                    any(t.effect == "NoExecute" for t in node.taints)
                    for node in beating.world.objects("nodes")
                ) >= count,
                90.0,
            )
        )  # fmt: skip
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([10.0, 10.0, 10.0], abs=0.5)


def test_nothing_is_evicted_when_every_node_is_lost() -> None:
    """Full disruption of all zones looks like a fault of the control plane itself."""
    beating = Beating(5)
    beating.world.run(30.0)
    beating.kill(*beating.names)
    beating.world.run(200.0)
    nodes = beating.world.objects("nodes")
    assert {node.ready for node in nodes} == {"Unknown"}
    assert not any(t.effect == "NoExecute" for node in nodes for t in node.taints)


def test_small_zones_in_partial_disruption_stop() -> None:
    beating = Beating(10)
    beating.world.run(30.0)
    beating.kill(*beating.names[:6])
    beating.world.run(200.0)
    tainted = sum(
        any(t.effect == "NoExecute" for t in node.taints) for node in beating.world.objects("nodes")
    )
    assert tainted <= 1, "at most the one for which a token was there"


def test_a_node_that_never_reports_has_a_minute() -> None:
    world = World(2, node_lifecycle=NodeLifecycleParams())
    world.add_node("mute", ready="Unknown", ready_transition_seconds=-1.0)
    world.run(55.0)
    assert not any(node.ready_reason for node in world.objects("nodes") if node.name == "mute")
    world.run(15.0)
    (mute,) = [node for node in world.objects("nodes") if node.name == "mute"]
    assert mute.ready_reason == "NodeStatusUnknown"


@pytest.mark.parametrize(
    ("toleration", "matches"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "a", "value": "1"}, True),
        ({"key": "a", "value": "2"}, False),
        ({"key": "b", "operator": "Exists"}, False),
        ({"key": "a", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "a", "operator": "Exists", "effect": "NoExecute"}, True),
    ],
)
def test_tolerations(toleration: dict[str, str], matches: bool) -> None:
    assert tolerates(toleration, Taint("a", "1", "NoExecute")) == matches


def test_the_shortest_toleration_counts() -> None:
    from sim.base.objects import Pod

    taints = [Taint("a", "", "NoExecute"), Taint("b", "", "NoExecute")]

    def stay(*tolerations: dict[str, object]) -> float:
        template = make_template(tolerations=tolerations)
        return stay_seconds(Pod(name="p", template=template), taints)

    forever = {"operator": "Exists"}
    assert stay() == 0.0
    assert stay(forever) == float("inf")
    assert stay({"key": "a", "operator": "Exists", "tolerationSeconds": 60}) == 0.0
    assert stay(forever, {"key": "b", "operator": "Exists", "tolerationSeconds": 60}) == 60.0


def test_cidrs_are_disjoint_and_reused_only_after_release() -> None:
    cidrs = CIDRSet("10.0.0.0/20", 24)
    made = [cidrs.allocate() for _ in range(16)]
    networks = [ipaddress.ip_network(item) for item in made]
    assert len(set(networks)) == 16
    assert all(item.subnet_of(ipaddress.ip_network("10.0.0.0/20")) for item in networks)
    assert cidrs.allocate() == ""
    cidrs.release(made[5])
    assert cidrs.allocate() == made[5]
    cidrs.release(made[2])
    cidrs.occupy(made[2])
    assert cidrs.allocate() == ""
    with pytest.raises(ValueError):
        CIDRSet("10.0.0.0/28", 24)


def test_an_exhausted_cluster_cidr_is_reported_and_retried() -> None:
    world = World(3, cluster_cidr="10.0.0.0/23")
    without = [node.name for node in world.objects("nodes") if not node.pod_cidr]
    assert len(without) == 1
    assert [item.involved_name for item in world.objects("events")
            if item.reason == "CIDRNotAvailable"] == without  # fmt: skip
    world.driver.delete("nodes", "", "node-0" if without != ["node-0"] else "node-1")
    world.run(60.0)
    assert all(node.pod_cidr for node in world.objects("nodes"))


def test_the_ttl_annotation_follows_the_size_of_the_cluster() -> None:
    world = World(101, controllers=("node_ttl",))
    values = [node.annotations["node.alpha.kubernetes.io/ttl"] for node in world.objects("nodes")]
    assert sorted(set(values)) in (["0", "15"], ["15"])
    assert world.counts(0.0)["ttl-controller", "patch", "nodes"] == 101


def test_another_replica_takes_over_after_the_lease_has_run_out() -> None:
    from sim.components.controller_manager import ControllerManager, ControllerManagerParams
    from sim.costs.controllers import ControllerManagerLaw

    world = World(3, controllers=("*", "-node_lifecycle"))
    second = ControllerManager(
        world.engine, world.recorder, world.server.clients,
        world.host.process("kube-controller-manager-1"),
        ControllerManagerParams(), ControllerManagerLaw(), name="kube-controller-manager-1",
    )  # fmt: skip
    second.start()
    world.run(30.0)
    assert world.manager.leading
    assert not second.leading
    renewals = sum(
        1 for seconds, user, verb, resource, _ in world.server.requests
        if resource == "leases" and verb == "update" and seconds > world.engine.now - 20.0
    )  # fmt: skip
    assert renewals == 10
    died = world.engine.now
    world.manager.stop()
    world.driver.create(
        Deployment(name="web", namespace="default", replica_count=3, selector=WEB,
                   template=make_template())
    )  # fmt: skip
    while not second.leading and world.engine.now < died + 60.0:
        world.run(0.1)
    assert 13.0 <= world.engine.now - died <= 21.5, "15 s lease, tries 2 to 4.4 s apart"
    world.run(5.0)
    assert sum(pod.ready for pod in world.objects("pods")) == 3
    (lease,) = world.objects("leases")
    assert (lease.holder, lease.transition_count) == ("kube-controller-manager-1", 1)


def test_a_new_leader_generates_other_names() -> None:
    world = World(3, controllers=("*", "-node_lifecycle"))
    world.driver.create(
        Deployment(name="web", namespace="default", replica_count=6, selector=WEB,
                   template=make_template())
    )  # fmt: skip
    world.run(3.0)
    before = {pod.name for pod in world.objects("pods")}
    world.manager.stop()
    world.manager.start()
    world.run(20.0)
    world.change("deployments", "web", replica_count=12)
    world.run(3.0)
    pods = world.objects("pods")
    assert len(pods) == 12
    assert before < {pod.name for pod in pods}
    refused = [key for key in world.counts(0.0) if key[1:] == ("create", "pods 409")]
    assert refused == []


def test_pods_of_a_removed_node_are_collected_after_the_quarantine() -> None:
    world = World(3, controllers=("*", "-node_lifecycle"))
    world.driver.create(
        Deployment(name="web", namespace="default", replica_count=3, selector=WEB,
                   template=make_template())
    )  # fmt: skip
    world.run(3.0)
    world.kubelet.dead_nodes.add("node-1")
    world.driver.delete("nodes", "", "node-1")
    world.run(35.0)
    assert any(pod.node_name == "node-1" for pod in world.objects("pods"))
    world.run(35.0)
    assert not any(pod.node_name == "node-1" for pod in world.objects("pods"))
    assert sum(pod.ready for pod in world.objects("pods")) == 3
