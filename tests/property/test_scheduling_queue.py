"""The scheduling queue against a list of pods that is searched whole.

The twin keeps no heaps and no counters: every question is answered by looking at all pods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.base.objects import Pod
from sim.base.pod_template import PodTemplate
from sim.components.scheduling_queue import (
    ClusterEvent,
    QueuedPod,
    SchedulingQueue,
)
from sim.components.scheduling_queue_params import SchedulingQueueParams
from sim.engine.engine import Engine

TEMPLATES = {
    priority: PodTemplate(manifest={"spec": {}}, priority=priority) for priority in (0, 5, 10)
}
HINTS: dict[str, Callable[[QueuedPod, ClusterEvent], bool]] = {
    "Node": lambda _, event: event.resource == "node",
    "Pod": lambda _, event: event.resource == "assigned_pod",
    "Never": lambda _, __: False,
}
PARAMS = SchedulingQueueParams()


class Twin:
    """What `facts/model.md` e.1 says, by exhaustive search."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.flying: dict[int, list[ClusterEvent]] = {}

    def add(self, pod: Pod, now: float) -> None:
        self.rows[pod.uid] = {
            "place": "active",
            "priority": pod.template.priority,
            "stamp": now,
            "until": -1.0,
            "fails": 0,
            "errors": 0,
            "plugins": (),
            "order": len(self.rows),
        }

    def _enter(self, uid: int, place: str, order: int) -> None:
        self.rows[uid]["place"] = place
        self.rows[uid]["order"] = order

    def pop(self) -> int | None:
        active = [
            (-row["priority"], row["stamp"], row["order"], uid)
            for uid, row in self.rows.items()
            if row["place"] == "active"
        ]
        backoff = [
            (row["until"], -row["priority"], row["stamp"], row["order"], uid)
            for uid, row in self.rows.items()
            if row["place"] == "backoff"
        ]
        if not active and not backoff:
            return None
        uid = min(active)[-1] if active else min(backoff)[-1]
        self.rows[uid]["place"] = "flying"
        self.rows[uid]["until"] = -1.0
        self.flying[uid] = []
        return int(uid)

    def _wakes(self, row: dict[str, Any], event: ClusterEvent) -> bool:
        return not row["plugins"] or any(
            plugin not in HINTS or HINTS[plugin](None, event)  # type: ignore[arg-type]
            for plugin in row["plugins"]
        )

    def _requeue(self, uid: int, now: float, order: int) -> None:
        waiting = self.rows[uid]["until"] >= float(int(now))
        self._enter(uid, "backoff" if waiting else "active", order)

    def reject(
        self, uid: int, plugins: tuple[str, ...], error: bool, now: float, order: int
    ) -> None:
        events = self.flying.pop(uid)
        if uid not in self.rows:
            return
        row = self.rows[uid]
        row["plugins"], row["stamp"] = plugins, now
        if error:
            row["errors"] += 1
            row["until"] = float(int(now + min(2.0 ** (row["errors"] - 1), 10.0)))
            self._enter(uid, "error", order)
            return
        row["errors"] = 0
        row["fails"] += 1
        row["until"] = float(int(now + min(2.0 ** (row["fails"] - 1), 10.0)))
        if any(self._wakes(row, event) for event in events):
            self._requeue(uid, now, order)
        else:
            self._enter(uid, "pool", order)

    def event(self, event: ClusterEvent, now: float, order: int) -> None:
        for events in self.flying.values():
            events.append(event)
        pool = sorted(
            (row["order"], uid) for uid, row in self.rows.items() if row["place"] == "pool"
        )
        for _, uid in pool:
            if self._wakes(self.rows[uid], event):
                order += 1
                self._requeue(uid, now, order)

    def tick(self, now: float, order: int) -> None:
        """A whole second: back-offs that ended in an earlier window are over."""
        for place in ("backoff", "error"):
            ready = sorted(
                (row["until"], -row["priority"], row["stamp"], row["order"], uid)
                for uid, row in self.rows.items()
                if row["place"] == place and row["until"] < now
            )
            for *_, uid in ready:
                order += 1
                self._enter(uid, "active", order)

    def counts(self) -> tuple[int, int, int]:
        places = [row["place"] for row in self.rows.values()]
        return (
            places.count("active"),
            places.count("backoff") + places.count("error"),
            places.count("pool"),
        )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from((0, 5, 10))),
        st.tuples(st.just("pop"), st.just(0)),
        st.tuples(
            st.just("reject"),
            st.sampled_from((("Node",), ("Pod",), ("Never",), ("Node", "Pod"), ("Other",), ())),
        ),
        st.tuples(st.just("error"), st.just(0)),
        st.tuples(st.just("done"), st.just(0)),
        st.tuples(st.just("remove"), st.integers(0, 20)),
        st.tuples(st.just("event"), st.sampled_from(("node", "assigned_pod", "namespace"))),
        st.tuples(st.just("wait"), st.sampled_from((0.1, 0.37, 0.9, 2.2, 11.3))),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps=STEPS)
