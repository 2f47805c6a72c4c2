"""Mixed families end to end: no pod lost, no node over its capacity, no taint ignored."""

from __future__ import annotations

from collections import Counter

import pytest

from sim.scheduling import ClusterState, SchedulerConfiguration, SchedulingCore, speed_cases

FAMILIES = ("basic", "taints_nodeaffinity", "spread", "preferred_antiaffinity")


@pytest.mark.parametrize(
    ("node_count", "pod_count"), [(300, 1200), pytest.param(15_000, 30_000, marks=pytest.mark.long)]
)
def test_every_pod_finds_a_node_within_capacity(node_count: int, pod_count: int) -> None:
    state = ClusterState()
    state.set_namespace("default")
    for index in range(node_count):
        state.add_node(speed_cases.node(index, "taints_nodeaffinity"))
    core = SchedulingCore(state, SchedulerConfiguration.from_dict({}).profiles[0])
    templates = [
        speed_cases.pod(app, family) for app in range(speed_cases.APP_COUNT) for family in FAMILIES
    ]
    placed: Counter[str] = Counter()
    for index in range(pod_count):
        template = templates[index % len(templates)]
        decision = core.schedule(state.pod_shape(template))
        assert decision.node_name is not None
        placed[decision.node_name] += 1
        state.add_pod(f"default/{index}", state.pod_shape(template), decision.node_name)
    for node in state:
        assert len(node.pods) == placed[node.name] == node.used[3]
        assert all(u <= a for u, a in zip(node.used[:4], node.allocatable[:4], strict=True))
        # 100m and 256Mi each, every pod counted once.
        assert node.used[:2] == [100 * placed[node.name], 256 * 2**20 * placed[node.name]]
        assert not any(t.effect == "NoSchedule" for t in node.taints) or not node.pods
    assert placed.total() == pod_count
