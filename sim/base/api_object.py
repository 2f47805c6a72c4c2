"""What all API objects have in common: the table of resources, metadata, owners.

An object is immutable once committed: whoever wants to change one makes a `clone`, changes it and
sends it through the apiserver. Informer caches therefore share references and go stale honestly.

Times are simulated seconds; ``nan``-free: "not yet" is ``-1.0``. Sizes are bytes of the stored
protobuf. **Source** of default sizes: `groundtruth/README.md` (pod 3.1 kB, node with 20 images
6 kB, configmap 1 KiB), `facts/model.md` a.6 (lease 400 B, node 10-20 kB), g (slice of 100
endpoints 10 kB); the rest assumed from the fields of a minimal object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

from mypy_extensions import mypyc_attr

NEVER = -1.0
"""A time that has not come yet."""

NO_LABELS: Mapping[str, str] = {}


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


WholeKey = Any
"""A `Key` that stays in one piece: compiled code takes typed tuples apart, and puts them together
again at every look-up."""


class OwnerReference(NamedTuple):
    """The controller that owns an object."""

    kind: str
    name: str
    uid: int


@mypyc_attr(acyclic=True)  # nothing for the collector to look at: smaller, and sooner gone
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
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    annotations: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)
    owner: OwnerReference | None = None
    finalizers: tuple[str, ...] = ()
    creation_seconds: float = NEVER
    deletion_seconds: float = NEVER
    """Time at which a graceful deletion was asked for."""
    size_bytes: int = 0
    """0 asks the apiserver to fill in the default of the kind."""
    manifest: Mapping[str, Any] | None = None
    """The object as the user wrote it, where there is such a thing."""
    stored_key: WholeKey = None
    """See `whole_key`; bookkeeping, no part of the object."""

    @property
    def resource(self) -> str:
        """Plural name of the resource; each kind has its own."""
        return ""

    @property
    def key(self) -> Key:
        """(namespace, name)."""
        return (self.namespace, self.name)

    def whole_key(self) -> WholeKey:
        """Return the key of a stored object, the same tuple for all its versions.

        Look-ups then find by identity, without a comparison of names.
        """
        key = self.stored_key
        if key is None:
            key = (self.namespace, self.name)
            self.stored_key = key  # not in one statement, which compiles into two tuples
        return key

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
        new.stored_key = self.stored_key
