"""What a workload consists of: scheduler_perf's operations, and what else happens to clusters.

Every operation is a frozen dataclass; its ``op`` is the word that names it in files. Operations run
one after another; one with ``background: true`` is started and the next begins at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from sim.workload.arrivals import Rate
from sim.workload.openb import GPUMode

Count = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]

DEFAULT_PARALLELISM_COUNT = 30
"""Requests in flight of an operation without a rate. **Source:** scheduler_perf's createPods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What all operations have."""

    background: bool = False
    """Start it and go on with the next operation at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitting(Operation):
    """An operation that sends many requests."""

    rate: Rate = Rate()
    """Schedule of the requests."""
    parallelism: Annotated[int, Ge(1)] = DEFAULT_PARALLELISM_COUNT
    """Requests in flight when there is no rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodShape:
    """A pod, given in a few words or as a manifest."""

    manifest: str = ""
    """File with a v1 Pod; the other fields are then ignored."""
    cpu_millicores: Count = 100
    """Request of its one container."""
    memory_bytes: Count = 128 * 2**20
    """Request of its one container."""
    extended_resources: Mapping[str, int] = field(default_factory=dict)
    """Requests of extended resources, such as nvidia.com/gpu."""
    image: str = "registry.k8s.io/pause:3.10"
    """Image of its one container."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels beside the operation's own."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """spec.nodeSelector."""
    priority_class_name: str = ""
    """spec.priorityClassName."""
    scheduler_name: str = "default-scheduler"
    """spec.schedulerName."""
    readiness_probe: bool = False
    """Whether the container has a readiness probe (period 10 s)."""
    run_seconds: float = -1.0
    """How long the container runs before it exits by itself; -1 runs until it is deleted."""
    stop_seconds: Annotated[float, Ge(0)] = 0.0
    """How long the container takes to exit after SIGTERM."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the v1 pod spec (affinity, topologySpreadConstraints, tolerations …)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNodes(Submitting):
    """Let machines join the cluster."""

    op: Literal["createNodes"] = "createNodes"
    count: Annotated[int, Ge(1)]
    """Machines."""
    name_prefix: str = "joined"
    """Names are the prefix, a dash and a number."""
    cpu_millicores: Annotated[int, Gt(0)] = 8000
    """Capacity of each."""
    memory_bytes: Annotated[int, Gt(0)] = 32 * 2**30
    """Capacity of each."""
    max_pods: Annotated[int, Gt(0)] = 110
    """Pods of each."""
    extended_resources: Mapping[str, int] = field(default_factory=dict)
    """Capacity of extended resources."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateNamespaces(Submitting):
    """Create namespaces."""

    op: Literal["createNamespaces"] = "createNamespaces"
    count: Annotated[int, Ge(1)] = 1
    """Namespaces."""
    prefix: str = "ns"
    """Names are the prefix, a dash and a number from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePods(Submitting):
    """Create pods without an owner."""

    op: Literal["createPods"] = "createPods"
    count: Annotated[int, Ge(1)]
    """Pods."""
    namespace: str = "default"
    """Their namespace."""
    name_prefix: str = "pod"
    """Names are the prefix, a dash and a number."""
    pod: PodShape = PodShape()
    """What they look like."""
    collect: bool = False
    """Whether this operation is the measured part of the workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePodSets(Submitting):
    """Create several sets of pods, each in a namespace of its own."""

    op: Literal["createPodSets"] = "createPodSets"
    count: Annotated[int, Ge(1)]
    """Sets."""
    count_per_set: Annotated[int, Ge(1)]
    """Pods of each set."""
    namespace_prefix: str = "set"
    """Namespaces are the prefix, a dash and a number from 0; they are created."""
    pod: PodShape = PodShape()
    """What the pods look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDeployments(Submitting):
    """Create Deployments, optionally each with a Service in front."""

    op: Literal["createDeployments"] = "createDeployments"
    count: Annotated[int, Ge(1)] = 1
    """Deployments."""
    replicas: Count = 1
    """Replicas of each."""
    namespace: str = "default"
    """Their namespace."""
    namespace_count: Annotated[int, Ge(1)] = 1
    """Above 1: spread over namespaces with this prefix and a number from 0, which are created."""
    name_prefix: str = "deployment"
    """Names are the prefix, a dash and a number from 0."""
    service: bool = False
    """Whether each has a Service of the same name."""
    max_surge: str = "25%"
    """Strategy: pods above the replicas."""
    max_unavailable: str = "25%"
    """Strategy: pods that may be missing."""
    pod: PodShape = PodShape()
    """What the pods look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateServices(Submitting):
    """Create Services that select pods by a label."""

    op: Literal["createServices"] = "createServices"
    count: Annotated[int, Ge(1)] = 1
    """Services."""
    namespace: str = "default"
    """Their namespace."""
    name_prefix: str = "service"
    """Names are the prefix, a dash and a number from 0."""
    selector: Mapping[str, str] = field(default_factory=dict)
    """Labels of the pods behind each; ``{index}`` in a value stands for the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateObjects(Submitting):
    """Create ConfigMaps, Secrets or the like of a given size."""

    op: Literal["createObjects"] = "createObjects"
    count: Annotated[int, Ge(1)]
    """Objects."""
    resource: str = "configmaps"
    """Plural name."""
    namespace: str = "default"
    """Their namespace."""
    name_prefix: str = "object"
    """Names are the prefix, a dash and a number from 0."""
    object_bytes: Annotated[int, Gt(0)] = 1024
    """Stored size of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyManifests(Submitting):
    """Create everything that manifest files hold, in file order."""

    op: Literal["applyManifests"] = "applyManifests"
    manifests: tuple[str, ...]
    """Files."""
    skip_nodes: bool = True
    """Leave Node objects out (nodes belong to the cluster)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayTrace(Operation):
    """Create and delete the pods of the openb trace at its times."""

    op: Literal["replayTrace"] = "replayTrace"
    pods_csv: str
    """Pod list."""
    namespace: str = "default"
    """Where the pods live."""
    time_scale: Positive = 1.0
    """Trace seconds per simulated second."""
    limit: Count = 0
    """Only the first so many pods; 0 for all."""
    deletions: bool = True
    """Whether pods are deleted at their time."""
    gpu: GPUMode = "milli"
    """How GPUs are requested: not at all, whole, or in thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePods(Submitting):
    """Delete pods."""

    op: Literal["deletePods"] = "deletePods"
    namespace: str = ""
    """Only this namespace; empty for all but kube-system."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only pods with these labels."""
    limit: Count = 0
    """At most so many; 0 for all."""
    grace_seconds: float = -1.0
    """Grace period; -1 for each pod's own."""
    wait: bool = True
    """Whether the operation ends only when they are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteObjects(Submitting):
    """Delete objects of one resource."""

    op: Literal["deleteObjects"] = "deleteObjects"
    resource: str = "deployments"
    """Plural name."""
    namespace: str = "default"
    """Their namespace."""
    names: tuple[str, ...] = ()
    """Only these; empty for all that this workload has created."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Submitting):
    """Change spec.replicas."""

    op: Literal["scale"] = "scale"
    resource: Literal["deployments", "replicasets", "statefulsets"] = "deployments"
    """Plural name."""
    namespace: str = "default"
    """Their namespace."""
    names: tuple[str, ...] = ()
    """Only these; empty for all that this workload has created in the namespace."""
    replicas: Count
    """New value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRestart(Submitting):
    """Restart the pods of workloads as ``kubectl rollout restart`` does."""

    op: Literal["rolloutRestart"] = "rolloutRestart"
    resource: Literal["deployments", "statefulsets", "daemonsets"] = "deployments"
    """Plural name."""
    namespace: str = "default"
    """Their namespace."""
    names: tuple[str, ...] = ()
    """Only these; empty for all that this workload has created in the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn(Operation):
    """Keep creating pods (and deleting those before) until the other operations are done."""

    op: Literal["churn"] = "churn"
    mode: Literal["create", "recreate"] = "create"
    """create: pods stay. recreate: each round deletes the pods of the round before."""
    number: Annotated[int, Ge(1)] = 1
    """Pods per round."""
    interval_seconds: Positive = 0.5
    """Time between rounds (scheduler_perf's intervalMilliseconds)."""
    rounds: Count = 0
    """At most so many rounds; 0 for no limit (then it needs ``background``)."""
    namespace: str = "default"
    """Where the pods live."""
    pod: PodShape = PodShape()
    """What they look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier(Operation):
    """Wait until the pods that this workload asked for have come so far."""

    op: Literal["barrier"] = "barrier"
    stage: Literal["scheduled", "ready", "succeeded", "gone"] = "scheduled"
    """What to wait for."""
    namespaces: tuple[str, ...] = ()
    """Only these; empty for all."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Only pods with these labels."""
    count: Count = 0
    """So many pods; 0 for as many as the workload has asked for by then."""
    timeout_seconds: Positive = 86_400.0
    """After this the barrier opens, and says so in the facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep(Operation):
    """Wait."""

    op: Literal["sleep"] = "sleep"
    duration_seconds: Annotated[float, Ge(0)]
    """How long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCollectingMetrics(Operation):
    """The measured part begins."""

    op: Literal["startCollectingMetrics"] = "startCollectingMetrics"
    name: str = "measured"
    """Name of the part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopCollectingMetrics(Operation):
    """The measured part ends."""

    op: Literal["stopCollectingMetrics"] = "stopCollectingMetrics"
    name: str = "measured"
    """Name of the part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(Operation):
    """Cordon nodes and evict their pods, as ``kubectl drain`` does."""

    op: Literal["drain"] = "drain"
    nodes: tuple[str, ...]
    """Names."""
    retry_seconds: Positive = 5.0
    """Pause after an eviction that a disruption budget refused. **Source:** kubectl drain."""
    timeout_seconds: Positive = 3600.0
    """Give up after this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncordon(Operation):
    """Make nodes schedulable again."""

    op: Literal["uncordon"] = "uncordon"
    nodes: tuple[str, ...]
    """Names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Operation):
    """Break something, and mend it after a while."""

    op: Literal["fault"] = "fault"
    what: Literal[
        "killMember", "killApiserver", "restartApiserver", "killNode", "killScheduler",
        "killControllerManager", "slowDisk", "fillDisk", "restartKubelets",
    ]  # fmt: skip
    """What happens."""
    target: str = ""
    """Node name, or index of the member or replica; ``leader`` for the leading one."""
    after_seconds: Annotated[float, Ge(0)] = 0.0
    """Wait before it happens."""
    duration_seconds: Annotated[float, Ge(0)] = 0.0
    """Mended after this; 0 for never (restarts: as long as a restart takes)."""
    factor: Positive = 10.0
    """slowDisk: how many times slower."""
    delay_seconds: Annotated[float, Ge(0)] = 0.0
    """slowDisk: added to every sync."""
    graceful: bool = False
    """SIGTERM instead of SIGKILL, where there is a difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(Operation):
    """API requests of one kind, by closed-loop clients or at a rate."""

    op: Literal["load"] = "load"
    verb: Literal["get", "list", "create", "update", "patch", "delete", "watch"] = "get"
    """What is requested. watch: each client holds one watch."""
    resource: str = "configmaps"
    """Plural name."""
    namespace: str = "default"
    """Namespace of the objects; empty lists all."""
    clients: Annotated[int, Interval(ge=1, le=100_000)] = 1
    """Clients, each with a connection of its own."""
    rate: Rate = Rate()
    """With a rate, requests arrive at it, over the clients in turn; without, each client sends the
    next one when the last is answered."""
    think_seconds: Annotated[float, Ge(0)] = 0.0
    """Closed loop: mean pause of a client (exponential)."""
    duration_seconds: Positive = 60.0
    """How long."""
    object_count: Annotated[int, Ge(1)] = 100
    """Objects that get, update, patch and delete choose from; they are created before."""
    object_bytes: Annotated[int, Gt(0)] = 1024
    """Size of objects that are created."""
    list_mode: Literal["consistent", "cache", "exact"] = "consistent"
    """get and list: linearizable, from the watch cache, or from etcd."""
    list_limit: Count = 0
    """list: page size; 0 for everything at once."""
    user: str = "load"
    """Identity; part of the flow."""
    user_class: Literal["admin", "masters", "serviceAccount"] = "admin"
    """admin: kubeadm's administrators (global-default). masters: exempt from fairness.
    serviceAccount: workload-low."""
    client_qps: Annotated[float, Ge(0)] = 0.0
    """Client-side limit of each client; 0 for none."""
    client_burst: Count = 0
    """Burst of that limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe(Operation):
    """Write down from how many nodes something is reached: once, or again and again."""

    op: Literal["probe"] = "probe"
    target: Literal["node", "pod", "service"]
    """What is to be reached: the pods of a node, one pod, or a Service."""
    name: str
    """Its name."""
    namespace: str = "default"
    """Namespace of a pod or Service."""
    from_node: str = ""
    """Only from pods of this node; empty for all nodes that run."""
    from_pod: str = ""
    """Only from this pod, NAMESPACE/NAME or a name in ``namespace``."""
    interval_seconds: Annotated[float, Ge(0)] = 0.0
    """Time between two looks; 0 for one look only."""
    duration_seconds: Annotated[float, Ge(0)] = 0.0
    """How long to go on looking."""

    @property
    def target_text(self) -> str:
        """The target in one word: service/default/web."""
        place = "" if self.target == "node" else f"{self.namespace}/"
        return f"{self.target}/{place}{self.name}"

    @property
    def source_text(self) -> str:
        """The source in one word, empty for all nodes."""
        if self.from_pod:
            place = "" if "/" in self.from_pod else f"{self.namespace}/"
            return f"pod/{place}{self.from_pod}"
        return f"node/{self.from_node}" if self.from_node else ""


