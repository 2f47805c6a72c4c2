"""The openb trace (Alibaba GPU cluster, 2023): node and pod CSVs as plain v1 objects and times.

Nodes become v1 Nodes with their GPUs as extended resources; pods become v1 Pods with creation and
deletion times, in seconds of the trace.
**Not modelled:** on which card of a node a fraction of a GPU lands: a node may be filled with
fractions that no single card could hold.
**Source:** column meanings: `data/README.md` beside the measured data; the label and resource names
of the published manifests of the same trace (`data/k8s-sims`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sim.base.errors import Problem, UserError

GPUMode = Literal["none", "count", "milli"]
GPU_COUNT = "nvidia.com/gpu"
GPU_MILLI = "alibabacloud.com/gpu-milli"
GPU_MODEL_LABEL = "alibabacloud.com/gpu-card-model"
_NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_POD_COLUMNS = (
    "name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "qos", "pod_phase",
    "creation_time", "deletion_time", "scheduled_time",
)  # fmt: skip
MAX_PODS_COUNT = 1001
"""Pods per node in the published manifests of this trace."""
NEVER = -1.0
_PROBLEMS_MAX = 100
QOS_LABEL = "alibabacloud.com/qos"


class Shape(NamedTuple):
    """Requests and class of a pod."""

    cpu_millicores: int
    memory_mib: int
    gpu_count: int
    gpu_milli: int
    """Thousandths of each GPU."""
    gpu_models: str
    """Acceptable models, separated by ``|``; empty for any."""
    qos: str
    """Class in the trace: LS, BE, Burstable or Guaranteed; becomes a label."""


@dataclass(frozen=True, slots=True)
class TracePod:
    """One pod of the trace."""

    name: str
    creation_seconds: float
    deletion_seconds: float
    """NEVER if the trace does not delete it."""
    shape: Shape
    """What pods share."""


def _rows(path: str | Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) pairs of a CSV that has at least these columns."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            Problem(code="E001", message=f"cannot be read: {error}", file=str(path))
        ) from error
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(
            Problem(
                code="E035",
                message=f"missing columns: {', '.join(missing)}",
                file=str(path),
                line=1,
                allowed=columns,
            )
        )
    return [(reader.line_num, row) for row in reader]


def _parse(
    path: str | Path,
    columns: tuple[str, ...],
    convert: Callable[[dict[str, str]], Any],
) -> list[Any]:
    made: list[Any] = []
    problems: list[Problem] = []
    names: set[str] = set()
    for line, row in _rows(path, columns):
        try:
            if None in row or None in row.values():
                raise ValueError("another number of fields than in the header")
            name = row[columns[0]].strip()
            if not name or name in names:
                raise ValueError(f"the name {name!r} is empty or was there before")
            names.add(name)
            made.append(convert(row))
        except ValueError as error:
            if len(problems) >= _PROBLEMS_MAX:
                break
            problems.append(
                Problem(
                    code="E035", message=f"row cannot be read: {error}", file=str(path), line=line
                )
            )
    if not made and not problems:
        problems.append(Problem(code="E035", message="no rows in it", file=str(path), line=1))
    if problems:
        raise UserError(problems)
    return made


def _amount(row: Mapping[str, str], column: str) -> int:
    value = int(row[column] or 0)
    if value < 0:
        raise ValueError(f"{column} is negative: {value}")
    return value


def _time(row: Mapping[str, str], column: str, default: float | None = None) -> float:
    text = row[column].strip()
    if not text and default is not None:
        return default
    value = float(text)
    if not 0.0 <= value < inf:
        raise ValueError(f"{column} is not a time: {text}")
    return value


def load_nodes(path: str | Path, gpu: GPUMode = "milli") -> list[dict[str, Any]]:
    """Return the v1 Nodes of a node list.

    Raises:
        UserError: the file or rows of it cannot be read; all problems at once.
    """

    def convert(row: dict[str, str]) -> dict[str, Any]:
        name = row["sn"].strip()
        cpu, memory = _amount(row, "cpu_milli"), _amount(row, "memory_mib")
        if not cpu or not memory:
            raise ValueError(f"{name} has no cpu or no memory")
        capacity = {
            "cpu": f"{cpu}m",
            "memory": f"{memory}Mi",
            "pods": str(MAX_PODS_COUNT),
        }
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        gpus = _amount(row, "gpu")
        if gpus:
            labels[GPU_MODEL_LABEL] = row["model"]
            if gpu == "milli":
                capacity[GPU_MILLI] = str(1000 * gpus)
            elif gpu == "count":
                capacity[GPU_COUNT] = str(gpus)
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "status": {"capacity": capacity, "allocatable": capacity},
        }

    nodes: list[dict[str, Any]] = _parse(path, _NODE_COLUMNS, convert)
    return nodes


def load_pods(path: str | Path) -> list[TracePod]:
    """Return the pods of a pod list in order of creation (ties in file order).

    Raises:
        UserError: the file or rows of it cannot be read; all problems at once.
    """

    def convert(row: dict[str, str]) -> TracePod:
        created = _time(row, "creation_time")
        deleted = _time(row, "deletion_time", NEVER)
        if 0.0 <= deleted < created:
            raise ValueError(f"deleted at {deleted:g} before its creation at {created:g}")
        return TracePod(
            row["name"].strip(),
            created,
            deleted,
            Shape(
                _amount(row, "cpu_milli"),
                _amount(row, "memory_mib"),
                _amount(row, "num_gpu"),
                _amount(row, "gpu_milli"),
                row["gpu_spec"].strip(),
                row["qos"].strip(),
            ),
        )

    pods: list[TracePod] = _parse(path, _POD_COLUMNS, convert)
    return sorted(pods, key=lambda pod: pod.creation_seconds)


def pod_manifest(shape: Shape, namespace: str, gpu: GPUMode = "milli") -> dict[str, Any]:
    """Return the v1 Pod (without a name) of all pods of one shape."""
    cpu, memory, gpus, milli, models, qos = shape
    requests = {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}
    if gpus and gpu == "milli":
        requests[GPU_MILLI] = str(gpus * milli)
    elif gpus and gpu == "count":
        requests[GPU_COUNT] = str(gpus)
    spec: dict[str, Any] = {
        "containers": [
            {
                "name": "main",
                "image": "tensorflow:2",
                "imagePullPolicy": "IfNotPresent",
                "resources": {"requests": requests, "limits": requests},
            }
        ],
        "restartPolicy": "OnFailure",
    }
    if models:
        expression = {"key": GPU_MODEL_LABEL, "operator": "In", "values": models.split("|")}
        terms = [{"matchExpressions": [expression]}]
        spec["affinity"] = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
            }
        }
    labels = {"app": "openb", QOS_LABEL: qos} if qos else {"app": "openb"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "labels": labels},
        "spec": spec,
    }
