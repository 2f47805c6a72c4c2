"""Processes without SimPy's own code: `Task` runs a generator that waits for `Signal` objects.

They stand in for ``simpy.Process`` and ``simpy.Event`` where processes are many and short-lived
waits are frequent: the same calls in the same order, but compiled. A signal can also be waited for
by a SimPy process, and a task can wait for SimPy's events.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, cast

from simpy.events import Initialize

from sim.engine.engine import Engine, Event


class Signal:
    """Something that happens once, soon after somebody has called `succeed`."""

    __slots__ = ("_engine", "_ok", "_value", "callbacks", "triggered")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ok = True
        self._value: Any = None
        self.callbacks: list[Callable[[Any], object]] | None = []
        """Called with the signal when it happens; None once it has happened."""
        self.triggered = False

    @property
    def value(self) -> Any:
        """What `succeed` was called with."""
        return self._value

    def succeed(self, value: Any = None) -> None:
        """Let the signal happen at this instant, after what is scheduled already."""
        if self.triggered:
            raise RuntimeError("a signal can happen only once")
        self.triggered = True
        self._value = value
        self._engine.after(0.0, self._happen)

    def succeed_later(self, delay_seconds: float) -> None:
        """Let the signal happen after some time."""
        self.triggered = True
        self._engine.after(delay_seconds, self._happen)

    def _happen(self, _: None) -> None:
        callbacks = self.callbacks
        assert callbacks is not None
        self.callbacks = None
        for callback in callbacks:
            callback(self)


def sleep(engine: Engine, delay_seconds: float) -> Signal:
    """Return a signal that happens after some time."""
    signal = Signal(engine)
    signal.succeed_later(delay_seconds)
    return signal


Waitable = Event | Signal
"""What a task may yield."""


class Task:
    """A generator that is run until it ends; it begins at the current instant."""

    __slots__ = ("_engine", "_steps")

    def __init__(self, engine: Engine, steps: Generator[Any, Any, Any]) -> None:
        self._engine = engine
        self._steps = steps
        Initialize(engine.environment, cast(Any, self))

    def _resume(self, event: Any) -> None:
        """Hand the value of an event to the generator; wait for the next that has not happened."""
        steps = self._steps
        while True:
            try:
                if event._ok:
                    event = steps.send(event._value)
                else:
                    event._defused = True
                    event = steps.throw(event._value)
            except StopIteration:
                self._engine.after(0.0, _ended)
                return
            callbacks = event.callbacks
            if callbacks is not None:
                callbacks.append(self._resume)
                return


def _ended(_: None) -> None:
    """A process that ends is an event of the model, as it is with SimPy."""
