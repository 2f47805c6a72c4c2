"""Incremental counts of pods per topology domain.

A tally counts bound pods per value of one node label (or per node). Two kinds exist: pods that a
selector matches (for topology spread and a pod's own affinity terms) and pods that carry a term
(for other pods' affinity terms). A bind or unbind changes one number per tally it concerns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.scheduling.affinity_terms import AffinityTerm
from sim.scheduling.labels import NodeSelectorTerm, Requirement, Selector, selector_matches
from sim.scheduling.match_index import pairs_of
from sim.scheduling.shape import Labels, Toleration

if TYPE_CHECKING:
    from sim.scheduling.nodes import Node
    from sim.scheduling.state import ClusterState

IntArray = NDArray[np.int64]
Counts = NDArray[np.int32]
BoolArray = NDArray[np.bool_]


class LabelColumn:
    """Values of one label over node rows, interned; id 0 means the node lacks the label.

    ``ids`` has shape (rows allocated,), dtype int32.
    """

    __slots__ = ("ids", "index", "key", "values")

    def __init__(self, key: str, capacity: int) -> None:
        self.key = key
        self.ids: NDArray[np.int32] = np.zeros(capacity, np.int32)
        self.values: list[str | None] = [None]
        self.index: dict[str, int] = {}

    def intern(self, value: str | None) -> int:
        """Id of a value; a new one when it has not been seen."""
        if value is None:
            return 0
        known = self.index.get(value)
        if known is None:
            known = self.index[value] = len(self.values)
            self.values.append(value)
        return known


class SpreadPredicate(NamedTuple):
    """Pods of a namespace that a selector matches and that are not terminating."""

    namespace: str
    selector: Selector

    def pairs(self) -> tuple[tuple[str, str], ...] | None:
        """Label pairs to file the predicate under."""
        return pairs_of(self.selector)

    def matches(self, state: ClusterState, labels: Labels) -> bool:
        """Whether pods with these labels count."""
        return labels.namespace == self.namespace and selector_matches(self.selector, labels.labels)


class TermsPredicate(NamedTuple):
    """Pods that match every one of the given terms of an incoming pod."""

    terms: tuple[AffinityTerm, ...]

    def pairs(self) -> tuple[tuple[str, str], ...] | None:
        """Label pairs to file the predicate under."""
        return pairs_of(self.terms[0].selector) if self.terms else ()

    def matches(self, state: ClusterState, labels: Labels) -> bool:
        """Whether pods with these labels count."""
        known = state.namespaces.get(labels.namespace)
        return all(
            t.matches(labels.namespace, labels.labels, known, listed_only=True) for t in self.terms
        )


class EligibilityKey(NamedTuple):
    """Which nodes a spread constraint looks at."""

    keys: tuple[str, ...]
    """Labels a node must have."""
    affinity: tuple[tuple[Requirement, ...], tuple[NodeSelectorTerm, ...] | None] | None
    """``(node selector, required affinity)`` when the constraint honours them."""
    tolerations: tuple[Toleration, ...] | None
    """Tolerations when the constraint honours taints."""


class Eligibility:
    """Mask over node rows of the nodes a spread constraint looks at, kept current by epoch."""

    __slots__ = ("_epoch", "_mask", "key", "state")

    def __init__(self, state: ClusterState, key: EligibilityKey) -> None:
        self.state = state
        self.key = key
        self._epoch = -1
        self._mask: BoolArray = np.zeros(0, np.bool_)

    @property
    def mask(self) -> BoolArray:
        """Shape (rows allocated,)."""
        if self._epoch != self.state.node_epoch:
            self._mask = self._evaluate()
            self._epoch = self.state.node_epoch
        return self._mask

    def _evaluate(self) -> BoolArray:
        state = self.state
        mask = state.present.copy()
        for key in self.key.keys:
            mask &= state.label_column(key).ids != 0
        if self.key.affinity is not None:
            mask &= state.node_selector_mask(*self.key.affinity)
        if self.key.tolerations is not None:
            mask &= ~state.taint_tables(self.key.tolerations)[0][state.taint_set_ids]
        return mask


class Tally:
    """Counts of pods per value of a label key (``key`` None: per node row).

    ``counts`` has at least one entry per label value seen; entry 0 (label missing) stays 0.
    ``total`` is the number of pods counted.
    """

    __slots__ = (
        "_present",
        "_present_epoch",
        "column",
        "counts",
        "eligibility",
        "key",
        "predicate",
        "skip_terminating",
        "state",
        "total",
    )

    def __init__(
        self,
        state: ClusterState,
        predicate: SpreadPredicate | TermsPredicate | None,
        key: str | None,
        eligibility: Eligibility | None,
    ) -> None:
        self.state = state
        self.predicate = predicate
        self.key = key
        self.eligibility = eligibility
        self.skip_terminating = isinstance(predicate, SpreadPredicate)
        self.column = None if key is None else state.label_column(key)
        self.counts: Counts = np.zeros(self._size(), np.int32)
        self.total = 0
        self._present: BoolArray = np.zeros(0, np.bool_)
        self._present_epoch = -1

    def _size(self) -> int:
        return self.state.capacity if self.column is None else len(self.column.values)

    def add(self, node: Node, delta: int, terminating: bool) -> None:
        """Count ``delta`` pods on a node."""
        if terminating and self.skip_terminating:
            return
        row = node.row
        if self.eligibility is not None and not self.eligibility.mask[row]:
            return
        if self.column is None:
            domain = row
        else:
            domain = self.column.ids.item(row)
            if domain == 0:
                return
        counts = self.counts
        if domain >= len(counts):
            counts = self.sized()
        counts[domain] += delta
        self.total += delta

    def sized(self) -> Counts:
        """The counts, long enough for every label value known now."""
        size = self._size()
        if len(self.counts) < size:
            grown = np.zeros(size + 4, np.int32)
            grown[: len(self.counts)] = self.counts
            self.counts = grown
        return self.counts

    def present(self) -> BoolArray:
        """Domains with at least one eligible node, shape of ``counts``."""
        counts = self.sized()
        if self._present_epoch != self.state.node_epoch or len(self._present) != len(counts):
            assert self.column is not None
            mask = self.state.present if self.eligibility is None else self.eligibility.mask
            present = np.zeros(len(counts), np.bool_)
            present[self.column.ids[mask]] = True
            present[0] = False
            self._present = present
            self._present_epoch = self.state.node_epoch
        return self._present

    def clear(self) -> None:
        """Forget every pod."""
        self.counts = np.zeros(self._size(), np.int32)
        self.total = 0


class CarriedTerm(Tally):
    """Counts the pods that carry one affinity term, per domain of the term's topology key.

    ``kind`` is ``anti`` (required anti-affinity), ``hard`` (required affinity) or ``soft``
    (preferred, with a signed ``weight``).
    """

    __slots__ = ("kind", "term", "weight")

    def __init__(self, state: ClusterState, term: AffinityTerm, kind: str, weight: int) -> None:
        super().__init__(state, None, term.topology_key, None)
        self.term = term
        self.kind = kind
        self.weight = weight

    def concerns(self, labels: Labels) -> bool:
        """Whether the carried term selects pods with these labels."""
        known = self.state.namespaces.get(labels.namespace)
        return self.term.matches(labels.namespace, labels.labels, known, listed_only=False)


def tally_key(
    predicate: SpreadPredicate | TermsPredicate, key: str | None, eligibility: Any
) -> tuple[Any, ...]:
    """Identity of a tally."""
    return (predicate, key, eligibility)
