"""Filter and Score plugins of the user: vectorised over candidate nodes.

A plugin is an object with a ``name`` and one or both of the methods below; it is enabled in
KubeSchedulerConfiguration by that name, like any other plugin. It must be a pure function of what
it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sim.scheduling.shape import PodShape

if TYPE_CHECKING:
    from sim.scheduling.state import ClusterState


class Candidates:
    """The nodes a plugin is asked about, in the order the scheduler visits them.

    Every array has one entry per candidate. Amounts are millicores for cpu, whole units otherwise.
    """

    def __init__(self, state: ClusterState, rows: NDArray[np.int64]) -> None:
        self._state = state
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def _take(self, table: NDArray[np.int64], column: int) -> NDArray[np.int64]:
        amounts: NDArray[np.int64] = table[column][self._rows]
        return amounts

    @property
    def names(self) -> list[str]:
        """Node names."""
        return [self._state.node_at(row).name for row in self._rows.tolist()]

    @property
    def pod_count(self) -> NDArray[np.int64]:
        """Pods on each node."""
        return self._take(self._state.used(), 3)

    def allocatable(self, resource: str) -> NDArray[np.int64]:
        """Allocatable amount of a resource, 0 where a node has none."""
        column = self._state.columns.get(resource)
        if column is None:
            return np.zeros(len(self._rows), np.int64)
        return self._take(self._state.allocatable, column)

    def requested(self, resource: str) -> NDArray[np.int64]:
        """Amount requested by the pods on each node."""
        column = self._state.columns.get(resource)
        if column is None:
            return np.zeros(len(self._rows), np.int64)
        return self._take(self._state.used(), column)

    def label(self, key: str) -> list[str | None]:
        """Value of a node label, None where it is missing."""
        column = self._state.label_column(key)
        return [column.values[i] for i in column.ids[self._rows].tolist()]

    def has_taint(self, key: str) -> NDArray[np.bool_]:
        """Nodes with a taint of that key."""
        return np.array(
            [any(t.key == key for t in self._state.node_at(r).taints) for r in self._rows.tolist()],
            np.bool_,
        )


def requested_by(shape: PodShape, resource: str) -> int:
    """Amount of a resource the pod requests (0 if none)."""
    return dict(shape.demand.requests.request).get(resource, 0)


@runtime_checkable
class FilterPlugin(Protocol):
    """Rejects nodes."""

    name: str

    def filter(self, pod: PodShape, nodes: Candidates) -> NDArray[np.bool_]:
        """True where the pod may run."""
        ...


@runtime_checkable
class ScorePlugin(Protocol):
    """Ranks feasible nodes."""

    name: str

    def score(self, pod: PodShape, nodes: Candidates) -> NDArray[np.int64]:
        """Integer scores 0..100, more is better."""
        ...


class UserPlugins:
    """The user's plugins by name, with what a configuration needs to know of them."""

    def __init__(self, plugins: Sequence[Any] = ()) -> None:
        self.by_name: dict[str, Any] = {}
        for plugin in plugins:
            if not isinstance(plugin, FilterPlugin | ScorePlugin):
                raise TypeError(f"{plugin!r} has neither filter() nor score(), or no name")
            if plugin.name in self.by_name:
                raise ValueError(f"two plugins are named {plugin.name!r}")
            self.by_name[plugin.name] = plugin

    def extension_points(self) -> Mapping[str, tuple[str, ...]]:
        """For ``SchedulerConfiguration.from_dict(..., user_plugins=...)``."""
        return {
            name: tuple(
                point
                for point, kind in (("filter", FilterPlugin), ("score", ScorePlugin))
                if isinstance(plugin, kind)
            )
            for name, plugin in self.by_name.items()
        }


def run_filter(plugin: FilterPlugin, pod: PodShape, nodes: Candidates) -> NDArray[np.bool_]:
    """Run a user's filter; raises ``ValueError`` when its result has the wrong shape."""
    accepted = np.asarray(plugin.filter(pod, nodes))
    if accepted.shape != (len(nodes),) or accepted.dtype != np.bool_:
        raise ValueError(f"plugin {plugin.name!r}: filter() must return {len(nodes)} booleans")
    return accepted


def run_score(plugin: ScorePlugin, pod: PodShape, nodes: Candidates) -> NDArray[np.int64]:
    """Run a user's score; raises ``ValueError`` on a wrong shape, type or range."""
    scores = np.asarray(plugin.score(pod, nodes))
    if scores.shape != (len(nodes),) or not np.issubdtype(scores.dtype, np.integer):
        raise ValueError(f"plugin {plugin.name!r}: score() must return {len(nodes)} integers")
    if len(scores) and (scores.min() < 0 or scores.max() > 100):
        raise ValueError(f"plugin {plugin.name!r}: scores must lie in 0..100")
    return scores.astype(np.int64)
