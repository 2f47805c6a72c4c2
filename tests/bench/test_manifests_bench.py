"""How fast manifests become objects: 1,213 nodes and 7,064 pods of the real trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim.base.objects import Node, Pod
from sim.components import facts
from sim.components.client import ClientFactory
from sim.components.ports import Request
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.workload.arrivals import Rate
from sim.workload.driver import WorkloadDriver
from sim.workload.manifests import ObjectReader, load_manifests
from sim.workload.operations import CreatePods
from sim.workload.pod_templates import PodTemplates

Pick = Callable[[Any, Any], Any]
TOTALS = {100: (100, 1067), 1200: (1213, 7064)}


@pytest.mark.benchmark(group="input")
def test_convert_manifests(benchmark: Any, bench_size: Pick, shared_dir: Path) -> None:
    """Checked, defaulted, interned; the files are parsed beforehand."""
    size = bench_size(100, 1200)
    folder = shared_dir / "data" / "k8s-sims"
    manifests = load_manifests(folder / f"nodes-{size}.yaml", folder / f"pods-{size}.yaml")

    def convert() -> tuple[int, int]:
        objects = ObjectReader(PodTemplates()).read(manifests)
        return (
            sum(isinstance(item, Node) for item in objects),
            sum(isinstance(item, Pod) for item in objects),
        )

    assert benchmark(convert) == TOTALS[size]


class _Endpoint:
    """Answers every request after a millisecond, at the cost of one event."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.count = 0

    def send(self, request: Request) -> None:
        self.count += 1
        request.code = 201
        request.result = request.api_object
        self._engine.call_later(0.001, request.client.receive, request)

    def watch(self, *_: object) -> None:
        """Nothing ever happens."""


@pytest.mark.benchmark(group="workload")
def test_create_pods_at_a_rate(benchmark: Any, bench_size: Pick) -> None:
    """The driver's own cost per pod: pacing, object, request, answer; nothing behind it."""
    count = bench_size(100, 20_000)

    def create() -> tuple[bool, int]:
        engine = Engine(1)
        endpoint: Any = _Endpoint(engine)
        operation = CreatePods(count=count, rate=Rate(per_second=100.0))
        nobody: Any = None
        reader = ObjectReader(PodTemplates())
        clients = ClientFactory(engine, endpoint)
        driver = WorkloadDriver(engine, Recorder(facts.ALL), clients, [operation], reader, nobody)
        driver.start()
        engine.run(1e9)
        return driver.done, endpoint.count

    assert benchmark(create) == (True, count)
