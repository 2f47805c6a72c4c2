"""What one scheduling attempt of the component costs in wall time, beside the decision itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sim.components.scheduler import SchedulerParams
from tests.unit.components.scheduler_rig import Rig

pytest.importorskip("pytest_benchmark")


@pytest.mark.benchmark(group="scheduler component")
@pytest.mark.parametrize("nodes", [100, 1000])
def test_pods_through_queue_cycle_and_binding(
    nodes: int, benchmark: Callable[..., object], bench_size: Callable[[int, int], int]
) -> None:
    pods = bench_size(50, 1000)

    def run() -> Rig:
        rig = Rig(
            params=SchedulerParams(
                kube_api_qps=1e6, kube_api_burst=1_000_000, leader_elect=False
            )
        )
        for index in range(nodes):
            rig.node(f"n{index}")
        for index in range(pods):
            rig.pod(f"p{index}")
        rig.start()
        while rig.scheduler.bound_count < pods:
            rig.run(0.5)
        return rig

    rig = benchmark(run)
    assert isinstance(rig, Rig)
    assert rig.scheduler.bound_count == pods
    assert len(rig.attempts()) == pods
    assert len(rig.scheduler.state.pods) == pods
