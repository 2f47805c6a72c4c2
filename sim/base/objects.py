"""API objects as the modelled apiserver stores them.

An object is immutable once committed: whoever wants to change one makes a `clone`, changes it and
sends it through the apiserver. Informer caches therefore share references and go stale honestly.
Large immutable parts (a pod's template, labels, owner) are shared between clones.

Times are simulated seconds; ``nan``-free: "not yet" is ``-1.0``. Sizes are bytes of the stored
protobuf. **Source** of default sizes: `groundtruth/README.md` (pod 3.1 kB, node with 20 images
6 kB, configmap 1 KiB), `facts/model.md` a.6 (lease 400 B, node 10-20 kB), g (slice of 100
endpoints 10 kB); the rest assumed from the fields of a minimal object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

NEVER = -1.0
"""A time that has not come yet."""

_NO_LABELS: Mapping[str, str] = {}


class ResourceType(NamedTuple):
    """One API resource: its names, scope and the size of a typical stored object."""

    plural: str
    kind: str
    api_version: str
    namespaced: bool
    size_bytes: int

    @property
    def group(self) -> str:
        """API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]


RESOURCE_TYPES: dict[str, ResourceType] = {
    row.plural: row
    for row in (
        ResourceType("pods", "Pod", "v1", True, 3100),
        ResourceType("nodes", "Node", "v1", False, 6000),
        ResourceType("namespaces", "Namespace", "v1", False, 400),
        ResourceType("services", "Service", "v1", True, 800),
        ResourceType("endpoints", "Endpoints", "v1", True, 600),
        ResourceType("configmaps", "ConfigMap", "v1", True, 1024),
        ResourceType("secrets", "Secret", "v1", True, 1024),
        ResourceType("serviceaccounts", "ServiceAccount", "v1", True, 300),
        ResourceType("events", "Event", "v1", True, 800),
        ResourceType("persistentvolumes", "PersistentVolume", "v1", False, 900),
        ResourceType("persistentvolumeclaims", "PersistentVolumeClaim", "v1", True, 700),
        ResourceType("resourcequotas", "ResourceQuota", "v1", True, 500),
        ResourceType("limitranges", "LimitRange", "v1", True, 400),
        ResourceType("leases", "Lease", "coordination.k8s.io/v1", True, 400),
        ResourceType("endpointslices", "EndpointSlice", "discovery.k8s.io/v1", True, 600),
        ResourceType("deployments", "Deployment", "apps/v1", True, 2000),
        ResourceType("replicasets", "ReplicaSet", "apps/v1", True, 1800),
        ResourceType("statefulsets", "StatefulSet", "apps/v1", True, 2000),
        ResourceType("daemonsets", "DaemonSet", "apps/v1", True, 2000),
        ResourceType("controllerrevisions", "ControllerRevision", "apps/v1", True, 1500),
        ResourceType("jobs", "Job", "batch/v1", True, 1800),
        ResourceType("cronjobs", "CronJob", "batch/v1", True, 1800),
        ResourceType(
            "horizontalpodautoscalers", "HorizontalPodAutoscaler", "autoscaling/v2", True, 1000
        ),
        ResourceType("poddisruptionbudgets", "PodDisruptionBudget", "policy/v1", True, 700),
        ResourceType("priorityclasses", "PriorityClass", "scheduling.k8s.io/v1", False, 300),
        ResourceType("csinodes", "CSINode", "storage.k8s.io/v1", False, 300),
        ResourceType("storageclasses", "StorageClass", "storage.k8s.io/v1", False, 400),
        ResourceType("ipaddresses", "IPAddress", "networking.k8s.io/v1", False, 350),
        ResourceType("flowschemas", "FlowSchema", "flowcontrol.apiserver.k8s.io/v1", False, 800),
        ResourceType(
            "prioritylevelconfigurations",
            "PriorityLevelConfiguration",
            "flowcontrol.apiserver.k8s.io/v1",
            False,
            700,
        ),
    )
}
KIND_TO_PLURAL: dict[str, str] = {row.kind: row.plural for row in RESOURCE_TYPES.values()}

