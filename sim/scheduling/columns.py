"""Cached feasibility and score columns of one kind of pod, kept current by the change log.

A column set covers everything that depends on one node alone: node constraints, requests, host
ports, images. It is in snapshot order and twice over, so that a window of nodes is one slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.scheduling import resource_kernels as kernels
from sim.scheduling.select import TIE_BITS
from sim.scheduling.shape import UNSCHEDULABLE_TAINT, HostPort, NodeConstraints, PodShape

if TYPE_CHECKING:
    from sim.scheduling.core import SchedulingCore
    from sim.scheduling.nodes import Node, NodeTable
    from sim.scheduling.state import ClusterState

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_ROWS_ONE_BY_ONE_MAX = 12
IMAGE_MIN_BYTES = 23 * 1024 * 1024
IMAGE_MAX_BYTES_PER_CONTAINER = 1000 * 1024 * 1024


class NodeVerdict:
    """What nodes' own labels, taints and names say about pods with given node constraints.

    All arrays are over node rows. ``rejected`` holds, per enabled plugin, the nodes it rejects.
    """

    def __init__(self, core: SchedulingCore, constraints: NodeConstraints) -> None:
        self.epoch = -1
        self._core = core
        self._constraints = constraints
        self.rejected: dict[str, BoolArray] = {}
        self.enforced: BoolArray = np.zeros(0, np.bool_)
        self.accepted: BoolArray = np.zeros(0, np.bool_)
        self.untolerated_soft: IntArray = np.zeros(0, np.int64)
        self.preferred: IntArray | None = None
        self.soft_positions: IntArray | None = None
        self.preferred_positions: IntArray | None = None

    def refresh(self) -> None:
        """Recompute if nodes changed."""
        state = self._core.state
        if self.epoch == state.node_epoch:
            return
        enabled = self._core.profile.plugins["filter"]
        constraints = self._constraints
        hard, soft = state.taint_tables(constraints.tolerations)
        rejected: dict[str, BoolArray] = {}
        if "NodeUnschedulable" in enabled:
            tolerated = any(t.tolerates(UNSCHEDULABLE_TAINT) for t in constraints.tolerations)
            rejected["NodeUnschedulable"] = (
                np.zeros(state.capacity, np.bool_) if tolerated else state.unschedulable
            )
        if "NodeName" in enabled and constraints.node_name:
            other = np.ones(state.capacity, np.bool_)
            if constraints.node_name in state.nodes:
                other[state.nodes[constraints.node_name].row] = False
            rejected["NodeName"] = other
        if "TaintToleration" in enabled:
            rejected["TaintToleration"] = hard[state.taint_set_ids]
        if "NodeAffinity" in enabled:
            self.enforced = ~state.node_selector_mask((), self._core.added_required)
            own = state.node_selector_mask(constraints.node_selector, constraints.affinity)
            rejected["NodeAffinity"] = self.enforced | ~own
        accepted = state.present.copy()
        for mask in rejected.values():
            accepted &= ~mask
        self.rejected = rejected
        self.accepted = accepted
        self.untolerated_soft = soft[state.taint_set_ids]
        self._refresh_preferred(state)
        order = state.by_position(None)
        self.soft_positions = self.untolerated_soft[order] if soft.any() else None
        self.preferred_positions = None if self.preferred is None else self.preferred[order]
        self.epoch = state.node_epoch

    def _refresh_preferred(self, state: ClusterState) -> None:
        terms = (*self._constraints.preferred, *self._core.added_preferred)
        self.preferred = None
        if terms:
            self.preferred = np.zeros(state.capacity, np.int64)
            for term, weight in terms:
                self.preferred += state.term_mask(term) * weight


class ColumnSet:
    """Mask and summed scores (fit, balance, image), in snapshot order, twice over.

    ``mask`` has shape (2 n,); ``base`` holds the weighted sum of scores shifted left by
    ``TIE_BITS``; ``infeasible_count`` counts the nodes (of n) the mask excludes.
    """

    __slots__ = (
        "_core",
        "_feasible",
        "_feasible_version",
        "_fit_columns",
        "_images",
        "_positions",
        "_score_row",
        "_seen_version",
        "balanced",
        "base",
        "demand",
        "epoch",
        "evicted",
        "fit",
        "host_ports",
        "infeasible_count",
        "last_used_index",
        "log_at",
        "mask",
        "mask_version",
        "verdict",
    )

    def __init__(self, core: SchedulingCore, shape: PodShape, verdict: NodeVerdict) -> None:
        self._core = core
        self.demand = shape.demand
        self._images = shape.images
        self.host_ports: tuple[HostPort, ...] = (
            shape.host_ports if "NodePorts" in core.profile.plugins["filter"] else ()
        )
        self.verdict = verdict
        self.epoch = -1
        self.log_at = -1
        self.infeasible_count = 0
        self.evicted = False
        self.last_used_index = 0
        self.mask_version = 0
        self._feasible: IntArray | None = None
        self._feasible_version = -1
        self._seen_version = -1
        self.mask: BoolArray = np.zeros(0, np.bool_)
        self.base: IntArray = np.zeros(0, np.int64)
        self._positions: list[int] = []
        arguments = core.profile.arguments
        columns = core.state.columns
        self._fit_columns = (
            kernels.filter_columns(self.demand, arguments)
            if "NodeResourcesFit" in core.profile.plugins["filter"]
            else None
        )
        self.fit = kernels.fit_parts(columns, self.demand, arguments.strategy)
        self.balanced = kernels.balanced_parts(columns, self.demand, arguments.balanced_resources)
        self._score_row = _row_scorer(core, self.fit, self.balanced)

    def feasible_positions(self) -> IntArray | None:
        """Positions the mask includes, twice over; None while the mask keeps changing."""
        version = self.mask_version
        if self._feasible_version != version:
            if self._seen_version != version:
                self._seen_version = version
                return None
            self._feasible = self.mask.nonzero()[0]
            self._feasible_version = version
        return self._feasible

    def evict(self) -> None:
        """Give up the arrays; the owner makes a new column set when it needs one."""
        self.evicted = True
        self.mask = np.zeros(0, np.bool_)
        self.base = np.zeros(0, np.int64)
        self._feasible = None

    def position(self, row: int) -> int:
        """Position of a node row in snapshot order."""
        return self._positions[row]

    def refresh(self) -> None:
        """Bring mask and base up to date."""
        state = self._core.state
        log = state.log
        end = state.log_start + len(log)
        if self.epoch != state.node_epoch or self.log_at < state.log_start:
            self._rebuild()
            return
        if self.log_at == end:
            return
        first = self.log_at - state.log_start
        self.log_at = end
        if end - state.log_start - first == 1:
            self._refresh_row(log[first])
            return
        changed = set(log[first:])
        if len(changed) <= _ROWS_ONE_BY_ONE_MAX:
            for row in changed:
                self._refresh_row(row)
        elif len(changed) * 2 > state.node_count:
            self._rebuild()
        else:
            self._refresh_rows(np.fromiter(changed, np.int64, len(changed)))

    def _rebuild(self) -> None:
        state = self._core.state
        self.verdict.refresh()
        order = state.order()
        if self.epoch != state.node_epoch:
            positions = np.full(state.capacity, -1, np.int64)
            positions[order] = np.arange(len(order))
            self._positions = positions.tolist()
        used = state.used()
        rows = slice(0, len(state.rows))
        mask, base = self._evaluate(rows, state.allocatable[:, rows], used[:, rows])
        mask = mask[order]
        base = base[order]
        self.mask = np.concatenate([mask, mask])
        self.base = np.concatenate([base, base])
        self.infeasible_count = len(mask) - int(np.count_nonzero(mask))
        self.mask_version += 1
        self.epoch = state.node_epoch
        self.log_at = state.log_start + len(state.log)

    def _evaluate(
        self, rows: slice | IntArray, allocatable: IntArray, used: IntArray
    ) -> tuple[BoolArray, IntArray]:
        core = self._core
        mask = self.verdict.accepted[rows]
        if self._fit_columns is not None:
            mask = mask & kernels.fits(allocatable, used, self._fit_columns)
        if self.host_ports:
            mask = mask & ~port_conflicts(core.state, self.host_ports)[rows]
        weights = core.weights
        total = np.zeros(allocatable.shape[1], np.int64)
        if "NodeResourcesFit" in weights:
            strategy = core.profile.arguments.strategy
            score = kernels.fit_score(allocatable, used, self.fit, strategy)
            total += score * weights["NodeResourcesFit"]
        if self.balanced is not None and "NodeResourcesBalancedAllocation" in weights:
            score = kernels.balanced_score(allocatable, used, self.balanced)
            total += score * weights["NodeResourcesBalancedAllocation"]
        if "ImageLocality" in weights:
            images = image_scores(core.state, self._images)
            if images is not None:
                total += images[rows] * weights["ImageLocality"]
        return mask, total << TIE_BITS

    def _refresh_rows(self, rows: IntArray) -> None:
        state = self._core.state
        positions = np.array([self._positions[row] for row in rows.tolist()], np.int64)
        kept = positions >= 0
        rows, positions = rows[kept], positions[kept]
        used = state.used()
        mask, base = self._evaluate(
            rows, state.allocatable.take(rows, axis=1), used.take(rows, axis=1)
        )
        count = state.node_count
        self.infeasible_count += int(np.count_nonzero(self.mask[positions])) - int(
            np.count_nonzero(mask)
        )
        if not np.array_equal(self.mask[positions], mask):
            self.mask_version += 1
        self.mask[positions] = mask
        self.mask[positions + count] = mask
        self.base[positions] = base
        self.base[positions + count] = base

    def _refresh_row(self, row: int) -> None:
        position = self._positions[row]
        if position < 0:
            return
        if self._score_row is None:
            self._refresh_rows(np.array([row], np.int64))
            return
        node = self._core.state.rows[row]
        assert node is not None
        feasible = bool(self.verdict.accepted[row]) and self._fits_row(node)
        count = len(self.mask) // 2
        if feasible != self.mask.item(position):
            self.infeasible_count += -1 if feasible else 1
            self.mask_version += 1
            self.mask[position] = feasible
            self.mask[position + count] = feasible
        score = self._score_row(node)
        images = image_scores(self._core.state, self._images)
        if images is not None:
            score += images.item(row) * self._core.weights.get("ImageLocality", 0)
        score <<= TIE_BITS
        self.base[position] = score
        self.base[position + count] = score

    def _fits_row(self, node: Node) -> bool:
        allocatable, used = node.allocatable, node.used
        if self._fit_columns is not None:
            if used[kernels.PODS_COLUMN] >= allocatable[kernels.PODS_COLUMN]:
                return False
            for column, amount, _ in self._fit_columns:
                if allocatable[column] - used[column] < amount:
                    return False
        return not (self.host_ports and node_port_conflict(node, self.host_ports))


def _row_scorer(
    core: SchedulingCore,
    fit: tuple[kernels.ScorePart, ...],
    balanced: tuple[kernels.ScorePart, ...] | None,
) -> Callable[[Node], int] | None:
    """Scalar twin of the kernels for one node, or None where only the kernels serve.

    Covers LeastAllocated over any resources with cpu/memory balance: the default profile.
    """
    if core.profile.arguments.strategy.type != "LeastAllocated":
        return None
    if balanced is not None and len(balanced) != 2:
        return None
    fit_weight = core.weights.get("NodeResourcesFit", 0)
    balanced_weight = core.weights.get("NodeResourcesBalancedAllocation", 0)
    if balanced is None:
        balanced_weight = 0
        first = second = (0, 0, 0, 1)
    else:
        first, second = balanced
    column_a, _, amount_a, _ = first
    column_b, _, amount_b, _ = second

    def score(node: Node) -> int:
        allocatable, used = node.allocatable, node.used
        total = weight_sum = 0
        for column, used_column, amount, weight in fit:
            capacity = allocatable[column]
            if capacity:
                free = capacity - used[used_column] - amount
                weight_sum += weight
                if free > 0:
                    total += free * 100 // capacity * weight
        result = total // weight_sum * fit_weight if weight_sum else 0
        if balanced_weight:
            capacity_a, capacity_b = allocatable[column_a], allocatable[column_b]
            change = 50
            if capacity_a and capacity_b:
                used_a, used_b = used[column_a], used[column_b]
                without = abs((min(used_a / capacity_a, 1.0) - min(used_b / capacity_b, 1.0)) / 2)
                used_a += amount_a
                used_b += amount_b
                after = abs((min(used_a / capacity_a, 1.0) - min(used_b / capacity_b, 1.0)) / 2)
                change = 50 + int((1.0 - after) * 100) - int((1.0 - without) * 100)
            result += (50 + (change >> 1 if change >= 0 else -(-change >> 1))) * balanced_weight
        return result

    return score


def node_port_conflict(node: Node, ports: tuple[HostPort, ...]) -> bool:
    """Whether any host port is taken on a node; 0.0.0.0 stands for every address.

    **Source:** ``kube-scheduler/framework`` ``HostPortInfo.CheckConflict``.
    """
    taken = node.ports
    if not taken:
        return False
    for ip, protocol, port in ports:
        addresses = taken.get((protocol, port))
        if addresses and (ip == "0.0.0.0" or ip in addresses or "0.0.0.0" in addresses):  # noqa: S104
            return True
    return False


def port_conflicts(state: ClusterState, ports: tuple[HostPort, ...]) -> BoolArray:
    """Node rows where a host port is taken, shape (rows allocated,)."""
    conflicts = np.zeros(state.capacity, np.bool_)
    if ports and state.port_pods_count:
        for node in state.nodes.values():
            if node.ports and node_port_conflict(node, ports):
                conflicts[node.row] = True
    return conflicts


def image_scores(state: ClusterState, images: tuple[str, ...]) -> IntArray | None:
    """ImageLocality score per node row, or None when no node has any of the images.

    **Source:** ``imagelocality/image_locality.go``.
    """
    known = state.images
    if not known or not any(name in known for name in images):
        return None
    return state.image_scores(images, _compute_image_scores)


def _compute_image_scores(state: NodeTable, images: tuple[str, ...]) -> IntArray:
    sums = np.zeros(state.capacity, np.int64)
    for name in images:
        entry = state.images.get(name)
        if entry is not None:
            size, rows = entry
            scaled = int(float(size) * (float(len(rows)) / float(state.node_count)))
            sums[list(rows)] += scaled
    maximum = IMAGE_MAX_BYTES_PER_CONTAINER * len(images)
    clamped = np.clip(sums, IMAGE_MIN_BYTES, maximum)
    return kernels.SCORE_MAX * (clamped - IMAGE_MIN_BYTES) // (maximum - IMAGE_MIN_BYTES)
