"""Filter and score kernels of NodeResourcesFit and NodeResourcesBalancedAllocation.

All take ``allocatable`` and ``used`` of shape (columns, nodes), int64, and return
arrays over nodes.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/plugins/noderesources``: ``fit.go``,
``least_allocated.go``, ``most_allocated.go``, ``requested_to_capacity_ratio.go``,
``balanced_allocation.go``, ``resource_allocation.go``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sim.scheduling.plugin_arguments import PluginArguments, ScoringStrategy
from sim.scheduling.quantities import is_extended_resource, is_scalar_resource
from sim.scheduling.shape import ResourceDemand

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SCORE_MAX = 100
PODS_COLUMN = 3
NONZERO_COLUMN = {"cpu": 4, "memory": 5}

ScorePart = tuple[int, int, int, int]
"""``(allocatable column, used column, amount requested, weight)`` of one scored resource."""


def filter_columns(
    demand: ResourceDemand, arguments: PluginArguments
) -> tuple[tuple[int, int, str], ...]:
    """The demand's ``(column, amount, resource)`` without the resources the profile ignores."""
    if not arguments.ignored_resources and not arguments.ignored_resource_groups:
        return demand.filter_columns
    return tuple(
        (column, amount, name)
        for column, amount, name in demand.filter_columns
        if not (
            is_extended_resource(name)
            and (
                name in arguments.ignored_resources
                or name.split("/", 1)[0] in arguments.ignored_resource_groups
            )
        )
    )


def fits(
    allocatable: IntArray, used: IntArray, columns: tuple[tuple[int, int, str], ...]
) -> BoolArray:
    """Nodes with room for the request and one more pod."""
    mask: BoolArray = used[PODS_COLUMN] < allocatable[PODS_COLUMN]
    for column, amount, _ in columns:
        mask &= allocatable[column] - used[column] >= amount
    return mask


def fit_parts(
    columns: dict[str, int], demand: ResourceDemand, strategy: ScoringStrategy
) -> tuple[ScorePart, ...]:
    """What NodeResourcesFit scores for this demand."""
    return tuple(
        (columns[name], NONZERO_COLUMN.get(name, columns[name]), demand.score.get(name, 0), weight)
        for name, weight in strategy.resources
        if _scored(columns, name, demand.score.get(name, 0))
    )


def balanced_parts(
    columns: dict[str, int], demand: ResourceDemand, resources: tuple[str, ...]
) -> tuple[ScorePart, ...] | None:
    """What NodeResourcesBalancedAllocation scores; None when the pod requests nothing of it."""
    request = dict(demand.requests.request)
    if not any(request.get(name) for name in resources):
        return None
    return tuple(
        (columns[name], columns[name], request.get(name, 0), 1)
        for name in resources
        if _scored(columns, name, request.get(name, 0))
    )


def _scored(columns: dict[str, int], name: str, amount: int) -> bool:
    if name not in columns:
        return False
    return bool(amount) or not is_scalar_resource(name)


def least_allocated(
    allocatable: IntArray, used: IntArray, parts: tuple[ScorePart, ...]
) -> IntArray:
    """Weighted mean over resources of free share x 100, in integers."""
    return _weighted(allocatable, used, parts, _least)


def most_allocated(allocatable: IntArray, used: IntArray, parts: tuple[ScorePart, ...]) -> IntArray:
    """Weighted mean over resources of used share x 100, in integers."""
    return _weighted(allocatable, used, parts, _most)