Key = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is the empty string."""


class OwnerReference(NamedTuple):
    """The controller that owns an object."""

    kind: str
    name: str
    uid: int


@dataclass(slots=True, kw_only=True, eq=False)
class APIObject:
    """Metadata that every object has. ``resource`` is the plural name of its API resource."""

    name: str
    namespace: str = ""
    uid: int = 0
    """Assigned by the apiserver at creation; unique in a run, in order of creation."""
    resource_version: int = 0
    """Revision of the commit that wrote this version; 0 before the first."""
    generation: int = 1
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    owner: OwnerReference | None = None
    finalizers: tuple[str, ...] = ()
    creation_seconds: float = NEVER
    deletion_seconds: float = NEVER
    """Time at which a graceful deletion was asked for."""
    size_bytes: int = 0
    """0 asks the apiserver to fill in the default of the kind."""
    manifest: Mapping[str, Any] | None = None
    """The object as the user wrote it, where there is such a thing."""

    @property
    def resource(self) -> str:
        """Plural name of the resource; each kind has its own."""
        return ""

    @property
    def key(self) -> Key:
        """(namespace, name)."""
        return (self.namespace, self.name)

    def clone(self) -> Self:
        """Return a shallow copy to change; shared parts must not be changed in place."""
        new: Self = self.__class__.__new__(self.__class__)
        for item in fields(self):
            setattr(new, item.name, getattr(self, item.name))
        return new

    def _copy_metadata(self, new: APIObject) -> None:
        """Give a clone what every object has; the kinds that change often copy their own fields."""
        new.name = self.name
        new.namespace = self.namespace
        new.uid = self.uid
        new.resource_version = self.resource_version
        new.generation = self.generation
        new.labels = self.labels
        new.annotations = self.annotations
        new.owner = self.owner
        new.finalizers = self.finalizers
        new.creation_seconds = self.creation_seconds
        new.deletion_seconds = self.deletion_seconds
        new.size_bytes = self.size_bytes
        new.manifest = self.manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """A readiness, liveness or startup probe."""

    initial_delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    success_threshold_count: int = 1
    failure_threshold_count: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What the kubelet and the runtime need to know of a container."""

    name: str
    image: str = ""
    image_pull_policy: str = "IfNotPresent"
    is_init: bool = False
    is_sidecar: bool = False
    """An init container with restartPolicy Always."""
    run_seconds: float = NEVER
    """How long the process runs before it exits by itself; NEVER means it keeps running."""
    readiness_probe: ProbeSpec | None = None
    liveness_probe: ProbeSpec | None = None
    startup_probe: ProbeSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PodTemplate:
    """The immutable part that all pods of one shape share.

    ``manifest`` is the v1 Pod as plain JSON (metadata.labels and spec, defaulted as the apiserver
    would); the scheduling core compiles it once per distinct template object.
    """

    manifest: Mapping[str, Any]
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[ContainerSpec, ...] = ()
    """Init containers and sidecars first, in order, then the others."""
    cpu_requested_millicores: int = 0
    """Effective request of the pod as the scheduler counts it (init, sidecars, overhead)."""
    memory_requested_bytes: int = 0
    extended_requested: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0
    priority_class_name: str = ""
    scheduler_name: str = "default-scheduler"
    restart_policy: str = "Always"
    host_network: bool = False
    node_name: str = ""
    """Set for static pods and pods bound by their author."""
    termination_grace_period_seconds: float = 30.0
    stop_seconds: float = 0.0
    """How long the containers take to exit after SIGTERM (cut off by the grace period)."""
    service_account_token: bool = True
    """Whether a projected token volume is mounted (the default)."""
    config_map_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    volume_count: int = 1
    tolerations: tuple[Mapping[str, Any], ...] = ()
    size_bytes: int = 3100
    digest: str = ""
    """Identity of the content: equal templates have equal digests."""

    @property
    def has_probe(self) -> bool:
        """Whether any container has a readiness probe."""
        return any(item.readiness_probe is not None for item in self.containers)


