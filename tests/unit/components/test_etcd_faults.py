"""etcd with faults: lost members, elections, hand-over, time-outs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sim.base.objects import Generic
from sim.components.etcd import Etcd, EtcdParams
from sim.components.facts import ETCD_BACKEND_COMMITS, ETCD_COMMITS, FAULTS
from sim.components.ports import Write
from sim.costs.disk import DISKS
from sim.costs.etcd import EtcdLaw
from sim.costs.network import LINKS
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder

RATE_PER_SECOND = 200.0


class LoadedCluster:
    """n members on machines of their own under Poisson creates; the issue's 200 writes/s."""

    def __init__(self, member_count: int, seed: int = 1, disk: str = "nvme") -> None:
        self.engine = Engine(seed)
        self.recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
        hosts = [Host(self.engine, f"machine-{index}", 4) for index in range(member_count)]
        self.etcd = Etcd(
            self.engine,
            self.recorder,
            EtcdParams(member_count=member_count),
            EtcdLaw(),
            hosts,
            disks=[DISKS[disk]],
            link=LINKS["same_zone"],
            client_link=LINKS["same_zone"],
        )
        self.etcd.start()
        self.writes: list[Write] = []
        self.answers: list[tuple[float, Write]] = []
        self._stream = self.engine.stream("arrivals")
        self._arrive(None)

    def _arrive(self, _: None) -> None:
        name = str(len(self.writes))
        value = Generic(name=name, namespace="a", size_bytes=1000)
        write = Write("configmaps", ("a", name), 0, value, 1000, self._answered)
        self.writes.append(write)
        self.etcd.txn(write)
        self.engine.call_later(self._stream.exponential(1.0 / RATE_PER_SECOND), self._arrive)

    def _answered(self, write: Write) -> None:
        self.answers.append((self.engine.now, write))

    def at(self, time_seconds: float, action: Any, *arguments: Any) -> None:
        self.engine.call_later(time_seconds, lambda _: action(*arguments))

    def run(self, until_seconds: float) -> None:
        self.engine.run(until_seconds)
        assert self.etcd.check() == []
        table = self.etcd.objects("configmaps")
        for _, write in self.answers:
            if not write.error:
                assert table[write.key].resource_version == write.revision

    def acknowledged_seconds(self) -> list[float]:
        return [time for time, write in self.answers if not write.error]

    def gap_seconds(self) -> float:
        times = self.acknowledged_seconds()
        return max(after - before for before, after in pairwise(times))

    def faults(self) -> list[str]:
        table = self.recorder["faults"]
        names = table.categories("what")
        return [names[code] for code in table.column("what")]


def test_followers_loss_is_not_noticed() -> None:
    cluster = LoadedCluster(3)
    cluster.at(1.0, cluster.etcd.faults.kill, 2)
    cluster.run(4.0)
    assert all(not write.error for _, write in cluster.answers)
    assert cluster.gap_seconds() < 0.1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_leaders_loss_stops_writes_for_an_election(seed: int) -> None:
    """Uniform whole ticks in [T, 2T): a new leader between T - tick and 2T after the last message.

    Writes without a leader come back as errors 7 s later (5 s + 2 x election timeout).
    """
    cluster = LoadedCluster(3, seed)
    cluster.at(1.0, cluster.etcd.faults.kill, 0)
    cluster.run(12.0)
    after = cluster.etcd.faults.new_leader_after_seconds
    assert 0.9 <= after <= 2.1
    assert cluster.gap_seconds() == pytest.approx(after, abs=0.06)
    failed = [(time, write) for time, write in cluster.answers if write.error]
    assert len(failed) == pytest.approx(RATE_PER_SECOND * after, rel=0.25)
    for time, write in failed:
        assert time - write.proposed_seconds == pytest.approx(7.0, abs=0.01)
    assert cluster.etcd.snapshot()["leader"] in {1, 2}


