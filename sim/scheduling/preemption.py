"""DefaultPreemption: which pods would have to go so that a pod fits somewhere.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/preemption/preemption.go`` and
``pkg/scheduler/framework/plugins/defaultpreemption/default_preemption.go``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sim.scheduling.diagnosis import Diagnosis, fit_error_text
from sim.scheduling.objects import DisruptionBudget, budget_matches
from sim.scheduling.plan import Plan
from sim.scheduling.shape import PodShape
from sim.scheduling.statuses import UNRESOLVABLE, UNSCHEDULABLE, Status
from sim.scheduling.what_if import NodeWhatIf

if TYPE_CHECKING:
    from sim.scheduling.core import SchedulingCore
    from sim.scheduling.nodes import Node, Pod

NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NOT_ELIGIBLE_POLICY = "not eligible due to preemptionPolicy=Never."
NOT_ELIGIBLE_TERMINATING = "not eligible due to a terminating pod on the nominated node."
NO_CLAIMS = "no new claims to deallocate"
_PRIORITY_SHIFT = 2**31


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node the pod would fit on after its victims are gone."""

    node: str
    victims: tuple[str, ...]
    """Keys of the pods to delete, most important first."""
    pdb_violation_count: int


@dataclass(slots=True)
class Preemption:
    """Outcome of PostFilter. ``code`` is upstream's word (Success, Unschedulable, Error)."""

    fit_error: str
    code: str = UNSCHEDULABLE
    post_filter_message: str = ""
    potential_nodes: list[str] = field(default_factory=list)
    offset: int = 0
    candidates_max_count: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    not_candidates: dict[str, Status] = field(default_factory=dict)
    best_nodes: list[str] = field(default_factory=list)
    """All candidates tied after the five criteria; the first one is nominated."""
    nominated_node: str | None = None
    victims: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """Text of the PodScheduled condition."""
        if not self.post_filter_message:
            return self.fit_error
        return f"{self.fit_error} {self.post_filter_message}"


def preempt(
    core: SchedulingCore,
    shape: PodShape,
    rng: np.random.Generator | None,
    offset: int | None,
    nominated_node: str | None,
    diagnosis: Diagnosis | None,
) -> Preemption:
    """See :meth:`SchedulingCore.preempt`."""
    plan = core.plan(shape)
    if core.state.node_count == 0:
        return Preemption(Diagnosis.no_nodes().fit_error())
    core.columns(plan)
    if diagnosis is None:
        diagnosis = core.diagnose(shape)
    result = Preemption(diagnosis.fit_error())
    messages: list[str] = []
    plugins = core.profile.plugins
    for name in plugins["postFilter"]:
        if name == "DynamicResources":
            if _skipped_by(diagnosis, plugins["preFilter"]):
                # PostFilter reads what PreFilter never stored.
                result.code, result.post_filter_message = "Error", "not found"
                return result
            messages.append(NO_CLAIMS)
        elif name == "DefaultPreemption":
            message = _default_preemption(
                core, plan, diagnosis, rng, offset, nominated_node, result
            )
            if message is None:
                result.code = "Success"
                return result
            messages.append(f"preemption: {message}")
    result.post_filter_message = ", ".join(messages)
    return result


def _skipped_by(diagnosis: Diagnosis, order: tuple[str, ...]) -> bool:
    """Whether a PreFilter rejection kept DynamicResources' PreFilter from running."""
    if diagnosis.pre_filter is None or "DynamicResources" not in order:
        return False
    rejecting = diagnosis.pre_filter.plugin
    return rejecting in order and order.index(rejecting) < order.index("DynamicResources")


def _default_preemption(
    core: SchedulingCore,
    plan: Plan,
    diagnosis: Diagnosis,
    rng: np.random.Generator | None,
    offset: int | None,
    nominated_node: str | None,
    result: Preemption,
) -> str | None:
    """Fill in the result; the failure message, or None on success."""
    state = core.state
    nodes = [state.node_at(row) for row in diagnosis.rows_unschedulable()]
    result.potential_nodes = [n.name for n in nodes]
    arguments = core.profile.arguments
    share = len(nodes) * arguments.candidate_nodes_percentage_min // 100
    limit = min(len(nodes), max(share, arguments.candidate_nodes_count_min))
    result.candidates_max_count = limit
    reason = _not_eligible(core, plan.shape, nominated_node, diagnosis)
    if reason is not None:
        return reason
    if nodes:
        if offset is None:
            offset = 0 if rng is None else int(rng.integers(len(nodes)))
        result.offset = offset
        _dry_run(plan, nodes, offset, limit, result)
    if not result.candidates:
        reasons: Counter[str] = Counter()
        for status in result.not_candidates.values():
            for text in status.reasons:
                reasons[text] += 1
        absent = state.node_count - len(result.not_candidates)
        if absent:
            reasons[NOT_HELPFUL] += absent
        return fit_error_text(state.node_count, reasons.items())
    result.best_nodes = _best(core, result.candidates)
    result.nominated_node = result.best_nodes[0]
    for candidate in result.candidates:
        if candidate.node == result.nominated_node:
            result.victims = candidate.victims
    return None


