"""Wall time of etcd per write, apart from its clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sim.base.objects import Generic
from sim.components.etcd import Etcd, EtcdParams
from sim.components.facts import ETCD_BACKEND_COMMITS, ETCD_COMMITS, FAULTS
from sim.components.ports import Write
from sim.costs.etcd import EtcdLaw
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder


def drive(member_count: int, client_count: int, write_count: int) -> tuple[Etcd, Engine]:
    """Closed-loop writers that spend nothing themselves."""
    engine = Engine(1)
    recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
    hosts = [Host(engine, f"m{i}", 4) for i in range(member_count)]
    etcd = Etcd(engine, recorder, EtcdParams(member_count=member_count), EtcdLaw(), hosts)
    etcd.start()
    value = Generic(name="x", namespace="a", size_bytes=1000)
    left = [write_count]

    def again(write: Write) -> None:
        if left[0] > 0:
            left[0] -= 1
            etcd.txn(Write("configmaps", write.key, -1, value, 1000, again))

    for index in range(client_count):
        left[0] -= 1
        etcd.txn(Write("configmaps", ("a", str(index)), -1, value, 1000, again))
    engine.run(1e6)
    return etcd, engine


@pytest.mark.parametrize(("members", "clients"), [(1, 1), (1, 16), (1, 64), (3, 16)])
def test_write(
    benchmark: Any, bench_size: Callable[[int, int], int], members: int, clients: int
) -> None:
    writes = bench_size(500, 20_000)
    etcd, engine = benchmark.pedantic(
        drive, args=(members, clients, writes), rounds=bench_size(1, 5)
    )
    assert etcd.answered_count == writes
    assert etcd.store.revision == writes + 1
    assert etcd.check() == []
    if clients >= 16 and members == 1:
        assert engine.event_count / writes < 1.5
    benchmark.extra_info["events_per_write"] = engine.event_count / writes