def test_sigterm_hands_over_without_a_failure() -> None:
    cluster = LoadedCluster(3)
    cluster.at(1.0, cluster.etcd.faults.terminate, 0)
    cluster.run(3.0)
    assert all(not write.error for _, write in cluster.answers)
    assert cluster.etcd.faults.new_leader_after_seconds < 0.02
    assert "leadership transferred" in cluster.faults()
    assert cluster.gap_seconds() < 0.1


def test_without_a_quorum_nothing_commits_until_a_member_is_back() -> None:
    cluster = LoadedCluster(3)
    cluster.at(1.0, cluster.etcd.faults.kill, 1)
    cluster.at(1.5, cluster.etcd.faults.kill, 2)
    cluster.at(6.0, cluster.etcd.faults.restart, 1)
    cluster.run(12.0)
    times = cluster.acknowledged_seconds()
    assert not [time for time in times if 1.52 < time < 6.0]
    assert [time for time in times if time > 8.2], "an election after the restart, then service"
    assert "leader stepped down" in cluster.faults()


def test_five_members_survive_two_losses() -> None:
    cluster = LoadedCluster(5)
    cluster.at(1.0, cluster.etcd.faults.kill, 3)
    cluster.at(2.0, cluster.etcd.faults.kill, 0)
    cluster.run(6.0)
    assert [time for time in cluster.acknowledged_seconds() if time > 4.5]
    assert cluster.etcd.snapshot()["alive_count"] == 3


def test_restarted_member_catches_up_and_can_lead() -> None:
    cluster = LoadedCluster(3)
    faults = cluster.etcd.faults
    cluster.at(1.0, faults.kill, 1)
    cluster.at(2.0, faults.restart, 1)
    cluster.at(3.0, faults.kill, 0)
    cluster.at(8.0, faults.kill, 2)
    cluster.at(9.0, faults.restart, 0)
    cluster.run(14.0)
    assert [time for time in cluster.acknowledged_seconds() if time > 12.0]
    durable = [member.synced_index for member in cluster.etcd.members]
    assert durable[1] > 1_000, "it has followed after its restart"


def test_one_member_alone_is_an_outage_until_it_is_back() -> None:
    cluster = LoadedCluster(1)
    cluster.at(1.0, cluster.etcd.faults.kill, 0)
    cluster.at(2.0, cluster.etcd.faults.restart, 0)
    cluster.run(12.0)
    times = cluster.acknowledged_seconds()
    assert not [time for time in times if 1.01 < time < 2.0]
    assert [time for time in times if time > 5.0]


def test_one_slow_disk_of_three_is_outvoted_and_two_are_not() -> None:
    mean = []
    for slow in ((), (2,), (1, 2)):
        cluster = LoadedCluster(3)
        for index in slow:
            cluster.etcd.faults.slow_disk(index, 50.0)
        cluster.run(3.0)
        waits = [time - write.proposed_seconds for time, write in cluster.answers]
        mean.append(sum(waits) / len(waits))
    assert mean[1] == pytest.approx(mean[0], rel=0.15)
    assert mean[2] > 2.0 * mean[0]


def test_full_disk_ends_a_member() -> None:
    cluster = LoadedCluster(3)
    cluster.at(1.0, cluster.etcd.faults.fill_disk, 0)
    cluster.run(5.0)
    assert cluster.faults()[:2] == ["full disk", "member killed"]
    assert cluster.etcd.snapshot()["leader"] != 0


def test_runs_with_faults_repeat_exactly() -> None:
    def once() -> list[tuple[float, int, str]]:
        cluster = LoadedCluster(3, seed=7)
        cluster.at(1.0, cluster.etcd.faults.kill, 0)
        cluster.at(4.0, cluster.etcd.faults.restart, 0)
        cluster.run(6.0)
        return [(time, write.revision, write.error) for time, write in cluster.answers]

    assert once() == once()
