"""Arguments of the default profile's plugins, with upstream's defaults and ranges.

**Source:** Kubernetes v1.36 ``pkg/scheduler/apis/config/v1/defaults.go`` and
``pkg/scheduler/apis/config/validation/validation_pluginargs.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sim.scheduling.problems import Problems

LABEL_HOSTNAME = "kubernetes.io/hostname"
LABEL_ZONE = "topology.kubernetes.io/zone"
LABEL_REGION = "topology.kubernetes.io/region"

SYSTEM_DEFAULT_CONSTRAINTS: tuple[Mapping[str, Any], ...] = (
    {"topologyKey": LABEL_HOSTNAME, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 3},
    {"topologyKey": LABEL_ZONE, "whenUnsatisfiable": "ScheduleAnyway", "maxSkew": 5},
)
"""**Source:** ``pkg/scheduler/framework/plugins/podtopologyspread/plugin.go``."""

_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
_CUSTOM_SCORE_MAX = 10


@dataclass(frozen=True, slots=True)
class ScoringStrategy:
    """How NodeResourcesFit scores: type, ``(resource, weight)`` and the utilization shape."""

    type: str = "LeastAllocated"
    resources: tuple[tuple[str, int], ...] = (("cpu", 1), ("memory", 1))
    shape: tuple[tuple[int, int], ...] = ()
    """``(utilization 0..100, score 0..100)``, only of RequestedToCapacityRatio."""


@dataclass(frozen=True, slots=True)
class PluginArguments:
    """Arguments of every plugin that takes any."""

    strategy: ScoringStrategy = ScoringStrategy()
    ignored_resources: frozenset[str] = frozenset()
    ignored_resource_groups: frozenset[str] = frozenset()
    balanced_resources: tuple[str, ...] = ("cpu", "memory")
    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False
    added_affinity: Mapping[str, Any] | None = None
    spread_constraints: tuple[Mapping[str, Any], ...] = SYSTEM_DEFAULT_CONSTRAINTS
    spread_system_defaulted: bool = True
    candidate_nodes_percentage_min: int = 10
    candidate_nodes_count_min: int = 100
    bind_timeout_seconds: int = 600


def read_arguments(
    path: str, arguments: Mapping[str, Mapping[str, Any]], problems: Problems
) -> PluginArguments:
    """Arguments by plugin name, as in ``pluginConfig``; problems are recorded, not raised."""
    fit = arguments.get("NodeResourcesFit") or {}
    affinity = arguments.get("InterPodAffinity") or {}
    preemption = arguments.get("DefaultPreemption") or {}
    constraints, system = _spread(f"{path}.PodTopologySpread", arguments, problems)
    percentage = problems.integer(
        "minCandidateNodesPercentage", preemption, 10, 0, 100, prefix=f"{path}.DefaultPreemption"
    )
    absolute = problems.integer(
        "minCandidateNodesAbsolute", preemption, 100, 0, 2**31 - 1,
        prefix=f"{path}.DefaultPreemption",
    )  # fmt: skip
    if percentage == 0 and absolute == 0:
        problems.add(
            f"{path}.DefaultPreemption.minCandidateNodesPercentage",
            "cannot be zero at the same time as minCandidateNodesAbsolute",
        )
    return PluginArguments(
        strategy=_strategy(f"{path}.NodeResourcesFit.scoringStrategy", fit, problems),
        ignored_resources=frozenset(fit.get("ignoredResources") or ()),
        ignored_resource_groups=frozenset(fit.get("ignoredResourceGroups") or ()),
        balanced_resources=_balanced(
            f"{path}.NodeResourcesBalancedAllocation.resources", arguments, problems
        ),
        hard_pod_affinity_weight=problems.integer(
            "hardPodAffinityWeight", affinity, 1, 0, 100, prefix=f"{path}.InterPodAffinity"
        ),
        ignore_preferred_terms_of_existing_pods=bool(
            affinity.get("ignorePreferredTermsOfExistingPods", False)
        ),
        added_affinity=(arguments.get("NodeAffinity") or {}).get("addedAffinity"),
        spread_constraints=constraints,
        spread_system_defaulted=system,
        candidate_nodes_percentage_min=percentage,
        candidate_nodes_count_min=absolute,
        bind_timeout_seconds=problems.integer(
            "bindTimeoutSeconds", arguments.get("VolumeBinding") or {}, 600, 0, 2**31 - 1,
            prefix=f"{path}.VolumeBinding",
        ),
    )  # fmt: skip


def _resources(
    path: str, entries: object, weight_max: int, problems: Problems
) -> tuple[tuple[str, int], ...]:
    result: list[tuple[str, int]] = []
    for i, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
        where = f"{path}[{i}]"
        problems.names(where, entry, ("name", "weight"))
        weight = problems.integer("weight", entry, 1, 0, weight_max, prefix=where) or 1
        result.append((str(entry.get("name", "")), weight))
    return tuple(result)


def _strategy(path: str, fit: Mapping[str, Any], problems: Problems) -> ScoringStrategy:
    given = fit.get("scoringStrategy")
    if given is None:
        return ScoringStrategy()
    problems.names(path, given, ("type", "resources", "requestedToCapacityRatio"))
    kind = given.get("type") or "LeastAllocated"
    if kind not in _STRATEGIES:
        problems.unknown(f"{path}.type", "strategy", kind, _STRATEGIES)
    resources = _resources(f"{path}.resources", given.get("resources"), 100, problems)
    ratio = given.get("requestedToCapacityRatio")
    shape: tuple[tuple[int, int], ...] = ()
    if kind == "RequestedToCapacityRatio":
        shape = _shape(
            f"{path}.requestedToCapacityRatio.shape", (ratio or {}).get("shape"), problems
        )
    elif ratio is not None:
        problems.add(
            f"{path}.requestedToCapacityRatio",
            "must not be set when type is not RequestedToCapacityRatio",
        )
    return ScoringStrategy(kind, resources or ScoringStrategy().resources, shape)


def _shape(path: str, points: object, problems: Problems) -> tuple[tuple[int, int], ...]:
    result: list[tuple[int, int]] = []
    for i, point in enumerate(points if isinstance(points, list | tuple) else ()):
        where = f"{path}[{i}]"
        problems.names(where, point, ("utilization", "score"))
        utilization = problems.integer("utilization", point, 0, 0, 100, prefix=where)
        score = problems.integer("score", point, 0, 0, _CUSTOM_SCORE_MAX, prefix=where)
        if result and utilization <= result[-1][0]:
            problems.add(f"{where}.utilization", "values must be sorted in increasing order")
        result.append((utilization, score * (100 // _CUSTOM_SCORE_MAX)))
    if not result:
        problems.add(path, "at least one point must be specified")
    return tuple(result)


def _balanced(
    path: str, arguments: Mapping[str, Mapping[str, Any]], problems: Problems
) -> tuple[str, ...]:
    given = (arguments.get("NodeResourcesBalancedAllocation") or {}).get("resources")
    resources = _resources(path, given, 1, problems)
    names = tuple(name for name, _ in resources) or ("cpu", "memory")
    for i, name in enumerate(names):
        if name in names[:i]:
            problems.add(f"{path}[{i}].name", f"{name!r} is listed twice")
    return names


def _spread(
    path: str, arguments: Mapping[str, Mapping[str, Any]], problems: Problems
) -> tuple[tuple[Mapping[str, Any], ...], bool]:
    given = arguments.get("PodTopologySpread") or {}
    kind = given.get("defaultingType") or "System"
    constraints = tuple(given.get("defaultConstraints") or ())
    if kind not in ("System", "List"):
        problems.unknown(f"{path}.defaultingType", "type", kind, ("System", "List"))
    if kind == "System":
        if constraints:
            problems.add(
                f"{path}.defaultingType", "is System although defaultConstraints are given"
            )
        return SYSTEM_DEFAULT_CONSTRAINTS, True
    for i, constraint in enumerate(constraints):
        where = f"{path}.defaultConstraints[{i}]"
        problems.names(
            where,
            constraint,
            ("maxSkew", "topologyKey", "whenUnsatisfiable", "minDomains", "nodeAffinityPolicy",
             "nodeTaintsPolicy", "matchLabelKeys", "labelSelector"),
        )  # fmt: skip
        problems.integer("maxSkew", constraint, 1, 1, 2**31 - 1, prefix=where)
        if not constraint.get("topologyKey"):
            problems.add(f"{where}.topologyKey", "must not be empty")
        if constraint.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            problems.add(f"{where}.whenUnsatisfiable", "must be DoNotSchedule or ScheduleAnyway")
        if constraint.get("labelSelector") is not None:
            problems.add(f"{where}.labelSelector", "must not be set; it is deduced for each pod")
        pair = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"))
        if any(pair == (c.get("topologyKey"), c.get("whenUnsatisfiable")) for c in constraints[:i]):
            problems.add(where, f"repeats {pair}")
    return constraints, False
