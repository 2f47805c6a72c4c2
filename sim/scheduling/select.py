"""How many nodes are searched, and which of the best ones is taken.

**Source:** Kubernetes v1.36 ``pkg/scheduler/schedule_one.go`` (``numFeasibleNodesToFind``,
``prioritizeNodes``/``selectHost``); the order among ties was checked against the real scheduler
(conformance vectors, behaviour 1).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

FEASIBLE_NODES_MIN = 100
PERCENTAGE_MIN = 5
TIE_BITS = 20
"""Node positions fit into this many bits: at most 1,048,575 nodes."""


def feasible_nodes_to_find(node_count: int, percentage: int) -> int:
    """Number of feasible nodes at which the search stops; ``percentage`` 0 means adaptive."""
    if node_count < FEASIBLE_NODES_MIN or percentage >= 100:
        return node_count
    if percentage == 0:
        percentage = max(PERCENTAGE_MIN, 50 - node_count // 125)
    return max(FEASIBLE_NODES_MIN, node_count * percentage // 100)


@functools.lru_cache(maxsize=8)
def _rank_of_full_tree(depth: int) -> NDArray[np.int64]:
    ranks = np.zeros((1 << depth) - 1, np.int64)
    for level in range(1, depth):
        first = (1 << level) - 1
        children = np.arange(first, 2 * first + 1)
        subtree = (1 << (depth - level)) - 1
        ranks[children] = ranks[(children - 1) // 2] + 1 + ((children + 1) % 2 == 1) * subtree
    return ranks


def tie_rank(count: int) -> NDArray[np.int64]:
    """Preference among equally scored feasible nodes, shape (at least count,): lowest first.

    The scores form a binary max-heap by Go's ``heap.Init`` with strict comparisons. Its root is
    the maximum whose index comes first when the implicit tree is walked parent, left, right: an
    entry is displaced by a child only if that is strictly better, and the right child is taken
    only if it is strictly better than the left.
    """
    return _rank_of_full_tree(max(count, 1).bit_length())


def select(totals: NDArray[np.int64]) -> int:
    """Index of the node taken, given total scores in the order nodes were found feasible."""
    return int(((totals << TIE_BITS) - tie_rank(len(totals))[: len(totals)]).argmax())