def _not_eligible(
    core: SchedulingCore, shape: PodShape, nominated_node: str | None, diagnosis: Diagnosis
) -> str | None:
    if shape.preemption_policy == "Never":
        return NOT_ELIGIBLE_POLICY
    node = core.state.nodes.get(nominated_node) if nominated_node else None
    if node is None or not node.present:
        return None
    status = diagnosis.status_of_row(node.row)
    if status is not None and status.code == UNRESOLVABLE:
        return None
    for pod in node.pods:
        if pod.preempted and pod.terminating and pod.shape.priority < shape.priority:
            return NOT_ELIGIBLE_TERMINATING
    return None


def _dry_run(plan: Plan, nodes: list[Node], offset: int, limit: int, result: Preemption) -> None:
    budgets = plan.core.state.objects.budgets()
    clean: list[Candidate] = []
    violating: list[Candidate] = []
    for i in range(len(nodes)):
        node = nodes[(offset + i) % len(nodes)]
        found = select_victims(plan, node, budgets)
        if isinstance(found, Status):
            result.not_candidates[node.name] = found
            continue
        (violating if found.pdb_violation_count else clean).append(found)
        if clean and len(clean) + len(violating) >= limit:
            break
    result.candidates = clean[:limit] + violating[:limit]


def select_victims(plan: Plan, node: Node, budgets: list[DisruptionBudget]) -> Candidate | Status:
    """The fewest, least important pods whose removal makes room; a status when none help."""
    potential = [p for p in node.pods if p.shape.priority < plan.shape.priority]
    if not potential:
        return Status("", UNRESOLVABLE, (NO_VICTIMS,))
    what_if = NodeWhatIf(plan, node)
    for pod in potential:
        what_if.remove(pod.shape)
    status = what_if.status_with_nominated()
    if status is not None:
        return status
    potential.sort(key=_importance)
    violating, others = _split_by_budget(potential, budgets)
    victims: list[Pod] = []
    violations = 0
    for group in (violating, others):
        for pod in group:
            what_if.add(pod.shape)
            if what_if.status_with_nominated() is not None:
                what_if.remove(pod.shape)
                victims.append(pod)
                violations += group is violating
    if violating and others:
        victims.sort(key=_importance)
    if not victims:
        reason = f'expected at least one victim pod on node "{node.name}"'
        return Status("", "Error", (reason,))
    return Candidate(node.name, tuple(p.key for p in victims), violations)


def _importance(pod: Pod) -> tuple[int, float]:
    """Sort key: higher priority first, then earlier start."""
    return (-pod.shape.priority, pod.start_time_seconds)


def _split_by_budget(
    pods: list[Pod], budgets: list[DisruptionBudget]
) -> tuple[list[Pod], list[Pod]]:
    allowed = [b.disruptions_allowed_count for b in budgets]
    violating: list[Pod] = []
    others: list[Pod] = []
    for pod in pods:
        labels = pod.shape.labels
        violated = False
        for i, budget in enumerate(budgets):
            if (
                labels.labels
                and budget_matches(budget, labels.namespace, labels.labels)
                and pod.key.rpartition("/")[2] not in budget.disrupted_pods
            ):
                allowed[i] -= 1
                violated |= allowed[i] < 0
        (violating if violated else others).append(pod)
    return violating, others


def _best(core: SchedulingCore, candidates: list[Candidate]) -> list[str]:
    """Candidates that are best by upstream's five criteria, in order of candidates."""
    pods = core.state.pods

    def rank(candidate: Candidate) -> tuple[float, ...]:
        victims = [pods[key] for key in candidate.victims]
        priorities = [v.shape.priority for v in victims]
        top = max(priorities)
        earliest = min(v.start_time_seconds for v in victims if v.shape.priority == top)
        return (
            candidate.pdb_violation_count,
            priorities[0],
            sum(priorities) + len(priorities) * _PRIORITY_SHIFT,
            len(victims),
            -earliest,
        )

    ranks = [rank(c) for c in candidates]
    best = min(ranks)
    return [c.node for c, r in zip(candidates, ranks, strict=True) if r == best]
