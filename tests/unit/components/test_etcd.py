"""etcd without faults: transactions, batches, stalls, reads, watches, maintenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest

from sim.base.objects import Generic
from sim.components.etcd import Etcd, EtcdParams
from sim.components.etcd_reads import Read
from sim.components.facts import ETCD_BACKEND_COMMITS, ETCD_COMMITS, FAULTS
from sim.components.ports import WatchEvent, Write
from sim.costs.disk import DiskParams
from sim.costs.etcd import EtcdLaw, EtcdLawParams
from sim.costs.network import LinkParams
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder

SYNC_SECONDS = 0.004
FREE = EtcdLawParams(**{item.name: 0.0 for item in fields(EtcdLawParams)})
"""A law under which CPU costs nothing, so that the disk alone takes time."""


def fixed_disk(seconds: float = SYNC_SECONDS) -> DiskParams:
    return DiskParams(
        name="fixed",
        sync_median_seconds=seconds,
        bytes_per_second=1e15,
        shape=((0.0, 1.0), (1.0, 1.0)),
        rest_seconds=0.0,
        sharing_ratio=0.0,
    )


class Rig:
    def __init__(
        self,
        law: EtcdLawParams = FREE,
        params: EtcdParams | None = None,
        disk: DiskParams | None = None,
        core_count: int = 2,
        **links: LinkParams,
    ) -> None:
        self.engine = Engine(1)
        self.recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
        self.params = params or EtcdParams()
        self.hosts = [
            Host(self.engine, f"machine-{index}", core_count)
            for index in range(self.params.member_count)
        ]
        self.etcd = Etcd(
            self.engine,
            self.recorder,
            self.params,
            EtcdLaw(law),
            self.hosts,
            disks=[disk or fixed_disk()],
            **links,
        )
        self.etcd.start()
        self.answers: list[tuple[float, Write]] = []

    def write(
        self,
        name: str,
        expected: int = -1,
        *,
        delete: bool = False,
        size_bytes: int = 1000,
        storage: Any = None,
        lease: bool = False,
    ) -> Write:
        new = None if delete else Generic(name=name, namespace="a", size_bytes=size_bytes)
        write = Write("configmaps", ("a", name), expected, new, size_bytes, self.answered)
        write.lease = lease
        (storage or self.etcd).txn(write)
        return write

    def answered(self, write: Write) -> None:
        self.answers.append((self.engine.now, write))

    def run(self, until_seconds: float) -> None:
        self.engine.run(until_seconds)
        assert self.etcd.check() == []
        for host in self.hosts:
            assert host.check() == []

    def column(self, table: str, name: str) -> Sequence[Any]:
        values: Sequence[Any] = self.recorder[table].column(name).tolist()
        return values


def test_guard_is_evaluated_at_apply() -> None:
    rig = Rig()
    create = rig.write("x", 0)
    again = rig.write("x", 0)
    rig.run(0.05)
    assert create.succeeded
    assert create.revision == 2
    assert create.new is not None
    assert create.new.resource_version == 2
    assert not again.succeeded, "both were proposed before either was applied; the second loses"
    assert again.actual is create.new
    update = rig.write("x", 2)
    stale = rig.write("x", 2)
    rig.run(0.1)
    assert update.succeeded
    assert update.revision == 3
    assert not stale.succeeded
    assert stale.revision == 3
    gone = rig.write("x", 3, delete=True)
    rig.run(0.2)
    assert gone.succeeded
    assert rig.etcd.objects("configmaps") == {}
    assert rig.etcd.revision == 4


def test_watch_sees_every_commit_in_order_with_old_and_new() -> None:
    rig = Rig()
    seen: list[WatchEvent] = []
    rig.etcd.watch(seen.extend, "apiserver")
    rig.write("x", 0)
    rig.run(0.02)
    rig.write("x", 2)
    rig.write("x", 2)
    rig.run(0.04)
    rig.write("x", 3, delete=True)
    rig.run(0.06)
    assert [(event.type, event.revision) for event in seen] == [
        ("ADDED", 2),
        ("MODIFIED", 3),
        ("DELETED", 4),
    ]
    assert seen[1].old is seen[0].new
    assert seen[2].new.resource_version == 4
    assert seen[2].old is seen[1].new


def test_group_commit_is_one_sync_at_a_time() -> None:
    """Ten writes at 0, ten more during the first sync: 10 at T, 10 at 2 T."""
    rig = Rig()
    for index in range(10):
        rig.write(f"a{index}")
    rig.engine.call_later(
        SYNC_SECONDS / 2, lambda _: [rig.write(f"b{index}") for index in range(10)]
    )
    rig.run(0.05)
    times = [round(time, 9) for time, _ in rig.answers]
    # the first write goes alone: nothing else has arrived when the loop takes it
    assert times.count(round(SYNC_SECONDS, 9)) == 1
    assert times.count(round(2 * SYNC_SECONDS, 9)) == 19
    assert sum(rig.column("etcd_commits", "entry_count")) == 20


def test_batch_follows_little_under_open_load() -> None:
    """With free CPU and a sync time T, Poisson writes at rate λ fill batches of λ·T on average.

    The loop is busy nearly always at λ·T = 8, so each sync takes what arrived in the last one; a
    write waits the rest of one sync and a whole one: 1.5 T in the mean.
    """
    rate = 2000.0
    rig = Rig(params=EtcdParams(backend_batch_interval_seconds=1e6), disk=fixed_disk(SYNC_SECONDS))
    stream = rig.engine.stream("arrivals")
    count = [0]

    def arrive(_: None) -> None:
        count[0] += 1
        rig.write(f"{count[0] % 100}")
        rig.engine.call_later(stream.exponential(1.0 / rate), arrive)

    arrive(None)
    rig.run(5.0)
    batches = rig.column("etcd_commits", "entry_count")
    assert sum(batches) / len(batches) == pytest.approx(rate * SYNC_SECONDS, rel=0.05)
    waits = [time - write.proposed_seconds for time, write in rig.answers]
    assert sum(waits) / len(waits) == pytest.approx(1.5 * SYNC_SECONDS, rel=0.05)


def test_quorum_of_three_waits_for_the_second_fastest() -> None:
    """Leader's disk is slow; both followers are fast: commit at the leader's sync, not later.

    Raft's leader counts itself only after its own sync, so two fast followers commit without it.
    """
    engine_params = EtcdParams(member_count=3)
    rig = Rig(params=engine_params, link=LinkParams(name="lan", base_seconds=0.001))
    rig.etcd.members[0].disk.slowdown_ratio = 10.0
    # leader and followers sit on different machines: each has its own disk
    assert rig.etcd.members[1].disk is not rig.etcd.members[0].disk
    rig.write("x")
    rig.run(0.2)
    assert rig.answers[0][0] == pytest.approx(0.001 + SYNC_SECONDS + 0.001, abs=1e-9)


def test_members_on_one_host_share_its_disk() -> None:
    engine = Engine(1)
    recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
    host = Host(engine, "one", 2)
    etcd = Etcd(engine, recorder, EtcdParams(member_count=3), EtcdLaw(FREE), [host])
    assert len({id(member.disk) for member in etcd.members}) == 1


def test_client_link_is_paid_both_ways() -> None:
    rig = Rig(client_link=LinkParams(name="lan", base_seconds=0.003))
    rig.write("x")
    rig.run(0.1)
    assert rig.answers[0][0] == pytest.approx(0.003 + SYNC_SECONDS + 0.003, abs=1e-9)


def test_backend_commit_stalls_apply() -> None:
    """The tick at 100 ms locks apply for two syncs: a write synced meanwhile is answered after."""
    rig = Rig(disk=fixed_disk(0.004))
    rig.write("x")
    rig.engine.call_later(0.098, lambda _: rig.write("y"))
    rig.run(0.3)
    assert rig.answers[0][0] == pytest.approx(0.004, abs=1e-9)
    # synced at 0.102; the commit runs from 0.100 to 0.108
    assert rig.answers[1][0] == pytest.approx(0.108, abs=1e-9)
    # the second put made the next transaction dirty: one more commit, 100 ms after the first
    assert rig.column("etcd_backend_commits", "time_seconds") == pytest.approx([0.1, 0.208])
    assert rig.column("etcd_backend_commits", "duration_seconds") == pytest.approx([0.008, 0.008])


def test_batch_limit_commits_early() -> None:
    rig = Rig(params=EtcdParams(backend_batch_limit_count=50))
    for index in range(60):
        rig.write(f"{index}")
    rig.run(0.05)
    assert rig.column("etcd_backend_commits", "put_count")[0] >= 50
    assert rig.column("etcd_backend_commits", "time_seconds")[0] < 0.02


def test_unloaded_write_takes_at_most_three_events() -> None:
    rig = Rig(law=EtcdLawParams(), params=EtcdParams(backend_batch_interval_seconds=1e6))
    rig.write("x")
    rig.run(1.0)
    rig.write("y")
    before = rig.engine.event_count
    rig.engine.run(2.0)
    horizon_and_tick = 2
    assert len(rig.answers) == 2
    assert rig.engine.event_count - before <= 3 + horizon_and_tick


def test_loaded_writes_take_less_than_one_event_each() -> None:
    rig = Rig(law=EtcdLawParams())
    done = [0]

    def send(name: str) -> None:
        value = Generic(name=name, namespace="a", size_bytes=1000)
        rig.etcd.txn(Write("configmaps", ("a", name), -1, value, 1000, answered))

    def answered(write: Write) -> None:
        done[0] += 1
        send(write.key[1])

    for index in range(64):
        send(f"{index}")
    rig.engine.run(0.5)
    assert done[0] > 2000
    assert rig.engine.event_count / done[0] < 1.0


def test_reads_are_linearizable_and_fail_over_to_nothing_else() -> None:
    rig = Rig(law=EtcdLawParams())
    results: list[Any] = []
    rig.write("x", 0)
    rig.run(0.1)
    rig.etcd.get("configmaps", ("a", "x"), results.append, "one")
    rig.etcd.get("configmaps", ("a", "absent"), results.append, "none")
    rig.etcd.list_objects("configmaps", "a", 0, results.append, "all")
    rig.etcd.list_objects("configmaps", "b", 0, results.append, "other")
    rig.etcd.list_objects("configmaps", "", -1, results.append, "revision")
    rig.run(0.2)
    by_name = {argument: (result, revision, error) for argument, result, revision, error in results}
    assert by_name["one"][0].name == "x"
    assert by_name["none"][0] is None
    assert [item.name for item in by_name["all"][0]] == ["x"]
    assert by_name["other"][0] == []
    assert by_name["revision"] == ([], 2, "")


def test_linearizable_read_waits_for_what_was_committed_before_it() -> None:
    """A read that arrives during a backend commit waits for the entries committed before it."""
    rig = Rig(disk=fixed_disk(0.004))
    rig.write("x", 0)
    rig.engine.call_later(0.097, lambda _: rig.write("y", 0))
    seen: list[tuple[float, Any]] = []

    def read(_: None) -> None:
        etcd = rig.etcd
        done = lambda answer: seen.append((rig.engine.now, answer[1]))  # noqa: E731
        etcd.get("configmaps", ("a", "y"), done, None)
        etcd.submit_read(Read("configmaps", ("a", "y"), "", 1, done, None, serializable=True), None)

    rig.engine.call_later(0.103, read)  # y is synced at 0.101, applied at 0.108
    rig.run(0.2)
    assert seen[0] == (pytest.approx(0.103), None), "serializable: at once, and stale"
    assert seen[1][0] == pytest.approx(0.108)
    assert seen[1][1].name == "y"


def test_three_members_confirm_the_leader_over_the_link() -> None:
    rig = Rig(params=EtcdParams(member_count=3), link=LinkParams(name="lan", base_seconds=0.002))
    rig.write("x", 0)
    rig.run(0.1)
    seen: list[float] = []
    rig.etcd.get("configmaps", ("a", "x"), lambda _: seen.append(rig.engine.now), None)
    rig.run(0.2)
    assert seen == [pytest.approx(0.1 + 0.004)]


def test_follower_endpoint_forwards_and_answers_after_its_own_apply() -> None:
    rig = Rig(params=EtcdParams(member_count=3), link=LinkParams(name="lan", base_seconds=0.002))
    write = rig.write("x", 0, storage=rig.etcd.endpoint(1))
    rig.run(0.1)
    assert write.succeeded
    # to the leader 2 ms; sync, replicate and acknowledge 2 + 4 + 2 ms; news of the commit 2 ms
    assert rig.answers[0][0] == pytest.approx(0.002 + 0.008 + 0.002, abs=1e-9)


def test_compaction_frees_history_and_the_file_reuses_it() -> None:
    rig = Rig()
    for index in range(200):
        rig.write(f"{index % 10}")
        rig.run(0.01 * (index + 1))
    store = rig.etcd.store
    size = store.database_bytes
    in_use = store.in_use_bytes
    rig.etcd.compact(rig.etcd.revision)
    rig.run(2.5)
    assert store.database_bytes == size, "the file does not shrink"
    assert store.in_use_bytes == pytest.approx(in_use / 20, rel=0.01), "10 live of 200 versions"
    for index in range(100):
        rig.write(f"{index % 10}")
    rig.run(3.0)
    assert store.database_bytes == size, "freed pages are used first"


def test_compaction_takes_a_forced_commit_and_a_pause_per_thousand_keys() -> None:
    rig = Rig(params=EtcdParams(backend_batch_interval_seconds=1e6))
    for index in range(3001):
        rig.write(f"{index % 2}")
    rig.run(1.0)
    assert rig.column("etcd_backend_commits", "time_seconds") == []
    rig.etcd.compact(rig.etcd.revision)
    rig.run(2.0)
    times = rig.column("etcd_backend_commits", "time_seconds")
    assert len(times) == 3
    assert times == pytest.approx([1.0, 1.01, 1.02])


def test_quota_raises_the_alarm_and_only_deletes_pass() -> None:
    rig = Rig(params=EtcdParams(quota_backend_bytes=50_000))
    for index in range(60):
        rig.write(f"{index % 3}")
        rig.run(0.01 * (index + 1))
    errors = [write.error for _, write in rig.answers]
    assert "no space" in errors
    assert errors.index("no space") >= 40, "about 43 versions of 1,150 bytes fit"
    refused = rig.write("0")
    deleted = rig.write("1", delete=True)
    rig.run(1.0)
    assert refused.error == "no space"
    assert deleted.succeeded
    rig.etcd.compact(rig.etcd.revision)
    rig.run(1.5)
    rig.etcd.disarm()
    accepted = rig.write("0")
    rig.run(2.0)
    assert accepted.succeeded


def test_apply_gap_refuses_proposals() -> None:
    rig = Rig(params=EtcdParams(apply_gap_count_max=5), disk=fixed_disk(0.001))
    rig.etcd.backend.stalled = True
    for index in range(20):
        rig.write(f"{index}")
    rig.engine.run(0.05)
    late = rig.write("late")
    rig.engine.run(0.1)
    assert late.error == "too many requests"


def test_event_leases_expire_and_delete_their_keys() -> None:
    rig = Rig()
    seen: list[WatchEvent] = []
    rig.etcd.watch(seen.extend, "apiserver")
    rig.write("kept", 0)
    for index in range(5):
        rig.write(f"event{index}", 0, lease=True)
    rig.engine.call_later(70.0, lambda _: rig.write("later", 0, lease=True))
    rig.run(3700.0)
    assert sorted(key[1] for key in rig.etcd.objects("configmaps")) == ["kept", "later"]
    deleted = [event for event in seen if event.type == "DELETED"]
    assert len(deleted) == 5
    assert len({event.revision for event in deleted}) == 1, "one transaction revokes a lease"
    rig.run(3800.0)
    assert [key[1] for key in rig.etcd.objects("configmaps")] == ["kept"]


def test_preload_spends_no_time_and_assigns_revisions() -> None:
    rig = Rig()
    items = [Generic(name=f"{index}", namespace="a", size_bytes=500) for index in range(10)]
    assert rig.etcd.preload(items) == 10
    assert [item.resource_version for item in items] == list(range(2, 12))
    assert rig.etcd.revision == 11
    assert rig.etcd.objects("configmaps")[("a", "3")] is items[3]
    update = rig.write("3", items[3].resource_version)
    rig.run(0.1)
    assert update.succeeded
    assert update.revision == 12


def test_cpu_is_spent_on_the_members_hosts() -> None:
    law = replace(FREE, receive_seconds=0.001, apply_seconds=0.002, idle_cores=0.01)
    rig = Rig(law=law)
    for index in range(10):
        rig.write(f"{index}")
    rig.run(1.0)
    assert rig.hosts[0].work_seconds == pytest.approx(0.030)
    assert rig.etcd.cpu_seconds() == pytest.approx(0.030 + 0.010, rel=0.01)


def test_ticks_of_a_process_at_work_cost_what_a_wake_up_of_an_awake_one_costs() -> None:
    law = EtcdLaw(EtcdLawParams(idle_cores=0.1, awake_ratio=0.25))
    assert law.tick_seconds(10.0, 0.0) == pytest.approx(1.0)
    assert law.tick_seconds(10.0, 4.0) == pytest.approx(0.1 * (6.0 + 0.25 * 4.0))
    assert law.tick_seconds(10.0, 15.0) == pytest.approx(0.25)  # more than one core


def test_many_watchers_are_served_stream_by_stream() -> None:
    law = replace(FREE, watch_event_seconds=10e-6)
    rig = Rig(law=law)
    times: list[float] = []
    for _ in range(4):
        rig.etcd.watch(lambda _: times.append(rig.engine.now), "group", 100)
    rig.write("x")
    rig.run(0.1)
    first = SYNC_SECONDS
    # four streams of 1 ms each, two at a time on two cores
    assert times == pytest.approx([first + 0.001] * 2 + [first + 0.002] * 2)


def test_full_watch_stream_leaves_its_watchers_to_the_catch_up_loop() -> None:
    law = replace(FREE, watch_event_seconds=1e-3)
    rig = Rig(law=law)
    seen: list[tuple[float, int]] = []
    rig.etcd.watch(
        lambda events: seen.extend((rig.engine.now, event.revision) for event in events), "w", 100
    )
    for index in range(3):
        rig.engine.call_later(0.01 * index, lambda _: rig.write("x"))
    rig.run(1.0)
    assert [revision for _, revision in seen] == [2, 3, 4], "nothing is lost, order is kept"
    assert rig.etcd.watches.overflow_count == 2
    assert seen[1][0] == seen[2][0], "what was missed comes in one piece"
    assert seen[1][0] > 0.2
