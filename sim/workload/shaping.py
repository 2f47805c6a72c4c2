"""Operations in a few words → the v1 objects they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sim.base.pod_template import PodTemplate
from sim.workload.manifests import load_manifests
from sim.workload.operations import CreateDeployments, CreateNodes, PodShape
from sim.workload.pod_templates import RUN_SECONDS_ANNOTATION, STOP_SECONDS_ANNOTATION

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


def pod_manifest(shape: PodShape, labels: Mapping[str, str], namespace: str) -> dict[str, Any]:
    """Return the v1 Pod of a shape.

    Raises:
        UserError: the shape names a file that cannot be read or does not hold one Pod.
    """
    if shape.manifest:
        found = load_manifests(shape.manifest)
        manifest = dict(found[0])
        metadata = dict(manifest.get("metadata") or {})
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        metadata["namespace"] = namespace
        return {**manifest, "metadata": metadata}
    requests: dict[str, str] = {}
    if shape.cpu_millicores:
        requests["cpu"] = f"{shape.cpu_millicores}m"
    if shape.memory_bytes:
        requests["memory"] = str(shape.memory_bytes)
    requests.update({key: str(value) for key, value in shape.extended_resources.items()})
    container: dict[str, Any] = {"name": "main", "image": shape.image}
    if requests:
        container["resources"] = {"requests": requests}
        if shape.extended_resources:
            extended = {key: requests[key] for key in shape.extended_resources}
            container["resources"]["limits"] = extended
    if shape.readiness_probe:
        container["readinessProbe"] = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10}
    spec: dict[str, Any] = {"containers": [container], **shape.spec}
    if shape.node_selector:
        spec["nodeSelector"] = dict(shape.node_selector)
    if shape.priority_class_name:
        spec["priorityClassName"] = shape.priority_class_name
    if shape.scheduler_name != "default-scheduler":
        spec["schedulerName"] = shape.scheduler_name
    annotations = {}
    if shape.run_seconds >= 0.0:
        annotations[RUN_SECONDS_ANNOTATION] = f"{shape.run_seconds!r}s"
        spec.setdefault("restartPolicy", "Never")
    if shape.stop_seconds > 0.0:
        annotations[STOP_SECONDS_ANNOTATION] = f"{shape.stop_seconds!r}s"
    metadata = {"name": "pod", "namespace": namespace, "labels": {**shape.labels, **labels}}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def deployment_manifest(
    operation: CreateDeployments, name: str, namespace: str, pod: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the v1 Deployment ``name`` with the pods of ``pod``."""
    labels = {"app": name}
    metadata = {**pod["metadata"], "labels": {**pod["metadata"].get("labels", {}), **labels}}
    template = {
        "metadata": {key: value for key, value in metadata.items() if key not in _POD_ONLY},
        "spec": pod["spec"],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": operation.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": _int_or_percent(operation.max_surge),
                    "maxUnavailable": _int_or_percent(operation.max_unavailable),
                },
            },
            "template": template,
        },
    }


_POD_ONLY = frozenset({"name", "namespace", "generateName"})


def _int_or_percent(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def service_manifest(name: str, namespace: str, selector: Mapping[str, str]) -> dict[str, Any]:
    """Return the v1 Service ``name`` with one port."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": dict(selector),
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def namespace_manifest(name: str) -> dict[str, Any]:
    """Return the v1 Namespace ``name``."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def node_manifest(operation: CreateNodes, index: int) -> dict[str, Any]:
    """Return the v1 Node number ``index`` of an operation."""
    name = f"{operation.name_prefix}-{index}"
    capacity = {
        "cpu": f"{operation.cpu_millicores}m",
        "memory": str(operation.memory_bytes),
        "pods": str(operation.max_pods),
        **{key: str(value) for key, value in operation.extended_resources.items()},
    }
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **operation.labels}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def restarted(template: PodTemplate, time_seconds: float) -> PodTemplate:
    """Return a template that differs from the given one only by the time of a restart."""
    metadata = dict(template.manifest.get("metadata") or {})
    stamp = f"{time_seconds:.3f}"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), RESTARTED_AT: stamp}
    return replace(
        template,
        manifest={**template.manifest, "metadata": metadata},
        digest=f"{template.digest}@{stamp}",
    )
