"""Everything about one decision, for people and for conformance tests; not the fast path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.scheduling import dynamic
from sim.scheduling import resource_kernels as kernels
from sim.scheduling.columns import image_scores
from sim.scheduling.diagnosis import (
    Diagnosis,
    affinity_filter_runs,
    filter_results,
    narrowed_status,
)
from sim.scheduling.plan import Plan, PreFilterRejection
from sim.scheduling.select import select
from sim.scheduling.shape import PodShape
from sim.scheduling.statuses import Status
from sim.scheduling.user_plugins import Candidates, run_score
from sim.scheduling.volumes import volume_pre_filter
from sim.scheduling.what_if import nominated_rejections

if TYPE_CHECKING:
    from sim.scheduling.core import SchedulingCore

IntArray = NDArray[np.int64]


@dataclass(slots=True)
class PluginScore:
    """Scores of one plugin over the feasible nodes."""

    weight: int
    raw: list[int]
    normalized: list[int]
    weighted: list[int]


@dataclass(slots=True)
class Explanation:
    """What every plugin says of every node, searching all nodes from the first.

    Node lists are in snapshot order; score lists are aligned with ``feasible``.
    """

    node_order: list[str]
    pre_filter: PreFilterRejection | None = None
    pre_filter_nodes: list[str] | None = None
    filter_skipped: list[str] = field(default_factory=list)
    first_rejection: dict[str, Status] = field(default_factory=dict)
    all_rejections: dict[str, list[Status]] = field(default_factory=dict)
    feasible: list[str] = field(default_factory=list)
    scores: dict[str, PluginScore] = field(default_factory=dict)
    score_skipped: list[str] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    fit_error: str | None = None

    @property
    def max_nodes(self) -> list[str]:
        """Sorted names of all nodes that reach the highest total."""
        if not self.total:
            return []
        best = max(self.total)
        return sorted(n for n, t in zip(self.feasible, self.total, strict=True) if t == best)

    @property
    def selected(self) -> str | None:
        """The node the scheduler takes."""
        if not self.feasible:
            return None
        return self.feasible[select(np.array(self.total, np.int64))]


def explain(core: SchedulingCore, shape: PodShape) -> Explanation:
    """See :meth:`SchedulingCore.explain`."""
    state = core.state
    names = state.node_names()
    result = Explanation(names)
    if not names:
        result.fit_error = Diagnosis.no_nodes().fit_error()
        return result
    plan = core.plan(shape)
    rejection = plan.rejection or (volume_pre_filter(plan) if plan.claims else None)
    if rejection is not None:
        result.pre_filter = rejection
        result.fit_error = Diagnosis.rejected(len(names), rejection).fit_error()
        return result
    core.columns(plan)
    positions = np.arange(len(names))
    numbers, statuses = _run_filters(core, plan, positions, result)
    inside = np.ones(len(names), np.bool_)
    if plan.pre_filter_nodes is not None:
        result.pre_filter_nodes = list(plan.pre_filter_nodes)
        inside = np.array([n in plan.pre_filter_nodes for n in names], np.bool_)
        outside = narrowed_status()
        result.first_rejection = {
            n: result.first_rejection.get(n, outside) if i else outside
            for n, i in zip(names, inside.tolist(), strict=True)
            if not i or n in result.first_rejection
        }
    feasible = positions[(numbers == 0) & inside]
    result.feasible = [names[i] for i in feasible.tolist()]
    if len(feasible):
        _run_scores(core, plan, feasible, result)
    else:
        rows = state.by_position(None)[positions]
        absent = narrowed_status() if plan.pre_filter_nodes is not None else None
        diagnosis = Diagnosis(len(names), rows[inside], numbers[inside], statuses, absent)
        result.fit_error = diagnosis.fit_error()
    return result


def _run_filters(
    core: SchedulingCore, plan: Plan, positions: IntArray, result: Explanation
) -> tuple[IntArray, tuple[Status, ...]]:
    names = result.node_order
    numbers = np.zeros(len(names), np.int64)
    statuses: list[Status] = []
    results = filter_results(core, plan, positions)
    for plugin in results.values():
        for i in plugin.numbers.nonzero()[0].tolist():
            status = plugin.statuses[plugin.numbers[i] - 1]
            result.all_rejections.setdefault(names[i], []).append(status)
            if numbers[i] == 0:
                numbers[i] = len(statuses) + plugin.numbers[i]
                result.first_rejection[names[i]] = status
        statuses.extend(plugin.statuses)
    if core.state.nominated:
        for i, status in nominated_rejections(plan, positions, numbers == 0):
            statuses.append(status)
            numbers[i] = len(statuses)
            result.first_rejection[names[i]] = status
    result.filter_skipped = sorted(n for n in skipped_filters(core, plan))
    return numbers, tuple(statuses)


def skipped_filters(core: SchedulingCore, plan: Plan) -> set[str]:
    """Filter plugins whose PreFilter returns Skip for this pod."""
    shape = plan.shape
    skip = {"DynamicResources", "NodeDeclaredFeatures"}
    if (
        shape.node.affinity is None
        and not shape.node.has_node_selector
        and core.added_required is None
    ):
        skip.add("NodeAffinity")
    if not shape.host_ports:
        skip.add("NodePorts")
    if not plan.claims:
        skip |= {"NodeVolumeLimits", "VolumeBinding", "VolumeRestrictions", "VolumeZone"}
    if not plan.hard:
        skip.add("PodTopologySpread")
    if not affinity_filter_runs(plan):
        skip.add("InterPodAffinity")
    enabled = core.profile.plugins
    return {n for n in skip if n in enabled["preFilter"] and n in enabled["filter"]}


def normalize(raw: IntArray, *, reverse: bool) -> IntArray:
    """Scale so that the highest becomes 100; reversed, the lowest is best.

    **Source:** ``pkg/scheduler/framework/plugins/helper/normalize_score.go``.
    """
    highest = int(raw.max()) if len(raw) else 0
    if highest == 0:
        return np.full(len(raw), 100 if reverse else 0, np.int64)
    scaled = 100 * raw // highest
    return 100 - scaled if reverse else scaled


def _run_scores(core: SchedulingCore, plan: Plan, feasible: IntArray, result: Explanation) -> None:
    total = np.zeros(len(feasible), np.int64)
    for name, weight in core.weights.items():
        scored = _plugin_score(core, plan, name, feasible)
        if scored is None:
            if name in core.profile.plugins["preScore"]:
                result.score_skipped.append(name)
            continue
        raw, normalized = scored
        weighted = normalized * weight
        total += weighted
        result.scores[name] = PluginScore(
            weight, raw.tolist(), normalized.tolist(), weighted.tolist()
        )
    result.score_skipped.sort()
    result.total = total.tolist()


def _plugin_score(
    core: SchedulingCore, plan: Plan, name: str, feasible: IntArray
) -> tuple[IntArray, IntArray] | None:
    """Raw and normalized scores, None when the plugin's PreScore skips."""
    state = core.state
    rows = state.by_position(None)[feasible]
    columns = core.columns(plan)
    if name == "TaintToleration":
        raw = plan.verdict.untolerated_soft[rows]
        return raw, normalize(raw, reverse=True)
    if name == "NodeAffinity":
        if not plan.shape.node.has_preferred and not core.has_added_preferred:
            return None
        preferred = plan.verdict.preferred
        raw = np.zeros(len(rows), np.int64) if preferred is None else preferred[rows]
        return raw, normalize(raw, reverse=False)
    if name == "PodTopologySpread":
        return dynamic.spread_score(plan, feasible)[:2] if plan.soft else None
    if name == "InterPodAffinity":
        return dynamic.affinity_score(plan, feasible)[:2] if dynamic.affinity_active(plan) else None
    if name in ("NodeResourcesFit", "NodeResourcesBalancedAllocation"):
        allocatable = state.allocatable[:, rows]
        used = state.used()[:, rows]
        if name == "NodeResourcesFit":
            raw = kernels.fit_score(allocatable, used, columns.fit, core.profile.arguments.strategy)
        elif columns.balanced is None:
            return None
        else:
            raw = kernels.balanced_score(allocatable, used, columns.balanced)
        return raw, raw
    if name == "ImageLocality":
        images = image_scores(state, plan.shape.images)
        raw = np.zeros(len(rows), np.int64) if images is None else images[rows]
        return raw, raw
    if name == "VolumeBinding":
        return None
    plugin = core.user_plugins.by_name.get(name)
    if plugin is None:
        raw = np.zeros(len(rows), np.int64)
        return raw, raw
    raw = run_score(plugin, plan.shape, Candidates(state, rows))
    return raw, raw
