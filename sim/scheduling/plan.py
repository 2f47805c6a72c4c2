"""Everything a core precomputes about one pod shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sim.scheduling.affinity_terms import AffinityTerm
from sim.scheduling.columns import ColumnSet, NodeVerdict
from sim.scheduling.labels import selector_matches
from sim.scheduling.plugin_arguments import LABEL_HOSTNAME
from sim.scheduling.shape import PodShape, SpreadConstraint, compile_spread_constraint
from sim.scheduling.tallies import (
    CarriedTerm,
    EligibilityKey,
    SpreadPredicate,
    Tally,
    TermsPredicate,
)

if TYPE_CHECKING:
    from sim.scheduling.core import SchedulingCore


class HardSpread(NamedTuple):
    """A DoNotSchedule constraint with its tally over eligible nodes."""

    constraint: SpreadConstraint
    tally: Tally
    self_match: int


class SoftSpread(NamedTuple):
    """A ScheduleAnyway constraint; per node for the hostname key, else per eligible domain."""

    constraint: SpreadConstraint
    tally: Tally
    per_node: bool


class PreFilterRejection(NamedTuple):
    """PreFilter rejected the pod for every node."""

    plugin: str
    code: str
    reasons: tuple[str, ...]


class Plan:
    """Compiled constraints of a shape for one core; valid while ``epoch`` is current."""

    def __init__(self, core: SchedulingCore, shape: PodShape) -> None:
        self.core = core
        self.shape = shape
        self.epoch = core.state.objects.epoch
        filters = core.profile.plugins["filter"]
        self.verdict: NodeVerdict = core.verdict(shape)
        self.columns: ColumnSet | None = None
        self.uses_count = 0
        self.hard: list[HardSpread] = []
        self.soft: list[SoftSpread] = []
        self.spread_constraints_all_required = shape.spread_given or (
            not core.profile.arguments.spread_system_defaulted
        )
        if "PodTopologySpread" in filters or "PodTopologySpread" in core.weights:
            self._plan_spread("PodTopologySpread" in filters)
        affinity = shape.affinity
        self.filters_affinity = "InterPodAffinity" in filters
        self.scores_affinity = "InterPodAffinity" in core.weights
        self.required: list[Tally] = []
        self.required_anti: list[Tally] = []
        self.self_affine = False
        if self.filters_affinity:
            self.required = [
                self._term_tally(affinity.required, t.topology_key) for t in affinity.required
            ]
            self.required_anti = [
                self._term_tally((t,), t.topology_key) for t in affinity.required_anti
            ]
            self.self_affine = self._matches_itself(affinity.required)
        self.preferred: list[tuple[Tally, int]] = []
        if self.scores_affinity:
            self.preferred = [
                (self._term_tally((t,), t.topology_key), w) for t, w in affinity.preferred
            ]
        self._carried_seen = (-1, 0)
        self._carried_anti: list[CarriedTerm] = []
        self._carried_weights: list[tuple[CarriedTerm, int]] = []
        self.pre_filter_nodes, self.rejection = _node_affinity_pre_filter(core, shape)
        self.user_filters = [
            core.user_plugins.by_name[n] for n in filters if n in core.user_plugins.by_name
        ]
        self.user_scores = [
            (core.user_plugins.by_name[n], w)
            for n, w in core.weights.items()
            if n in core.user_plugins.by_name
        ]
        self.claims = shape.claims if shape.claims and core.volume_filters else ()

    def _term_tally(self, terms: tuple[AffinityTerm, ...], key: str) -> Tally:
        return self.core.state.tally(TermsPredicate(terms), key)

    def _matches_itself(self, terms: tuple[AffinityTerm, ...]) -> bool:
        labels = self.shape.labels
        return bool(terms) and TermsPredicate(terms).matches(self.core.state, labels)

    def _plan_spread(self, filters: bool) -> None:
        core, shape = self.core, self.shape
        constraints = shape.spread if shape.spread_given else self._default_constraints()
        hard = [c for c in constraints if c.hard]
        soft = [c for c in constraints if not c.hard]
        keys = tuple(sorted({c.topology_key for c in hard}))
        for constraint in hard if filters else ():
            tally = core.state.tally(
                SpreadPredicate(shape.namespace, constraint.selector),
                constraint.topology_key,
                self._eligibility(constraint, keys),
            )
            matches = selector_matches(constraint.selector, shape.pod_labels)
            self.hard.append(HardSpread(constraint, tally, int(matches)))
        keys = tuple(sorted({c.topology_key for c in soft}))
        if not self.spread_constraints_all_required:
            keys = ()
        for constraint in soft if "PodTopologySpread" in core.weights else ():
            predicate = SpreadPredicate(shape.namespace, constraint.selector)
            if constraint.topology_key == LABEL_HOSTNAME:
                self.soft.append(SoftSpread(constraint, core.state.tally(predicate, None), True))
                continue
            tally = core.state.tally(
                predicate, constraint.topology_key, self._eligibility(constraint, keys)
            )
            self.soft.append(SoftSpread(constraint, tally, False))

    def _default_constraints(self) -> tuple[SpreadConstraint, ...]:
        core, shape = self.core, self.shape
        given = core.profile.arguments.spread_constraints
        if not given:
            return ()
        selector = core.state.objects.default_selector(
            shape.namespace, shape.pod_labels, shape.owner
        )
        if not selector:
            return ()
        return tuple(
            compile_spread_constraint(c, shape.pod_labels)._replace(selector=selector)
            for c in given
        )

    def _eligibility(
        self, constraint: SpreadConstraint, keys: tuple[str, ...]
    ) -> EligibilityKey | None:
        node = self.shape.node
        restricted = bool(node.node_selector) or node.affinity is not None
        affinity = None
        if constraint.honor_affinity and restricted:
            affinity = (node.node_selector, node.affinity)
        tolerations = node.tolerations if constraint.honor_taints else None
        others = tuple(k for k in keys if k != constraint.topology_key)
        if affinity is None and tolerations is None and not others:
            return None
        return EligibilityKey(keys, affinity, tolerations)

    def carried_anti(self) -> list[CarriedTerm]:
        """Required anti-affinity terms of other pods that select this one."""
        self._see_carried()
        return self._carried_anti

    def carried_weights(self) -> list[tuple[CarriedTerm, int]]:
        """Terms of other pods that add to the score of nodes near them, with their weight."""
        self._see_carried()
        return self._carried_weights

    def _see_carried(self) -> None:
        state = self.core.state
        found: list[CarriedTerm] = self.shape.labels.matching_carried
        if self._carried_seen == (state.match_epoch, len(found)):
            return
        arguments = self.core.profile.arguments
        self._carried_anti = [c for c in found if c.kind == "anti"]
        hard = arguments.hard_pod_affinity_weight
        weighted = [(c, c.weight if c.kind == "soft" else hard) for c in found if c.kind != "anti"]
        own = bool(self.shape.affinity.preferred)
        if arguments.ignore_preferred_terms_of_existing_pods and not own:
            weighted = []
        self._carried_weights = [(c, w) for c, w in weighted if w]
        self._carried_seen = (state.match_epoch, len(found))


def _node_affinity_pre_filter(
    core: SchedulingCore, shape: PodShape
) -> tuple[tuple[str, ...] | None, PreFilterRejection | None]:
    """Node names NodeAffinity narrows the search to (None: no narrowing), or its rejection.

    **Source:** ``nodeaffinity/node_affinity.go`` ``PreFilter``.
    """
    terms = shape.node.affinity
    if not terms or "NodeAffinity" not in core.profile.plugins["preFilter"]:
        return None, None
    names: set[str] = set()
    for term in terms:
        of_term: set[str] | None = None
        for field in term.fields:
            if field.key == "metadata.name" and field.operator == "In":
                values = set(field.values)
                of_term = values if of_term is None else of_term & values
        if of_term is None:
            return None, None
        names |= of_term
    if not names:
        return None, PreFilterRejection(
            "NodeAffinity", "UnschedulableAndUnresolvable", ("pod affinity terms conflict",)
        )
    return tuple(sorted(names)), None
