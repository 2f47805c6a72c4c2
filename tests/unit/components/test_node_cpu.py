"""Cores of the nodes: what pods, pod operations and kube-proxy cost each other."""

from __future__ import annotations

import numpy as np
import pytest

from sim.base.objects import Node
from sim.components.container_runtime import ContainerRuntime
from sim.components.node_cpu import NodeCPUs, node_millicores
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.engine.engine import Engine

RATIO = ContainerRuntimeParams().cpu_per_wall_ratio


def node(cores: int) -> Node:
    return Node(name="n", manifest={"status": {"capacity": {"cpu": str(cores)}}})


def made(cores: int = 2, usage: float = 0.5) -> NodeCPUs:
    cpus = NodeCPUs(RATIO, usage)
    for _ in range(3):
        cpus.add_node(node(cores))
    return cpus


def test_cores_come_from_the_capacity_of_the_machine() -> None:
    assert node_millicores(node(8)) == 8000.0
    assert node_millicores(Node(name="n", cpu_allocatable_millicores=1500)) == 1500.0
    assert node_millicores(Node(name="n")) > 1e9


def test_nothing_is_stretched_while_there_are_cores_enough() -> None:
    cpus = made()
    cpus.pod_runs(1, 1000)
    cpus.operation_begins(1)
    assert cpus.sync_stretch(slice(0, 3)).tolist() == [1.0, 1.0, 1.0]
    cpus.sync_runs(slice(0, 3), np.zeros(3), np.full(3, 2.0))
    assert cpus.call_stretch(1, 1.0) == 1.0
    assert cpus.saturated_count() == 0


def test_a_sync_shares_the_cores_with_pods_and_operations() -> None:
    cpus = made()
    cpus.pod_runs(2, 5000)  # half of it: 2.5 cores on 2
    assert cpus.sync_stretch(slice(0, 3)).tolist() == [1.0, 1.0, pytest.approx(3.5 / 2.0)]
    cpus.operation_begins(2)
    assert float(cpus.sync_stretch(np.array([2]))[0]) == pytest.approx((3.5 + RATIO) / 2.0)
    assert cpus.saturated_count() == 1
    cpus.operation_ends(2)
    cpus.pod_ends(2, 5000)
    assert float(cpus.sync_stretch(np.array([2]))[0]) == 1.0
    assert cpus.check() == []
    cpus.pod_ends(2, 10)
    assert cpus.check() == ["node CPU: node 2 wants less than no CPU"]


def test_a_call_waits_for_kube_proxy_only_while_it_computes() -> None:
    cpus = made()
    cpus.pod_runs(0, 3000)
    cpus.operation_begins(0)
    cpus.sync_runs(np.array([0]), np.array([10.0]), np.array([10.5]))
    wanted = 1.5 + RATIO
    assert cpus.call_stretch(0, 9.9) == 1.0
    assert cpus.call_stretch(0, 10.2) == pytest.approx((wanted + 1.0) / 2.0, rel=1e-3)
    assert cpus.call_stretch(0, 10.5) == 1.0


def test_operations_do_not_count_twice_against_each_other() -> None:
    """The runtime's own law holds what its operations cost each other."""
    cpus = made()
    for _ in range(40):
        cpus.operation_begins(1)
    assert cpus.call_stretch(1, 0.0) == pytest.approx(1.0)
    cpus.pod_runs(1, 2000)
    own = 40 * RATIO
    assert cpus.call_stretch(1, 0.0) == pytest.approx((own + 1.0) / own, rel=1e-3)


def test_only_the_computing_part_of_a_call_is_stretched() -> None:
    law = ContainerRuntimeParams(jitter_log_sd=0.0)
    cpus = made()
    runtime = ContainerRuntime(Engine(1), law, cpus)
    runtime.add_node()
    runtime.begin(0)
    free = runtime.sandbox_seconds(0)
    cpus.pod_runs(0, 8000)
    slow = runtime.sandbox_seconds(0)
    stretch = (4.0 + RATIO) / 2.0
    assert slow == pytest.approx(free * (1.0 + RATIO * (stretch - 1.0)), rel=1e-3)
    assert runtime.cpu_seconds[0] == pytest.approx(2.0 * RATIO * free)
    runtime.reset(0)
    assert int(cpus.operation_counts[0]) == 0
