"""What the kubelet fleet costs per pod and per heartbeat, apart from the apiserver's work.

The endpoint here answers everything after a fixed delay with one event per request and keeps
nothing but the pods, so nearly all of the measured time is the fleet's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sim.base.objects import Node, Pod
from sim.base.pod_template import ContainerSpec, PodTemplate
from sim.components import facts
from sim.components.container_runtime import ContainerRuntime
from sim.components.image_network import SharedBandwidth
from sim.components.kubelet_fleet import KubeletFleet
from sim.components.kubelet_params import KubeletParams
from sim.components.overlay import Overlay
from sim.components.overlay_params import OverlayParams
from sim.components.ports import FleetWatcher, Request, WatchEvent
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.costs.kubelet import KubeletLawParams
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder


class EchoEndpoint:
    """Answers every request with success after 4 ms."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.request_count = 0
        self.pods: dict[tuple[str, str], Pod] = {}
        self.fleets: dict[tuple[str, str], FleetWatcher] = {}

    def send(self, request: Request) -> None:
        self.request_count += 1
        request.code = 200
        if request.resource == "pods":
            key = (request.namespace, request.name)
            request.result = self.pods[key]
            if request.mutate is not None:
                new = request.mutate(request.result)
                assert isinstance(new, Pod)
                self.pods[key] = request.result = new
        else:
            request.result = request.api_object
        self.engine.call_later(0.004, request.client.receive, request)

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        self.fleets[watcher.name, watcher.resource] = watcher

    def watch(self, client: Any, watcher: Any, then: Any) -> None:
        raise AssertionError("fleets open no single watches")

    def unwatch(self, watcher: Any) -> None:
        raise AssertionError("fleets open no single watches")


def build(node_count: int) -> tuple[Engine, EchoEndpoint, KubeletFleet]:
    engine = Engine(7)
    recorder = Recorder(facts.ALL)
    endpoint = EchoEndpoint(engine)
    overlay = Overlay(
        engine, recorder, endpoint, OverlayParams(), PodNetworkParams(), RemoteNodeParams(),
        node_count,
    )  # fmt: skip
    runtime = ContainerRuntime(engine, ContainerRuntimeParams())
    fleet = KubeletFleet(
        engine, recorder, endpoint, KubeletParams(), KubeletLawParams(), runtime, overlay
    )
    fleet.add_nodes(
        Node(
            name=f"node-{index}", pod_cidr=f"10.{index >> 8}.{index & 255}.0/24", ready="True",
            internal_ip=f"172.16.{index >> 8}.{index & 255}", backend_annotated=True,
        )
        for index in range(node_count)
    )  # fmt: skip
    return engine, endpoint, fleet


def start_pods(engine: Engine, endpoint: EchoEndpoint, fleet: KubeletFleet, count: int) -> None:
    """Deliver ``count`` bound pods at 200 per second, round robin over the nodes."""
    template = PodTemplate(manifest={}, containers=(ContainerSpec(name="c", image="pause"),))
    names = fleet.context.names
    watcher = endpoint.fleets["kubelet", "pods"]
    assert watcher.deliver_own is not None

    def deliver(index: int) -> None:
        node = index % len(names)
        pod = Pod(
            name=f"pod-{index}", namespace="default", uid=index + 1, template=template,
            node_name=names[node], resource_version=index + 1,
        )  # fmt: skip
        endpoint.pods[pod.key] = pod
        event = WatchEvent("ADDED", "pods", pod.key, pod, None, index + 1, engine.now)
        watcher.deliver_own(node, event)  # type: ignore[misc]
        if index + 1 < count:
            engine.call_later(0.005, deliver, index + 1)

    engine.call_later(0.005, deliver, 0)
    engine.run(count * 0.005 + 5.0)


def test_pod_start(benchmark: Any, bench_size: Callable[[int, int], int]) -> None:
    """Observed to Ready: nine requests per pod (three GET + PATCH, three events) and the token."""
    count = bench_size(200, 10_000)

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        engine, endpoint, fleet = build(max(10, count // 50))
        fleet.overlay.start()
        endpoint.watch_fleet(fleet._pod_watcher)  # without heartbeats
        return (engine, endpoint, fleet, count), {}

    done: list[EchoEndpoint] = []

    def work(engine: Engine, endpoint: EchoEndpoint, fleet: KubeletFleet, count: int) -> None:
        start_pods(engine, endpoint, fleet, count)
        done.append(endpoint)

    benchmark.pedantic(work, setup=setup, rounds=bench_size(1, 3))
    endpoint = done[-1]
    assert sum(pod.ready for pod in endpoint.pods.values()) == count
    namespaces_count = max(10, count // 50)
    assert endpoint.request_count == 10 * count + namespaces_count
    benchmark.extra_info["pods"] = count


def test_heartbeats(benchmark: Any, bench_size: Callable[[int, int], int]) -> None:
    """Lease renewals of idle nodes for one minute: six per node, and the statuses that are due."""
    node_count = bench_size(50, 5_000)
    fleets: list[KubeletFleet] = []

    def setup() -> tuple[tuple[Engine], dict[str, Any]]:
        engine, _, fleet = build(node_count)
        fleet.start()
        fleets.append(fleet)
        return (engine,), {}

    benchmark.pedantic(lambda engine: engine.run(60.0), setup=setup, rounds=bench_size(1, 3))
    loops = fleets[-1].loops
    assert 5.5 * node_count <= loops.lease_count <= 6.0 * node_count
    assert 0.1 * node_count <= loops.status_count <= 0.4 * node_count


def test_overlay_node_event(benchmark: Any, bench_size: Callable[[int, int], int]) -> None:
    """A joined node reaches the agents of all others: one array operation per node."""
    node_count = bench_size(100, 5_000)
    rounds = bench_size(2, 50)
    engine, _, fleet = build(node_count + rounds)
    overlay = fleet.overlay
    overlay.start()
    times = np.full(node_count + rounds, 1.0)
    events = []
    for index in range(node_count, node_count + rounds):
        overlay._published[index] = False
        overlay.agent_ready[index] = False
        name = overlay.names[index]
        node = Node(name=name, pod_cidr="10.99.0.0/24", backend_annotated=True)
        events.append(WatchEvent("ADDED", "nodes", node.key, node, None, index, 1.0))
    deliveries = iter(events)
    benchmark.pedantic(lambda: overlay._deliver([next(deliveries)], times), rounds=rounds)
    done = rounds - len(list(deliveries))
    assert done == (1 if benchmark.disabled else rounds)
    assert overlay.entry_count == 3 * node_count * done
    assert len(overlay.programmed_seconds(node_count)) == node_count
    assert engine.now == 0.0


def test_shared_registry(benchmark: Any, bench_size: Callable[[int, int], int]) -> None:
    """Transfers of all nodes from one registry: start and end of each is O(log n)."""
    count = bench_size(50, 5_000)

    def work() -> tuple[float, int]:
        engine = Engine(1)
        network = SharedBandwidth(engine, 125e6, 1250e6)
        ends: list[float] = []
        for node in range(count):
            size = 50e6 + 1e3 * node
            engine.call_later(1e-4 * node, lambda item: network.start(*item),
                              (node, size, lambda _: ends.append(engine.now), None))  # fmt: skip
        engine.run(1e7)
        return max(ends), len(ends)

    last, ended = benchmark.pedantic(work, rounds=bench_size(1, 3))
    assert ended == count
    total = sum(50e6 + 1e3 * node for node in range(count))
    assert total / 1250e6 <= last <= total / 1250e6 + 1.0
