"""What the monitor of a run notices, at its first look and at later ones."""

from __future__ import annotations

from sim.base.api_object import APIObject
from sim.base.objects import Node, Pod
from sim.base.pod_template import PodTemplate
from sim.cluster.invariants import InvariantMonitor
from sim.components import facts
from sim.components.etcd import Etcd, EtcdParams
from sim.costs.etcd import EtcdLaw, EtcdLawParams
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder

TEMPLATE = PodTemplate(manifest={})


class Rig:
    def __init__(self) -> None:
        engine = Engine(0)
        tables_off = frozenset({"pods", "pod_transitions"})
        recorder = Recorder(facts.ALL, tables_off)
        self.etcd = Etcd(
            engine, recorder, EtcdParams(), EtcdLaw(EtcdLawParams()), [Host(engine, "h", 4)]
        )
        self.monitor = InvariantMonitor(engine, recorder, self.etcd, lambda: 0)

    def store(self, *objects: APIObject) -> None:
        self.etcd.preload(objects)


def pod(name: str, ip: str = "") -> Pod:
    return Pod(name=name, namespace="n", template=TEMPLATE, node_name="node", pod_ip=ip)


def node(pods_allocatable_count: int) -> Node:
    return Node(name="node", pods_allocatable_count=pods_allocatable_count)


def test_a_node_that_shrinks_below_its_pods_is_noticed_though_these_are_the_same() -> None:
    rig = Rig()
    rig.store(node(2), pod("a"), pod("b"))
    assert rig.monitor.check() == []
    rig.store(node(3))
    assert rig.monitor.check() == []
    rig.store(node(1))
    assert rig.monitor.check() == ["capacity: node node holds 2 pods of 1"]
    assert rig.monitor.check() == ["capacity: node node holds 2 pods of 1"]


def test_one_pod_too_many_is_noticed_though_the_node_is_the_same() -> None:
    rig = Rig()
    rig.store(node(2), pod("a"), pod("b"))
    assert rig.monitor.check() == []
    rig.store(pod("c"))
    assert rig.monitor.check() == ["capacity: node node holds 3 pods of 2"]


def test_an_address_of_two_pods_and_a_revision_of_the_future_are_noticed() -> None:
    rig = Rig()
    rig.store(node(9), pod("a", "10.0.0.1"), pod("b", "10.0.0.2"))
    assert rig.monitor.check() == []
    late = pod("c", "10.0.0.1")
    rig.store(late)
    late.resource_version = 99
    assert rig.monitor.check() == [
        "revisions: 1 pods have one that etcd never gave: c",
        "addresses: 10.0.0.1 belongs to n/a and to n/c",
    ]
