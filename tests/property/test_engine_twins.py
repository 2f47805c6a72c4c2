"""Fast and readable twins of the engine in lockstep; the event loop against SimPy's own.

Method: Hypothesis draws a history (arrivals, demands, cores, follow-up jobs, cancellations); both
twins live through it and must agree at every completion and at every look in between. Times come
from a coarse grid as often as from the continuum, so that ties are frequent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
import simpy
from hypothesis import event, given
from hypothesis import strategies as st

from sim.engine.engine import Call, Engine
from sim.engine.host import Host
from sim.engine.host_reference import ReferenceHost
from sim.engine.token_bucket import TokenBucket
from sim.engine.token_bucket_reference import ReferenceTokenBucket
from sim.engine.workqueue import Workqueue
from sim.engine.workqueue_reference import ReferenceWorkqueue

SAME_SECONDS = 1e-8

grid = st.integers(0, 12).map(lambda value: value / 4)
times = st.one_of(grid, st.floats(0.0, 3.0))

# Host.

chains = st.lists(times, min_size=1, max_size=4)
"""Demands of a job and of those that follow it, each submitted when the one before has ended."""
gaps = times.map(lambda value: value / 16)
arrivals = st.lists(st.tuples(gaps, chains, st.booleans()), min_size=5, max_size=40)


class Life:
    """The jobs of one history on one of the two hosts."""

    def __init__(self, engine: Engine, submit: Callable[..., None]) -> None:
        self.engine = engine
        self.submit = submit
        self.ends: dict[tuple[int, int], float] = {}
        self.order: list[tuple[int, int]] = []

    def begin(self, work: tuple[int, int, list[float]]) -> None:
        self.submit(work[2][work[1]], self.ended, work)

    def ended(self, work: tuple[int, int, list[float]]) -> None:
        index, step, chain = work
        self.ends[index, step] = self.engine.now
        self.order.append((index, step))
        if step + 1 < len(chain):
            self.begin((index, step + 1, chain))


class Pair:
    """Both hosts, fed by the same arrivals of one engine."""

    def __init__(self, history: list[tuple[float, list[float], bool]], core_count: int) -> None:
        self.engine = Engine(0)
        self.fast = Host(self.engine, "h", core_count)
        self.slow = ReferenceHost(self.engine, core_count)
        self.process = self.fast.process("p")
        self.fast_life = Life(self.engine, self.process.run)
        self.slow_life = Life(self.engine, self.slow.submit)
        self.occupying_count = 0
        self.modes: list[str] = []
        now = 0.0
        for index, (gap, chain, is_waited_for) in enumerate(history):
            now += gap
            if is_waited_for:
                self.engine.call_later(now, self.fast_life.begin, (index, 0, chain))
                self.engine.call_later(now, self.slow_life.begin, (index, 0, chain))
            else:
                self.engine.call_later(now, self.occupy, chain[0])

    def occupy(self, demand_seconds: float) -> None:
        """A job that nobody waits for; refused or not, the hosts must stay alike."""
        cores = self.fast.core_count
        idle = self.fast.running_count == 0
        taken = bool(self.fast.occupy(self.process, demand_seconds))
        if taken:
            self.occupying_count += 1
            self.slow.submit(demand_seconds, lambda _: None)
            assert cores == 0 or self.fast.running_count - 1 < cores / 2
        assert taken or not idle or 0 < cores < 8

    def look(self, time_seconds: float) -> None:
        """Run until a time and compare everything that can be seen from outside."""
        self.engine.run(time_seconds)
        fast, slow = self.fast, self.slow
        assert fast.running_count == self.process.running_count == len(slow.jobs)
        assert integrals(fast) == pytest.approx(integrals(slow), abs=1e-6)
        assert fast.check() == []
        mode = "shared" if fast._jobs else "direct" if fast.running_count else "idle"
        if self.modes[-1:] != [mode]:
            self.modes.append(mode)


def integrals(host: Host | ReferenceHost) -> list[float]:
    """What a host has counted; times on it include those of the jobs that are still there."""
    host.settle()
    now = host._engine.now
    if isinstance(host, Host):
        arrivals = [arrival for arrival, _ in host._present()]
    else:
        arrivals = [job.arrival_seconds for job in host.jobs]
    sojourn = host.sojourn_sum_seconds + sum(now - arrival for arrival in arrivals)
    return [host.job_count, host.work_seconds, host.job_area_seconds, sojourn]


@given(history=arrivals, core_count=st.sampled_from([0, 1, 2, 4, 8, 12]), looks=st.integers(1, 20))
def test_hosts_agree(
    history: list[tuple[float, list[float], bool]], core_count: int, looks: int
) -> None:
    pair = Pair(history, core_count)
    horizon = sum(gap + sum(chain) for gap, chain, _ in history) + 1.0
    for look in range(1, looks + 1):
        pair.look(horizon * look / looks + 0.001)
    fast, slow = pair.fast_life, pair.slow_life
    assert len(slow.ends) == sum(len(chain) for _, chain, is_waited_for in history if is_waited_for)
    assert pair.fast.job_count == len(slow.ends) + pair.occupying_count
    assert fast.ends == pytest.approx(slow.ends, abs=SAME_SECONDS)
    late = -1.0
    for work in fast.order:  # by the twin's times: one order but for ties
        assert slow.ends[work] >= late - SAME_SECONDS
        late = max(late, slow.ends[work])
    event(f"modes seen: {set(pair.modes)}, occupied: {pair.occupying_count > 0}")


def test_a_history_that_goes_to_shared_mode_and_back() -> None:
    """Eight jobs crowd four cores, then half of the cores fall free, then they crowd again."""
    history = [(0.0, [1.0 + index], True) for index in range(8)] + [(9.0, [2.0], True)]
    history += [(0.0, [0.5 * index + 0.1], True) for index in range(6)]
    pair = Pair(history, 4)
    for look in range(60):
        pair.look(look / 3 + 0.01)
    assert pair.modes == ["shared", "direct", "shared", "direct", "idle"]
    assert len(pair.fast_life.ends) == len(history)
    assert pair.fast_life.ends == pytest.approx(pair.slow_life.ends, abs=1e-9)


def test_jobs_that_occupy_a_host_are_crowded_like_others() -> None:
    """Three occupy eight cores; ten more arrive before they end: all thirteen share."""
    history = [(0.0, [3.0], False) for _ in range(3)]
    history += [(0.1 if index == 0 else 0.0, [2.0], True) for index in range(10)]
    pair = Pair(history, 8)
    for look in range(60):
        pair.look(look / 8 + 0.01)
    assert pair.occupying_count == 3
    assert pair.modes == ["direct", "shared", "direct", "idle"]
    ends = list(pair.fast_life.ends.values())
    assert ends == pytest.approx([0.1 + 2.0 * 13 / 8] * 10)


@given(
    start=st.sampled_from([0.0, 1e3, 1e6, 2e7, 1e9]),
    demands=st.lists(st.floats(1e-12, 1e-6), min_size=3, max_size=12),
)
def test_a_late_clock_that_is_coarser_than_the_work_still_ends_it(
    start: float, demands: list[float]
) -> None:
    engine = Engine(0)
    process = Host(engine, "h", 2).process("p")
    ended: list[int] = []

    def begin(_: object) -> None:
        for index, demand in enumerate(demands):
            process.run(demand, ended.append, index)

    engine.call_later(start, begin)
    assert engine.run(start + 1.0, event_count_max=10_000) == "horizon"
    assert sorted(ended) == list(range(len(demands)))


# Token bucket.


@given(
    gaps=st.lists(
        st.tuples(st.integers(0, 200).map(lambda value: value / 64), st.booleans()),
        min_size=1,
        max_size=150,
    ),
    qps=st.sampled_from([0.25, 0.5, 1.0, 3.0, 8.0, 100.0]),
    burst=st.integers(1, 20),
)
def test_buckets_agree(gaps: list[tuple[float, bool]], qps: float, burst: int) -> None:
    fast = TokenBucket(qps, burst)
    slow = ReferenceTokenBucket(qps, burst)
    now = wait_sum = 0.0
    granted = waited = 0
    for gap, waits in gaps:
        now += gap
        if waits:
            expected = float(slow.reserve(now))
            assert fast.reserve(now) == pytest.approx(expected, abs=1e-12)
            granted += 1
            waited += expected > 0.0
            wait_sum += expected
        else:
            taken = slow.try_take(now)
            assert fast.try_take(now) == taken
            granted += taken
    assert fast.granted_count == granted
    assert fast.waited_count == waited
    assert fast.wait_sum_seconds == pytest.approx(wait_sum, abs=1e-9)


@given(
    gaps=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=100),
    qps=st.floats(0.1, 1000.0),
    burst=st.integers(1, 50),
)
def test_buckets_agree_on_any_times(gaps: list[float], qps: float, burst: int) -> None:
    fast = TokenBucket(qps, burst)
    slow = ReferenceTokenBucket(qps, burst)
    now = 0.0
    for gap in gaps:
        now += gap
        assert fast.reserve(now) == pytest.approx(float(slow.reserve(now)), abs=1e-9)


# Workqueue.

actions = st.tuples(
    st.sampled_from(["add", "add", "after", "after", "retry", "forget", "done", "done"]),
    st.integers(0, 2),
    st.integers(-1, 9).map(lambda number: number / 3),
)


class Workers:
    """Workers that take keys at once and keep them until the history says ``done``."""

    def __init__(self, worker_count: int) -> None:
        self.engine = Engine(0)
        self.fast: Workqueue[int] = Workqueue(
            self.engine,
            "q",
            retry_base_seconds=0.11,
            retry_max_seconds=2.0,
            bucket_qps=0.7,
            bucket_burst=2,
        )
        self.slow = ReferenceWorkqueue(
            retry_base_seconds=0.11, retry_max_seconds=2.0, qps=0.7, burst=2
        )
        self.free = worker_count
        self.taken: list[tuple[int, float]] = []
        self.expected: list[tuple[Any, float]] = []
        self.waits = 0.0
        self.events: dict[int, Any] = {}
        """Key that a worker holds → what lets it go on."""
        for _ in range(worker_count):
            self.engine.process(self.work())

    def work(self) -> Generator[Any, Any, None]:
        while True:
            key = yield self.fast.get()
            self.taken.append((key, self.engine.now))
            self.events[key] = self.engine.event()
            yield self.events[key]
            self.fast.done(key)

    def follow(self, until: float) -> None:
        """Let the twin do what happens up to ``until``, delay by delay."""
        while self.slow.returning and min(self.slow.returning.values()) <= until:
            now = min(self.slow.returning.values())
            self.slow.let_pass(now)
            self.serve(now)

    def serve(self, now: float) -> None:
        while self.free and (found := self.slow.take(now)) is not None:
            self.free -= 1
            self.expected.append((found[0], now))
            self.waits += found[1]

    def release(self, key: int, now: float) -> None:
        if key not in self.slow.held:
            return
        self.events.pop(key).succeed()
        self.slow.done(key)
        self.free += 1
        self.serve(now)


@given(
    history=st.lists(
        st.tuples(st.integers(0, 40).map(lambda n: n * 0.0501), actions), min_size=1, max_size=60
    ),
    worker_count=st.integers(1, 3),
)
def test_workqueues_agree(
    history: list[tuple[float, tuple[str, int, float]]], worker_count: int
) -> None:
    both = Workers(worker_count)
    engine, fast, slow = both.engine, both.fast, both.slow
    now = 1e-3
    engine.run(now)
    for gap, (action, key, delay) in history:
        now += gap + 1e-6
        engine.run(now)
        both.follow(now)
        assert both.taken == [(key, pytest.approx(at)) for key, at in both.expected]
        if action == "add":
            fast.add(key)
            slow.add(key, now)
        elif action == "after":
            fast.add_after(key, delay)
            slow.add_after(key, delay, now)
        elif action == "retry":
            fast.add_rate_limited(key)
            slow.add_rate_limited(key, now)
            assert fast.retries(key) == slow.failure_counts[key]
        elif action == "forget":
            fast.forget(key)
            slow.failure_counts.pop(key, None)
        else:
            both.release(key, now)
        both.serve(now)
        now += 1e-6
        engine.run(now)
        assert len(fast) == len(slow.order)
    engine.run(now + 10.0)
    both.follow(now + 10.0)
    assert both.taken == [(key, pytest.approx(at)) for key, at in both.expected]
    assert fast.get_count == len(both.expected)
    assert fast.wait_sum_seconds == pytest.approx(both.waits, abs=1e-3)


# The event loop.

plans = st.recursive(
    st.tuples(st.sampled_from(["call", "sleep", "cancel"]), grid, st.just([])),
    lambda children: st.tuples(
        st.sampled_from(["call", "sleep", "cancel"]), grid, st.lists(children, max_size=3)
    ),
    max_leaves=25,
)


def run_engine(plan: list[Any], horizon: float) -> tuple[list[tuple[float, int]], int]:
    engine = Engine(0)
    trace: list[tuple[float, int]] = []
    names: dict[int, int] = {}

    def begin(steps: list[Any]) -> None:
        for step in steps:
            kind, delay, _ = step
            if kind == "sleep":
                engine.process(walk(step))
            else:
                call = engine.call_later(delay, happen, step)
                if kind == "cancel":
                    call.cancel()

    def happen(step: Any) -> None:
        trace.append((engine.now, names.setdefault(id(step), len(names))))
        begin(step[2])

    def walk(step: Any) -> Generator[Any, Any, None]:
        yield engine.sleep(step[1])
        happen(step)

    begin(plan)
    assert engine.run(horizon) == "horizon"
    return trace, engine.event_count


def run_simpy(plan: list[Any], horizon: float) -> tuple[list[tuple[float, int]], int]:
    environment = simpy.Environment()
    trace: list[tuple[float, int]] = []
    names: dict[int, int] = {}

    def begin(steps: list[Any]) -> None:
        for step in steps:
            kind, delay, _ = step
            if kind == "sleep":
                environment.process(walk(step))
            else:
                timeout = environment.timeout(delay)
                if kind == "call":
                    timeout.callbacks.append(lambda _, step=step: happen(step))

    def happen(step: Any) -> None:
        trace.append((environment.now, names.setdefault(id(step), len(names))))
        begin(step[2])

    def walk(step: Any) -> Generator[Any, Any, None]:
        yield environment.timeout(step[1])
        happen(step)

    begin(plan)
    count = 0
    while environment.peek() < horizon:
        environment.step()
        count += 1
    return trace, count


@given(plan=st.lists(plans, max_size=8), horizon=st.floats(0.1, 12.0))
def test_the_loop_does_what_simpy_does(plan: list[Any], horizon: float) -> None:
    trace, count = run_engine(plan, horizon)
    expected, expected_count = run_simpy(plan, horizon)
    assert trace == expected
    assert count == expected_count + 1  # the horizon's own


@given(delays=st.lists(grid, min_size=1, max_size=40), data=st.data())
def test_cancelled_calls_do_nothing_and_disturb_nobody(
    delays: list[float], data: st.DataObject
) -> None:
    engine = Engine(0)
    happened: list[int] = []
    calls: list[Call] = [
        engine.call_later(delay, happened.append, index) for index, delay in enumerate(delays)
    ]
    gone = data.draw(st.sets(st.integers(0, len(delays) - 1)))
    for index in sorted(gone):
        calls[index].cancel()
    engine.run(100.0)
    left = [index for index in range(len(delays)) if index not in gone]
    assert happened == sorted(left, key=lambda index: delays[index])
