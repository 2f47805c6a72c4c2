"""Names, order, weights and extension points of the default profile's plugins.

**Source:** Kubernetes v1.36 ``pkg/scheduler/apis/config/v1/default_plugins.go`` (order, weights),
``pkg/scheduler/framework/plugins/*`` (extension points each plugin implements).
"""

from __future__ import annotations

DEFAULT_MULTI_POINT: tuple[tuple[str, int], ...] = (
    ("SchedulingGates", 0),
    ("PrioritySort", 0),
    ("NodeUnschedulable", 0),
    ("NodeName", 0),
    ("TaintToleration", 3),
    ("NodeAffinity", 2),
    ("NodePorts", 0),
    ("NodeResourcesFit", 1),
    ("VolumeRestrictions", 0),
    ("NodeVolumeLimits", 0),
    ("VolumeBinding", 0),
    ("VolumeZone", 0),
    ("PodTopologySpread", 2),
    ("InterPodAffinity", 2),
    ("DynamicResources", 2),
    ("NodeDeclaredFeatures", 0),
    ("DefaultPreemption", 0),
    ("NodeResourcesBalancedAllocation", 1),
    ("ImageLocality", 1),
    ("DefaultBinder", 0),
)
"""Plugins of the default profile in order, with the weight of their score (0: upstream's 1)."""

PRE_ENQUEUE = frozenset({"SchedulingGates", "DefaultPreemption", "DynamicResources"})
QUEUE_SORT = frozenset({"PrioritySort"})
PRE_FILTER = frozenset(
    {
        "NodeAffinity",
        "NodePorts",
        "NodeResourcesFit",
        "VolumeRestrictions",
        "NodeVolumeLimits",
        "VolumeBinding",
        "VolumeZone",
        "PodTopologySpread",
        "InterPodAffinity",
        "DynamicResources",
        "NodeDeclaredFeatures",
    }
)
FILTER = PRE_FILTER | {"NodeUnschedulable", "NodeName", "TaintToleration"}
POST_FILTER = frozenset({"DynamicResources", "DefaultPreemption"})
PRE_SCORE = frozenset(
    {
        "TaintToleration",
        "NodeAffinity",
        "NodeResourcesFit",
        "VolumeBinding",
        "PodTopologySpread",
        "InterPodAffinity",
        "NodeResourcesBalancedAllocation",
        "ImageLocality",
    }
)
SCORE = PRE_SCORE | {"DynamicResources"}
RESERVE = frozenset({"VolumeBinding", "DynamicResources"})
PERMIT: frozenset[str] = frozenset()
PRE_BIND = frozenset({"VolumeBinding", "DynamicResources"})
BIND = frozenset({"DefaultBinder"})
POST_BIND: frozenset[str] = frozenset()

EXTENSION_POINTS: dict[str, frozenset[str]] = {
    "preEnqueue": PRE_ENQUEUE,
    "queueSort": QUEUE_SORT,
    "preFilter": PRE_FILTER,
    "filter": FILTER,
    "postFilter": POST_FILTER,
    "preScore": PRE_SCORE,
    "score": SCORE,
    "reserve": RESERVE,
    "permit": PERMIT,
    "preBind": PRE_BIND,
    "bind": BIND,
    "postBind": POST_BIND,
}
"""Plugins able to serve each extension point, by its name in KubeSchedulerConfiguration."""

KNOWN_PLUGINS: tuple[str, ...] = tuple(name for name, _ in DEFAULT_MULTI_POINT)

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "DefaultPreemption": ("minCandidateNodesPercentage", "minCandidateNodesAbsolute"),
    "DynamicResources": ("filterTimeout", "bindingTimeout"),
    "InterPodAffinity": ("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"),
    "NodeAffinity": ("addedAffinity",),
    "NodeResourcesBalancedAllocation": ("resources",),
    "NodeResourcesFit": ("ignoredResources", "ignoredResourceGroups", "scoringStrategy"),
    "PodTopologySpread": ("defaultConstraints", "defaultingType"),
    "VolumeBinding": ("bindTimeoutSeconds", "shape"),
}
"""Argument names of ``pluginConfig[].args`` per plugin that takes any."""