@dataclass(slots=True, kw_only=True, eq=False)
class Pod(APIObject):
    """A Pod: spec in the shared template, status in the object."""

    template: PodTemplate
    node_name: str = ""
    nominated_node_name: str = ""
    phase: str = "Pending"
    ready: bool = False
    reason: str = ""
    """Reason shown by kubectl (ContainerCreating, Evicted, NodeLost …); empty for the phase."""
    message: str = ""
    pod_ip: str = ""
    host_ip: str = ""
    scheduled_seconds: float = NEVER
    start_seconds: float = NEVER
    """status.startTime: when the kubelet acknowledged the pod."""
    sandbox_ready: bool = False
    ready_seconds: float = NEVER
    """Last transition of the Ready condition to True."""
    finished_seconds: float = NEVER
    deletion_grace_seconds: float = NEVER
    ready_container_count: int = 0
    restart_count: int = 0
    disruption_target: bool = False

    @property
    def resource(self) -> str:
        """``pods``."""
        return "pods"

    def clone(self) -> Pod:
        """Return a shallow copy to change."""
        new: Pod = Pod.__new__(Pod)
        self._copy_metadata(new)
        new.template = self.template
        new.node_name = self.node_name
        new.nominated_node_name = self.nominated_node_name
        new.phase = self.phase
        new.ready = self.ready
        new.reason = self.reason
        new.message = self.message
        new.pod_ip = self.pod_ip
        new.host_ip = self.host_ip
        new.scheduled_seconds = self.scheduled_seconds
        new.start_seconds = self.start_seconds
        new.sandbox_ready = self.sandbox_ready
        new.ready_seconds = self.ready_seconds
        new.finished_seconds = self.finished_seconds
        new.deletion_grace_seconds = self.deletion_grace_seconds
        new.ready_container_count = self.ready_container_count
        new.restart_count = self.restart_count
        new.disruption_target = self.disruption_target
        return new

    @property
    def is_terminal(self) -> bool:
        """Succeeded or Failed."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def is_active(self) -> bool:
        """Counts as a replica: not terminal and not being deleted."""
        return self.deletion_seconds < 0.0 and self.phase not in {"Succeeded", "Failed"}


class Taint(NamedTuple):
    """A node taint."""

    key: str
    value: str
    effect: str
    added_seconds: float = NEVER


@dataclass(slots=True, kw_only=True, eq=False)
class Node(APIObject):
    """A Node. ``manifest`` holds labels, capacity, allocatable and images as v1 JSON."""

    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    internal_ip: str = ""
    ready: str = "Unknown"
    """Status of the Ready condition: True, False or Unknown."""
    ready_reason: str = ""
    ready_transition_seconds: float = NEVER
    heartbeat_seconds: float = NEVER
    cpu_allocatable_millicores: int = 0
    memory_allocatable_bytes: int = 0
    pods_allocatable_count: int = 110
    backend_annotated: bool = False
    """Whether the overlay agent has written its backend data."""

    @property
    def resource(self) -> str:
        """``nodes``."""
        return "nodes"

    def clone(self) -> Node:
        """Return a shallow copy to change."""
        new: Node = Node.__new__(Node)
        self._copy_metadata(new)
        new.taints = self.taints
        new.unschedulable = self.unschedulable
        new.pod_cidr = self.pod_cidr
        new.pod_cidrs = self.pod_cidrs
        new.internal_ip = self.internal_ip
        new.ready = self.ready
        new.ready_reason = self.ready_reason
        new.ready_transition_seconds = self.ready_transition_seconds
        new.heartbeat_seconds = self.heartbeat_seconds
        new.cpu_allocatable_millicores = self.cpu_allocatable_millicores
        new.memory_allocatable_bytes = self.memory_allocatable_bytes
        new.pods_allocatable_count = self.pods_allocatable_count
        new.backend_annotated = self.backend_annotated
        return new


@dataclass(slots=True, kw_only=True, eq=False)
class Lease(APIObject):
    """A Lease (node heartbeat or leader election)."""

    holder: str = ""
    renew_seconds: float = NEVER
    duration_seconds: float = 40.0
    transition_count: int = 0

    @property
    def resource(self) -> str:
        """``leases``."""
        return "leases"

    def clone(self) -> Lease:
        """Return a shallow copy to change."""
        new: Lease = Lease.__new__(Lease)
        self._copy_metadata(new)
        new.holder = self.holder
        new.renew_seconds = self.renew_seconds
        new.duration_seconds = self.duration_seconds
        new.transition_count = self.transition_count
        return new


@dataclass(slots=True, kw_only=True, eq=False)
class EventRecord(APIObject):
    """An Event object (the API kind; the class has another name to keep it apart)."""

    involved_kind: str = ""
    involved_name: str = ""
    involved_namespace: str = ""
    involved_uid: int = 0
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    source: str = ""
    count: int = 1
    first_seconds: float = NEVER
    last_seconds: float = NEVER

    @property
    def resource(self) -> str:
        """``events``."""
        return "events"

    def clone(self) -> EventRecord:
        """Return a shallow copy to change."""
        new: EventRecord = EventRecord.__new__(EventRecord)
        self._copy_metadata(new)
        new.involved_kind = self.involved_kind
        new.involved_name = self.involved_name
        new.involved_namespace = self.involved_namespace
        new.involved_uid = self.involved_uid
        new.reason = self.reason
        new.message = self.message
        new.type = self.type
        new.source = self.source
        new.count = self.count
        new.first_seconds = self.first_seconds
        new.last_seconds = self.last_seconds
        return new


@dataclass(slots=True, kw_only=True, eq=False)
class Namespace(APIObject):
    """A Namespace."""

    phase: str = "Active"

    @property
    def resource(self) -> str:
        """``namespaces``."""
        return "namespaces"


@dataclass(slots=True, kw_only=True, eq=False)
class Generic(APIObject):
    """An object of a kind that is stored, sized and counted but has no behaviour of its own."""

    kind_plural: str = "configmaps"

    @property
    def resource(self) -> str:
        """Plural name of the resource this object belongs to."""
        return self.kind_plural


class LabelSelector(NamedTuple):
    """matchLabels and matchExpressions, compiled: every requirement must hold."""

    match_labels: tuple[tuple[str, str], ...] = ()
    match_expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """(key, operator, values) with operator In, NotIn, Exists or DoesNotExist."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels satisfy the selector; an empty selector matches everything."""
        for key, value in self.match_labels:
            if labels.get(key) != value:
                return False
        for key, operator, values in self.match_expressions:
            present = key in labels
            if operator == "In":
                good = present and labels[key] in values
            elif operator == "NotIn":
                good = not present or labels[key] not in values
            elif operator == "Exists":
                good = present
            else:
                good = not present
            if not good:
                return False
        return True


