"""etcd's group commit against the closed form of a server that takes everybody who waits at once.

Method: CPU costs nothing and a WAL sync always takes S, so that etcd is an M/D/1 queue with
unlimited batches. With a = λS arrivals expected per sync: a batch is what arrived during the sync
before it, or the single write that finds the disk idle, hence

* batch sizes: Poisson(a), with the zeros become ones; their mean is a + exp(-a);
* the share of writes that find the disk busy is a/(a + exp(-a)), and each of them waits half a sync
  on average, so the mean commit latency is S + S/2 · a/(a + exp(-a)).

24 replications; each comparison fails a correct program with probability 1e-4 (seeds are fixed).
**Source:** own derivation from the definitions (Poisson arrivals see time averages).
"""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from sim.base.objects import Generic
from sim.components.etcd import Etcd, EtcdParams
from sim.components.facts import ETCD_BACKEND_COMMITS, ETCD_COMMITS, FAULTS
from sim.components.ports import Write
from sim.costs.disk import DiskParams
from sim.costs.etcd import EtcdLaw, EtcdLawParams
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from tests.support.stations import REPLICATIONS, agrees

SYNC_SECONDS = 0.004
FREE = EtcdLawParams(**{item.name: 0.0 for item in fields(EtcdLawParams)})
DISK = DiskParams(
    name="fixed",
    sync_median_seconds=SYNC_SECONDS,
    bytes_per_second=1e15,
    shape=((0.0, 1.0), (1.0, 1.0)),
    rest_seconds=0.0,
    sharing_ratio=0.0,
)
NO_BACKEND = EtcdParams(backend_batch_interval_seconds=1e6, backend_batch_limit_count=10**9)
"""Backend commits stall apply; they are not part of the formula."""


def run(
    per_sync: float, core_count: int, replication: int, seconds: float
) -> tuple[list[int], list[float]]:
    """Poisson writes, ``per_sync`` in the time of one sync; (batch sizes, commit latencies)."""
    engine = Engine(1, replication)
    recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
    etcd = Etcd(
        engine, recorder, NO_BACKEND, EtcdLaw(FREE), [Host(engine, "m", core_count)], disks=[DISK]
    )
    etcd.start()
    stream = engine.stream("writes")
    gap = SYNC_SECONDS / per_sync
    latencies: list[float] = []
    value = Generic(name="x", namespace="a", size_bytes=100)

    def answered(write: Write) -> None:
        latencies.append(engine.now - write.proposed_seconds)

    def arrive(_: object) -> None:
        etcd.txn(Write("configmaps", ("a", "x"), -1, value, 100, answered))
        engine.call_later(stream.exponential(gap), arrive)

    engine.call_later(stream.exponential(gap), arrive)
    engine.run(seconds)
    assert etcd.check() == []
    return recorder["etcd_commits"].column("entry_count").tolist(), latencies


@pytest.mark.parametrize("core_count", [4, 16])
@pytest.mark.parametrize("per_sync", [0.3, 1.0, 4.0])
def test_batches_and_latency(per_sync: float, core_count: int) -> None:
    """Mean batch, share of batches of one, mean latency; on a roomy host etcd takes a shorter way
    through the same steps. False alarm 3e-4 per case."""
    seconds = 1_000 * SYNC_SECONDS / min(per_sync, 1.0)
    sizes, singles, latencies = [], [], []
    for replication in range(REPLICATIONS):
        batches, found = run(per_sync, core_count, replication, seconds)
        sizes.append(float(np.mean(batches)))
        singles.append(float(np.mean(np.array(batches) == 1)))
        latencies.append(float(np.mean(found)))
    mean = per_sync + math.exp(-per_sync)
    agrees(sizes, mean, 0.04)
    agrees(singles, (1.0 + per_sync) * math.exp(-per_sync), 0.3)
    agrees(latencies, SYNC_SECONDS * (1.0 + 0.5 * per_sync / mean), 0.02)


def test_saturated_writers_share_syncs() -> None:
    """n writers without think time: every sync but the first carries what arrived during the one
    before, so that n writes are committed per two syncs at least and n per sync at most."""
    for writers in (1, 2, 16):
        engine = Engine(1)
        recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
        etcd = Etcd(
            engine, recorder, NO_BACKEND, EtcdLaw(FREE), [Host(engine, "m", 4)], disks=[DISK]
        )
        etcd.start()
        value = Generic(name="x", namespace="a", size_bytes=100)

        def again(write: Write) -> None:
            etcd.txn(Write("configmaps", write.key, -1, value, 100, again))  # noqa: B023

        for index in range(writers):
            etcd.txn(Write("configmaps", ("a", str(index)), -1, value, 100, again))
        engine.run(1_000 * SYNC_SECONDS)
        done = etcd.answered_count
        assert max(1.0, writers / 2) - 0.1 <= done / 1_000 <= writers + 0.1
        assert sum(recorder["etcd_commits"].column("entry_count")) == done
