"""From checked v1 JSON to the fields of API objects, kind by kind, with the server's defaults.

**Source:** defaults of the API reference v1.36 (replicas 1, RollingUpdate 25 % / 25 %,
progressDeadlineSeconds 600, revisionHistoryLimit 10, OrderedReady, backoffLimit 6, Service
ClusterIP and TCP). Stored size: protobuf is 0.65 of the JSON text (`groundtruth/README.md`: a pod
has 3.1 kB as protobuf, 4.8 kB as JSON); no object is smaller than its kind's typical size, which
counts status and managed fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json import JSONEncoder, dumps
from typing import Any, Final

from sim.base.api_object import KIND_TO_PLURAL, RESOURCE_TYPES, APIObject
from sim.base.objects import (
    CronJob,
    DaemonSet,
    Deployment,
    Endpoint,
    EndpointSlice,
    HorizontalPodAutoscaler,
    Job,
    LabelSelector,
    Namespace,
    Node,
    PodDisruptionBudget,
    PriorityClass,
    ReplicaSet,
    Service,
    ServicePort,
    StatefulSet,
    Taint,
)
from sim.base.pod_template import PodTemplate
from sim.base.quantity import QuantityError, cpu_millicores, memory_bytes, whole_count
from sim.workload.pod_templates import PodTemplates, amount
from sim.workload.shapes import Fault, Findings, Path

PROTOBUF_RATIO: Final = 0.65
"""Bytes of protobuf per byte of JSON. **Source:** groundtruth README, 3.1 kB / 4.8 kB."""
_DATA_METADATA_BYTES: Final = 400
"""Metadata and managed fields around the data of a ConfigMap or Secret: assumed."""
_BASE64_RATIO: Final = 0.75
_CRON_MACROS: Final = frozenset(
    {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
)
_encode: Final = JSONEncoder(default=str).encode
"""`json.dumps` with an argument makes an encoder at every call."""
_SERVICE_BLOCK: Final = (172 << 24) + (16 << 16)
"""172.16.0.0, where the default serviceSubnet of a cluster begins."""

Common = dict[str, Any]


def stored_size_bytes(manifest: Mapping[str, Any]) -> int:
    """Return the stored size of an object, status and managed fields included."""
    kind = manifest.get("kind", "")
    if kind in {"ConfigMap", "Secret"}:
        data = dumps(manifest.get("data") or {}, ensure_ascii=False)
        text = dumps([manifest.get("binaryData"), manifest.get("stringData")], ensure_ascii=False)
        ratio = _BASE64_RATIO if kind == "Secret" else 1.0
        return _DATA_METADATA_BYTES + int(len(data) * ratio) + len(text)
    plural = KIND_TO_PLURAL.get(kind)
    floor = RESOURCE_TYPES[plural].size_bytes if plural is not None else _DATA_METADATA_BYTES
    return max(floor, int(PROTOBUF_RATIO * len(_encode(manifest))))


def node_from_manifest(manifest: Mapping[str, Any]) -> Node:
    """Return the Node of a v1 manifest; allocatable falls back to capacity, pods to 110."""
    metadata = manifest.get("metadata") or {}
    spec = manifest.get("spec") or {}
    status = manifest.get("status") or {}
    allocatable = status.get("allocatable") or status.get("capacity") or {}
    return Node(
        name=metadata.get("name") or "",
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        taints=tuple(
            Taint(item["key"], item.get("value") or "", item["effect"])
            for item in spec.get("taints") or ()
        ),
        unschedulable=bool(spec.get("unschedulable", False)),
        cpu_allocatable_millicores=cpu_millicores(allocatable.get("cpu", 0)),
        memory_allocatable_bytes=memory_bytes(allocatable.get("memory", 0)),
        pods_allocatable_count=whole_count(allocatable.get("pods", 110)),
    )


def label_selector(written: Mapping[str, Any] | None) -> LabelSelector:
    """Return a v1 LabelSelector, compiled; None and {} match everything."""
    written = written or {}
    return LabelSelector(
        tuple(sorted((written.get("matchLabels") or {}).items())),
        tuple(
            (item["key"], item["operator"], tuple(item.get("values") or ()))
            for item in written.get("matchExpressions") or ()
        ),
    )


class Conversion:
    """What converters share: templates, addresses of services, and where faults go."""

    def __init__(
        self, templates: PodTemplates, service_address: Callable[[], str] | None = None
    ) -> None:
        self.templates = templates
        self.found = Findings()
        self._service_address = service_address or self._next_address
        self._service_count = 0

    def _next_address(self) -> str:
        self._service_count += 1
        value = _SERVICE_BLOCK + 256 + self._service_count
        return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))

    # Checks beyond shapes.

    def check_pod_spec(self, spec: Mapping[str, Any], path: Path) -> None:
        """Note what the API server would refuse: no containers, unknown class, request > limit."""
        if not spec["containers"]:
            self.found.add("E033", "a pod has at least one container", (*path, "containers"))
        name = spec.get("priorityClassName")
        if name and name not in self.templates.priorities:
            known = tuple(self.templates.priorities)
            message = f"there is no PriorityClass {name!r}"
            where = (*path, "priorityClassName")
            self.found.faults.append(Fault("E037", message, where, False, known))
        for key in ("initContainers", "containers"):
            for index, container in enumerate(spec.get(key) or ()):
                self._check_resources(container.get("resources") or {}, (*path, key, index))

    def _check_resources(self, resources: Mapping[str, Any], path: Path) -> None:
        limits = resources.get("limits") or {}
        for name, value in (resources.get("requests") or {}).items():
            limit = limits.get(name)
            if limit is None or value is None or value == limit:
                continue
            try:
                above = amount(name, value) > amount(name, limit)
            except QuantityError:
                continue
            if above:
                message = f"the request {value} is more than the limit {limit}"
                self.found.add("E019", message, (*path, "resources", "requests", name))

    def template(
        self, spec: Mapping[str, Any], common: Common, path: Path = ("spec", "template")
    ) -> PodTemplate:
        """Return the template of a workload's spec, checked like a pod."""
        written = spec["template"]
        self.check_pod_spec(written["spec"], (*path, "spec"))
        return self.templates.template(written, common["namespace"])

    def selector(self, spec: Mapping[str, Any], template: PodTemplate) -> LabelSelector:
        """Return a workload's selector; it has to match the workload's own pods."""
        made = label_selector(spec["selector"])
        if not made.match_labels and not made.match_expressions:
            self.found.add("E033", "the selector is empty", ("spec", "selector"))
        elif not made.matches(template.labels):
            message = "the selector does not match the labels of the template"
            self.found.add("E033", message, ("spec", "selector"))
        return made

    def workload(self, manifest: Mapping[str, Any], common: Common) -> Common:
        """Return the fields that all four kinds of replicated workloads share."""
        spec = manifest["spec"]
        template = self.template(spec, common)
        return {
            **common,
            "manifest": manifest,
            "size_bytes": stored_size_bytes(manifest),
            "template": template,
            "selector": self.selector(spec, template),
            "min_ready_seconds": float(spec.get("minReadySeconds") or 0),
        }

    def service_address(self, given: str) -> str:
        """Return the cluster IP of a Service: the given one or the next free one."""
        return given or self._service_address()


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _deployment(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    spec = manifest["spec"]
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    return Deployment(
        **context.workload(manifest, common),
        replica_count=_or(spec.get("replicas"), 1),
        strategy=strategy.get("type") or "RollingUpdate",
        max_surge=str(_or(rolling.get("maxSurge"), "25%")),
        max_unavailable=str(_or(rolling.get("maxUnavailable"), "25%")),
        revision_history_limit_count=_or(spec.get("revisionHistoryLimit"), 10),
        progress_deadline_seconds=float(_or(spec.get("progressDeadlineSeconds"), 600)),
        paused=bool(spec.get("paused")),
    )


def _replica_set(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    replicas = _or(manifest["spec"].get("replicas"), 1)
    fields = context.workload(manifest, common)
    return ReplicaSet(**fields, replica_count=replicas, desired_annotation_count=replicas)


def _stateful_set(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    spec = manifest["spec"]
    update = spec.get("updateStrategy") or {}
    return StatefulSet(
        **context.workload(manifest, common),
        replica_count=_or(spec.get("replicas"), 1),
        service_name=spec.get("serviceName") or "",
        pod_management_policy=spec.get("podManagementPolicy") or "OrderedReady",
        update_strategy=update.get("type") or "RollingUpdate",
        partition_index=(update.get("rollingUpdate") or {}).get("partition") or 0,
    )


def _daemon_set(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    rolling = (manifest["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return DaemonSet(
        **context.workload(manifest, common),
        max_unavailable=str(_or(rolling.get("maxUnavailable"), 1)),
        max_surge=str(_or(rolling.get("maxSurge"), 0)),
    )


def _job_counts(spec: Mapping[str, Any]) -> Common:
    parallelism = _or(spec.get("parallelism"), 1)
    return {
        "parallelism_count": parallelism,
        "completion_count": _or(spec.get("completions"), parallelism),
        "backoff_limit_count": _or(spec.get("backoffLimit"), 6),
    }


def _check_restart(context: Conversion, template: PodTemplate, path: Path) -> None:
    written = template.restart_policy
    if written == "Always":
        where = (*path, "template", "spec", "restartPolicy")
        allowed = ("OnFailure", "Never")
        message = "pods of a Job end: Always is not possible"
        context.found.faults.append(Fault("E014", message, where, False, allowed))


def _job(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    spec = manifest["spec"]
    template = context.template(spec, common)
    _check_restart(context, template, ("spec",))
    return Job(
        **common,
        **_job_counts(spec),
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        template=template,
        completion_mode=spec.get("completionMode") or "NonIndexed",
        ttl_after_finished_seconds=float(_or(spec.get("ttlSecondsAfterFinished"), -1)),
        suspend=bool(spec.get("suspend")),
    )


def _cron_job(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    spec = manifest["spec"]
    job = spec["jobTemplate"]["spec"]
    path: Path = ("spec", "jobTemplate", "spec")
    template = context.template(job, common, (*path, "template"))
    _check_restart(context, template, path)
    schedule = spec["schedule"].strip()
    if len(schedule.split()) != 5 and schedule not in _CRON_MACROS:
        context.found.add("E033", f"{schedule!r} is not a schedule of five fields or a word such "
                                  "as @hourly", ("spec", "schedule"))  # fmt: skip
    return CronJob(
        **common,
        **_job_counts(job),
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        schedule=schedule,
        job_manifest=spec["jobTemplate"],
        job_template=template,
        concurrency_policy=spec.get("concurrencyPolicy") or "Allow",
        suspend=bool(spec.get("suspend")),
    )


def _autoscaler(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    spec = manifest["spec"]
    percent = spec.get("targetCPUUtilizationPercentage")
    for index, metric in enumerate(spec.get("metrics") or ()):
        resource = metric.get("resource") or {}
        target = resource.get("target") or {}
        wanted = target.get("averageUtilization")
        if resource.get("name") == "cpu" and isinstance(wanted, int) and percent is None:
            percent = wanted
        else:
            context.found.unmodelled.append(("spec", "metrics", index))
    low = _or(spec.get("minReplicas"), 1)
    if spec["maxReplicas"] < max(low, 1):
        context.found.add("E013", "less than minReplicas or one", ("spec", "maxReplicas"))
    return HorizontalPodAutoscaler(
        **common,
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        target_kind=spec["scaleTargetRef"]["kind"],
        target_name=spec["scaleTargetRef"]["name"],
        replica_count_min=low,
        replica_count_max=spec["maxReplicas"],
        cpu_utilization_target_ratio=_or(percent, 80) / 100,
    )


def _budget(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    spec = manifest["spec"]
    low, high = spec.get("minAvailable"), spec.get("maxUnavailable")
    if low is not None and high is not None:
        message = "minAvailable and maxUnavailable exclude each other"
        context.found.add("E019", message, ("spec", "maxUnavailable"))
    return PodDisruptionBudget(
        **common,
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        selector=label_selector(spec.get("selector")),
        min_available=str(_or(low, "")),
        max_unavailable=str(_or(high, "")),
    )


def _priority_class(_: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    return PriorityClass(
        **common,
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        value=manifest["value"],
        global_default=bool(manifest.get("globalDefault")),
        preemption_policy=manifest.get("preemptionPolicy") or "PreemptLowerPriority",
    )


def _ports(written: Sequence[Mapping[str, Any]]) -> tuple[ServicePort, ...]:
    return tuple(
        ServicePort(
            item.get("name") or "",
            item.get("port") or 0,
            str(item.get("targetPort") or item.get("port") or ""),
            item.get("protocol") or "TCP",
            item.get("nodePort") or 0,
        )
        for item in written
    )


def _service(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    spec = manifest.get("spec") or {}
    kind = spec.get("type") or "ClusterIP"
    given = spec.get("clusterIP") or ""
    headless = given == "None"
    ports = _ports(spec.get("ports") or ())
    if not ports and not headless and kind != "ExternalName":
        context.found.add("E033", "a Service has at least one port", ("spec", "ports"))
    selector = spec.get("selector")
    without = headless or kind == "ExternalName"
    return Service(
        **common,
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        selector=label_selector({"matchLabels": selector}) if selector else None,
        type=kind,
        cluster_ip="" if without else context.service_address(given),
        headless=headless,
        ports=ports,
        session_affinity=spec.get("sessionAffinity") or "None",
        external_traffic_policy=spec.get("externalTrafficPolicy") or "Cluster",
        publish_not_ready_addresses=bool(spec.get("publishNotReadyAddresses")),
    )


def _slice(_: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    endpoints = []
    for item in manifest.get("endpoints") or ():
        conditions = item.get("conditions") or {}
        ready = conditions.get("ready") is not False
        target = item.get("targetRef") or {}
        for address in item["addresses"]:
            endpoints.append(
                Endpoint(
                    address,
                    item.get("nodeName") or "",
                    ready,
                    _or(conditions.get("serving"), ready),
                    bool(conditions.get("terminating")),
                    0,
                    target.get("name") or "",
                )
            )
    return EndpointSlice(
        **common,
        manifest=manifest,
        size_bytes=stored_size_bytes(manifest),
        service_name=(common.get("labels") or {}).get("kubernetes.io/service-name", ""),
        address_type=manifest["addressType"],
        endpoints=tuple(endpoints),
        ports=_ports(manifest.get("ports") or ()),
    )


def _namespace(_: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    return Namespace(**common, manifest=manifest, size_bytes=stored_size_bytes(manifest))


def _node(context: Conversion, manifest: Mapping[str, Any], common: Common) -> APIObject:
    status = manifest.get("status") or {}
    which = "allocatable" if status.get("allocatable") else "capacity"
    given = status.get(which) or {}
    if not given:
        context.found.add("E030", "neither allocatable nor capacity", ("status",))
    for name in ("cpu", "memory", "pods") if given else ():
        if name not in given:
            context.found.add("E030", f"{which} has no {name}", ("status", which))
        elif whole_count(given[name]) <= 0:
            context.found.add("E030", f"{name} is zero", ("status", which, name))
    made = node_from_manifest(manifest)
    made.name = common["name"]
    return made


Converter = Callable[[Conversion, Mapping[str, Any], Common], APIObject]
CONVERTERS: Final[Mapping[str, Converter]] = {
    "Namespace": _namespace,
    "Node": _node,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CronJob": _cron_job,
    "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _budget,
    "PriorityClass": _priority_class,
    "Service": _service,
    "EndpointSlice": _slice,
}
