"""What one API write costs the simulator, with everything on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import simpy

from sim.base.api_object import APIObject
from sim.base.objects import Lease
from sim.components import facts
from sim.components.apiserver import APIServer, APIServerParams
from sim.components.client import ClientFactory
from sim.components.endpoint import LoadBalancer
from sim.components.etcd import Etcd, EtcdParams
from sim.components.ports import Request
from sim.costs.etcd import EtcdLaw
from sim.costs.profile import Profile
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from sim.experiment.run import no_collector

BUDGET_MICROSECONDS = 12.0
REFERENCE_TIMEOUT_MICROSECONDS = 0.65
EVENT_COUNT_MAX = 6.0


def bare_timeout_seconds(count: int = 100_000) -> float:
    """Wall time of one bare SimPy timeout on this machine, right now."""
    environment = simpy.Environment()

    def process() -> Any:
        while True:
            yield environment.timeout(1)

    environment.process(process())
    start = time.perf_counter()
    environment.run(count)
    return (time.perf_counter() - start) / count


def run_writes(client_count: int, write_count: int) -> tuple[Engine, APIServer, list[int]]:
    """Lease updates by clients that each send the next when the last is answered."""
    profile = Profile()
    engine = Engine(1)
    recorder = Recorder(facts.ALL)
    etcd = Etcd(
        engine, recorder, EtcdParams(), EtcdLaw(profile.etcd), [Host(engine, "etcd", 16)]
    )
    etcd.start()
    host = Host(engine, "control-plane", 32)
    server = APIServer(
        engine,
        recorder,
        APIServerParams(),
        profile.apiserver,
        etcd,
        host.process("kube-apiserver"),
    )
    server.start()
    endpoint = LoadBalancer(engine, [server])
    client = ClientFactory(engine, endpoint).client("system:node:any", groups=("system:nodes",))
    lease_count = 20 * client_count  # renewed in turn, as heartbeats are: never stale in the cache
    leases: list[APIObject] = [
        Lease(name=f"l{index}", namespace="kube-node-lease") for index in range(lease_count)
    ]
    endpoint.preload(leases, etcd.preload)
    done = [0]

    def renew(index: int, request: Request | None) -> None:
        if request is not None:
            assert request.ok, request.code
            done[0] += 1
            leases[index] = request.result
            if done[0] >= write_count:
                engine.stop("done")
            index = (index + client_count) % lease_count
        new: Any = leases[index].clone()
        new.renew_seconds = engine.now
        client.update(new, lambda answer: renew(index, answer))

    for index in range(client_count):
        renew(index, None)
    with no_collector():  # as runs do
        engine.run(1e6)
    return engine, server, done


def test_one_write(benchmark: Any, bench_size: Callable[[int, int], int]) -> None:
    count = bench_size(2_000, 20_000)
    engine, server, done = benchmark.pedantic(run_writes, args=(60, count), rounds=3)
    assert done[0] == count
    assert len(server.recorder["requests"]) >= count
    assert engine.event_count / count <= EVENT_COUNT_MAX
    if benchmark.stats is not None and count > 2_000:
        bare = min(bare_timeout_seconds() for _ in range(3))
        each = benchmark.stats.stats.min / count
        allowed = BUDGET_MICROSECONDS * 1e-6 * bare / (REFERENCE_TIMEOUT_MICROSECONDS * 1e-6)
        benchmark.extra_info["budget_share"] = each / allowed
        benchmark.extra_info["events_per_write"] = engine.event_count / count
