"""Readable twins of the score plugins: plain loops over feasible nodes.

Every function returns raw and normalized scores aligned with ``feasible``, or None where the
plugin's PreScore skips.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/plugins``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from sim.scheduling.plugin_arguments import PluginArguments
from sim.scheduling.reference_filters import (
    affinity_terms,
    count_matching,
    node_included,
    selector_of,
    term_matches,
)
from sim.scheduling.reference_objects import (
    DEFAULTS,
    Json,
    ReferenceCluster,
    ReferenceNode,
    amount,
    is_scalar,
    namespace_of,
    node_term_matches,
    pod_requests,
    requested,
    untolerated,
)

Scores = tuple[list[int], list[int]]
HOSTNAME = "kubernetes.io/hostname"


def default_normalize(raw: list[int], *, reverse: bool) -> list[int]:
    """Scale the highest to 100; reversed, fewer is better."""
    highest = max(raw, default=0)
    if highest == 0:
        return [100 if reverse else 0] * len(raw)
    scaled = [100 * r // highest for r in raw]
    return [100 - s for s in scaled] if reverse else scaled


def taint_toleration(pod: Json, feasible: list[ReferenceNode]) -> Scores:
    """Number of PreferNoSchedule taints not tolerated."""
    tolerations = [
        t
        for t in pod["spec"].get("tolerations") or ()
        if t.get("effect") in (None, "", "PreferNoSchedule")
    ]
    soft = {"spec": {"tolerations": tolerations}}
    raw = [len(untolerated(soft, n.taints, ("PreferNoSchedule",))) for n in feasible]
    return raw, default_normalize(raw, reverse=True)


def node_affinity(
    pod: Json, feasible: list[ReferenceNode], arguments: PluginArguments
) -> Scores | None:
    """Sum of weights of preferred terms that match."""
    own = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    added = (arguments.added_affinity or {}).get(key) or ()
    if own.get(key) is None and not added:
        return None
    terms = [*(own.get(key) or ()), *added]
    raw = [
        sum(t["weight"] for t in terms if node_term_matches(t["preference"], n)) for n in feasible
    ]
    return raw, default_normalize(raw, reverse=False)


# ---------------------------------------------------------------------------------- resources
def fit(pod: Json, feasible: list[ReferenceNode], arguments: PluginArguments) -> Scores:
    """NodeResourcesFit by the profile's strategy."""
    strategy = arguments.strategy
    incoming = pod_requests(pod, defaults=DEFAULTS, pod_level=False)
    raw: list[int] = []
    for node in feasible:
        total = weights = 0
        for name, weight in strategy.resources:
            wanted = amount(name, incoming.get(name, 0))
            capacity = node.allocatable(name)
            if capacity == 0 or (wanted == 0 and is_scalar(name)):
                continue
            nonzero = name in ("cpu", "memory")
            used = requested(node, name, nonzero=nonzero) + wanted
            score = _STRATEGIES[strategy.type](used, capacity, strategy.shape)
            if strategy.type == "RequestedToCapacityRatio" and score <= 0:
                continue
            total += score * weight
            weights += weight
        if weights == 0:
            raw.append(0)
        elif strategy.type == "RequestedToCapacityRatio":
            raw.append(_round_half_away(total / weights))
        else:
            raw.append(total // weights)
    return raw, raw


def _least(used: int, capacity: int, _shape: tuple[tuple[int, int], ...]) -> int:
    return 0 if used > capacity else (capacity - used) * 100 // capacity


def _most(used: int, capacity: int, _shape: tuple[tuple[int, int], ...]) -> int:
    return min(used, capacity) * 100 // capacity


def _ratio(used: int, capacity: int, shape: tuple[tuple[int, int], ...]) -> int:
    utilization = 100 if used > capacity else used * 100 // capacity
    if utilization <= shape[0][0]:
        return shape[0][1]
    for (x0, y0), (x1, y1) in pairwise(shape):
        if utilization <= x1:
            return y0 + math.trunc((y1 - y0) * (utilization - x0) / (x1 - x0))
    return shape[-1][1]


_STRATEGIES: dict[str, Callable[[int, int, tuple[tuple[int, int], ...]], int]] = {
    "LeastAllocated": _least,
    "MostAllocated": _most,
    "RequestedToCapacityRatio": _ratio,
}


def balanced(pod: Json, feasible: list[ReferenceNode], arguments: PluginArguments) -> Scores | None:
    """NodeResourcesBalancedAllocation: change of balance by adding the pod."""
    incoming = pod_requests(pod)
    names = arguments.balanced_resources
    wanted = {n: amount(n, incoming.get(n, 0)) for n in names}
    if not any(wanted.values()):
        return None
    raw: list[int] = []
    for node in feasible:
        before: list[float] = []
        after: list[float] = []
        for name in names:
            capacity = node.allocatable(name)
            if capacity == 0 or (wanted[name] == 0 and is_scalar(name)):
                continue
            used = requested(node, name)
            before.append(min(float(used) / float(capacity), 1.0))
            after.append(min(float(used + wanted[name]) / float(capacity), 1.0))
        raw.append(50 + math.trunc((50 + _balance(after) - _balance(before)) / 2))
    return raw, raw


def _balance(fractions: list[float]) -> int:
    if len(fractions) < 2:
        deviation = 0.0
    elif len(fractions) == 2:
        deviation = abs((fractions[0] - fractions[1]) / 2)
    else:
        mean = sum(fractions) / len(fractions)
        squares = 0.0
        for fraction in fractions:
            squares += (fraction - mean) * (fraction - mean)
        deviation = math.sqrt(squares / len(fractions))
    return int((1 - deviation) * 100)


def _round_half_away(value: float) -> int:
    whole = math.floor(value)
    return whole + (value - whole >= 0.5)


# ---------------------------------------------------------------------------------- images
def images(cluster: ReferenceCluster, pod: Json, feasible: list[ReferenceNode]) -> Scores:
    """ImageLocality."""
    sizes: dict[str, int] = {}
    holders: dict[str, set[str]] = {}
    for node in cluster.nodes:
        for image in (node.document.get("status") or {}).get("images") or ():
            for name in image.get("names") or ():
                sizes.setdefault(_with_tag(name), image.get("sizeBytes", 0))
                holders.setdefault(_with_tag(name), set()).add(node.name)
    spec = pod["spec"]
    wanted = [c.get("image", "") for c in spec.get("containers") or ()]
    wanted += [c.get("image", "") for c in spec.get("initContainers") or ()]
    wanted += [v["image"].get("reference", "") for v in spec.get("volumes") or () if v.get("image")]
    lowest, highest = 23 * 2**20, 1000 * 2**20 * len(wanted)
    raw: list[int] = []
    for node in feasible:
        total = 0
        for name in map(_with_tag, wanted):
            if node.name in holders.get(name, ()):
                total += int(sizes[name] * (len(holders[name]) / len(cluster.nodes)))
        total = min(max(total, lowest), highest)
        raw.append(100 * (total - lowest) // (highest - lowest))
    return raw, raw


def _with_tag(name: str) -> str:
    return name if name.rfind(":") > name.rfind("/") else f"{name}:latest"


# ---------------------------------------------------------------------------------- spread
def spread(
    cluster: ReferenceCluster,
    pod: Json,
    feasible: list[ReferenceNode],
    constraints: list[Json],
    require_all: bool,
) -> Scores | None:
    """PodTopologySpread over ScheduleAnyway constraints."""
    if not constraints:
        return None
    ignored = {
        n.name
        for n in feasible
        if require_all and any(c["topologyKey"] not in n.labels for c in constraints)
    }
    scored = [n for n in feasible if n.name not in ignored]
    sums = {n.name: 0.0 for n in feasible}
    for constraint in constraints:
        key, selector = constraint["topologyKey"], selector_of(constraint, pod)
        if key == HOSTNAME:
            size = len(scored)
            counts = {}
        else:
            counts = {n.labels.get(key, ""): 0 for n in scored}
            size = len(counts)
            for node in cluster.nodes:
                lacking = require_all and any(
                    c["topologyKey"] not in node.labels for c in constraints
                )
                domain = node.labels.get(key, "")
                if not lacking and domain in counts and node_included(constraint, pod, node):
                    counts[domain] += count_matching(node, selector, namespace_of(pod))
        weight = math.log(size + 2)
        for node in scored:
            if key in node.labels:
                number = (
                    count_matching(node, selector, namespace_of(pod))
                    if key == HOSTNAME
                    else counts[node.labels[key]]
                )
                sums[node.name] += number * weight + (constraint["maxSkew"] - 1)
    raw = [_round_half_away(sums[n.name]) for n in feasible]
    return raw, _normalize_spread(raw, [n.name in ignored for n in feasible])


def _normalize_spread(raw: list[int], ignored: list[bool]) -> list[int]:
    counted = [r for r, i in zip(raw, ignored, strict=True) if not i]
    low, high = min(counted, default=0), max(counted, default=0)
    return [
        0 if i else 100 if high == 0 else 100 * (high + low - r) // high
        for r, i in zip(raw, ignored, strict=True)
    ]


# ---------------------------------------------------------------------------------- pod affinity
def pod_affinity(
    cluster: ReferenceCluster, pod: Json, feasible: list[ReferenceNode], arguments: PluginArguments
) -> Scores | None:
    """InterPodAffinity: weights of matching terms, summed per topology domain."""
    spaces = cluster.namespaces
    own = [
        (sign * entry["weight"], entry["podAffinityTerm"])
        for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity"))
        for entry in affinity_terms(pod, kind, "preferred")
    ]
    domains: dict[tuple[str, str], int] = {}
    for node in cluster.nodes:
        for other in node.pods:
            hits = [
                (w, t)
                for w, t in own
                if term_matches(t, pod, other, spaces, owner_is_incoming=True)
            ]
            if own or not arguments.ignore_preferred_terms_of_existing_pods:
                hits += [
                    (w, t)
                    for w, t in _terms_towards_others(other, arguments)
                    if term_matches(t, other, pod, spaces, owner_is_incoming=False)
                ]
            for weight, term in hits:
                key = term["topologyKey"]
                if key in node.labels:
                    pair = (key, node.labels[key])
                    domains[pair] = domains.get(pair, 0) + weight
    if not domains:
        return None
    raw = [sum(domains.get(pair, 0) for pair in n.labels.items()) for n in feasible]
    low, high = min(raw), max(raw)
    if high == low:
        return raw, [0] * len(raw)
    return raw, [int(100.0 * (float(r - low) / float(high - low))) for r in raw]


def _terms_towards_others(pod: Json, arguments: PluginArguments) -> list[tuple[int, Json]]:
    terms = [
        (sign * entry["weight"], entry["podAffinityTerm"])
        for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity"))
        for entry in affinity_terms(pod, kind, "preferred")
    ]
    if arguments.hard_pod_affinity_weight > 0:
        hard = arguments.hard_pod_affinity_weight
        terms += [(hard, t) for t in affinity_terms(pod, "podAffinity", "required")]
    return terms
