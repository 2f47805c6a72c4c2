"""The profiles against published etcd benchmarks (docs/profiles.md).

Method: the load generator of the etcd accuracy runs on a machine of its own, members on machines of
their own in one zone, 256 B values. What a constant was derived from must come back; the others
bound how far the model is from benchmarks that nothing was fitted to.
"""

from __future__ import annotations

import pytest

from sim.components.etcd import Etcd, EtcdParams
from sim.components.etcd_process import GoProcess
from sim.components.ports import Write
from sim.costs.disk import DISKS
from sim.costs.etcd import EtcdLaw
from sim.costs.network import LINKS, LinkLaw
from sim.costs.profile import Profile
from sim.engine.host import Host
from sim.experiment.accuracy_etcd import (
    Bench,
    Duration,
    EtcdCosts,
    Prediction,
    _Call,
    _put_sender,
)
from sim.experiment.calibrate_profile import load_profile


def benchmark(
    profile: Profile, clients: int, duration: Duration, *, members: int = 3, cores: int = 8
) -> Prediction:
    """Closed-loop puts of 256 B to the leader, everything on machines of its own."""
    row = {"members": members, "storage": "disk", "value_bytes": 256, "key_count": 10_000}
    bench = Bench(row, EtcdCosts(law=profile.etcd, disk=profile.disk), 1)
    hosts = [Host(bench.engine, f"member-{index}", cores) for index in range(members)]
    bench.etcd = Etcd(
        bench.engine, bench.recorder, EtcdParams(member_count=members), EtcdLaw(profile.etcd),
        hosts, disks=[profile.disk] * members, link=LINKS["same_zone"],
    )  # fmt: skip
    bench.etcd.start()
    host = Host(bench.engine, "client", cores)
    bench.client = GoProcess(bench.engine, host, "client", EtcdLaw(profile.etcd))
    bench.reader_count_max = cores
    bench.call_bytes = 256
    link = LinkLaw(LINKS["same_zone"], bench.engine.stream("client/link"))
    take = bench.answered

    def answered(write: Write) -> None:
        bench.engine.call_later(link.sample_seconds(), take, write)

    bench.answered = answered  # type: ignore[method-assign]
    put = _put_sender(bench, row)

    def send(call: _Call) -> None:
        bench.engine.call_later(link.sample_seconds(), put, call)

    bench.send = send
    return bench.run_closed(clients, duration)


def test_the_disk_of_the_64_core_profile_is_that_of_the_published_benchmark() -> None:
    """Row etcd-write-10k-keys-1: one client makes 583 puts/s with a mean of 1.6 ms."""
    found = benchmark(load_profile("control-plane-64-core"), 1, Duration(0.5, 4.0))
    assert found["throughput_ops_s"] == pytest.approx(583.0, rel=0.05)
    assert found["mean_ms"] == pytest.approx(1.6, rel=0.1)


@pytest.mark.long
def test_saturation_lies_between_published_benchmarks() -> None:
    """Rows paypal-pd (21,380/s, 46.4 ms) and etcd-write-100k-keys-1000 (44,341/s, 22 ms)."""
    found = benchmark(load_profile("control-plane-64-core"), 1000, Duration(0.3, 0.5))
    assert 0.9 * 21_380 < found["throughput_ops_s"] < 1.1 * 44_341
    assert 0.9 * 22.0 < found["mean_ms"] < 1.1 * 46.4


@pytest.mark.long
def test_one_member_on_nvme_is_slower_than_published() -> None:
    """Row m1-etcd: 50,000 writes/s; the serial stages of the measured machine bound the model."""
    base = load_profile("control-plane-64-core")
    profile = Profile(etcd=base.etcd, disk=DISKS["nvme"])
    found = benchmark(profile, 1000, Duration(0.3, 0.5), members=1, cores=32)
    assert 20_000 < found["throughput_ops_s"] < 50_000
