"""Whether the objects of an experiment can work at all: read them, and ask simple questions.

Nodes without capacity, no nodes at all, pods that no node could ever hold, Services without pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.base.api_object import APIObject
from sim.base.errors import Problem, UserError
from sim.base.objects import Pod, Service
from sim.base.pod_template import PodTemplate
from sim.cluster.params import ClusterParams
from sim.cluster.scheduler_settings import scheduler_settings
from sim.experiment.network_check import check_network
from sim.experiment.nodes_check import Capacity, check_nodes
from sim.workload.manifests import Manifests, ObjectReader, read_manifests
from sim.workload.object_reader import template_of
from sim.workload.operations import ApplyManifests
from sim.workload.pod_templates import PodTemplates

Places = dict[int, tuple[Manifests, int]]
"""Where objects were read, by their identity."""


def check_objects(params: ClusterParams | None, operations: Sequence[Any]) -> list[Problem]:
    """Return errors and warnings about nodes and applied manifests, all at once.

    ``params`` is None if the cluster's own settings are wrong: only manifests are read then.
    """
    problems: list[Problem] = []
    applied = {
        path for item in operations if isinstance(item, ApplyManifests) for path in item.manifests
    }
    capacities: list[Capacity] = []
    if params is not None:
        problems += check_network(params)
        capacities = _capacities(params, applied, problems)
    objects: list[APIObject] = []
    places: Places = {}
    for operation in operations:
        if isinstance(operation, ApplyManifests):
            objects += _read(operation.manifests, problems, places)
    templates = [
        (item, template, count) for item in objects
        if (template := _template(item)) is not None and (count := _pod_count(item)) > 0
    ]  # fmt: skip
    if capacities:
        problems += _fits_nowhere(templates, capacities, places)
    problems += _services_without_pods(objects, templates, places)
    return problems


def _capacities(
    params: ClusterParams, applied: set[str], problems: list[Problem]
) -> list[Capacity]:
    try:
        scheduler_settings(params.control_plane)
    except UserError as error:
        problems += error.problems
    return check_nodes(params, applied, problems)


def _template(item: APIObject) -> PodTemplate | None:
    return item.template if isinstance(item, Pod) else template_of(item)


def _pod_count(item: APIObject) -> int:
    if isinstance(item, Pod):
        return 1
    return int(getattr(item, "replica_count", getattr(item, "parallelism_count", 1)))


def _read(paths: Sequence[str], problems: list[Problem], places: Places) -> list[APIObject]:
    reader = ObjectReader(PodTemplates())
    manifests = read_manifests(*paths)
    problems += manifests.problems
    problems += manifests.warnings
    try:
        objects = reader.read(manifests)
    except UserError as error:
        problems += error.problems
        return []
    problems += reader.warnings
    for item, position in zip(objects, reader.positions, strict=True):
        places[id(item)] = (manifests, position)
    return objects


def _warning(
    code: str, message: str, item: APIObject, path: Sequence[str], places: Places
) -> Problem:
    """Return a warning that points at what was said of an object."""
    manifests, position = places[id(item)]
    return manifests.problem(position, code, message, path)


def _fits_nowhere(
    templates: Sequence[tuple[APIObject, PodTemplate, int]], capacities: Sequence[Capacity],
    places: Places,
) -> list[Problem]:
    """Warn, once per shape, of pods larger than every node; selectors are not looked at."""
    distinct = {tuple(sorted(capacity.items())): capacity for capacity in capacities}
    counts: dict[tuple[tuple[str, int], ...], tuple[APIObject, int]] = {}
    for item, template, count in templates:
        request = {
            "cpu": template.cpu_requested_millicores,
            "memory": template.memory_requested_bytes,
            **template.extended_requested,
        }
        fits = any(
            all(amount <= capacity.get(name, 0) for name, amount in request.items() if amount)
            for capacity in distinct.values()
        )
        if not fits:
            key = tuple(sorted(request.items()))
            first, known = counts.get(key, (item, 0))
            counts[key] = (first, known + count)
    return [
        _warning(
            "W004",
            f"{count:,} pod{'s' if count > 1 else ''} such as"
            f" {first.namespace}/{first.name} fit on no node: each asks for "
            + ", ".join(_shown(name, amount) for name, amount in key if amount),
            first, ("spec",), places,
        )  # fmt: skip
        for key, (first, count) in counts.items()
    ]


def _shown(resource: str, amount: int) -> str:
    if resource == "cpu":
        return f"{amount / 1000:g} CPU"
    return f"{amount / 2**30:.4g} GiB memory" if resource == "memory" else f"{amount} {resource}"


def _services_without_pods(
    objects: Sequence[APIObject], templates: Sequence[tuple[APIObject, PodTemplate, int]],
    places: Places,
) -> list[Problem]:
    labels: dict[str, list[Mapping[str, str]]] = {}
    for item, template, _ in templates:
        own = item.labels if isinstance(item, Pod) else template.labels
        labels.setdefault(item.namespace, []).append(own)
    found: list[Service] = []
    for item in objects:
        if not isinstance(item, Service) or item.selector is None:
            continue
        if not any(item.selector.matches(known) for known in labels.get(item.namespace, ())):
            found.append(item)
    if not found:
        return []
    names = [f"{item.namespace}/{item.name}" for item in found[:5]]
    shown = ", ".join(names) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    plural = "s select" if len(found) > 1 else " selects"
    message = f"{len(found)} Service{plural} no pod: {shown}"
    return [_warning("W003", message, found[0], ("spec", "selector"), places)]
