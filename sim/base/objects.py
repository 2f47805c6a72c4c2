"""API objects as the modelled apiserver stores them, kind by kind.

Large immutable parts (a pod's template, labels, owner) are shared between clones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mypy_extensions import mypyc_attr

from sim.base.api_object import NEVER, NO_LABELS, APIObject, OwnerReference, WholeKey
from sim.base.pod_template import PodTemplate


@mypyc_attr(acyclic=True)
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


@mypyc_attr(acyclic=True)
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


@mypyc_attr(acyclic=True, free_list_len=1)
@dataclass(slots=True, kw_only=True, eq=False, init=False)
class Lease(APIObject):
    """A Lease (node heartbeat or leader election).

    Its `__init__` is written out, so that compiled code makes one, at every heartbeat, without
    asking Python.
    """

    holder: str = ""
    renew_seconds: float = NEVER
    duration_seconds: float = 40.0
    transition_count: int = 0

    def __init__(
        self,
        *,
        name: str,
        namespace: str = "",
        uid: int = 0,
        resource_version: int = 0,
        generation: int = 1,
        labels: Mapping[str, str] = NO_LABELS,
        annotations: Mapping[str, str] = NO_LABELS,
        owner: OwnerReference | None = None,
        finalizers: tuple[str, ...] = (),
        creation_seconds: float = NEVER,
        deletion_seconds: float = NEVER,
        size_bytes: int = 0,
        manifest: Mapping[str, Any] | None = None,
        stored_key: WholeKey = None,
        holder: str = "",
        renew_seconds: float = NEVER,
        duration_seconds: float = 40.0,
        transition_count: int = 0,
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.uid = uid
        self.resource_version = resource_version
        self.generation = generation
        self.labels = labels
        self.annotations = annotations
        self.owner = owner
        self.finalizers = finalizers
        self.creation_seconds = creation_seconds
        self.deletion_seconds = deletion_seconds
        self.size_bytes = size_bytes
        self.manifest = manifest
        self.stored_key = stored_key
        self.holder = holder
        self.renew_seconds = renew_seconds
        self.duration_seconds = duration_seconds
        self.transition_count = transition_count

    @property
    def resource(self) -> str:
        """``leases``."""
        return "leases"

    def clone(self) -> Lease:
        """Return a shallow copy to change."""
        return Lease(
            name=self.name, namespace=self.namespace, uid=self.uid,
            resource_version=self.resource_version, generation=self.generation,
            labels=self.labels, annotations=self.annotations, owner=self.owner,
            finalizers=self.finalizers, creation_seconds=self.creation_seconds,
            deletion_seconds=self.deletion_seconds, size_bytes=self.size_bytes,
            manifest=self.manifest, stored_key=self.stored_key, holder=self.holder,
            renew_seconds=self.renew_seconds, duration_seconds=self.duration_seconds,
            transition_count=self.transition_count,
        )  # fmt: skip


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
