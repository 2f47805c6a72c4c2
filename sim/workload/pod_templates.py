"""Pod specs as people write them → interned `PodTemplate`s, with the apiserver's defaulting.

**Modelled:** requests defaulted from limits, restart policy, grace period, probe defaults, the two
NoExecute tolerations of 300 s, priority from the class name; the effective request of a pod
(containers, init containers, sidecars, pod-level resources, overhead).
**Source:** `facts/model.md` a.1 step 3; effective requests: upstream resource helpers
(max over init containers of its own request plus the sidecars started before it, against the sum
of containers and sidecars; plus overhead).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

from sim.base.duration import parse_duration_seconds
from sim.base.pod_template import ContainerSpec, PodTemplate, ProbeSpec
from sim.base.quantity import cpu_millicores, memory_bytes, parse_quantity

DEFAULT_TOLERATIONS: tuple[dict[str, Any], ...] = (
    {
        "key": "node.kubernetes.io/not-ready",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    },
    {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    },
)
RUN_SECONDS_ANNOTATION = "sim/run-seconds"
"""Annotation by which a pod says how long its containers run before they exit by themselves."""
STOP_SECONDS_ANNOTATION = "sim/stop-seconds"
"""Annotation by which a pod says how long its containers take to stop after SIGTERM."""

_BASE_SIZE_BYTES = 1500
"""Stored size of a bound, running pod beside the text of its spec: metadata, managed fields and
status. **Source:** groundtruth README: 3.1 kB for one container, less its spec."""

Requests = dict[str, int]


class PodTemplates:
    """Makes templates; equal content gives the same object."""

    def __init__(self, priorities: Mapping[str, int] | None = None) -> None:
        self._by_content: dict[str, PodTemplate] = {}
        self.priorities: dict[str, int] = {
            "system-node-critical": 2000001000,
            "system-cluster-critical": 2000000000,
            **(priorities or {}),
        }
        """PriorityClass name → value; classes must be known before the pods that name them."""
        self.default_priority = 0

    def template(
        self,
        manifest: Mapping[str, Any],
        namespace: str = "",
        check: Callable[[Mapping[str, Any]], object] | None = None,
    ) -> PodTemplate:
        """Return the template of a v1 Pod or of a workload's ``spec.template``.

        ``check`` sees the manifest if its content is new, and may raise to refuse it.

        Raises:
            QuantityError: a resource amount that is not a quantity.
        """
        metadata = manifest.get("metadata") or {}
        spec = manifest.get("spec") or {}
        labels = metadata.get("labels") or {}
        annotations = {
            key: value
            for key, value in (metadata.get("annotations") or {}).items()
            if key in {RUN_SECONDS_ANNOTATION, STOP_SECONDS_ANNOTATION}
        }
        place = namespace or metadata.get("namespace") or "default"
        content = json.dumps([place, labels, annotations, spec], sort_keys=True, default=str)
        found = self._by_content.get(content)
        if found is None:
            if check is not None:
                check(manifest)
            found = self._make(place, labels, annotations, spec, content)
            self._by_content[content] = found
        return found

    def _make(
        self,
        namespace: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        written: Mapping[str, Any],
        content: str,
    ) -> PodTemplate:
        spec = self._defaulted(without_nulls(written))
        requests = effective_requests(spec)
        volumes = spec.get("volumes") or ()
        token = spec.get("automountServiceAccountToken", True) is not False
        run_seconds = _seconds(annotations.get(RUN_SECONDS_ANNOTATION), -1.0)
        return PodTemplate(
            manifest={
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"namespace": namespace, "labels": dict(labels)},
                "spec": spec,
            },
            namespace=namespace,
            labels=dict(labels),
            containers=_containers(spec, run_seconds),
            cpu_requested_millicores=requests.pop("cpu", 0),
            memory_requested_bytes=requests.pop("memory", 0),
            extended_requested=requests,
            priority=int(spec["priority"]),
            priority_class_name=spec.get("priorityClassName", ""),
            scheduler_name=spec.get("schedulerName", "default-scheduler"),
            restart_policy=spec.get("restartPolicy", "Always"),
            host_network=bool(spec.get("hostNetwork", False)),
            node_name=spec.get("nodeName", ""),
            termination_grace_period_seconds=float(spec["terminationGracePeriodSeconds"]),
            stop_seconds=_seconds(annotations.get(STOP_SECONDS_ANNOTATION), 0.0),
            service_account_token=token,
            config_map_names=_volume_names(volumes, "configMap", "name"),
            secret_names=_volume_names(volumes, "secret", "secretName"),
            volume_count=len(volumes) + token,
            tolerations=tuple(spec["tolerations"]),
            size_bytes=_BASE_SIZE_BYTES + len(content),
            digest=hashlib.sha256(content.encode()).hexdigest()[:16],
        )

    def _defaulted(self, written: Mapping[str, Any]) -> dict[str, Any]:
        spec = dict(written)
        for key in ("containers", "initContainers"):
            if spec.get(key):
                spec[key] = [_defaulted_container(item) for item in spec[key]]
        tolerations = list(spec.get("tolerations") or ())
        for default in DEFAULT_TOLERATIONS:
            if not any(_covers(item, default) for item in tolerations):
                tolerations.append(default)
        spec["tolerations"] = tolerations
        spec.setdefault("terminationGracePeriodSeconds", 30)
        if spec.get("priority") is None:
            name = spec.get("priorityClassName", "")
            spec["priority"] = self.priorities.get(name, self.default_priority)
        return spec


def without_nulls(value: Any) -> Any:
    """Return a value without the keys whose value is null: to the API server they are absent.

    The very same object if there is none; nulls in lists stay.
    """
    if isinstance(value, Mapping):
        made = {
            key: inner if inner.__class__ is str else without_nulls(inner)
            for key, inner in value.items()
            if inner is not None
        }
        same = len(made) == len(value) and all(made[key] is value[key] for key in made)
        return value if same else made
    if isinstance(value, list):
        items = [without_nulls(inner) for inner in value]
        return value if all(map(is_, items, value)) else items
    return value


def _covers(toleration: Mapping[str, Any], default: Mapping[str, Any]) -> bool:
    return (toleration.get("key") or default["key"]) == default["key"] and toleration.get(
        "effect", "NoExecute"
    ) in {"NoExecute", ""}


def _seconds(text: Any, default: float) -> float:
    return default if text is None else parse_duration_seconds(str(text))


def _defaulted_container(container: Mapping[str, Any]) -> dict[str, Any]:
    resources = container.get("resources") or {}
    limits = resources.get("limits")
    if not limits:
        return dict(container)
    requests = {**limits, **(resources.get("requests") or {})}
    return {**container, "resources": {**resources, "requests": requests}}


def _volume_names(volumes: Sequence[Mapping[str, Any]], kind: str, key: str) -> tuple[str, ...]:
    return tuple(item[kind].get(key, "") for item in volumes if item.get(kind))


def _containers(spec: Mapping[str, Any], run_seconds: float) -> tuple[ContainerSpec, ...]:
    made = []
    for container in spec.get("initContainers") or ():
        sidecar = container.get("restartPolicy") == "Always"
        made.append(_container(container, -1.0 if sidecar else 0.0, init=True, sidecar=sidecar))
    for container in spec.get("containers") or ():
        made.append(_container(container, run_seconds, init=False, sidecar=False))
    return tuple(made)


def _container(
    container: Mapping[str, Any], run_seconds: float, *, init: bool, sidecar: bool
) -> ContainerSpec:
    image = container.get("image", "")
    latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
    return ContainerSpec(
        name=container.get("name", ""),
        image=image,
        image_pull_policy=container.get("imagePullPolicy")
        or ("Always" if latest and image else "IfNotPresent"),
        is_init=init,
        is_sidecar=sidecar,
        run_seconds=run_seconds,
        readiness_probe=_probe(container.get("readinessProbe")),
        liveness_probe=_probe(container.get("livenessProbe")),
        startup_probe=_probe(container.get("startupProbe")),
    )


def _probe(probe: Mapping[str, Any] | None) -> ProbeSpec | None:
    if not probe:
        return None
    return ProbeSpec(
        initial_delay_seconds=float(probe.get("initialDelaySeconds", 0)),
        period_seconds=float(probe.get("periodSeconds", 10)),
        timeout_seconds=float(probe.get("timeoutSeconds", 1)),
        success_threshold_count=int(probe.get("successThreshold", 1)),
        failure_threshold_count=int(probe.get("failureThreshold", 3)),
    )


def amount(resource: str, value: Any) -> int:
    """Return an amount in the scheduler's unit: millicores for cpu, whole units otherwise."""
    if resource == "cpu":
        return cpu_millicores(value)
    if resource == "memory":
        return memory_bytes(value)
    return parse_quantity(value).value


def _requests(container: Mapping[str, Any]) -> Requests:
    resources = container.get("resources") or {}
    return {key: amount(key, value) for key, value in (resources.get("requests") or {}).items()}


def _add(total: Requests, more: Mapping[str, int]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, 0) + value


def _raise_to(total: Requests, floor: Mapping[str, int]) -> None:
    for key, value in floor.items():
        if value > total.get(key, 0):
            total[key] = value


def effective_requests(spec: Mapping[str, Any]) -> Requests:
    """Return what a pod asks of a node: resource → amount in the scheduler's unit."""
    total: Requests = {}
    for container in spec.get("containers") or ():
        _add(total, _requests(container))
    sidecars: Requests = {}
    starting: Requests = {}
    for container in spec.get("initContainers") or ():
        own = _requests(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _add(total, own)
            _raise_to(starting, sidecars)
        else:
            _add(own, sidecars)
            _raise_to(starting, own)
    _raise_to(total, starting)
    pod_level = (spec.get("resources") or {}).get("requests") or {}
    for key, value in pod_level.items():
        total[key] = amount(key, value)
    _add(total, {key: amount(key, value) for key, value in (spec.get("overhead") or {}).items()})
    return total
