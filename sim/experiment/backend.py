"""What the runner needs to know of a cluster: its settings, its operations and how to build it.

The real backend is assembled from `sim.cluster` and `sim.workload` when it is first asked for, so
that commands which need no cluster never import one. Worker processes find their backend by its
``reference``; tests pass their own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sim.base.errors import Problem
from sim.engine.engine import Engine
from sim.engine.tables import Recorder, TableSpec

REAL: Final = "sim.experiment.real_backend:backend"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    time_seconds: float
    pods_total_count: int
    pods_running_count: int
    request_count: int


class ProgressLike(Protocol):
    """Anything with the fields of `Progress`."""

    @property
    def time_seconds(self) -> float:
        """Simulated time."""

    @property
    def pods_total_count(self) -> int:
        """Pods that exist or are still to be created."""

    @property
    def pods_running_count(self) -> int:
        """Pods running."""

    @property
    def request_count(self) -> int:
        """API requests answered."""


class Cluster(Protocol):
    """A cluster as the runner sees it."""

    def start(self) -> None:
        """Begin; nothing runs before."""

    def settled(self) -> bool:
        """Whether the workload is done and nothing is under way."""

    def progress(self) -> ProgressLike:
        """Return how far the run is."""

    def check(self) -> list[str]:
        """Return the invariants that are broken."""

    def finish(self) -> None:
        """Write the last rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a run will ask of the machine, estimated before anything is built."""

    node_count: int
    pod_count: int
    memory_bytes: int
    event_count: int
    problems: tuple[Problem, ...] = ()
    """Errors and warnings found in the objects (nodes without capacity, pods that fit nowhere)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One kind of cluster that experiments can run."""

    params_type: type
    """Frozen dataclass of all settings, every field with a default."""
    operation_types: Mapping[str, type]
    """Workload operation → frozen dataclass with an ``op`` field."""
    build: Callable[[Any, Sequence[Any], Engine, Recorder, Any], Cluster]
    tables: tuple[TableSpec, ...]
    profiles: tuple[str, ...]
    """Names of the cost profiles; the first is the default."""
    demand: Callable[[Any, Sequence[Any]], Demand]
    reference: str
    """``module:function`` by which another process gets the same backend."""
    load_profile: Callable[[str], Any] | None = None
    """Reads a profile by name; None hands the name itself to ``build``."""
    check: Callable[[Any, Sequence[Any]], Sequence[Problem]] | None = None
    """Reads the objects that settings name and tells what cannot work; slower than `demand`."""
    validity: Callable[[str], Sequence[str]] | None = None
    """Sentences for the report on what a profile's parameters rest on."""


_loaded: dict[str, Backend] = {}


def load_backend(reference: str = REAL) -> Backend:
    """Return the backend of that reference, assembling it once per process."""
    found = _loaded.get(reference)
    if found is None:
        module, _, name = reference.partition(":")
        found = getattr(importlib.import_module(module), name)()
        assert isinstance(found, Backend)
        _loaded[reference] = found
    return found
