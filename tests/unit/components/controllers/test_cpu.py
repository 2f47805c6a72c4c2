"""CPU of the process over a scale-up and a scale-down against the measured CPU of the real one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sim.base.objects import Deployment, LabelSelector
from tests.unit.components.controllers.stand_ins import World, make_template


def simulate(nodes: int, pods: int, deployments: int, high: bool) -> dict[str, float]:
    """CPU seconds per phase, over 15 s (high client QPS) or 25 s, whatever the phase takes."""
    world = World(nodes, high_qps=high, delay_seconds=0.05, controllers=("*", "-node_lifecycle"))
    world.kubelet.start_spread_seconds = 1.0
    world.kubelet.stop_spread_seconds = 0.4
    process = world.host.process("kube-controller-manager")
    spent = {}
    before = process.cpu_seconds
    for index in range(deployments):
        name = f"d{index}"
        world.driver.create(
            Deployment(
                name=name,
                namespace="default",
                replica_count=pods // deployments,
                selector=LabelSelector((("app", name),)),
                template=make_template(name),
            )
        )
    world.run(15.0 if high else 25.0)
    assert len(world.objects("pods")) == pods
    spent["scale_up"] = process.cpu_seconds - before
    before = process.cpu_seconds
    for index in range(deployments):
        world.change("deployments", f"d{index}", replica_count=0)
    world.run(15.0 if high else 25.0)
    assert world.objects("pods") == []
    spent["scale_down"] = process.cpu_seconds - before
    return spent


@pytest.mark.parametrize(
    ("nodes", "pods", "deployments", "high", "low"),
    [(50, 500, 1, True, 0.7), (50, 500, 5, True, 0.7), (100, 1000, 1, True, 0.7),
     (100, 200, 1, False, 0.4)],
)  # fmt: skip
def test_cpu_of_a_density_test(
    shared_dir: Path, nodes: int, pods: int, deployments: int, high: bool, low: float
) -> None:
    with (shared_dir / "groundtruth" / "recipe_density_cpu.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (int(row["nodes"]), int(row["pods"]), int(row["deployments"]))
            == (nodes, pods, deployments)
            and row["qps_profile"] == ("high" if high else "default")
        ]
    assert rows
    spent = simulate(nodes, pods, deployments, high)
    idle = 0.018 * (15.0 if high else 25.0)
    for row in rows:
        heartbeats = (
            0.26e-3 * 0.1 * nodes * float(row["duration_s"])
        )  # no leases in the small model
        predicted = spent[row["phase_op"]] - idle + 0.018 * float(row["duration_s"]) + heartbeats
        assert low <= predicted / float(row["kcm_cpu_s"]) <= 1.3, row
