"""The five cluster families with which the real scheduler's cycle was timed, rebuilt.

Nodes of 32 CPU, 128 GiB and 110 pods in 3 zones; two bound pods per node and incoming pods of the
same family, each requesting 100m / 256Mi and labelled with one of 50 apps.

**Source:** ``scheduler_core_speed.md`` of the measured data beside the checkout. Where it leaves a
detail open (which nodes are tainted, pool and generation labels) the choice here is ``assumed``.
"""

from __future__ import annotations

from typing import Any

from sim.scheduling.configuration import SchedulerConfiguration
from sim.scheduling.core import SchedulingCore
from sim.scheduling.shape import PodShape
from sim.scheduling.state import ClusterState

FAMILIES = (
    "basic",
    "taints_nodeaffinity",
    "spread",
    "preferred_antiaffinity",
    "required_antiaffinity",
)
APP_COUNT = 50
EXISTING_PODS_PER_NODE_COUNT = 2

_TOLERATIONS = [
    {
        "key": f"node.kubernetes.io/{reason}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for reason in ("not-ready", "unreachable")
]


def node(index: int, family: str) -> dict[str, Any]:
    """One node of a family, as a v1 Node."""
    name = f"node-{index:06d}"
    labels = {
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": f"zone-{index % 3}",
        "topology.kubernetes.io/region": "region-1",
    }
    spec: dict[str, Any] = {}
    if family == "taints_nodeaffinity":
        labels["pool"] = ("general", "compute", "memory", "spot")[index // 3 % 4]
        labels["generation"] = str(index // 12 % 10)
        if index % 10 == 3:
            spec["taints"] = [{"key": "dedicated", "value": "team", "effect": "NoSchedule"}]
        elif index % 10 == 7:
            spec["taints"] = [{"key": "maintenance", "effect": "PreferNoSchedule"}]
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110"}},
    }


def pod(app_index: int, family: str) -> dict[str, Any]:
    """The pod of one app, as a v1 Pod."""
    app = f"app-{app_index % APP_COUNT}"
    selector = {"matchLabels": {"app": app}}
    term = {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
    spec: dict[str, Any] = {
        "containers": [
            {
                "name": "main",
                "image": "registry.example/pause:1",
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            }
        ],
        "tolerations": list(_TOLERATIONS),
        "schedulerName": "default-scheduler",
    }
    if family == "taints_nodeaffinity":
        spec["tolerations"].append({"key": "other", "operator": "Exists", "effect": "NoSchedule"})
        spec["affinity"] = {"nodeAffinity": _node_affinity()}
    elif family == "spread":
        spec["topologySpreadConstraints"] = [
            {"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
             "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector},
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
             "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector},
        ]  # fmt: skip
    elif family == "preferred_antiaffinity":
        preferred = [{"weight": 100, "podAffinityTerm": term}]
        spec["affinity"] = {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
        }
    elif family == "required_antiaffinity":
        spec["affinity"] = {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        }
    return {"metadata": {"namespace": "default", "labels": {"app": app}}, "spec": spec}


def _node_affinity() -> dict[str, Any]:
    return {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {
                            "key": "pool",
                            "operator": "In",
                            "values": ["general", "compute", "memory"],
                        },
                        {"key": "generation", "operator": "Gt", "values": ["0"]},
                    ]
                }
            ]
        },
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 10,
                "preference": {
                    "matchExpressions": [{"key": "pool", "operator": "In", "values": ["compute"]}]
                },
            }
        ],
    }


def build(
    node_count: int, family: str, percentage: int = 0
) -> tuple[ClusterState, SchedulingCore, list[PodShape]]:
    """State with bound pods, core, and the shapes of the 50 apps."""
    state = ClusterState()
    state.set_namespace("default", {"kubernetes.io/metadata.name": "default"})
    for index in range(node_count):
        state.add_node(node(index, family))
    shapes = [state.pod_shape(pod(i, family)) for i in range(APP_COUNT)]
    for index in range(node_count * EXISTING_PODS_PER_NODE_COUNT):
        where = f"node-{index % node_count:06d}"
        app = (index * 7 + index // node_count) % APP_COUNT
        state.add_pod(f"default/existing-{index}", shapes[app], where)
    profile = SchedulerConfiguration.from_dict({"percentageOfNodesToScore": percentage}).profiles[0]
    return state, SchedulingCore(state, profile), shapes


def place(
    state: ClusterState, core: SchedulingCore, shapes: list[PodShape], count: int, prefix: str
) -> int:
    """Schedule and assume ``count`` pods, shapes in turn; returns a checksum of the decisions."""
    checksum = 0
    rows = state.nodes
    for index in range(count):
        shape = shapes[index % len(shapes)]
        decision = core.schedule(shape)
        name = decision.node_name
        if name is None:
            checksum = (checksum * 1_000_003 + 1) % 2_147_483_647
            continue
        state.add_pod(f"{prefix}{index}", shape, name)
        checksum = (checksum * 1_000_003 + rows[name].row + 2) % 2_147_483_647
    return checksum
