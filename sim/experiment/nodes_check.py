"""Whether the nodes of an experiment can work: capacity, taints, and names that are there once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sim.base.errors import Problem, UserError
from sim.base.quantity import QuantityError, cpu_millicores, memory_bytes
from sim.base.spelling import nearest
from sim.cluster.params import ClusterParams, NodePoolParams
from sim.workload.manifests import Manifests, ObjectReader, read_manifests
from sim.workload.pod_templates import PodTemplates

Capacity = Mapping[str, int]

_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TAINT: Final = re.compile(r"[^=:\s]+(=[^=:\s]*)?:(?P<effect>\w+)")
_CONTROL_PLANE: Final = "control-plane"
"""First part of the names of the control plane's own nodes."""


def check_nodes(
    params: ClusterParams, applied: Collection[str], problems: list[Problem]
) -> list[Capacity]:
    """Return what nodes of each kind can hold; add errors and warnings to ``problems``.

    ``applied`` are the manifest files that the workload applies.
    """
    names = _Names({_CONTROL_PLANE: params.control_plane.node_count})
    capacities = []
    for index, pool in enumerate(params.nodes.pools):
        place = f"spec.cluster.nodes.pools.{index}"
        problems += names.pool(pool, place)
        problems += _bad_taints(pool, place)
        if pool.count:
            capacities.append(_pool_capacity(pool))
    for path in params.nodes.manifests:
        capacities += _manifest_nodes(path, path in applied, names, problems)
    if params.nodes.openb_csv:
        capacities += _openb_capacities(params.nodes.openb_csv, problems)
    return capacities


class _Names:
    """The names taken so far: of pools by their prefix, since a pool may have a million nodes."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._names: set[str] = set()

    def pool(self, pool: NodePoolParams, place: str) -> list[Problem]:
        """Take a pool's names."""
        if pool.name not in self._counts:
            self._counts[pool.name] = pool.count
            return []
        message = f"nodes named {pool.name}-0, {pool.name}-1 … are there already"
        return [Problem(code="E034", message=message, file=f"{place}.name")]

    def take(self, name: str) -> bool:
        """Take one name; return whether it was free."""
        prefix, _, number = name.rpartition("-")
        if number.isdecimal() and str(int(number)) == number:
            if int(number) < self._counts.get(prefix, 0):
                return False
        if name in self._names:
            return False
        self._names.add(name)
        return True


def _bad_taints(pool: NodePoolParams, place: str) -> list[Problem]:
    found = []
    for index, taint in enumerate(pool.taints):
        matched = _TAINT.fullmatch(taint)
        if matched is None or matched["effect"] not in _EFFECTS:
            effect = taint.rpartition(":")[2]
            found.append(Problem(
                code="E033", message=f"{taint!r} is not a taint such as key=value:NoSchedule",
                file=f"{place}.taints.{index}", allowed=_EFFECTS, nearest=nearest(effect, _EFFECTS),
            ))  # fmt: skip
    return found


def _pool_capacity(pool: NodePoolParams) -> Capacity:
    return {
        "cpu": pool.cpu_millicores - pool.cpu_reserved_millicores,
        "memory": pool.memory_bytes - pool.memory_reserved_bytes,
        **pool.extended_resources,
    }


def _amounts(given: Mapping[str, Any]) -> Capacity:
    return {
        name: cpu_millicores(value) if name == "cpu" else memory_bytes(value)
        for name, value in given.items()
    }


def _manifest_nodes(
    path: str, is_applied: bool, names: _Names, problems: list[Problem]
) -> list[Capacity]:
    manifests = read_manifests(path)
    problems += manifests.problems
    problems += manifests.warnings
    nodes = Manifests()
    for item, source in zip(manifests, manifests.sources, strict=True):
        if item.get("kind") == "Node":
            nodes.append(item)
            nodes.sources.append(source)
    if not is_applied and len(nodes) < len(manifests):
        problems.append(_left_out(manifests, len(manifests) - len(nodes)))
    try:
        ObjectReader(PodTemplates()).read(nodes)
    except UserError as error:
        problems += error.problems
        return []
    capacities = []
    for index, item in enumerate(nodes):
        name = item["metadata"]["name"]
        if not names.take(name):
            problems.append(nodes.problem(
                index, "E034", f"a node named {name} is there already", ("metadata", "name")
            ))  # fmt: skip
        status = item["status"]
        try:
            capacities.append(_amounts(status.get("allocatable") or status["capacity"]))
        except QuantityError as error:
            problems.append(nodes.problem(index, "E015", f"not a quantity: {error}", ("status",)))
    return capacities


def _left_out(manifests: Manifests, count: int) -> Problem:
    index = next(
        number for number, item in enumerate(manifests) if item.get("kind") != "Node"
    )
    what = "objects that are not Nodes are" if count > 1 else "object that is not a Node is"
    message = f"{count:,} {what} left out here: the operation applyManifests makes such objects"
    return manifests.problem(index, "W001", message, ("kind",))


def _openb_capacities(path: str, problems: list[Problem]) -> Sequence[Capacity]:
    from sim.workload.openb import load_nodes

    try:
        nodes = load_nodes(path)
    except UserError as error:
        problems += error.problems
        return []
    return [_amounts(node["status"]["capacity"]) for node in nodes]
