"""The scheduling cycle: which node a pod gets, exactly as kube-scheduler decides.

Pure: no clock, no randomness. A core serves one profile and reads one :class:`ClusterState`; it
does not assume its own decisions (the caller adds the pod to the state).

**Source:** Kubernetes v1.36 ``pkg/scheduler/schedule_one.go``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.scheduling import dynamic
from sim.scheduling.columns import ColumnSet, NodeVerdict
from sim.scheduling.configuration import SchedulerProfile
from sim.scheduling.diagnosis import Diagnosis, diagnose
from sim.scheduling.dynamic import Selection, pick
from sim.scheduling.explain import Explanation, explain
from sim.scheduling.labels import NodeSelectorTerm, compile_node_selector
from sim.scheduling.plan import Plan
from sim.scheduling.preemption import Preemption, preempt
from sim.scheduling.select import TIE_BITS, feasible_nodes_to_find, tie_rank
from sim.scheduling.shape import PodShape, compile_preferred_terms
from sim.scheduling.state import ClusterState
from sim.scheduling.user_plugins import Candidates, UserPlugins, run_filter, run_score
from sim.scheduling.volumes import VOLUME_FILTERS, volume_filter, volume_pre_filter
from sim.scheduling.what_if import nominated_mask

COLUMN_SETS_MAX = 64
"""Column sets kept; each costs 18 bytes per node."""

SCORE_TABLES_MAX = 256
"""Tables of normalized scores kept; each has one entry per raw score up to its highest."""

_cores_made = 0


class Decision:
    """Outcome of one scheduling cycle.

    ``node_name`` is None when no node is feasible; ``diagnosis`` then says why. The start index is
    the scheduler's rotating position in snapshot order.
    """

    __slots__ = (
        "diagnosis",
        "evaluated_nodes",
        "feasible_nodes",
        "next_start_after",
        "next_start_before",
        "node_name",
        "processed_nodes",
    )

    def __init__(
        self,
        node_name: str | None,
        evaluated_nodes: int,
        feasible_nodes: int,
        processed_nodes: int,
        next_start_before: int,
        next_start_after: int,
        diagnosis: Diagnosis | None = None,
    ) -> None:
        self.node_name = node_name
        self.evaluated_nodes = evaluated_nodes
        self.feasible_nodes = feasible_nodes
        self.processed_nodes = processed_nodes
        self.next_start_before = next_start_before
        self.next_start_after = next_start_after
        self.diagnosis = diagnosis

    @property
    def fit_error(self) -> str | None:
        """Text of the FitError (before preemption is attempted), None when scheduled."""
        return None if self.diagnosis is None else self.diagnosis.fit_error()

    @property
    def unschedulable_plugins(self) -> frozenset[str]:
        """Plugins that rejected nodes; what queueing hints go by."""
        return frozenset() if self.diagnosis is None else self.diagnosis.plugins()


class SchedulingCore:
    """Decides for one profile over one cluster state."""

    def __init__(
        self,
        state: ClusterState,
        profile: SchedulerProfile,
        *,
        user_plugins: UserPlugins | None = None,
    ) -> None:
        global _cores_made  # noqa: PLW0603
        self.index = _cores_made
        _cores_made += 1
        self.state = state
        self.profile = profile
        self.user_plugins = user_plugins or UserPlugins()
        self.weights = {n: profile.score_weights[n] for n in profile.plugins["score"]}
        self.volume_filters = tuple(n for n in profile.plugins["filter"] if n in VOLUME_FILTERS)
        added = profile.arguments.added_affinity or {}
        self.added_required: tuple[NodeSelectorTerm, ...] | None = compile_node_selector(
            added.get("requiredDuringSchedulingIgnoredDuringExecution")
        )
        preferred = added.get("preferredDuringSchedulingIgnoredDuringExecution")
        self.added_preferred = (
            compile_preferred_terms(preferred) if "NodeAffinity" in self.weights else ()
        )
        self.has_added_preferred = bool(preferred)
        self.next_start_index = 0
        self.pod_key: str | None = None
        self._verdicts: dict[int, NodeVerdict] = {}
        self._column_sets: dict[tuple[object, ...], ColumnSet] = {}
        self._uses_count = 0
        self._score_tables: dict[tuple[str, int], NDArray[np.int64]] = {}
        self._find_count = 0
        self._find_for = (-1, -1)

    # ------------------------------------------------------------------------------ compiled parts
    def verdict(self, shape: PodShape) -> NodeVerdict:
        """The shared verdict on nodes of all shapes with these node constraints."""
        known = self._verdicts.get(shape.node_index)
        if known is None:
            known = self._verdicts[shape.node_index] = NodeVerdict(self, shape.node)
        return known

    def plan(self, shape: PodShape) -> Plan:
        """The compiled plan of a shape, made anew when other objects changed."""
        plan: Plan | None = shape.plans.get(self.index)
        if plan is None or plan.epoch != self.state.objects.epoch:
            plan = shape.plans[self.index] = Plan(self, shape)
        return plan

    def columns(self, plan: Plan) -> ColumnSet:
        """The shape's column set, current."""
        known = plan.columns
        if known is None or known.evicted:
            known = plan.columns = self._find_columns(plan)
        self._uses_count += 1
        known.last_used_index = self._uses_count
        known.refresh()
        if plan.verdict.epoch != self.state.node_epoch:
            plan.verdict.refresh()
        return known

    def _find_columns(self, plan: Plan) -> ColumnSet:
        shape = plan.shape
        key = (shape.node_index, shape.demand.index, shape.images, shape.host_ports)
        known = self._column_sets.get(key)
        if known is None:
            if len(self._column_sets) >= COLUMN_SETS_MAX:
                oldest = min(self._column_sets, key=lambda k: self._column_sets[k].last_used_index)
                self._column_sets.pop(oldest).evict()
            known = self._column_sets[key] = ColumnSet(self, shape, plan.verdict)
        return known

    def nodes_to_find(self, node_count: int) -> int:
        """Feasible nodes at which the search stops."""
        if self._find_for != (node_count, len(self.weights)):
            self._find_count = (
                feasible_nodes_to_find(node_count, self.profile.percentage_of_nodes_to_score)
                if self.weights
                else 1
            )
            self._find_for = (node_count, len(self.weights))
        return self._find_count

    # ------------------------------------------------------------------------------ the cycle
    def schedule(
        self,
        shape: PodShape,
        *,
        nominated_node: str | None = None,
        pod_key: str | None = None,
    ) -> Decision:
        """Choose a node for a pod; the state is not changed, the rotating start index moves on.

        ``pod_key`` names the pod so that its own nomination does not stand in its way.
        """
        state = self.state
        self.pod_key = pod_key
        count = state.node_count
        start = self.next_start_index
        if count == 0:
            return Decision(None, 0, 0, 0, start, start, Diagnosis.no_nodes())
        plan: Plan | None = shape.plans.get(self.index)
        if plan is None or plan.epoch != state.objects.epoch:
            plan = self.plan(shape)
        rejection = plan.rejection or (volume_pre_filter(plan) if plan.claims else None)
        if rejection is not None:
            diagnosis = Diagnosis.rejected(count, rejection)
            return Decision(None, 0, 0, 0, start, start, diagnosis)
        if nominated_node is not None:
            decision = self._try_nominated(plan, nominated_node)
            if decision is not None:
                return decision
        if plan.pre_filter_nodes is not None:
            return self._schedule_among(plan, plan.pre_filter_nodes)
        columns = self.columns(plan)
        wanted = self.nodes_to_find(count)
        begin = start % count
        selection, found, processed = self._search(plan, columns, begin, count, wanted)
        if found == 0:
            return self._failed(plan, start, count, processed, None)
        winner = self._choose(plan, columns, selection, found)
        row = state.by_position(None).item(winner)
        after = (start + processed) % count
        self.next_start_index = after
        name = state.node_at(row).name
        return Decision(name, processed, found, processed, start, after)

    def _search(
        self, plan: Plan, columns: ColumnSet, begin: int, count: int, wanted: int
    ) -> tuple[Selection, int, int]:
        """Feasible positions from ``begin`` on: selection, their number, nodes processed."""
        if self._unrestricted(plan):
            if columns.infeasible_count == 0:
                return slice(begin, begin + wanted), wanted, wanted
            known = columns.feasible_positions()
            if known is not None:
                first = int(known.searchsorted(begin))
                found = min(wanted, count - columns.infeasible_count)
                more = found < count - columns.infeasible_count
                processed = known.item(first + found) - begin if more else count
                return known[first : first + found], found, processed
        if wanted == count:
            feasible = self.feasible_mask(plan, columns, slice(begin, begin + count))
            positions = feasible.nonzero()[0]
            return positions + begin, len(positions), count
        share = max(count - columns.infeasible_count, 1) / count
        length = min(count, int(wanted / share * 1.15) + 64)
        while True:
            feasible = self.feasible_mask(plan, columns, slice(begin, begin + length))
            positions = feasible.nonzero()[0]
            if len(positions) > wanted:
                return positions[:wanted] + begin, wanted, positions.item(wanted)
            if length == count:
                return positions + begin, len(positions), count
            length = min(count, length * 2)

    def _unrestricted(self, plan: Plan) -> bool:
        """Whether no filter looks beyond the column set."""
        return not (
            plan.required
            or plan.user_filters
            or plan.claims
            or self.state.nominated
            or any(t.total for t in plan.required_anti)
            or (plan.filters_affinity and any(c.total for c in plan.carried_anti()))
            or (plan.hard and dynamic.spread_filter(plan, slice(0, 1)) is not None)
        )

    def feasible_mask(
        self, plan: Plan, columns: ColumnSet, selection: Selection
    ) -> NDArray[np.bool_]:
        """Which of the selected positions pass every filter."""
        mask = pick(columns.mask, selection)
        if plan.hard:
            part = dynamic.spread_filter(plan, selection)
            if part is not None:
                mask = mask & part
        if plan.filters_affinity:
            part = dynamic.affinity_filter(plan, selection)
            if part is not None:
                mask = mask & part
        if plan.claims:
            mask = mask & volume_filter(plan, self.state.by_position(None)[selection], mask)
        for plugin in plan.user_filters:
            rows = self.state.by_position(None)[selection]
            mask = mask & run_filter(plugin, plan.shape, Candidates(self.state, rows))
        if self.state.nominated:
            mask = nominated_mask(plan, selection, mask)
        return mask

    def _choose(self, plan: Plan, columns: ColumnSet, selection: Selection, found: int) -> int:
        """Position of the node taken among the feasible ones (at least one)."""
        if isinstance(selection, slice):
            first: int = selection.start
        elif found == 1:
            return selection.item(0)
        totals = pick(columns.base, selection) - tie_rank(found)[:found]
        self._add_node_scores(plan, selection, totals)
        extra = self._extra_score(plan, selection)
        if extra is not None:
            totals += extra << TIE_BITS
        best = int(totals.argmax())
        return first + best if isinstance(selection, slice) else selection.item(best)

    def _add_node_scores(self, plan: Plan, selection: Selection, totals: NDArray[np.int64]) -> None:
        """Add TaintToleration and NodeAffinity, normalized over the selection, to the totals."""
        verdict = plan.verdict
        if verdict.soft_positions is not None and "TaintToleration" in self.weights:
            raw = pick(verdict.soft_positions, selection)
            highest = int(raw.max())
            if highest:
                totals += self._score_table("TaintToleration", highest).take(raw)
        if verdict.preferred_positions is not None and "NodeAffinity" in self.weights:
            raw = pick(verdict.preferred_positions, selection)
            highest = int(raw.max())
            if highest:
                totals += self._score_table("NodeAffinity", highest).take(raw)

    def _score_table(self, plugin: str, highest: int) -> NDArray[np.int64]:
        """Shifted weighted score by raw score 0..highest; shape (highest + 1,)."""
        table = self._score_tables.get((plugin, highest))
        if table is None:
            if len(self._score_tables) >= SCORE_TABLES_MAX:
                self._score_tables.clear()
            scaled = 100 * np.arange(highest + 1, dtype=np.int64) // highest
            if plugin == "TaintToleration":
                scaled = 100 - scaled
            table = (scaled * self.weights[plugin]) << TIE_BITS
            self._score_tables[plugin, highest] = table
        return table

    def _extra_score(self, plan: Plan, selection: Selection) -> NDArray[np.int64] | None:
        """Weighted scores that depend on pods elsewhere or are the user's; None if all equal."""
        extra: NDArray[np.int64] | None = None
        weights = self.weights
        if plan.soft:
            _, score, equal = dynamic.spread_score(plan, selection)
            if not equal:
                part = score * weights["PodTopologySpread"]
                extra = part if extra is None else extra + part
        if dynamic.affinity_active(plan):
            _, score, equal = dynamic.affinity_score(plan, selection)
            if not equal:
                part = score * weights["InterPodAffinity"]
                extra = part if extra is None else extra + part
        for plugin, weight in plan.user_scores:
            rows = self.state.by_position(None)[selection]
            part = run_score(plugin, plan.shape, Candidates(self.state, rows)) * weight
            extra = part if extra is None else extra + part
        return extra

    def _failed(
        self,
        plan: Plan,
        start: int,
        count: int,
        processed: int,
        among: NDArray[np.int64] | None,
    ) -> Decision:
        after = (start + processed) % count
        self.next_start_index = after
        diagnosis = diagnose(self, plan, among)
        # The scheduler reports no evaluated nodes when it returns a FitError.
        return Decision(None, 0, 0, processed, start, after, diagnosis)

    def _try_nominated(self, plan: Plan, name: str) -> Decision | None:
        """The nominated node if it is feasible by itself."""
        node = self.state.nodes.get(name)
        if node is None or not node.present:
            return None
        if plan.pre_filter_nodes is not None and name not in plan.pre_filter_nodes:
            return None
        columns = self.columns(plan)
        position = np.array([columns.position(node.row)], np.int64)
        if not self.feasible_mask(plan, columns, position)[0]:
            return None
        start = self.next_start_index
        return Decision(name, 1, 1, 0, start, start)

    def _schedule_among(self, plan: Plan, names: tuple[str, ...]) -> Decision:
        """The cycle over the nodes PreFilter narrowed the search to."""
        state = self.state
        columns = self.columns(plan)
        positions = sorted(
            columns.position(state.nodes[n].row)
            for n in names
            if n in state.nodes and state.nodes[n].present
        )
        start = self.next_start_index
        count = len(positions)
        if count:
            turn = start % count
            positions = positions[turn:] + positions[:turn]
        among = np.array(positions, np.int64)
        feasible = self.feasible_mask(plan, columns, among).nonzero()[0]
        wanted = self.nodes_to_find_among(count)
        processed = feasible.item(wanted) if len(feasible) > wanted else count
        chosen = among[feasible[:wanted]]
        if len(chosen) == 0:
            return self._failed(plan, start, state.node_count, processed, among)
        winner = self._choose(plan, columns, chosen, len(chosen))
        row = state.by_position(None).item(winner)
        after = (start + processed) % state.node_count
        self.next_start_index = after
        return Decision(
            state.node_at(row).name, processed, len(chosen), processed, start, after
        )  # fmt: skip

    def nodes_to_find_among(self, count: int) -> int:
        """Feasible nodes at which a search among ``count`` named nodes stops."""
        if not self.weights:
            return 1
        return feasible_nodes_to_find(count, self.profile.percentage_of_nodes_to_score)

    # ------------------------------------------------------------------------------ on demand
    def explain(self, shape: PodShape) -> Explanation:
        """Every verdict and score on every node for a pod; nothing is changed."""
        return explain(self, shape)

    def diagnose(self, shape: PodShape) -> Diagnosis:
        """Status of every node for a pod, as after a failed cycle."""
        plan = self.plan(shape)
        count = self.state.node_count
        if count == 0:
            return Diagnosis.no_nodes()
        rejection = plan.rejection or (volume_pre_filter(plan) if plan.claims else None)
        if rejection is not None:
            return Diagnosis.rejected(count, rejection)
        columns = self.columns(plan)
        among = None
        if plan.pre_filter_nodes is not None:
            nodes = (self.state.nodes.get(n) for n in plan.pre_filter_nodes)
            positions = sorted(
                columns.position(n.row) for n in nodes if n is not None and n.present
            )
            among = np.array(positions, np.int64)
        return diagnose(self, plan, among)

    def preempt(
        self,
        shape: PodShape,
        *,
        rng: np.random.Generator | None = None,
        offset: int | None = None,
        nominated_node: str | None = None,
        diagnosis: Diagnosis | None = None,
        pod_key: str | None = None,
    ) -> Preemption:
        """What DefaultPreemption would do for a pod that fits nowhere; nothing is changed.

        The dry runs start at ``offset`` into the potential nodes, or one drawn from ``rng``, or 0.
        """
        self.pod_key = pod_key
        return preempt(self, shape, rng, offset, nominated_node, diagnosis)