@dataclass(slots=True, kw_only=True, eq=False)
class Workload(APIObject):
    """What ReplicaSet, Deployment, StatefulSet and DaemonSet have in common."""

    replica_count: int = 1
    """spec.replicas."""
    selector: LabelSelector = LabelSelector()
    template: PodTemplate
    template_hash: str = ""
    min_ready_seconds: float = 0.0
    observed_generation: int = 0
    current_count: int = 0
    """status.replicas."""
    ready_count: int = 0
    available_count: int = 0
    updated_count: int = 0

    def _copy_workload(self, new: Workload) -> None:
        self._copy_metadata(new)
        new.replica_count = self.replica_count
        new.selector = self.selector
        new.template = self.template
        new.template_hash = self.template_hash
        new.min_ready_seconds = self.min_ready_seconds
        new.observed_generation = self.observed_generation
        new.current_count = self.current_count
        new.ready_count = self.ready_count
        new.available_count = self.available_count
        new.updated_count = self.updated_count


@dataclass(slots=True, kw_only=True, eq=False)
class ReplicaSet(Workload):
    """A ReplicaSet."""

    desired_annotation_count: int = 0
    revision: int = 0

    @property
    def resource(self) -> str:
        """``replicasets``."""
        return "replicasets"

    def clone(self) -> ReplicaSet:
        """Return a shallow copy to change."""
        new: ReplicaSet = ReplicaSet.__new__(ReplicaSet)
        self._copy_workload(new)
        new.desired_annotation_count = self.desired_annotation_count
        new.revision = self.revision
        return new


@dataclass(slots=True, kw_only=True, eq=False)
class Deployment(Workload):
    """A Deployment."""

    strategy: str = "RollingUpdate"
    max_surge: str = "25%"
    max_unavailable: str = "25%"
    revision_history_limit_count: int = 10
    progress_deadline_seconds: float = 600.0
    paused: bool = False
    revision: int = 0

    @property
    def resource(self) -> str:
        """``deployments``."""
        return "deployments"

    def clone(self) -> Deployment:
        """Return a shallow copy to change."""
        new: Deployment = Deployment.__new__(Deployment)
        self._copy_workload(new)
        new.strategy = self.strategy
        new.max_surge = self.max_surge
        new.max_unavailable = self.max_unavailable
        new.revision_history_limit_count = self.revision_history_limit_count
        new.progress_deadline_seconds = self.progress_deadline_seconds
        new.paused = self.paused
        new.revision = self.revision
        return new


@dataclass(slots=True, kw_only=True, eq=False)
class StatefulSet(Workload):
    """A StatefulSet."""

    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: str = "RollingUpdate"
    partition_index: int = 0
    current_revision: str = ""
    update_revision: str = ""

    @property
    def resource(self) -> str:
        """``statefulsets``."""
        return "statefulsets"


@dataclass(slots=True, kw_only=True, eq=False)
class DaemonSet(Workload):
    """A DaemonSet."""

    max_unavailable: str = "1"
    max_surge: str = "0"
    desired_count: int = 0
    misscheduled_count: int = 0

    @property
    def resource(self) -> str:
        """``daemonsets``."""
        return "daemonsets"


