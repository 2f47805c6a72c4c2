"""Go's run queue: who runs next, and what a crowd saves."""

from __future__ import annotations

import pytest

from sim.components.apiserver_runqueue import RunQueue
from sim.engine.engine import Engine
from sim.engine.host import Host


def make_queue(core_count: int = 1) -> tuple[Engine, RunQueue]:
    engine = Engine(1)
    host = Host(engine, "host", core_count)
    return engine, RunQueue(host.process("p"), engine.stream("monitor"))


def test_work_waits_its_turn_and_work_handed_over_goes_first() -> None:
    engine, queue = make_queue()
    order: list[str] = []
    for name in ("first", "second", "third"):
        queue.submit(0.001, order.append, name)
    queue.submit_handed(0.001, order.append, "handed")
    assert len(queue) == 3
    engine.run(1.0)
    assert order == ["first", "handed", "second", "third"]
    assert engine.now == 1.0
    assert queue.busy_count == 0


def test_a_crowd_saves_up_to_a_share_of_each_demand() -> None:
    engine, queue = make_queue()
    queue.saving_ratio, queue.saving_half_count = 0.5, 1.0
    ends: list[float] = []
    for _ in range(3):
        queue.submit(0.008, lambda _: ends.append(engine.now), None)
    engine.run(1.0)
    # the first starts at once, the second with one waiting (half of a half is saved), then the last
    assert ends == pytest.approx([0.008, 0.008 + 0.006, 0.008 + 0.006 + 0.008])