def _least(capacity: IntArray, requested: IntArray) -> IntArray:
    free = capacity - requested
    return np.where(free < 0, 0, free * SCORE_MAX // np.maximum(capacity, 1))


def _most(capacity: IntArray, requested: IntArray) -> IntArray:
    return np.minimum(requested, capacity) * SCORE_MAX // np.maximum(capacity, 1)


def _weighted(
    allocatable: IntArray,
    used: IntArray,
    parts: tuple[ScorePart, ...],
    scorer: Callable[[IntArray, IntArray], IntArray],
) -> IntArray:
    total = np.zeros(allocatable.shape[1], np.int64)
    weights = np.zeros(allocatable.shape[1], np.int64)
    for column, used_column, amount, weight in parts:
        capacity = allocatable[column]
        score = scorer(capacity, used[used_column] + amount)
        offered = capacity != 0
        total += np.where(offered, score, 0) * weight
        weights += offered * weight
    return total // np.maximum(weights, 1)


def requested_to_capacity_ratio(
    allocatable: IntArray,
    used: IntArray,
    parts: tuple[ScorePart, ...],
    shape: tuple[tuple[int, int], ...],
) -> IntArray:
    """Score read off a broken line over utilization, averaged over resources that score at all."""
    total = np.zeros(allocatable.shape[1], np.int64)
    weights = np.zeros(allocatable.shape[1], np.int64)
    line = broken_line(shape)
    for column, used_column, amount, weight in parts:
        capacity = allocatable[column]
        requested = used[used_column] + amount
        over = (capacity == 0) | (requested > capacity)
        utilization = np.where(over, SCORE_MAX, requested * SCORE_MAX // np.maximum(capacity, 1))
        score = line[utilization]
        counted = (capacity != 0) & (score > 0)
        total += np.where(counted, score * weight, 0)
        weights += counted * weight
    mean = total / np.maximum(weights, 1)
    whole = np.floor(mean)
    return (whole + (mean - whole >= 0.5)).astype(np.int64)


def broken_line(shape: tuple[tuple[int, int], ...]) -> IntArray:
    """Value of the line at utilization 0..100, shape (101,); integer division truncates."""
    line = np.empty(SCORE_MAX + 1, np.int64)
    for utilization in range(SCORE_MAX + 1):
        line[utilization] = _on_line(shape, utilization)
    return line


def _on_line(shape: tuple[tuple[int, int], ...], utilization: int) -> int:
    for i, (x, y) in enumerate(shape):
        if utilization <= x:
            if i == 0:
                return y
            x0, y0 = shape[i - 1]
            rise = (y - y0) * (utilization - x0)
            quotient = abs(rise) // (x - x0)
            return y0 + (quotient if rise >= 0 else -quotient)
    return shape[-1][1]


def fit_score(
    allocatable: IntArray,
    used: IntArray,
    parts: tuple[ScorePart, ...],
    strategy: ScoringStrategy,
) -> IntArray:
    """NodeResourcesFit score 0..100 by the profile's strategy."""
    if strategy.type == "MostAllocated":
        return most_allocated(allocatable, used, parts)
    if strategy.type == "RequestedToCapacityRatio":
        return requested_to_capacity_ratio(allocatable, used, parts, strategy.shape)
    return least_allocated(allocatable, used, parts)


def balanced_score(allocatable: IntArray, used: IntArray, parts: tuple[ScorePart, ...]) -> IntArray:
    """Change of balance by adding the pod: ``50 + (50 + with - without) / 2``, truncated."""
    difference = (
        50 + _balance(allocatable, used, parts, True) - _balance(allocatable, used, parts, False)
    )
    return 50 + np.where(difference >= 0, difference // 2, -(-difference // 2))


def _balance(
    allocatable: IntArray, used: IntArray, parts: tuple[ScorePart, ...], with_pod: bool
) -> IntArray:
    """``int((1 - standard deviation of used fractions) * 100)``, every fraction at most 1."""
    fractions = []
    offered = []
    for column, used_column, amount, _ in parts:
        capacity = allocatable[column]
        requested = used[used_column] + amount if with_pod else used[used_column]
        has = capacity != 0
        fraction = requested.astype(np.float64) / np.where(has, capacity, 1).astype(np.float64)
        fractions.append(np.where(has, np.minimum(fraction, 1.0), 0.0))
        offered.append(has)
    if not fractions:
        return np.full(allocatable.shape[1], SCORE_MAX, np.int64)
    if len(fractions) == 2:
        deviation = np.abs((fractions[0] - fractions[1]) / 2)
        deviation[~(offered[0] & offered[1])] = 0.0
    elif len(fractions) == 1:
        deviation = np.zeros(allocatable.shape[1])
    else:
        deviation = _deviation(fractions, offered)
    return ((1.0 - deviation) * SCORE_MAX).astype(np.int64)


def _deviation(
    fractions: list[NDArray[np.float64]], offered: list[BoolArray]
) -> NDArray[np.float64]:
    count = np.zeros(len(fractions[0]), np.int64)
    total = np.zeros(len(fractions[0]))
    for fraction, has in zip(fractions, offered, strict=True):
        count += has
        total += fraction
    at_least_one = np.maximum(count, 1)
    mean = total / at_least_one
    squares = np.zeros(len(fractions[0]))
    for fraction, has in zip(fractions, offered, strict=True):
        squares += np.where(has, (fraction - mean) * (fraction - mean), 0.0)
    many = np.sqrt(squares / at_least_one)
    two = np.zeros(len(total))
    if (count == 2).any():
        two = _deviation_of_two(fractions, offered)
    return np.where(count > 2, many, np.where(count == 2, two, 0.0))


def _deviation_of_two(
    fractions: list[NDArray[np.float64]], offered: list[BoolArray]
) -> NDArray[np.float64]:
    """``|a - b| / 2`` of the two offered resources (where exactly two are), in order."""
    first = np.full(len(fractions[0]), np.nan)
    second = np.full(len(fractions[0]), np.nan)
    for fraction, has in zip(fractions, offered, strict=True):
        take_second = has & ~np.isnan(first) & np.isnan(second)
        second[take_second] = fraction[take_second]
        take_first = has & np.isnan(first)
        first[take_first] = fraction[take_first]
    gap: NDArray[np.float64] = np.nan_to_num(np.abs((first - second) / 2))
    return gap
