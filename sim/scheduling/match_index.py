"""Finds which selectors concern which labels without trying every pair.

A selector that demands ``key in (values)`` is filed under each of those pairs; a pod's labels then
meet only the selectors filed under one of their own pairs, and those without such a demand.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from sim.scheduling.labels import Selector
from sim.scheduling.shape import Labels

T = TypeVar("T")
LabelPair = tuple[str, str]


def pairs_of(selector: Selector) -> tuple[LabelPair, ...] | None:
    """Label pairs of which one must be present; None when none is demanded, () if none suffices."""
    if selector is None:
        return ()
    demands = [r for r in selector if r.operator == "In"]
    if not demands:
        return None
    fewest = min(demands, key=lambda r: len(r.values))
    return tuple((fewest.key, value) for value in fewest.values)


class MatchIndex(Generic[T]):
    """Items with a selector, and every known :class:`Labels`, findable from either side."""

    def __init__(self) -> None:
        self._items: dict[LabelPair, list[T]] = {}
        self._unfiled: list[T] = []
        self._labels: dict[LabelPair, list[Labels]] = {}
        self._every: list[Labels] = []

    def add_labels(self, labels: Labels) -> None:
        """Make labels findable."""
        self._every.append(labels)
        for pair in labels.labels.items():
            self._labels.setdefault(pair, []).append(labels)

    def add(self, item: T, pairs: tuple[LabelPair, ...] | None) -> None:
        """Make an item findable under the pairs of its selector."""
        if pairs is None:
            self._unfiled.append(item)
        for pair in pairs or ():
            self._items.setdefault(pair, []).append(item)

    def items_for(self, labels: Labels) -> list[T]:
        """Items whose selector may match the labels, in a fixed order."""
        found = list(self._unfiled)
        for pair in labels.labels.items():
            found.extend(self._items.get(pair, ()))
        return found

    def labels_for(self, pairs: tuple[LabelPair, ...] | None) -> list[Labels]:
        """Labels that a selector with these pairs may match."""
        if pairs is None:
            return self._every
        return [labels for pair in pairs for labels in self._labels.get(pair, ())]
