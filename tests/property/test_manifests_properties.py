"""Whatever a manifest holds, it is read or refused with places; requests follow pod start-up."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim.base.api_object import APIObject
from sim.base.errors import Problem, UserError
from sim.workload.kinds import KIND_API_VERSIONS
from sim.workload.manifests import ObjectReader, load_manifests
from sim.workload.pod_templates import PodTemplates, effective_requests

POD_SPEC: dict[str, Any] = {
    "initContainers": [{"name": "i", "restartPolicy": "Always"}],
    "containers": [
        {
            "name": "c",
            "image": "nginx:1",
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": 1, "memory": "1Gi"}},
            "readinessProbe": {"periodSeconds": 5},
            "ports": [{"containerPort": 80}],
        }
    ],
    "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
         "labelSelector": {"matchLabels": {"app": "a"}}}
    ],
    "volumes": [{"name": "v", "configMap": {"name": "m"}}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}
            ]
        },
    },
    "overhead": {"cpu": "10m"},
}  # fmt: skip
TEMPLATE = {"metadata": {"labels": {"app": "a"}}, "spec": POD_SPEC}
WORKLOAD = {"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": TEMPLATE}
JOB = {"parallelism": 1, "template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}}
SPECS: dict[str, dict[str, Any]] = {
    "Pod": {"spec": POD_SPEC},
    "Node": {
        "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]},
        "status": {"allocatable": {"cpu": 4, "memory": "8Gi", "pods": "110"}},
    },
    "Deployment": {"spec": {**WORKLOAD, "strategy": {"rollingUpdate": {"maxSurge": 1}}}},
    "StatefulSet": {"spec": {**WORKLOAD, "updateStrategy": {"rollingUpdate": {"partition": 1}}}},
    "DaemonSet": {"spec": {key: WORKLOAD[key] for key in ("selector", "template")}},
    "ReplicaSet": {"spec": WORKLOAD},
    "Job": {"spec": JOB},
    "CronJob": {"spec": {"schedule": "@hourly", "jobTemplate": {"spec": JOB}}},
    "Service": {"spec": {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": "http"}]}},
    "HorizontalPodAutoscaler": {
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                 "metrics": [{"resource": {"name": "cpu", "target": {"averageUtilization": 5}}}]}
    },
    "PodDisruptionBudget": {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    "PriorityClass": {"value": 7, "globalDefault": True},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]},
    "ConfigMap": {"data": {"k": "v"}},
    "Namespace": {},
}  # fmt: skip
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**12), st.floats(allow_nan=False), st.text(),
    st.sampled_from(["1Ki", "-1", "500m", "Always", "", "\x00"]),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(), st.integers(), max_size=2),
)  # fmt: skip


def manifest(kind: str) -> dict[str, Any]:
    head = {"apiVersion": KIND_API_VERSIONS[kind][0], "kind": kind, "metadata": {"name": "x"}}
    return copy.deepcopy({**head, **SPECS[kind]})


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += places(inner)
    return found


def outcome(manifests: list[dict[str, Any]]) -> tuple[list[APIObject], tuple[Problem, ...]]:
    """The objects, or the problems."""
    try:
        return ObjectReader(PodTemplates()).read(manifests), ()
    except UserError as error:
        return [], error.problems


@pytest.mark.parametrize("kind", SPECS)
def test_the_unharmed_object_is_read(kind: str) -> None:
    reader = ObjectReader(PodTemplates())
    assert len(reader.read([manifest(kind)])) == 1
    assert reader.warnings == []


@given(kind=st.sampled_from(sorted(SPECS)), data=st.data())
def test_harmed_objects_are_read_or_refused(kind: str, data: st.DataObject) -> None:
    """Any value replaced, removed or renamed: an object, or problems that name the place."""
    whole = manifest(kind)
    for _ in range(data.draw(st.integers(1, 3), "count")):
        container, key = data.draw(st.sampled_from(places(whole)), "where")
        if isinstance(container, dict) and key not in container:
            continue
        if isinstance(container, list) and key >= len(container):
            continue
        how = data.draw(st.sampled_from(["replace", "remove", "rename"]), "how")
        if how == "replace":
            container[key] = data.draw(JUNK, "junk")
        elif how == "remove":
            del container[key]
        elif isinstance(container, dict):
            container[data.draw(st.text(min_size=1), "name")] = container.pop(key)
    made, problems = outcome([whole])
    assert bool(made) != bool(problems)
    assert all(str(whole.get("kind") or "object") in item.message for item in problems)
    assert all(item.size_bytes >= 0 and item.resource and item.name for item in made)


@given(kind=st.sampled_from(sorted(SPECS)), cut=st.floats(0.0, 1.0))
def test_files_cut_anywhere_are_read_or_refused(
    kind: str, cut: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = yaml.safe_dump(manifest(kind))
    path: Path = tmp_path_factory.mktemp("cut") / "m.yaml"
    path.write_text(text[: int(len(text) * cut)])
    try:
        read = load_manifests(path)
    except UserError as caught:
        problems = caught.problems
    else:
        _, problems = outcome(read)
    assert all(item.file == str(path) for item in problems)


AMOUNT = st.integers(0, 5000)


@given(
    init=st.lists(st.tuples(AMOUNT, st.booleans()), max_size=5),
    main=st.lists(AMOUNT, min_size=1, max_size=4),
    overhead=AMOUNT,
)
def test_effective_request_is_the_peak_of_start_up(
    init: list[tuple[int, bool]], main: list[int], overhead: int
) -> None:
    """Play the start-up of a pod: what runs at any moment, at its highest, plus overhead."""
    running, peak = 0, 0
    for cpu, is_sidecar in init:
        peak = max(peak, running + cpu)
        running += cpu if is_sidecar else 0
    peak = max(peak, running + sum(main))

    def container(cpu: int, *, is_sidecar: bool) -> dict[str, Any]:
        made: dict[str, Any] = {"resources": {"requests": {"cpu": f"{cpu}m"}}}
        return {**made, "restartPolicy": "Always"} if is_sidecar else made

    spec = {
        "initContainers": [container(cpu, is_sidecar=kind) for cpu, kind in init],
        "containers": [container(cpu, is_sidecar=False) for cpu in main],
        "overhead": {"cpu": f"{overhead}m"},
    }
    assert effective_requests(spec)["cpu"] == peak + overhead
