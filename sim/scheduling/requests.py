"""What a pod requests, in each of the ways the scheduler counts it.

Four figures differ (all in millicores for cpu, whole units otherwise):

* ``request``: what filters and NodeResourcesBalancedAllocation use and what a bound pod occupies:
  pod-level requests where set, else containers; overhead added; a resize in place counts the
  largest of spec, allocated and actual;
* ``nonzero``: what a bound pod counts for NodeResourcesFit scoring (100m and 200Mi per container
  that names none);
* ``score_request``: the same for the incoming pod, which leaves pod-level requests out.

**Source:** Kubernetes v1.36 ``component-helpers/resource/helpers.go``,
``pkg/scheduler/framework/types.go`` (``CalculateResource``),
``pkg/scheduler/framework/plugins/noderesources/resource_allocation.go``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.scheduling.quantities import is_scalar_resource, parse_nano, round_up

CPU_NONZERO_NANO = 100 * 10**6
"""100m. **Source:** ``pkg/scheduler/util/pod_resources.go`` DefaultMilliCPURequest."""
MEMORY_NONZERO_NANO = 200 * 1024 * 1024 * 10**9
"""200Mi. **Source:** the same file, DefaultMemoryRequest."""
_BOTH_MISSING = {"cpu": CPU_NONZERO_NANO, "memory": MEMORY_NONZERO_NANO}

Nano = dict[str, int]


class Requests(NamedTuple):
    """The requests of a pod; see the module docstring. Amounts are integers."""

    request: tuple[tuple[str, int], ...]
    """``(resource, amount)`` sorted by name; only resources the scheduler keeps."""
    nonzero_cpu_millicores: int
    nonzero_memory_bytes: int
    score_request: tuple[tuple[str, int], ...]


def compute_requests(spec: Mapping[str, Any], status: Mapping[str, Any] | None = None) -> Requests:
    """All request figures of a pod spec (and status, for pods resized in place).

    Raises ``ValueError`` for a malformed quantity.
    """
    statuses = _container_statuses(status)
    infeasible = statuses is not None and _resize_infeasible(status or {})
    pod_level = _pod_level(spec, status, infeasible)
    overhead = spec.get("overhead")
    containers = _aggregate(spec, None, statuses, infeasible)
    request = _with_pod_level(containers, pod_level, overhead)
    missing = _missing_at_both_levels(request, pod_level)
    filled = _aggregate(spec, _BOTH_MISSING, statuses, infeasible)
    if missing == _BOTH_MISSING:
        nonzero = _with_pod_level(filled, pod_level, overhead)
    elif missing:
        nonzero = _with_pod_level(
            _aggregate(spec, missing, statuses, infeasible), pod_level, overhead
        )
    else:
        nonzero = request
    score = _with_pod_level(filled, None, overhead)
    return Requests(
        request=_rounded(request),
        nonzero_cpu_millicores=round_up("cpu", nonzero.get("cpu", 0)),
        nonzero_memory_bytes=round_up("memory", nonzero.get("memory", 0)),
        score_request=_rounded(score),
    )


def _rounded(nano: Nano) -> tuple[tuple[str, int], ...]:
    kept = [
        (name, round_up(name, amount))
        for name, amount in nano.items()
        if name in ("cpu", "memory", "ephemeral-storage") or is_scalar_resource(name)
    ]
    kept.sort()
    return tuple(kept)


def _parse(resources: Mapping[str, Any] | None) -> Nano:
    return {name: parse_nano(q) for name, q in resources.items()} if resources else {}


def _add(total: Nano, extra: Mapping[str, int]) -> None:
    for name, amount in extra.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: Nano, other: Mapping[str, int]) -> None:
    for name, amount in other.items():
        if amount > total.get(name, -1):
            total[name] = amount


def _container_statuses(status: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]] | None:
    if not status:
        return None
    found = {
        s["name"]: s
        for kind in ("containerStatuses", "initContainerStatuses")
        for s in status.get(kind) or ()
        if s.get("resources") is not None
    }
    return found or None


def _resize_infeasible(status: Mapping[str, Any]) -> bool:
    return any(
        c.get("type") == "PodResizePending" and c.get("reason") == "Infeasible"
        for c in status.get("conditions") or ()
    )


def _container(
    container: Mapping[str, Any],
    fill: Mapping[str, int] | None,
    statuses: Mapping[str, Mapping[str, Any]] | None,
    infeasible: bool,
) -> Nano:
    resources = container.get("resources")
    requests = _parse(resources.get("requests")) if resources else {}
    if statuses:
        status = statuses.get(container["name"])
        if status is not None:
            actual = _parse(status["resources"].get("requests"))
            allocated = _parse(status.get("allocatedResources"))
            requests = {} if infeasible else requests
            _raise_to(requests, actual)
            _raise_to(requests, allocated)
    if fill:
        return {**fill, **requests}
    return requests


def _aggregate(
    spec: Mapping[str, Any],
    fill: Mapping[str, int] | None,
    statuses: Mapping[str, Mapping[str, Any]] | None,
    infeasible: bool,
) -> Nano:
    """Sum over containers, raised to the peak of the init containers' sequence."""
    total: Nano = {}
    for container in spec.get("containers") or ():
        _add(total, _container(container, fill, statuses, infeasible))
    init_containers = spec.get("initContainers")
    if not init_containers:
        return total
    sidecars: Nano = {}
    peak: Nano = {}
    for container in init_containers:
        sidecar = container.get("restartPolicy") == "Always"
        requests = _container(container, fill, statuses if sidecar else None, infeasible)
        if sidecar:
            _add(total, requests)
            _add(sidecars, requests)
            requests = sidecars
        else:
            requests = dict(requests)
            _add(requests, sidecars)
        _raise_to(peak, requests)
    _raise_to(total, peak)
    return total


def _pod_level(
    spec: Mapping[str, Any], status: Mapping[str, Any] | None, infeasible: bool
) -> Nano | None:
    """Pod-level requests (cpu, memory, hugepages), None when the pod sets none."""
    given = (spec.get("resources") or {}).get("requests")
    requests = {n: q for n, q in _parse(given).items() if _supported_at_pod_level(n)}
    if not requests:
        return None
    if status and (status.get("resources") or status.get("allocatedResources")):
        base: Nano = {} if infeasible else dict(requests)
        _raise_to(base, _parse((status.get("resources") or {}).get("requests")))
        _raise_to(base, _parse(status.get("allocatedResources")))
        requests = {n: q for n, q in base.items() if _supported_at_pod_level(n)}
    return requests


def _supported_at_pod_level(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _with_pod_level(
    containers: Nano, pod_level: Nano | None, overhead: Mapping[str, Any] | None
) -> Nano:
    if not pod_level and not overhead:
        return containers
    total = dict(containers)
    if pod_level:
        total.update(pod_level)
    if overhead:
        _add(total, _parse(overhead))
    return total


def _missing_at_both_levels(request: Nano, pod_level: Nano | None) -> Nano:
    if not pod_level:
        return _BOTH_MISSING
    return {name: amount for name, amount in _BOTH_MISSING.items() if not request.get(name)}
