"""The kubelet fleet and the readable kubelet tell the same story of every pod.

Both get the same pods at the same moments on a small cluster, with constant laws. Compared are all
rows of the pods' life, all requests at the apiserver and the final objects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.base.objects import Node, Pod
from sim.base.pod_template import ContainerSpec, PodTemplate, ProbeSpec
from sim.components import facts
from sim.components.container_runtime import ContainerRuntime
from sim.components.kubelet_fleet import KubeletFleet, draw_phases
from sim.components.kubelet_params import KubeletParams
from sim.components.kubelet_reference import ReferenceKubelet
from sim.components.overlay import Overlay
from sim.components.overlay_params import OverlayParams
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.costs.kubelet import KubeletLawParams
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams, StepLaw
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from tests.support.instant_apiserver import InstantAPIServer

NODE_COUNT = 3
HORIZON_SECONDS = 40.0

PROBE = ProbeSpec(period_seconds=2.0)
LATE_PROBE = ProbeSpec(initial_delay_seconds=1.5, period_seconds=1.0, success_threshold_count=2)
SHAPES: tuple[dict[str, Any], ...] = (
    {"containers": (ContainerSpec(name="a"),)},
    {"containers": (ContainerSpec(name="a"), ContainerSpec(name="b"))},
    {
        "containers": (
            ContainerSpec(name="init", is_init=True, run_seconds=0.7),
            ContainerSpec(name="side", is_init=True, is_sidecar=True),
            ContainerSpec(name="main"),
        )
    },
    {"containers": (ContainerSpec(name="a", readiness_probe=PROBE),)},
    {"containers": (ContainerSpec(name="a", readiness_probe=LATE_PROBE), ContainerSpec(name="b"))},
    {"containers": (ContainerSpec(name="job", run_seconds=1.3),), "restart_policy": "Never"},
    {
        "containers": (
            ContainerSpec(name="job", run_seconds=0.2),
            ContainerSpec(name="longer", run_seconds=2.9),
        ),
        "restart_policy": "OnFailure",
    },
    {"containers": (ContainerSpec(name="a"),), "host_network": True},
    {
        "containers": (ContainerSpec(name="a"),),
        "service_account_token": False,
        "volume_count": 0,
        "stop_seconds": 3.0,
        "termination_grace_period_seconds": 2.0,
    },
    {"containers": (ContainerSpec(name="a"),), "service_account_token": False, "volume_count": 3},
)


def flat(median_seconds: float) -> StepLaw:
    """A step that always takes the same time."""
    return StepLaw(
        median_seconds=median_seconds, lowest_ratio=1.0, q90_ratio=1.0, q99_ratio=1.0,
        contended_q90_ratio=1.0, contended_q99_ratio=1.0, median_per_pod_seconds=1e-5,
    )  # fmt: skip


# A listing that takes a while, so that inspections have to wait for one.
RUNTIME_LAW = replace(
    ContainerRuntimeParams(),
    jitter_log_sd=0.0,
    relist_per_pod_seconds=0.0,
    relist_base_seconds=0.17,
)
NETWORK_LAW = PodNetworkParams(
    netns_create=flat(0.0006), ipam_allocate=flat(0.0004), veth_create_move=flat(0.0006),
    pod_addr_up_route=flat(0.0002), host_bridge_attach_up=flat(0.0003), total_shape=flat(1.0),
    veth_delete=flat(0.03), netns_delete=flat(0.0002),
)  # fmt: skip


def nodes() -> list[Node]:
    return [
        Node(
            name=f"node-{index}", uid=1000 + index, pod_cidr=f"10.244.{index}.0/26", ready="True",
            internal_ip=f"172.16.0.{index + 1}", backend_annotated=True,
        )
        for index in range(NODE_COUNT)
    ]  # fmt: skip


Plan = list[tuple[float, int, int, float]]
"""Pods: (creation in seconds, shape, node, lifetime in seconds or -1)."""


def run(plan: Plan, params: KubeletParams, *, fleet: bool) -> dict[str, Any]:
    engine = Engine(3)
    recorder = Recorder(facts.ALL)
    api = InstantAPIServer(engine, 0.004)
    for node in nodes():
        api.objects.setdefault("nodes", {})[node.key] = node
    problems: list[str] = []
    if fleet:
        overlay = Overlay(
            engine, recorder, api, OverlayParams(), NETWORK_LAW, RemoteNodeParams(), NODE_COUNT
        )
        runtime = ContainerRuntime(engine, RUNTIME_LAW)
        kubelets = KubeletFleet(engine, recorder, api, params, KubeletLawParams(), runtime, overlay)
        kubelets.add_nodes(nodes())
        kubelets.start()
    else:
        phases = draw_phases(engine, NODE_COUNT)
        for index, node in enumerate(nodes()):
            ReferenceKubelet(
                engine, recorder, api, params, KubeletLawParams(), RUNTIME_LAW, NETWORK_LAW, node,
                tuple(phases[:3, index].tolist()),
            ).start()  # fmt: skip
    templates = [PodTemplate(manifest={}, **shape) for shape in SHAPES]
    user = api.clients.client("user")

    def create(argument: tuple[int, tuple[float, int, int, float]]) -> None:
        number, (_, shape, node, life) = argument
        name = f"pod-{number}"
        user.create(
            Pod(
                name=name, namespace="default", template=templates[shape], uid=number + 1,
                node_name=f"node-{node}",
            )
        )  # fmt: skip
        if life >= 0.0:
            engine.call_later(life, lambda _: user.delete("pods", "default", name))

    for number, item in enumerate(plan):
        engine.call_at(item[0], create, (number, item))
    engine.run(HORIZON_SECONDS)
    if fleet:
        problems = kubelets.check()
    table = recorder["pod_transitions"]
    kinds, details = table.categories("transition"), table.categories("detail")
    rows = sorted(
        (int(uid), round(float(time), 6), kinds[kind], details[detail])
        for time, uid, kind, detail in zip(
            table.column("time_seconds"), table.column("pod_uid"), table.column("transition"),
            table.column("detail"), strict=True,
        )
    )  # fmt: skip
    requests = sorted(
        (round(time, 6), user, verb, resource, name)
        for time, user, verb, resource, name in api.requests
        if resource not in {"leases", "nodes/status"}
    )
    pods = {
        pod.name: (pod.phase, pod.ready, pod.pod_ip, pod.ready_container_count, pod.reason)
        for pod in api.objects.get("pods", {}).values()
        if isinstance(pod, Pod)
    }
    return {"rows": rows, "requests": requests, "pods": pods, "problems": problems}


def assert_equal(plan: Plan, params: KubeletParams) -> None:
    ours = run(plan, params, fleet=True)
    reference = run(plan, params, fleet=False)
    assert ours["problems"] == []
    assert ours["rows"] == reference["rows"]
    assert ours["requests"] == reference["requests"]
    assert ours["pods"] == reference["pods"]
    assert len({uid for uid, *_ in ours["rows"]}) == len(plan)


# Moments are odd multiples of a few microseconds, so that hardly any two things happen at once.
moments = st.integers(0, 999_983).map(lambda number: 0.2 + number * 7.0e-6)
lives = st.one_of(
    st.just(-1.0), st.integers(1, 99_991).map(lambda number: number * 61.0e-6 + 1.3e-7)
)
plans = st.lists(
    st.tuples(moments, st.integers(0, len(SHAPES) - 1), st.integers(0, NODE_COUNT - 1), lives),
    min_size=1,
    max_size=12,
    unique_by=lambda item: item[0],
)


@given(plan=plans, on_demand=st.booleans(), sandbox_status=st.booleans())
@settings(max_examples=40)
def test_random_pods(plan: Plan, on_demand: bool, sandbox_status: bool) -> None:
    params = KubeletParams(pleg_on_demand_relist=on_demand, sandbox_ready_status=sandbox_status)
    assert_equal(plan, params)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_each_shape(shape: int) -> None:
    assert_equal([(0.25, shape, 0, 9.00017), (0.3331, shape, 0, -1.0)], KubeletParams())


def test_slow_clients() -> None:
    """Small buckets: statuses coalesce and everything waits for tokens."""
    plan = [
        (0.2 + 0.0131 * number + 7.3e-5 * number**2, (0, 1, 3, 4, 5)[number % 5], number % 2, -1.0)
        for number in range(30)
    ]
    params = KubeletParams(
        kube_api_qps=7.31, kube_api_burst=9, event_record_qps=5.17, event_burst=4
    )
    assert_equal(plan, params)
