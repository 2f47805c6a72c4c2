"""Filters and scores that depend on pods elsewhere: topology spread and pod affinity.

All functions take a selection of positions in snapshot order (a slice or an index array into the
doubled position arrays) and return arrays over it.

**Source:** Kubernetes v1.36 ``podtopologyspread/{filtering,scoring}.go``,
``interpodaffinity/{filtering,scoring}.go``.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.scheduling.plan import HardSpread, Plan
from sim.scheduling.tallies import Counts, Tally

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Selection: TypeAlias = "slice | NDArray[np.int64]"

SCORE_MAX = 100
T = TypeVar("T", bound=np.generic)
_NO_DOMAIN_COUNT = 2**31 - 1
"""Global minimum when no domain is eligible: upstream's MaxInt32."""


def pick(values: NDArray[T], selection: Selection) -> NDArray[T]:
    """The selected entries; a view for a slice, else a copy."""
    if isinstance(selection, slice):
        return values[selection]
    return values.take(selection)


def hard_spread_domains(entry: HardSpread) -> BoolArray:
    """Domains of a constraint that may take the pod, shape of the tally's counts."""
    tally, constraint = entry.tally, entry.constraint
    counts = tally.sized()
    present = tally.present()
    eligible = counts[present]
    minimum = int(eligible.min()) if len(eligible) else _NO_DOMAIN_COUNT
    if len(eligible) < constraint.min_domains:
        minimum = 0
    return counts <= constraint.max_skew - entry.self_match + minimum


def spread_filter(plan: Plan, selection: Selection) -> BoolArray | None:
    """Nodes that hold every DoNotSchedule constraint; None when all do."""
    state = plan.core.state
    mask: BoolArray | None = None
    for entry in plan.hard:
        allowed = hard_spread_domains(entry)
        key = entry.constraint.topology_key
        if allowed[1:].all():
            if state.every_node_has(key):
                continue
            part = pick(state.by_position(key), selection) != 0
        else:
            allowed[0] = False
            part = allowed.take(pick(state.by_position(key), selection))
        mask = part if mask is None else mask & part
    return mask


def domain_counts(plan: Plan, tally: Tally, selection: Selection) -> Counts:
    """A tally's count at each node's domain (0 where the node lacks the label)."""
    domains = pick(plan.core.state.by_position(tally.key), selection)
    return tally.sized().take(domains)


def affinity_filter(plan: Plan, selection: Selection) -> BoolArray | None:
    """Nodes that satisfy required (anti-)affinity of and towards the pod; None when all do."""
    mask: BoolArray | None = None
    if plan.required:
        mask = required_affinity(plan, selection)
    for tally in plan.required_anti:
        if tally.total:
            part = domain_counts(plan, tally, selection) == 0
            mask = part if mask is None else mask & part
    for carried in plan.carried_anti():
        if carried.total:
            part = domain_counts(plan, carried, selection) == 0
            mask = part if mask is None else mask & part
    return mask


def required_affinity(plan: Plan, selection: Selection) -> BoolArray:
    """Nodes whose domains hold pods matching all required terms (or the first of its kind)."""
    state = plan.core.state
    first = plan.self_affine and all(t.total == 0 for t in plan.required)
    mask: BoolArray | None = None
    for tally in plan.required:
        ids = pick(state.by_position(tally.key), selection)
        part = ids != 0 if first else tally.sized()[ids] > 0
        mask = part if mask is None else mask & part
    assert mask is not None
    return mask


def topology_weight(size: int) -> float:
    """Weight of a topology with ``size`` domains among the candidates."""
    return math.log(float(size + 2))


def spread_score(plan: Plan, selection: Selection) -> tuple[IntArray, IntArray, bool]:
    """Raw and normalized PodTopologySpread scores, and whether all are equal."""
    raw, ignored = _spread_raw(plan, selection)
    if ignored is None:
        low, high = int(raw.min()), int(raw.max())
        if high == 0:
            return raw, np.full(len(raw), SCORE_MAX, np.int64), True
        if low == high:
            return raw, np.full(len(raw), SCORE_MAX * low // high, np.int64), True
        return raw, SCORE_MAX * (high + low - raw) // high, False
    counted = raw[~ignored]
    low = int(counted.min()) if len(counted) else 2**63 - 1
    high = max(int(counted.max()), 0) if len(counted) else 0
    if high == 0:
        normalized = np.full(len(raw), SCORE_MAX, np.int64)
    else:
        normalized = SCORE_MAX * (high + low - raw) // high
    return raw, np.where(ignored, 0, normalized), False


def _spread_raw(plan: Plan, selection: Selection) -> tuple[IntArray, BoolArray | None]:
    """Rounded sums of weighted counts, and the nodes that lack a required topology label."""
    state = plan.core.state
    ignored: BoolArray | None = None
    keys = {e.constraint.topology_key for e in plan.soft}
    ids = {
        key: pick(state.by_position(key), selection)
        for key in keys
        if not state.every_node_has(key)
    }
    if plan.spread_constraints_all_required:
        for key in sorted(ids):
            missing = ids[key] == 0
            if missing.any():
                ignored = missing if ignored is None else ignored | missing
    total: NDArray[Any] | None = None
    for constraint, tally, per_node in plan.soft:
        key = constraint.topology_key
        if per_node:
            domain = pick(state.by_position(None), selection)
            size = len(domain) - (0 if ignored is None else int(np.count_nonzero(ignored)))
        else:
            domain = pick(state.by_position(key), selection)
            kept = domain if ignored is None else domain[~ignored]
            size = int(np.count_nonzero(np.bincount(kept))) if len(kept) else 0
        part = tally.sized().take(domain) * topology_weight(size) + float(constraint.max_skew - 1)
        if key in ids:
            part = np.where(ids[key] == 0, 0.0, part)
        total = part if total is None else total + part
    assert total is not None
    whole = np.floor(total)
    raw = whole.astype(np.int64) + (total - whole >= 0.5)
    if ignored is not None:
        raw[ignored] = 0
    return raw, ignored


def affinity_active(plan: Plan) -> bool:
    """Whether InterPodAffinity scores at all: some term matches some pod."""
    if not plan.scores_affinity:
        return False
    return any(t.total for t, _ in plan.preferred) or any(
        c.total for c, _ in plan.carried_weights()
    )


def affinity_score(plan: Plan, selection: Selection) -> tuple[IntArray, IntArray, bool]:
    """Raw and normalized InterPodAffinity scores, and whether all are equal."""
    raw: NDArray[Any] | None = None
    for tally, weight in (*plan.preferred, *plan.carried_weights()):
        if tally.total:
            part = domain_counts(plan, tally, selection) * weight
            raw = part if raw is None else raw + part
    assert raw is not None
    low, high = int(raw.min()), int(raw.max())
    if low == high:
        return raw, np.zeros(len(raw), np.int64), True
    normalized = (SCORE_MAX * ((raw - low) / (high - low))).astype(np.int64)
    return raw, normalized, False
