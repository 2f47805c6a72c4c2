"""Tasks and signals against SimPy's processes and events: the same steps in the same order."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from sim.engine.engine import Engine
from sim.engine.tasks import Signal, Task, sleep

Log = list[tuple[float, str]]


def story(
    engine: Engine,
    start: Callable[[Generator[Any, Any, None]], object],
    make: Callable[[], Any],
    pause: Callable[[float], Any],
) -> Log:
    """Let three processes meet, at equal instants too; return what happened when."""
    log: Log = []
    door, bell = make(), make()

    def walker(name: str, seconds: float) -> Generator[Any, Any, None]:
        log.append((engine.now, f"{name} begins"))
        yield pause(seconds)
        log.append((engine.now, f"{name} waits"))
        log.append((engine.now, f"{name} hears {(yield door)}"))
        log.append((engine.now, f"{name} hears {(yield bell)}"))

    def opener() -> Generator[Any, Any, None]:
        yield pause(1.0)
        engine.call_later(0.0, lambda _: log.append((engine.now, "between")))
        door.succeed("door")
        log.append((engine.now, "opened"))
        yield door
        bell.succeed("bell")
        log.append((engine.now, "rung"))

    for name, seconds in (("early", 0.5), ("just", 1.0), ("late", 2.0)):
        start(walker(name, seconds))
    start(opener())
    engine.call_later(0.0, lambda _: log.append((engine.now, "after the beginnings")))
    engine.run(10.0)
    return log


def test_tasks_take_the_same_steps_as_simpys_processes() -> None:
    simpys, ours = Engine(0), Engine(0)
    expected = story(simpys, simpys.process, simpys.event, simpys.sleep)
    found = story(
        ours, lambda steps: Task(ours, steps), lambda: Signal(ours), lambda s: sleep(ours, s)
    )
    assert found == expected
    assert len(found) == 16
    assert ours.event_count == simpys.event_count


def test_tasks_and_processes_can_wait_for_each_others_signals() -> None:
    engine = Engine(0)
    expected = story(engine, lambda steps: Task(engine, steps), engine.event, engine.sleep)
    other = Engine(0)
    assert story(other, other.process, lambda: Signal(other), other.sleep) == expected


def test_a_task_that_fails_ends_the_run() -> None:
    engine = Engine(0)

    def steps() -> Generator[Any, Any, None]:
        yield sleep(engine, 1.0)
        raise ValueError("broken")

    Task(engine, steps())
    with pytest.raises(ValueError, match="broken"):
        engine.run(10.0)


def test_a_failed_event_is_thrown_into_the_task() -> None:
    engine = Engine(0)
    event = engine.event()
    caught: list[str] = []

    def steps() -> Generator[Any, Any, None]:
        try:
            yield event
        except ValueError as error:
            caught.append(str(error))

    Task(engine, steps())
    engine.call_later(1.0, lambda _: event.fail(ValueError("refused")))
    engine.run(10.0)
    assert caught == ["refused"]


def test_a_signal_happens_once() -> None:
    signal = Signal(Engine(0))
    signal.succeed("a")
    assert signal.value == "a"
    with pytest.raises(RuntimeError, match="once"):
        signal.succeed("b")
