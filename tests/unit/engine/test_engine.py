"""The clock: order, horizons, bounds, requests to stop, and failures that must not be swallowed."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine.engine import Engine


def test_events_of_one_instant_happen_in_the_order_of_scheduling() -> None:
    engine = Engine(0)
    seen: list[str] = []
    for name in "abcdefgh":
        engine.call_later(1.0, seen.append, name)
    engine.run(2.0)
    assert "".join(seen) == "abcdefgh"


def test_the_horizon_is_excluded_and_reached() -> None:
    engine = Engine(0)
    seen: list[float] = []
    for time in (0.5, 1.0, 1.5):
        engine.call_later(time, seen.append, time)
    assert engine.run(1.0) == "horizon"
    assert engine.now == 1.0
    assert seen == [0.5]
    assert engine.run(1.0) == "horizon"
    assert seen == [0.5]
    assert engine.run(9.0) == "horizon"
    assert seen == [0.5, 1.0, 1.5]
    assert engine.now == 9.0


def test_a_horizon_in_the_past_does_not_turn_the_clock_back() -> None:
    engine = Engine(0)
    engine.run(5.0)
    assert engine.run(1.0) == "horizon"
    assert engine.now == 5.0


def test_an_absolute_time_that_has_passed_means_now() -> None:
    engine = Engine(0)
    engine.run(5.0)
    seen: list[float] = []
    engine.call_at(3.0, lambda _: seen.append(engine.now))
    engine.call_at(7.0, lambda _: seen.append(engine.now))
    engine.run(10.0)
    assert seen == [5.0, 7.0]


def test_stop_leaves_after_the_current_event_and_the_run_can_go_on() -> None:
    engine = Engine(0)
    seen: list[int] = []

    def happen(number: int) -> None:
        seen.append(number)
        if number == 2:
            engine.stop("enough")

    for number in range(5):
        engine.call_later(1.0, happen, number)
    assert engine.run(9.0) == "enough"
    assert engine.now == 1.0
    assert seen == [0, 1, 2]
    assert engine.run(9.0) == "horizon"
    assert seen == [0, 1, 2, 3, 4]


def forever(engine: Engine) -> None:
    def again(_: object) -> None:
        engine.call_later(0.001, again)

    again(None)


def test_a_bound_on_events_ends_a_run_that_never_would() -> None:
    engine = Engine(0)
    forever(engine)
    assert engine.run(1e9, event_count_max=50_000) == "events"
    assert 50_000 <= engine.event_count < 50_000 + 8_192 + 1


def test_the_check_is_asked_every_few_thousand_events() -> None:
    engine = Engine(0)
    forever(engine)
    asked: list[int] = []

    def check() -> str:
        asked.append(engine.event_count)
        return "memory" if len(asked) == 3 else ""

    assert engine.run(1e9, check=check) == "memory"
    assert asked == [8_192, 16_384, 24_576]


def test_a_livelock_at_one_instant_meets_the_bound() -> None:
    engine = Engine(0)

    def again(_: object) -> None:
        engine.call_later(0.0, again)

    again(None)
    assert engine.run(1.0, event_count_max=20_000) == "events"
    assert engine.now == 0.0


def test_an_exception_in_a_callback_or_a_process_ends_the_run() -> None:
    engine = Engine(0)
    engine.call_later(1.0, lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.run(2.0)

    def fails(engine: Engine) -> Generator[Any, Any, None]:
        yield engine.sleep(1.0)
        raise KeyError("lost")

    other = Engine(0)
    other.process(fails(other))
    with pytest.raises(KeyError, match="lost"):
        other.run(2.0)


def test_a_process_can_wait_for_calls_events_and_other_processes() -> None:
    engine = Engine(0)
    seen: list[tuple[float, Any]] = []

    def child(seconds: float) -> Generator[Any, Any, str]:
        yield engine.sleep(seconds)
        return f"slept {seconds}"

    def parent() -> Generator[Any, Any, None]:
        answer = engine.event()
        engine.call_later(0.5, answer.succeed, "called")
        seen.append(((yield answer), engine.now))
        found = yield engine.process(child(1.0))
        seen.append((found, engine.now))
        yield engine.all_of([engine.process(child(2.0)), engine.process(child(3.0))])
        seen.append(("all", engine.now))

    engine.process(parent())
    engine.run(10.0)
    assert seen == [("called", 0.5), ("slept 1.0", 1.5), ("all", 4.5)]


def test_calls_and_simpys_events_of_one_instant_share_one_order() -> None:
    """At the beginning of a slot of far timers, within one, and at once."""
    engine = Engine(0)
    seen: list[tuple[float, int]] = []
    expected: list[tuple[float, int]] = []

    def note(event: Any) -> None:
        seen.append(event.value)

    for number, delay in enumerate([0.0, 1.0, 1.0 + 1 / 128, 1.0 + 1 / 64] * 6):
        item = (delay, number)
        if number % 3:
            engine.call_later(delay, seen.append, item)
        else:
            sleep = engine.sleep(delay)
            sleep._value = item
            sleep.callbacks.append(note)
        expected.append(item)
    engine.run(2.0)
    assert seen == sorted(expected)


def test_a_process_begins_before_what_waits_for_the_same_instant() -> None:
    engine = Engine(0)
    seen: list[str] = []

    def steps() -> Generator[Any, Any, None]:
        seen.append("process")
        yield engine.sleep(0.0)
        seen.append("slept")

    def first(_: object) -> None:
        engine.call_later(0.0, seen.append, "call")
        engine.process(steps())

    engine.call_later(1.0, first)
    engine.call_later(1.0, seen.append, "waiting")
    engine.run(2.0)
    assert seen == ["process", "waiting", "call", "slept"]


def test_timers_far_and_near_happen_in_the_order_of_their_times() -> None:
    """A timer that falls due plants two: one near, one many slots away."""
    engine = Engine(0)
    draw = engine.stream("test").uniform
    due: list[float] = []
    seen: list[float] = []

    def happen(_: object) -> None:
        seen.append(engine.now)
        if engine.now < 5.0:
            for scale in (0.02, 2.0):
                delay = scale * draw()
                due.append(engine.now + delay)
                engine.call_later(delay, happen)

    engine.call_later(0.5, happen)
    due.append(0.5)
    engine.run(20.0, event_count_max=20_000)
    assert len(seen) > 5_000
    assert seen == sorted(due)[: len(seen)]


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=12)),
        min_size=1,
        max_size=60,
    )
)
def test_calls_made_by_calls_happen_in_one_order(plan: list[tuple[int, list[int]]]) -> None:
    """Whether they stand in the chain, in the list or in a slot: by time, then as scheduled."""
    engine = Engine(0)
    scheduled: list[tuple[float, int]] = []
    seen: list[tuple[float, int]] = []

    def schedule(delay_count: int, more: list[int]) -> None:
        delay_seconds = delay_count / 2048
        mark = (engine.now + delay_seconds, len(scheduled))
        scheduled.append(mark)
        engine.after(delay_seconds, happen, (mark, more))

    def happen(work: tuple[tuple[float, int], list[int]]) -> None:
        mark, more = work
        assert engine.now == mark[0]
        seen.append(mark)
        for delay_count in more:
            schedule(delay_count, [])

    for delay_count, more in plan:
        schedule(delay_count, more)
    engine.run(1.0)
    assert seen == sorted(scheduled)
