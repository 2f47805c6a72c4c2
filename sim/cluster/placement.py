"""How well pods are placed: gauges over what the leading scheduler knows of its nodes.

For a resource, over the nodes that have it:

* ``placement_allocation_ratio``: requested over allocatable, of the whole cluster.
* ``placement_imbalance_ratio``: standard deviation over nodes of requested over allocatable.
* ``placement_fragmentation_ratio``: share of what is free that a pod drawn at random from those
  placed so far (of those that ask for the resource) could not use, because the node lacks
  something else it needs, or enough of this.

**Source** of fragmentation: Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads
with Fragmentation Gradient Descent", USENIX ATC 2023, on nodes instead of single GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from sim.cluster.gauges import GaugeSampler
from sim.components.scheduler import Scheduler
from sim.engine.engine import Engine

RESOURCES = ("cpu", "memory", "nvidia.com/gpu", "alibabacloud.com/gpu-milli")
_KINDS_MAX = 64
"""Kinds of pods of the mix that are looked at, the most frequent ones."""
_REFRESH_SECONDS = 5.0
"""Computed anew at most that often; a choice of the model that costs nothing in simulated time."""


def resource_ratios(
    allocatable: NDArray[np.int64], used: NDArray[np.int64]
) -> tuple[float, float]:
    """Return (allocation ratio, imbalance ratio) of one resource over nodes: both (n_nodes,)."""
    have = allocatable > 0
    if not have.any():
        return 0.0, 0.0
    shares = used[have] / allocatable[have]
    return float(used[have].sum() / allocatable[have].sum()), float(shares.std())


def fragmentation_ratio(
    free: NDArray[np.int64], column: int, requests: NDArray[np.int64], weights: NDArray[np.int64]
) -> float:
    """Return the share of the free amount of one resource that the pods of a mix cannot use.

    Args:
        free: (n_resources, n_nodes).
        column: the resource in question.
        requests: (n_kinds, n_resources); kinds that do not ask for the resource do not count.
        weights: (n_kinds,), pods of each kind.
    """
    amounts = np.maximum(free[column], 0)
    total = float(amounts.sum())
    asking = requests[:, column] > 0
    if total == 0.0 or not asking.any():
        return 0.0
    lost = 0.0
    for request, weight in zip(requests[asking], weights[asking], strict=True):
        fits = (free >= request[:, None]).all(axis=0)
        usable = np.where(fits, amounts // request[column] * request[column], 0)
        lost += float(weight) * (total - float(usable.sum()))
    return lost / (total * float(weights[asking].sum()))


class Placement:
    """Reads the state of the leading scheduler; samples of one instant share one computation."""

    def __init__(self, engine: Engine, schedulers: Sequence[Scheduler]) -> None:
        self._engine = engine
        self._schedulers = schedulers
        self._computed_seconds = -inf
        self._computed_for: tuple[object, ...] = ()
        """Scheduler and version of its state."""
        self._values: dict[tuple[str, str], float] = {}

    def declare(self, sampler: GaugeSampler, resources: Sequence[str]) -> None:
        """Add the gauges of some resources to a sampler."""
        for resource in resources:
            for gauge in ("allocation", "imbalance", "fragmentation"):
                sampler.level(
                    f"placement_{gauge}_ratio", resource, self._reader(gauge, resource)
                )

    def expire(self) -> None:
        """Compute anew at the next sample, if anything has changed."""
        self._computed_seconds = -inf

    def _reader(self, gauge: str, resource: str) -> Callable[[], float]:
        return lambda: self._value(gauge, resource)

    def _value(self, gauge: str, resource: str) -> float:
        if self._engine.now - self._computed_seconds >= _REFRESH_SECONDS:
            self._computed_seconds = self._engine.now
            self._compute()
        return self._values.get((gauge, resource), 0.0)

    def _compute(self) -> None:
        leader = next((item for item in self._schedulers if item.leading), self._schedulers[0])
        state = leader.state
        version = (leader, *state.version())
        if version == self._computed_for:
            return
        self._computed_for = version
        rows = np.flatnonzero(state.present)
        self._values = {}
        names = [name for name in RESOURCES if name in state.columns]
        if not len(rows):
            return
        columns = [state.columns[name] for name in names]
        allocatable = state.allocatable[columns][:, rows]
        used = state.used()[columns][:, rows]
        requests, weights = self._mix(leader, names)
        for index, name in enumerate(names):
            allocation, imbalance = resource_ratios(allocatable[index], used[index])
            self._values["allocation", name] = allocation
            self._values["imbalance", name] = imbalance
            self._values["fragmentation", name] = fragmentation_ratio(
                allocatable - used, index, requests, weights
            )

    def _mix(
        self, leader: Scheduler, names: Sequence[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Requests (n_kinds, n_names) and numbers (n_kinds,) of the most frequent kinds."""
        common = leader.placed_kinds(_KINDS_MAX)
        requests = [
            [
                {
                    "cpu": template.cpu_requested_millicores,
                    "memory": template.memory_requested_bytes,
                    **template.extended_requested,
                }.get(name, 0)
                for name in names
            ]
            for template, _ in common
        ]
        shape = (len(common), len(names))
        weights = np.array([count for _, count in common], dtype=np.int64)
        return np.array(requests, dtype=np.int64).reshape(shape), weights
