"""Cost of one scheduling decision: the array core against its readable twin, and by cluster size.

Every benchmark checks the decisions it timed by a checksum. Tiny sizes run with the tests; the full
sizes with ``--benchmark-only``, the largest clusters with ``-m long``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.scheduling import ClusterState, SchedulingCore, speed_cases
from sim.scheduling.reference import ReferenceScheduler
from sim.scheduling.reference_objects import ReferenceCluster, ReferenceNode
from sim.scheduling.shape import PodShape

Size = Callable[[Any, Any], Any]
TWIN_PODS_COUNT = 5
PODS_PER_ROUND_COUNT = 500


def twin(node_count: int, family: str, profile: Any) -> ReferenceScheduler:
    """The readable twin of ``speed_cases.build``."""
    nodes = [ReferenceNode(speed_cases.node(i, family)) for i in range(node_count)]
    templates = [speed_cases.pod(i, family) for i in range(speed_cases.APP_COUNT)]
    for index in range(node_count * speed_cases.EXISTING_PODS_PER_NODE_COUNT):
        app = (index * 7 + index // node_count) % speed_cases.APP_COUNT
        nodes[index % node_count].pods.append(templates[app])
    return ReferenceScheduler(ReferenceCluster(nodes, {"default": {}}), profile)


def place_with_twin(scheduler: ReferenceScheduler, family: str, count: int) -> list[str | None]:
    """Schedule and bind ``count`` pods, apps in turn."""
    chosen = []
    for index in range(count):
        pod = speed_cases.pod(index, family)
        decision = scheduler.schedule(pod)
        if decision.node_name is not None:
            scheduler.bind(pod, decision.node_name)
        chosen.append(decision.node_name)
    return chosen


def place(
    state: ClusterState, core: SchedulingCore, shapes: list[PodShape], count: int
) -> list[str | None]:
    """The same with the array core."""
    chosen = []
    for index in range(count):
        shape = shapes[index % len(shapes)]
        name = core.schedule(shape).node_name
        if name is not None:
            state.add_pod(f"new-{index}", shape, name)
        chosen.append(name)
    return chosen


@pytest.mark.parametrize("family", speed_cases.FAMILIES)
def test_twin(benchmark: BenchmarkFixture, bench_size: Size, family: str) -> None:
    benchmark.group = f"scheduling twins, {TWIN_PODS_COUNT} pods: {family}"
    node_count = bench_size(30, 300)
    state, core, shapes = speed_cases.build(node_count, family)
    expected = place(state, core, shapes, TWIN_PODS_COUNT)

    def setup() -> tuple[tuple[ReferenceScheduler, str, int], dict[str, Any]]:
        return (twin(node_count, family, core.profile), family, TWIN_PODS_COUNT), {}

    chosen = benchmark.pedantic(place_with_twin, setup=setup, rounds=bench_size(1, 3))
    assert chosen == expected
    assert None not in chosen


@pytest.mark.parametrize("family", speed_cases.FAMILIES)
def test_core(benchmark: BenchmarkFixture, bench_size: Size, family: str) -> None:
    benchmark.group = f"scheduling twins, {TWIN_PODS_COUNT} pods: {family}"
    node_count = bench_size(30, 300)
    core = speed_cases.build(1, family)[1]
    expected = place_with_twin(twin(node_count, family, core.profile), family, TWIN_PODS_COUNT)

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (*speed_cases.build(node_count, family), TWIN_PODS_COUNT), {}

    chosen = benchmark.pedantic(place, setup=setup, rounds=bench_size(1, 5))
    assert chosen == expected


def _time_decisions(
    benchmark: BenchmarkFixture, bench_size: Size, case: tuple[int, str, int, int]
) -> None:
    """Time ``schedule`` and ``add_pod`` of many pods; every pod must find a node."""
    node_count, family, percentage, shape_count = case
    state, core, shapes = speed_cases.build(bench_size(60, node_count), family, percentage)
    shapes = shapes[:shape_count]
    count = bench_size(20, PODS_PER_ROUND_COUNT)
    rounds = 0

    def work() -> int:
        nonlocal rounds
        rounds += 1
        return speed_cases.place(state, core, shapes, count, f"round-{rounds}-")

    benchmark.extra_info["pods"] = count
    before = len(state.pods)
    checksum = benchmark.pedantic(work, rounds=bench_size(1, 5), warmup_rounds=1)
    assert len(state.pods) == before + rounds * count
    benchmark.extra_info["checksum"] = checksum


@pytest.mark.parametrize("percentage", [0, 100])
@pytest.mark.parametrize("family", speed_cases.FAMILIES)
@pytest.mark.parametrize("node_count", [100, 1000, 5000])
def test_decisions(
    benchmark: BenchmarkFixture, bench_size: Size, node_count: int, family: str, percentage: int
) -> None:
    benchmark.group = f"{PODS_PER_ROUND_COUNT} decisions, 50 shapes, {percentage} %: {family}"
    _time_decisions(benchmark, bench_size, (node_count, family, percentage, 50))


@pytest.mark.parametrize("family", ["basic", "spread"])
def test_decisions_of_one_shape(benchmark: BenchmarkFixture, bench_size: Size, family: str) -> None:
    benchmark.group = f"{PODS_PER_ROUND_COUNT} decisions, 1 shape, adaptive: {family}"
    _time_decisions(benchmark, bench_size, (5000, family, 0, 1))


@pytest.mark.long
@pytest.mark.parametrize("percentage", [0, 100])
@pytest.mark.parametrize("family", speed_cases.FAMILIES)
@pytest.mark.parametrize("node_count", [15_000, 100_000])
def test_decisions_in_large_clusters(
    benchmark: BenchmarkFixture, bench_size: Size, node_count: int, family: str, percentage: int
) -> None:
    benchmark.group = f"{PODS_PER_ROUND_COUNT} decisions, 50 shapes, {percentage} %: {family}"
    _time_decisions(benchmark, bench_size, (node_count, family, percentage, 50))


def test_distinct_requests_share_the_rest(benchmark: BenchmarkFixture, bench_size: Size) -> None:
    """One-off pods: every pod has requests of its own; compiling it from its dict is timed too."""
    benchmark.group = "one-off pods"
    state, core, _ = speed_cases.build(bench_size(60, 1200), "basic")
    count = bench_size(20, PODS_PER_ROUND_COUNT)
    made = 0

    def setup() -> tuple[tuple[list[dict[str, Any]]], dict[str, Any]]:
        nonlocal made
        pods = []
        for _ in range(count):
            pod = speed_cases.pod(made, "basic")
            requests = {"cpu": f"{made % 97 + 1}m", "memory": f"{made % 1013 + 1}Mi"}
            pod["spec"]["containers"][0]["resources"] = {"requests": requests}
            pods.append(pod)
            made += 1
        return (pods,), {}

    def work(pods: list[dict[str, Any]]) -> int:
        placed = 0
        for index, pod in enumerate(pods):
            shape = state.pod_shape(pod)
            name = core.schedule(shape).node_name
            if name is not None:
                state.add_pod(f"one-off-{made}-{index}", shape, name)
                placed += 1
        return placed

    assert benchmark.pedantic(work, setup=setup, rounds=bench_size(1, 5)) == count