def test_queue_agrees_with_exhaustive_search(steps: list[tuple[str, Any]]) -> None:
    engine = Engine(1)
    queue = SchedulingQueue(engine, PARAMS, HINTS, lambda _: False, lambda: None)
    queue.start()
    twin = Twin()
    flying: list[QueuedPod] = []
    uid = 0
    order = 1000
    for name, value in steps:
        now = engine.now
        order += 1000
        if name == "add":
            uid += 1
            pod = Pod(name=f"p{uid}", namespace="d", uid=uid, template=TEMPLATES[value])
            queue.add(pod)
            twin.add(pod, now)
            twin.rows[uid]["order"] = order
        elif name == "pop":
            popped = queue.pop()
            expected = twin.pop()
            assert (popped.pod.uid if popped else None) == expected
            if popped:
                flying.append(popped)
        elif name in {"reject", "error"} and flying:
            queued = flying.pop(0)
            plugins = value if name == "reject" else ()
            queue.reject(queued, plugins, error=name == "error")
            twin.flying.setdefault(queued.pod.uid, [])
            twin.reject(queued.pod.uid, plugins, name == "error", now, order)
        elif name == "done" and flying:
            queued = flying.pop(0)
            queue.done(queued)
            queue.remove(queued.pod.uid)
            twin.flying.pop(queued.pod.uid, None)
            twin.rows.pop(queued.pod.uid, None)
        elif name == "remove":
            queue.remove(value)
            twin.rows.pop(value, None)
            twin.flying.pop(value, None)
        elif name == "event":
            event = ClusterEvent(value, "add")
            queue.cluster_event(event)
            twin.event(event, now, order)
        elif name == "wait":
            end = now + value
            second = float(int(now)) + 1.0
            while second < end:
                order += 1000
                twin.tick(second, order)
                second += 1.0
            engine.run(end)
        assert queue.check() == []
        counts = (queue.active_count, queue.backoff_count, queue.unschedulable_count)
        assert counts == twin.counts()


def _queue(hints: dict[str, Any] | None = None) -> tuple[Engine, SchedulingQueue]:
    engine = Engine(1)
    queue = SchedulingQueue(engine, PARAMS, hints or HINTS, lambda _: False, lambda: None)
    queue.start()
    return engine, queue


def test_backoff_doubles_to_ten_seconds_and_ends_with_the_tick_after_its_window() -> None:
    engine, queue = _queue()
    queue.add(Pod(name="p", namespace="d", uid=1, template=TEMPLATES[0]))
    waits = []
    for _ in range(6):
        queued = queue.pop()
        assert queued is not None
        failed = engine.now
        queue.reject(queued, (), error=True)
        while queue.active_count == 0:
            engine.run(engine.now + 0.05)
        waits.append(engine.now - failed)
    for wait, nominal in zip(waits, (1, 2, 4, 8, 10, 10), strict=True):
        assert nominal <= wait <= nominal + 1.1


def test_error_backoff_is_not_popped_early_but_unschedulable_backoff_is() -> None:
    engine, queue = _queue()
    engine.run(0.5)
    for uid in (1, 2):
        queue.add(Pod(name=f"p{uid}", namespace="d", uid=uid, template=TEMPLATES[0]))
    first, second = queue.pop(), queue.pop()
    assert first is not None
    assert second is not None
    queue.reject(first, (), error=True)
    assert queue.pop() is None
    queue.cluster_event(ClusterEvent("node", "add"))
    queue.reject(second, ("Node",), error=False)
    assert queue.backoff_count == 2, "the event came while it was being scheduled"
    again = queue.pop()
    assert again is second


def test_the_sweep_wakes_pods_after_five_minutes() -> None:
    engine, queue = _queue()
    queue.add(Pod(name="p", namespace="d", uid=1, template=TEMPLATES[0]))
    queued = queue.pop()
    assert queued is not None
    queue.reject(queued, ("Never",), error=False)
    engine.run(299.0)
    assert queue.unschedulable_count == 1
    engine.run(331.0)
    assert queue.active_count == 1
    assert queue.incoming_counts["active", "UnschedulableTimeout"] == 1


@pytest.mark.parametrize("uid", [1, 2])
def test_a_pod_held_back_is_woken_by_nothing_until_it_is_free(uid: int) -> None:
    held = {1}
    engine = Engine(1)
    queue = SchedulingQueue(engine, PARAMS, HINTS, lambda q: q.pod.uid in held, lambda: None)
    queue.start()
    queue.add(Pod(name="p", namespace="d", uid=uid, template=TEMPLATES[0]))
    queue.cluster_event(ClusterEvent("node", "add"))
    engine.run(400.0)
    assert queue.active_count == (uid == 2)
    held.clear()
    queue.activate(uid, "PodUpdate")
    assert queue.active_count == 1


def test_a_pod_keeps_the_time_of_its_last_failure_when_it_is_woken() -> None:
    engine, queue = _queue()
    engine.run(0.2)
    queue.add(Pod(name="old", namespace="d", uid=1, template=TEMPLATES[0]))
    old = queue.pop()
    assert old is not None
    queue.reject(old, ("Node",), error=False)
    engine.run(5.5)
    queue.add(Pod(name="new", namespace="d", uid=2, template=TEMPLATES[0]))
    queue.cluster_event(ClusterEvent("node", "add"))
    assert queue.active_count == 2
    assert queue.pop() is old


def test_an_unschedulable_attempt_ends_a_row_of_errors() -> None:
    engine, queue = _queue()
    engine.run(0.5)
    queue.add(Pod(name="p", namespace="d", uid=1, template=TEMPLATES[0]))
    for plugins, error in (((), True), ((), True), (("Node",), False), ((), True)):
        while queue.active_count == 0:
            engine.run(engine.now + 0.5)
        queued = queue.pop()
        assert queued is not None
        queue.reject(queued, plugins, error=error)
        if plugins:
            engine.run(engine.now + 3.0)
            queue.cluster_event(ClusterEvent("node", "add"))
    failed = engine.now
    while queue.active_count == 0:
        engine.run(engine.now + 0.1)
    assert engine.now - failed < 2.0, "the first error of a new row: one second"
