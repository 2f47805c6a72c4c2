"""What a run will ask of the machine, and objects that cannot work, told before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sim.base.errors import Problem
from sim.base.objects import Node
from sim.cluster.bootstrap import pool_manifests
from sim.cluster.params import ClusterParams, NodesParams
from sim.cluster.worker_nodes import written_nodes
from sim.workload.manifests import load_manifests
from sim.workload.object_reader import node_from_manifest
from sim.workload.openb import load_pods
from sim.workload.operations import (
    ApplyManifests,
    CreateNodes,
    CreateServices,
    Operation,
    PodShape,
    ReplayTrace,
    expected_pod_count,
)

_BASE_BYTES = 200 * 2**20
_NODE_BYTES = 24 * 1024
_POD_BYTES = 12 * 1024
_POD_EVENTS = 160
"""Memory and simulated events of one node and of one pod's whole life: measured on quickstart and
density-5000 (`docs/model/limits.md`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """An estimate, and what is wrong with the objects."""

    node_count: int
    pod_count: int
    memory_bytes: int
    event_count: int
    problems: tuple[Problem, ...] = ()


def demand(params: ClusterParams, operations: Sequence[Operation]) -> Demand:
    """Return the estimate for a cluster and its workload.

    Raises:
        UserError: a file that the settings or an operation name is missing or wrong.
    """
    problems: list[Problem] = []
    generated_count = sum(pool.count for pool in params.nodes.pools)
    kinds: list[Node] = []
    if params.nodes.manifests or params.nodes.openb_csv or generated_count <= _CHECKED_NODES_MAX:
        kinds = _kinds(params.nodes)
    node_count = len(kinds) or generated_count
    joining_count = sum(item.count for item in operations if isinstance(item, CreateNodes))
    _check_capacity(kinds, problems)
    pod_count = 0
    for index, operation in enumerate(operations):
        pod_count += _pods(operation, kinds, problems, _place(index))
    _check_services(operations, problems)
    count = node_count + joining_count
    return Demand(
        node_count=count,
        pod_count=pod_count,
        memory_bytes=_BASE_BYTES + count * _NODE_BYTES + pod_count * _POD_BYTES,
        event_count=pod_count * _POD_EVENTS + count,
        problems=tuple(problems),
    )


_CHECKED_NODES_MAX = 20_000
"""Above this many nodes generated pools are not looked at."""


def _kinds(params: NodesParams) -> list[Node]:
    """Return one entry per worker node; those of a generated pool share one, for all are alike."""
    kinds: list[Node] = []
    for pool in params.pools:
        first = pool_manifests(replace(pool, count=min(1, pool.count)))
        kinds += [node_from_manifest(item) for item in first] * pool.count
    return kinds + [node_from_manifest(item) for item in written_nodes(params)]


def _check_capacity(nodes: list[Node], problems: list[Problem]) -> None:
    bare = [node.name for node in nodes if not node.cpu_allocatable_millicores]
    if bare:
        problems.append(
            Problem(
                code="E030",
                message=f"{len(bare)} nodes have no CPU to allocate, {bare[0]} for one",
                hint="status.allocatable or status.capacity with cpu, memory and pods",
            )
        )


def _fits_nowhere(cpu_millicores: int, memory_bytes: int, nodes: list[Node]) -> bool:
    return bool(nodes) and not any(
        node.cpu_allocatable_millicores >= cpu_millicores
        and node.memory_allocatable_bytes >= memory_bytes
        for node in nodes
    )


def _place(index: int) -> str:
    return f"spec.workload.{index}"


def _pods(
    operation: Operation, nodes: list[Node], problems: list[Problem], place: str
) -> int:
    """Return how many pods an operation asks for; note those that fit on no node."""
    if isinstance(operation, ApplyManifests):
        return _manifest_pods(operation, nodes, problems)
    if isinstance(operation, ReplayTrace):
        pods = load_pods(operation.pods_csv)
        return min(len(pods), operation.limit or len(pods))
    count = expected_pod_count(operation)
    shape = getattr(operation, "pod", None)
    if (
        count
        and isinstance(shape, PodShape)
        and not shape.manifest
        and _fits_nowhere(shape.cpu_millicores, shape.memory_bytes, nodes)
    ):
        message = f"{count:,} pods of {_name(operation)} fit on no node"
        problems.append(Problem(code="W004", message=message, file=place))
    return count


def _manifest_pods(operation: ApplyManifests, nodes: list[Node], problems: list[Problem]) -> int:
    count = 0
    manifests = load_manifests(*operation.manifests)
    problems += manifests.warnings
    for item in manifests:
        kind = item.get("kind")
        spec = item.get("spec") or {}
        if kind == "Pod":
            count += 1
        elif kind in {"Deployment", "ReplicaSet", "StatefulSet"}:
            count += int(spec.get("replicas", 1))
        elif kind == "Job":
            count += int(spec.get("completions", 1))
        elif kind == "DaemonSet":
            count += len(nodes)
    return count


def _check_services(operations: Sequence[Operation], problems: list[Problem]) -> None:
    labels = [
        {**shape.labels}
        for operation in operations
        if isinstance(shape := getattr(operation, "pod", None), PodShape)
    ]
    for index, operation in enumerate(operations):
        if not isinstance(operation, CreateServices) or not operation.selector:
            continue
        if "{index}" in "".join(operation.selector.values()):
            continue
        wanted = operation.selector.items()
        if not any(wanted <= known.items() for known in labels):
            problems.append(
                Problem(
                    code="W003",
                    message=f"no pod of the workload matches the Services of {_name(operation)}",
                    file=_place(index),
                )
            )


def _name(operation: Operation) -> str:
    return str(getattr(operation, "op", type(operation).__name__))