OPERATION_TYPES: Mapping[str, type[Operation]] = {
    "createNodes": CreateNodes,
    "createNamespaces": CreateNamespaces,
    "createPods": CreatePods,
    "createPodSets": CreatePodSets,
    "createDeployments": CreateDeployments,
    "createServices": CreateServices,
    "createObjects": CreateObjects,
    "applyManifests": ApplyManifests,
    "replayTrace": ReplayTrace,
    "deletePods": DeletePods,
    "deleteObjects": DeleteObjects,
    "scale": Scale,
    "rolloutRestart": RolloutRestart,
    "churn": Churn,
    "barrier": Barrier,
    "sleep": Sleep,
    "startCollectingMetrics": StartCollectingMetrics,
    "stopCollectingMetrics": StopCollectingMetrics,
    "drain": Drain,
    "uncordon": Uncordon,
    "fault": Fault,
    "load": Load,
    "probe": Probe,
}
"""Word in files → dataclass."""


def expected_pod_count(operation: Operation) -> int:
    """Return how many pods an operation alone will ask for (files are not opened)."""
    if isinstance(operation, CreatePods):
        return operation.count
    if isinstance(operation, CreatePodSets):
        return operation.count * operation.count_per_set
    if isinstance(operation, CreateDeployments):
        return operation.count * operation.replicas
    return 0
