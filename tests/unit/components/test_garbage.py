"""The apiserver's collector: how much it marks, who does it, and whom it delays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.components.apiserver_garbage import GarbageCollector
from sim.components.apiserver_runqueue import QUANTUM_SECONDS, RunQueue
from sim.costs.apiserver import APIServerLaw
from sim.engine.engine import Engine
from sim.engine.host import Host, HostProcess

LAW = replace(
    APIServerLaw(), garbage_ratio=0.25, garbage_cycle_seconds=1.0, garbage_assist_ratio=2.0
)


def make(core_count: int) -> tuple[Engine, HostProcess, GarbageCollector]:
    engine = Engine(1)
    process = Host(engine, "host", core_count).process("kube-apiserver")
    return engine, process, GarbageCollector(LAW, RunQueue(process, engine.stream("monitor")))


def test_work_owes_marking_until_a_collection_is_worth_while() -> None:
    engine, process, garbage = make(1)
    begun: list[float] = []
    garbage.on_begin = lambda: begun.append(engine.now)
    assert [garbage.charge(0.25) for _ in range(4)] == [0.25] * 4
    assert process.cpu_seconds == 0.0
    garbage.charge(0.25)
    assert begun == [0.0]
    engine.run(10.0)
    assert process.cpu_seconds == pytest.approx(0.25 * 1.25)


def test_who_allocates_while_the_worker_waits_for_its_turn_assists() -> None:
    engine, process, garbage = make(1)
    garbage.charge(1.2)
    owed_seconds = 0.25 * 1.2
    assisted_seconds = 0.0
    for _ in range(5):
        assisted_seconds += garbage.charge(0.001) - 0.001
    assert assisted_seconds == pytest.approx(5 * 2.0 * 0.001)
    long_job_seconds = garbage.charge(1.0) - 1.0
    assert long_job_seconds == pytest.approx(LAW.garbage_assist_limit_seconds)
    engine.run(10.0)
    marked_seconds = process.cpu_seconds + assisted_seconds + long_job_seconds
    assert marked_seconds == pytest.approx(owed_seconds)
    assert garbage.charge(0.001) == 0.001


def test_a_worker_keeps_its_processor_for_a_quantum_where_nobody_waits_for_it() -> None:
    turns = []
    for core_count in (2, 64):
        engine, process, garbage = make(core_count)
        garbage.charge(1.2)
        engine.run(10.0)
        assert process.cpu_seconds == pytest.approx(0.25 * 1.2)
        turns.append(process.job_count)
    crowded, roomy = turns
    assert crowded == pytest.approx(0.25 * 1.2 / LAW.garbage_turn_seconds, abs=1)
    assert roomy == pytest.approx(0.25 * 1.2 / QUANTUM_SECONDS, abs=1)


def test_a_process_that_has_died_owes_nothing() -> None:
    engine, process, garbage = make(1)
    garbage.charge(0.9)
    garbage.forget()
    garbage.charge(0.9)
    engine.run(10.0)
    assert process.cpu_seconds == 0.0