@dataclass(slots=True, kw_only=True, eq=False)
class Job(APIObject):
    """A Job."""

    template: PodTemplate
    completion_count: int = 1
    parallelism_count: int = 1
    backoff_limit_count: int = 6
    completion_mode: str = "NonIndexed"
    ttl_after_finished_seconds: float = NEVER
    active_count: int = 0
    ready_count: int = 0
    succeeded_count: int = 0
    failed_count: int = 0
    start_seconds: float = NEVER
    completion_seconds: float = NEVER
    condition: str = ""
    """Complete, Failed, Suspended or empty."""
    suspend: bool = False

    @property
    def resource(self) -> str:
        """``jobs``."""
        return "jobs"


@dataclass(slots=True, kw_only=True, eq=False)
class CronJob(APIObject):
    """A CronJob."""

    schedule: str = "* * * * *"
    job_manifest: Mapping[str, Any] | None = None
    job_template: PodTemplate
    completion_count: int = 1
    parallelism_count: int = 1
    backoff_limit_count: int = 6
    concurrency_policy: str = "Allow"
    suspend: bool = False
    last_schedule_seconds: float = NEVER
    active: tuple[str, ...] = ()

    @property
    def resource(self) -> str:
        """``cronjobs``."""
        return "cronjobs"


@dataclass(slots=True, kw_only=True, eq=False)
class HorizontalPodAutoscaler(APIObject):
    """A HorizontalPodAutoscaler (CPU utilisation target)."""

    target_kind: str = "Deployment"
    target_name: str = ""
    replica_count_min: int = 1
    replica_count_max: int = 10
    cpu_utilization_target_ratio: float = 0.8
    current_count: int = 0
    desired_count: int = 0
    last_scale_seconds: float = NEVER

    @property
    def resource(self) -> str:
        """``horizontalpodautoscalers``."""
        return "horizontalpodautoscalers"


@dataclass(slots=True, kw_only=True, eq=False)
class PodDisruptionBudget(APIObject):
    """A PodDisruptionBudget."""

    selector: LabelSelector = LabelSelector()
    min_available: str = ""
    max_unavailable: str = ""
    disruptions_allowed_count: int = 0
    current_healthy_count: int = 0
    desired_healthy_count: int = 0
    expected_count: int = 0

    @property
    def resource(self) -> str:
        """``poddisruptionbudgets``."""
        return "poddisruptionbudgets"


@dataclass(slots=True, kw_only=True, eq=False)
class PriorityClass(APIObject):
    """A PriorityClass."""

    value: int = 0
    global_default: bool = False
    preemption_policy: str = "PreemptLowerPriority"

    @property
    def resource(self) -> str:
        """``priorityclasses``."""
        return "priorityclasses"


class ServicePort(NamedTuple):
    """One port of a Service."""

    name: str
    port: int
    target_port: str
    protocol: str = "TCP"
    node_port: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Service(APIObject):
    """A Service; ``selector`` is None for one without a selector."""

    selector: LabelSelector | None = None
    type: str = "ClusterIP"
    cluster_ip: str = ""
    headless: bool = False
    ports: tuple[ServicePort, ...] = ()
    session_affinity: str = "None"
    external_traffic_policy: str = "Cluster"
    publish_not_ready_addresses: bool = False

    @property
    def resource(self) -> str:
        """``services``."""
        return "services"


class Endpoint(NamedTuple):
    """One endpoint of an EndpointSlice."""

    address: str
    node_name: str
    ready: bool
    serving: bool
    terminating: bool
    pod_uid: int
    pod_name: str


@dataclass(slots=True, kw_only=True, eq=False)
class EndpointSlice(APIObject):
    """An EndpointSlice of one Service (at most 100 endpoints)."""

    service_name: str = ""
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    trigger_seconds: float = NEVER
    """endpoints.kubernetes.io/last-change-trigger-time."""

    @property
    def resource(self) -> str:
        """``endpointslices``."""
        return "endpointslices"

    def clone(self) -> EndpointSlice:
        """Return a shallow copy to change."""
        new: EndpointSlice = EndpointSlice.__new__(EndpointSlice)
        self._copy_metadata(new)
        new.service_name = self.service_name
        new.address_type = self.address_type
        new.endpoints = self.endpoints
        new.ports = self.ports
        new.trigger_seconds = self.trigger_seconds
        return new


@dataclass(slots=True, kw_only=True, eq=False)
class Endpoints(APIObject):
    """The legacy Endpoints object of a Service (addresses truncated at 1,000)."""

    ready_addresses: tuple[str, ...] = ()
    not_ready_addresses: tuple[str, ...] = ()
    trigger_seconds: float = NEVER

    @property
    def resource(self) -> str:
        """``endpoints``."""
        return "endpoints"
