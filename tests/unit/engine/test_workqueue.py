"""client-go's workqueue, situation by situation, with the answers of client-go's documentation."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from sim.engine.engine import Engine
from sim.engine.workqueue import Workqueue


class Rig:
    """A queue, and workers that take ``work_seconds`` per key."""

    def __init__(self, worker_count: int = 1, work_seconds: float = 1.0, **options: Any) -> None:
        self.engine = Engine(0)
        self.queue: Workqueue[str] = Workqueue(self.engine, "q", **options)
        self.work_seconds = work_seconds
        self.got: list[tuple[float, str]] = []
        for _ in range(worker_count):
            self.engine.process(self.work())

    def work(self) -> Generator[Any, Any, None]:
        while True:
            key = yield self.queue.get()
            self.got.append((self.engine.now, key))
            yield self.engine.sleep(self.work_seconds)
            self.queue.done(key)

    def at(self, time_seconds: float, action: Any, *arguments: Any) -> None:
        self.engine.call_later(time_seconds, lambda _: action(*arguments))


def test_a_key_added_twice_before_it_is_taken_is_done_once() -> None:
    rig = Rig()
    for key in "aabab":
        rig.at(0.0, rig.queue.add, key)
    rig.engine.run(10.0)
    # a is taken at once, so the later adds of a want it done once more, after b.
    assert rig.got == [(0.0, "a"), (1.0, "b"), (2.0, "a")]
    assert rig.queue.add_count == 3


def test_a_key_added_while_it_is_done_comes_again_once_and_never_in_parallel() -> None:
    rig = Rig(worker_count=3)
    rig.at(0.0, rig.queue.add, "a")
    for time in (0.2, 0.4, 0.6):
        rig.at(time, rig.queue.add, "a")
    rig.engine.run(10.0)
    assert rig.got == [(0.0, "a"), (1.0, "a")]
    assert rig.queue.wait_sum_seconds == pytest.approx(0.8)  # since the add at 0.2


def test_of_several_delayed_adds_the_earliest_counts_and_later_timers_do_nothing() -> None:
    rig = Rig()
    rig.at(0.0, rig.queue.add_after, "a", 5.0)
    rig.at(0.0, rig.queue.add_after, "a", 2.0)
    rig.at(0.0, rig.queue.add_after, "a", 3.0)
    rig.at(4.0, rig.queue.add_after, "a", 4.0)  # the timer of the first is still to come at 5
    rig.engine.run(20.0)
    assert rig.got == [(2.0, "a"), (8.0, "a")]


def test_a_delay_that_is_not_positive_is_none() -> None:
    rig = Rig()
    rig.at(1.0, rig.queue.add_after, "a", 0.0)
    rig.at(3.0, rig.queue.add_after, "b", -1.0)
    rig.engine.run(20.0)
    assert rig.got == [(1.0, "a"), (3.0, "b")]


def test_retries_back_off_from_5_ms_doubling_to_1000_s() -> None:
    """client-go's default item limiter; the bucket is too large to matter."""
    rig = Rig(work_seconds=0.0, bucket_qps=1e9)
    waits = []
    for _ in range(20):
        now = rig.engine.now
        rig.queue.add_rate_limited("a")
        rig.engine.run(now + 2000.0)
        waits.append(rig.got[-1][0] - now)
    expected = [min(0.005 * 2**count, 1000.0) for count in range(20)]
    assert waits == pytest.approx(expected)
    assert rig.queue.retries("a") == 20
    rig.queue.forget("a")
    assert rig.queue.retries("a") == 0
    now = rig.engine.now
    rig.queue.add_rate_limited("a")
    rig.engine.run(now + 1.0)
    assert rig.got[-1][0] - now == pytest.approx(0.005)


def test_all_keys_share_one_bucket_of_10_per_second_and_100() -> None:
    rig = Rig(work_seconds=0.0, worker_count=1)
    for index in range(150):
        rig.queue.add_rate_limited(str(index))
    rig.engine.run(20.0)
    times = sorted(time for time, _ in rig.got)
    assert times[:100] == pytest.approx([0.005] * 100)
    assert times[100:] == pytest.approx([0.1 * (count + 1) for count in range(50)])


def test_depth_and_waits_are_counted() -> None:
    rig = Rig()
    for key in "abcd":
        rig.at(0.0, rig.queue.add, key)
    rig.engine.run(2.5)
    assert len(rig.queue) == 1
    assert rig.queue.depth_max == 3
    rig.engine.run(9.0)
    assert rig.queue.get_count == 4
    assert rig.queue.wait_sum_seconds == pytest.approx(0.0 + 1.0 + 2.0 + 3.0)


def test_waiting_workers_are_served_in_their_order() -> None:
    engine = Engine(0)
    queue: Workqueue[str] = Workqueue(engine, "q")
    first, second = queue.get(), queue.get()
    queue.add("a")
    assert first.triggered
    assert first.value == "a"
    assert not second.triggered
    queue.add("b")
    assert second.value == "b"
