"""The runtime component spends exactly what its law says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.components.container_runtime import ContainerRuntime
from sim.costs.container_runtime import containerd_params, docker_params
from sim.engine.engine import Engine


@pytest.mark.parametrize("profile", [containerd_params, docker_params])
@pytest.mark.parametrize("operation_count", [1, 2, 10])
def test_calls_equal_the_law(profile: object, operation_count: int) -> None:
    law = replace(profile(), jitter_log_sd=0.0)  # type: ignore[operator]
    runtime = ContainerRuntime(Engine(1), law)
    runtime.add_node()
    for _ in range(operation_count):
        runtime.begin(0)
    pairs = (
        (runtime.sandbox_seconds, law.run_pod_sandbox_seconds),
        (runtime.create_seconds, law.create_container_seconds),
        (runtime.start_seconds, law.start_container_seconds),
        (runtime.stop_seconds, law.stop_container_seconds),
        (runtime.stop_sandbox_seconds, law.stop_pod_sandbox_seconds),
    )
    spent = 0.0
    for call, expected in pairs:
        seconds = call(0)
        spent += seconds
        assert seconds == pytest.approx(float(expected(float(operation_count))))
    assert runtime.cpu_seconds[0] == pytest.approx(spent * law.cpu_per_wall_ratio)
    assert runtime.relist_seconds(40) == pytest.approx(float(law.relist_seconds(40, 0)))


def test_jitter_has_the_law_s_median_and_spread() -> None:
    """2,000 draws: the median of a log-normal within 4 standard errors (false alarm 6e-5)."""
    law = containerd_params()
    runtime = ContainerRuntime(Engine(1), law)
    runtime.add_node()
    draws = sorted(runtime.sandbox_seconds(0) for _ in range(2000))
    middle = draws[1000] / law.sandbox_create_seconds
    assert abs(middle - 1.0) < 4 * 1.2533 * law.jitter_log_sd / 2000**0.5
    assert draws[1682] / draws[318] == pytest.approx(
        2.718281828 ** (2 * law.jitter_log_sd), rel=0.06
    )
