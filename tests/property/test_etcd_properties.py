"""etcd under arbitrary writes and faults: linearizable, nothing acknowledged is ever lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.base.api_object import Key
from sim.base.objects import Generic
from sim.components.etcd import Etcd, EtcdParams
from sim.components.facts import ETCD_BACKEND_COMMITS, ETCD_COMMITS, FAULTS
from sim.components.ports import WatchEvent, Write
from sim.costs.disk import DISKS
from sim.costs.etcd import EtcdLaw
from sim.costs.network import LINKS
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder

actions = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 4), st.sampled_from(["create", "put", "delete"])),
    st.tuples(st.just("kill"), st.integers(0, 4), st.just("")),
    st.tuples(st.just("terminate"), st.integers(0, 4), st.just("")),
    st.tuples(st.just("restart"), st.integers(0, 4), st.just("")),
    st.tuples(st.just("compact"), st.integers(0, 4), st.just("")),
)
histories = st.lists(st.tuples(st.floats(0.0, 6.0), actions), min_size=1, max_size=60)


@given(
    history=histories,
    member_count=st.sampled_from([1, 3, 5]),
    link=st.sampled_from(["loopback", "same_zone", "cross_zone"]),
    stacked=st.booleans(),
)
def test_any_history_is_linearizable(
    history: list[tuple[float, tuple[str, int, str]]],
    member_count: int,
    link: str,
    stacked: bool,
) -> None:
    engine = Engine(1)
    recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
    hosts = [Host(engine, f"m{i}", 2) for i in range(1 if stacked else member_count)]
    etcd = Etcd(
        engine,
        recorder,
        EtcdParams(member_count=member_count),
        EtcdLaw(),
        hosts,
        disks=[DISKS["nvme"]],
        link=LINKS[link],
    )
    etcd.start()
    seen: list[WatchEvent] = []
    answered: list[Write] = []
    sent: list[Write] = []
    etcd.watch(seen.extend, "watch")

    def do(action: tuple[str, int, str]) -> None:
        verb, index, how = action
        if verb == "write":
            name = f"k{index}"
            new = None if how == "delete" else Generic(name=name, namespace="a", size_bytes=100)
            expected = 0 if how == "create" else -1
            write = Write("configmaps", ("a", name), expected, new, 100, answered.append)
            sent.append(write)
            etcd.endpoint(index % member_count).txn(write)
        elif verb == "compact":
            etcd.compact(etcd.revision)
        else:
            getattr(etcd.faults, verb)(index % member_count)

    for time, action in history:
        engine.call_at(time, do, action)
    engine.call_at(30.0, lambda _: [etcd.faults.restart(i) for i in range(member_count)])
    engine.run(60.0)

    assert etcd.check() == []
    assert etcd.snapshot()["leader"] >= 0, "with all members back there is a leader again"
    assert len(answered) == len(sent), "every write is answered once"
    assert len({id(write) for write in answered}) == len(sent)
    revisions = [event.revision for event in seen]
    assert revisions == sorted(set(revisions)), "watch events come once, in order"
    # replaying the watch gives the store
    replayed: dict[Key, int] = {}
    for event in seen:
        if event.type == "DELETED":
            del replayed[event.key]
        else:
            replayed[event.key] = event.revision
    assert replayed == {
        key: item.resource_version for key, item in etcd.objects("configmaps").items()
    }
    # acknowledged writes are in the history, once, under the revision they were told
    history_revisions = set(revisions)
    told = [write.revision for write in answered if write.succeeded and write.new is not None]
    assert all(revision in history_revisions for revision in told)
    assert len(set(told)) == len(told)


@given(sizes=st.lists(st.integers(100, 20_000), min_size=1, max_size=80))
def test_bytes_are_conserved(sizes: list[int]) -> None:
    """File = live + history + free, before and after compaction."""
    engine = Engine(1)
    recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
    etcd = Etcd(engine, recorder, EtcdParams(), EtcdLaw(), [Host(engine, "m", 2)])
    etcd.start()

    def ignore(_: Write) -> None:
        return

    for index, size in enumerate(sizes):
        value = Generic(name=f"{index % 5}", namespace="a", size_bytes=size)
        write = Write("configmaps", value.key, -1, value, size, ignore)
        engine.call_later(0.01 * index, etcd.txn, write)
    engine.run(2.0)
    store = etcd.store
    assert store.in_use_bytes == pytest.approx(sum(sizes) + 150 * len(sizes))
    etcd.compact(etcd.revision)
    engine.run(4.0)
    live = {f"{index % 5}": size for index, size in enumerate(sizes)}
    assert store.in_use_bytes == pytest.approx(sum(live.values()) + 150 * len(live))
