"""Nodes that join, step by step: from the node_transitions table to one row of times per node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.metrics.facts_view import Facts, FloatArray, IntArray

STEPS: Final = (
    "registered", "cidr_allocated", "agent_started", "reaches_all", "ready", "programmed_50",
    "programmed_99", "programmed_100",
)  # fmt: skip
"""Steps of a node that joins, in their usual order."""
STEP_MEANINGS: Final = (
    "registered", "has a pod range", "overlay agent runs", "reaches all nodes", "Ready",
    "reached by half", "reached by 99 %", "reached by all",
)  # fmt: skip
READINESS: Final = {"ready": 1, "not_ready": -1, "unknown": -1}


@dataclass(frozen=True, slots=True)
class NodeJoin:
    """The first time of every step, for nodes that registered during the run.

    ``times`` : (n_nodes, n_steps) float64 seconds, NaN where a node never got there.
    """

    names: tuple[str, ...]
    times: FloatArray

    def __len__(self) -> int:
        return len(self.names)

    def rows(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return (step, seconds since registration, time) of every step after the first."""
        node, step = np.nonzero(~np.isnan(self.times[:, 1:]))
        at = self.times[node, step + 1]
        return step.astype(np.int64), at - self.times[node, 0], at


def node_join(facts: Facts) -> NodeJoin:
    """Return the steps of the nodes that joined, in order of registration."""
    table = facts["node_transitions"]
    names = table.categories("node_name")
    kinds = table.categories("transition")
    times = np.full((len(names), len(STEPS)), np.nan)
    position = [STEPS.index(kind) if kind in STEPS else -1 for kind in kinds]
    for node, kind, time in zip(
        table.column("node_name").tolist(),
        table.column("transition").tolist(),
        table.column("time_seconds").tolist(),
        strict=True,
    ):
        step = position[kind]
        # A node that was there before is left out; of one that comes back, the first life counts.
        if step >= 0 and np.isnan(times[node, step]) and (step == 0 or times[node, 0] <= time):
            times[node, step] = time
    joined = np.flatnonzero(~np.isnan(times[:, 0]))
    order = joined[np.argsort(times[joined, 0], kind="stable")]
    return NodeJoin(tuple(names[index] for index in order.tolist()), times[order])


def changes_of_readiness(facts: Facts) -> tuple[FloatArray, FloatArray]:
    """Return (times, change of the number of Ready nodes), ascending by time.

    A node whose first row says that it is Ready was not; one that is first lost was Ready before.
    """
    table = facts["node_transitions"]
    kinds = [READINESS.get(kind, 0) for kind in table.categories("transition")]
    gone = [kind == "deleted" for kind in table.categories("transition")]
    ready: dict[int, bool] = {}
    found: list[tuple[float, float]] = []
    for node, kind, time in zip(
        table.column("node_name").tolist(),
        table.column("transition").tolist(),
        table.column("time_seconds").tolist(),
        strict=True,
    ):
        if not kinds[kind] and not gone[kind]:
            continue
        now = kinds[kind] > 0
        if ready.get(node, not now) != now:
            found.append((time, 1.0 if now else -1.0))
        ready[node] = now
    found.sort()
    array = np.array(found).reshape(-1, 2)
    return array[:, 0], array[:, 1]
