"""Hosts by hand-drawn timelines: who progresses at which rate, when, and what is accounted."""

from __future__ import annotations

from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine.engine import Engine
from sim.engine.host import Host


def timeline(core_count: int, jobs: list[tuple[float, float]]) -> tuple[Host, dict[int, float]]:
    """Run jobs given as (arrival, demand); return the host and when each ended."""
    engine = Engine(0)
    host = Host(engine, "h", core_count)
    ends: dict[int, float] = {}

    def ended(index: int) -> None:
        ends[index] = engine.now

    def begin(job: tuple[int, float]) -> None:
        host.process("p").run(job[1], ended, job[0])

    for index, (arrival, demand) in enumerate(jobs):
        engine.call_later(arrival, begin, (index, demand))
    engine.run(100.0)
    return host, ends


def test_two_jobs_on_one_core() -> None:
    """3 s alone for 1 s, then halved until the second (1 s) is through, then alone again."""
    host, ends = timeline(1, [(0.0, 3.0), (1.0, 1.0)])
    assert ends == pytest.approx({0: 4.0, 1: 3.0})
    assert host.work_seconds == pytest.approx(4.0)
    assert host.job_area_seconds == pytest.approx(6.0)
    assert host.sojourn_sum_seconds == pytest.approx(4.0 + 2.0)


def test_three_jobs_on_two_cores() -> None:
    """2/3 of a core each: the shortest (1 s) is through at 1.5, the others go on alone."""
    _, ends = timeline(2, [(0.0, 1.0), (0.0, 2.0), (0.0, 3.0)])
    assert ends == pytest.approx({0: 1.5, 1: 2.5, 2: 3.5})


def test_one_job_never_uses_more_than_one_core() -> None:
    _, ends = timeline(64, [(0.0, 3.0), (1.0, 2.0)])
    assert ends == pytest.approx({0: 3.0, 1: 3.0})


def test_a_host_without_a_number_of_cores_is_never_contended() -> None:
    host, ends = timeline(0, [(0.0, 1.0 + index) for index in range(50)])
    assert ends == pytest.approx({index: 1.0 + index for index in range(50)})
    assert host.check() == []


def test_no_demand_is_done_in_the_same_instant_even_under_load() -> None:
    _, ends = timeline(1, [(0.0, 5.0), (0.0, 5.0), (1.0, 0.0)])
    assert ends[2] == pytest.approx(1.0)


def test_equal_jobs_end_together_in_their_order() -> None:
    host, ends = timeline(2, [(0.0, 1.0)] * 10)
    assert list(ends) == list(range(10))
    assert list(ends.values()) == pytest.approx([5.0] * 10)
    assert host.job_count == 10


def test_cpu_is_accounted_to_processes() -> None:
    engine = Engine(0)
    host = Host(engine, "h", 1)
    one, two = host.process("one"), host.process("two")
    assert host.process("one") is one
    ended: list[str] = []
    one.run(1.0, ended.append, "a")
    two.run(2.0, ended.append, "b")
    two.run(3.0, ended.append, "c")
    assert (one.running_count, two.running_count, host.running_count) == (1, 2, 3)
    engine.run(4.5)
    assert ended == ["a"]
    assert (one.running_count, two.running_count, host.running_count) == (0, 2, 2)
    engine.run(10.0)
    assert (one.cpu_seconds, two.cpu_seconds) == (1.0, 5.0)
    assert (one.job_count, two.job_count) == (1, 2)
    assert host.work_seconds == pytest.approx(6.0)


def test_a_callback_that_submits_again_sees_its_own_job_gone() -> None:
    engine = Engine(0)
    host = Host(engine, "h", 1)
    process = host.process("p")
    counts: list[int] = []

    def again(left: int) -> None:
        counts.append(host.running_count)
        if left:
            process.run(1.0, again, left - 1)

    process.run(1.0, again, 3)
    engine.run(10.0)
    assert counts == [0, 0, 0, 0]
    assert host.work_seconds == pytest.approx(4.0)


@pytest.mark.parametrize("core_count", [0, 8])
def test_occupying_spends_cpu_without_an_event(core_count: int) -> None:
    engine = Engine(0)
    host = Host(engine, "h", core_count)
    process = host.process("p")
    assert host.occupy(process, 2.0)
    assert host.running_count == 1
    engine.run(1.0)
    assert host.check() == []
    host.settle()
    assert host.work_seconds == pytest.approx(1.0)
    engine.run(5.0)
    assert host.running_count == process.running_count == 0
    host.settle()
    assert host.sojourn_sum_seconds == host.work_seconds == pytest.approx(2.0)
    assert engine.event_count == 2  # the two horizons


def test_a_small_or_half_full_host_cannot_be_occupied() -> None:
    engine = Engine(0)
    small = Host(engine, "small", 4)
    assert not small.occupy(small.process("p"), 1.0)
    large = Host(engine, "large", 8)
    process = large.process("p")
    assert [bool(large.occupy(process, 1.0)) for _ in range(6)] == [True] * 4 + [False] * 2
    assert process.job_count == 4
    engine.run(1.5)
    assert large.occupy(process, 1.0)


@pytest.mark.parametrize("field", ["sojourn_sum_seconds", "work_seconds", "job_area_seconds"])
def test_the_laws_bite(field: str) -> None:
    host, _ = timeline(2, [(0.0, 1.0)] * 10)
    assert host.check() == []
    setattr(host, field, getattr(host, field) + 0.01)
    assert len(host.check()) == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=60))
def test_ends_lie_as_heapq_lays_them(history: list[tuple[int, int]]) -> None:
    """The accounts sum over the heap's order: it has to be the same wherever they are kept."""
    process = Host(Engine(0), "h", 0).process("p")
    twin: list[float] = []
    now = 0
    for gap, demand in history:
        now += gap
        before_count = len(twin)
        while twin and twin[0] <= now:
            heappop(twin)
        assert process.drop_ends(float(now)) == before_count - len(twin)
        assert process.first_end_seconds() == (twin[0] if twin else float("inf"))
        heappush(twin, float(now + demand))
        assert process.add_end(float(now + demand)) == twin[0]
        assert process.ends_seconds() == twin
