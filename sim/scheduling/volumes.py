"""VolumeRestrictions, NodeVolumeLimits, VolumeBinding and VolumeZone, as far as objects are given.

Claims are resolved through the PersistentVolumeClaim, PersistentVolume, StorageClass and CSINode
objects in the state. Each unbound claim is matched by itself: two claims of one pod competing for
the same single volume are not told apart, and storage capacity tracking is not modelled.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/plugins/{volumerestrictions,nodevolumelimits,
volumebinding,volumezone}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.scheduling.labels import (
    compile_label_selector,
    compile_node_selector,
    selector_matches,
)
from sim.scheduling.plan import Plan, PreFilterRejection
from sim.scheduling.quantities import parse_nano

if TYPE_CHECKING:
    from sim.scheduling.state import ClusterState

BoolArray = NDArray[np.bool_]
VOLUME_FILTERS = frozenset(
    {"VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone"}
)

REASON_ONE_POD = (
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
)
REASON_DISK = "node(s) had no available disk"
REASON_LIMIT = "node(s) exceed max volume count"
REASON_NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
REASON_BIND = "node(s) didn't find available persistent volumes to bind"
REASON_ZONE = "node(s) had no available volume zone"
REASON_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"

_UNRESOLVABLE = "UnschedulableAndUnresolvable"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"
_TOPOLOGY_LABELS = (
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)
_SELECTED_CLASS = "volume.beta.kubernetes.io/storage-class"


def _claim_names(plan: Plan) -> list[str]:
    return [c[1] for c in plan.claims if c[0] == "claim"]


def volume_pre_filter(plan: Plan) -> PreFilterRejection | None:
    """Rejection for missing, deleted or unbound immediate claims; None when there is none."""
    state, namespace = plan.core.state, plan.shape.namespace
    enabled = plan.core.profile.plugins["preFilter"]
    names = _claim_names(plan)
    for name in names:
        claim = state.objects.get("PersistentVolumeClaim", namespace, name)
        reason = None
        if claim is None:
            reason = f'persistentvolumeclaim "{name}" not found'
        elif claim["metadata"].get("deletionTimestamp"):
            reason = f'persistentvolumeclaim "{name}" is being deleted'
        if reason is not None:
            order = ("VolumeRestrictions", "VolumeBinding") if claim is None else ("VolumeBinding",)
            for plugin in order:
                if plugin in enabled:
                    return PreFilterRejection(plugin, _UNRESOLVABLE, (reason,))
    if "VolumeBinding" in enabled:
        for name in names:
            claim = state.objects.get("PersistentVolumeClaim", namespace, name)
            if claim is not None and not _bound(claim) and not _delayed(state, claim):
                return PreFilterRejection("VolumeBinding", _UNRESOLVABLE, (REASON_IMMEDIATE,))
    return None


def _bound(claim: Mapping[str, Any]) -> bool:
    return bool((claim.get("spec") or {}).get("volumeName"))


def _class_name(claim: Mapping[str, Any]) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    if _SELECTED_CLASS in annotations:
        return str(annotations[_SELECTED_CLASS])
    return (claim.get("spec") or {}).get("storageClassName") or ""


def _delayed(state: ClusterState, claim: Mapping[str, Any]) -> bool:
    storage_class = state.objects.get("StorageClass", "", _class_name(claim))
    return (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def volume_filter(plan: Plan, rows: NDArray[np.int64], mask: BoolArray) -> BoolArray:
    """Nodes (by row) that pass every volume plugin the profile enables."""
    for plugin in plan.core.volume_filters:
        for _, rejected in _rejections(plan, plugin):
            mask = mask & ~rejected[rows]
    return mask


def volume_statuses(
    plan: Plan, plugin: str, rows: NDArray[np.int64]
) -> list[tuple[str, str, str] | None]:
    """``(plugin, code, reason)`` per node row of one volume plugin, None where it passes."""
    found: list[tuple[str, str, str] | None] = [None] * len(rows)
    for (code, reason), rejected in _rejections(plan, plugin):
        for i in rejected[rows].nonzero()[0].tolist():
            if found[i] is None:
                found[i] = (plugin, code, reason)
    return found


def _rejections(plan: Plan, plugin: str) -> list[tuple[tuple[str, str], BoolArray]]:
    if plugin == "VolumeRestrictions":
        return _restrictions(plan)
    if plugin == "NodeVolumeLimits":
        return [(("Unschedulable", REASON_LIMIT), _over_limit(plan))]
    claims = _resolved(plan)
    if plugin == "VolumeZone":
        return [((_UNRESOLVABLE, REASON_ZONE), _wrong_zone(plan, claims))]
    return _binding(plan, claims)


def _resolved(plan: Plan) -> list[Mapping[str, Any]]:
    state, namespace = plan.core.state, plan.shape.namespace
    found = (
        state.objects.get("PersistentVolumeClaim", namespace, name) for name in _claim_names(plan)
    )
    return [claim for claim in found if claim is not None]


def _restrictions(plan: Plan) -> list[tuple[tuple[str, str], BoolArray]]:
    state, namespace = plan.core.state, plan.shape.namespace
    disk = np.zeros(state.capacity, np.bool_)
    one_pod = np.zeros(state.capacity, np.bool_)
    for claim in plan.claims:
        if claim[0] == "disk":
            for other, rows in state.volume_rows.items():
                same = other[:3] == claim[:3]
                read_only = claim[3] == "True" and other[-1] == "True"
                if same and not read_only:
                    disk[list(rows)] = True
            continue
        document = state.objects.get("PersistentVolumeClaim", namespace, claim[1])
        modes = ((document or {}).get("spec") or {}).get("accessModes") or ()
        if "ReadWriteOncePod" in modes:
            rows = state.volume_rows.get(("claim", namespace, claim[1]), {})
            if rows:
                one_pod[list(rows)] = True
    return [
        (("Unschedulable", REASON_DISK), disk),
        (("Unschedulable", REASON_ONE_POD), one_pod),
    ]


def _driver(state: ClusterState, claim: Mapping[str, Any]) -> str | None:
    volume = state.objects.get("PersistentVolume", "", (claim["spec"].get("volumeName")) or "")
    if volume is not None:
        driver = (volume["spec"].get("csi") or {}).get("driver")
        return str(driver) if driver else None
    storage_class = state.objects.get("StorageClass", "", _class_name(claim))
    return None if storage_class is None else str(storage_class.get("provisioner") or "") or None


def _over_limit(plan: Plan) -> BoolArray:
    state, namespace = plan.core.state, plan.shape.namespace
    over = np.zeros(state.capacity, np.bool_)
    limits = state.objects.by_kind["CSINode"]
    if not limits:
        return over
    wanted: dict[str, set[str]] = {}
    for claim in _resolved(plan):
        driver = _driver(state, claim)
        if driver:
            wanted.setdefault(driver, set()).add(claim["metadata"]["name"])
    attached: dict[tuple[str, int], int] = {}
    for key, rows in state.volume_rows.items():
        document = (
            state.objects.get("PersistentVolumeClaim", key[1], key[2])
            if key[0] == "claim"
            else None
        )
        driver = _driver(state, document) if document is not None else None
        for row in rows if driver in wanted else ():
            own = key[1] == namespace and key[2] in wanted[str(driver)]
            if not own:
                attached[str(driver), row] = attached.get((str(driver), row), 0) + 1
    for document in limits.values():
        node = state.nodes.get(document["metadata"]["name"])
        for driver_entry in (document.get("spec") or {}).get("drivers") or ():
            count = (driver_entry.get("allocatable") or {}).get("count")
            needed = len(wanted.get(driver_entry["name"], ()))
            if node is not None and count is not None and needed:
                used = attached.get((driver_entry["name"], node.row), 0)
                over[node.row] |= used + needed > int(count)
    return over


def _wrong_zone(plan: Plan, claims: list[Mapping[str, Any]]) -> BoolArray:
    state = plan.core.state
    wrong = np.zeros(state.capacity, np.bool_)
    constrained = np.zeros(state.capacity, np.bool_)
    for key in _TOPOLOGY_LABELS:
        constrained |= state.label_column(key).ids != 0
    for claim in claims:
        volume = state.objects.get("PersistentVolume", "", claim["spec"].get("volumeName") or "")
        labels = (volume or {}).get("metadata", {}).get("labels") or {}
        for key in _TOPOLOGY_LABELS:
            if key in labels:
                column = state.label_column(key)
                allowed = {column.index.get(v, -1) for v in str(labels[key]).split("__")}
                inside = np.isin(column.ids, sorted(allowed))
                wrong |= constrained & ~inside
    return wrong


def _binding(
    plan: Plan, claims: list[Mapping[str, Any]]
) -> list[tuple[tuple[str, str], BoolArray]]:
    state = plan.core.state
    conflict = np.zeros(state.capacity, np.bool_)
    unbindable = np.zeros(state.capacity, np.bool_)
    for claim in claims:
        if _bound(claim):
            name = claim["spec"]["volumeName"]
            volume = state.objects.get("PersistentVolume", "", name)
            conflict |= ~_volume_nodes(state, volume) if volume is not None else state.present
        else:
            unbindable |= ~_claim_nodes(state, claim)
    return [
        ((_UNRESOLVABLE, REASON_NODE_CONFLICT), conflict),
        ((_UNRESOLVABLE, REASON_BIND), unbindable),
    ]


def _volume_nodes(state: ClusterState, volume: Mapping[str, Any]) -> BoolArray:
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return state.node_selector_mask((), compile_node_selector(required))


def _claim_nodes(state: ClusterState, claim: Mapping[str, Any]) -> BoolArray:
    """Nodes where an unbound claim finds a volume or may have one provisioned."""
    mask = np.zeros(state.capacity, np.bool_)
    for volume in state.objects.by_kind["PersistentVolume"].values():
        if _volume_matches(volume, claim):
            mask |= _volume_nodes(state, volume)
    storage_class = state.objects.get("StorageClass", "", _class_name(claim))
    if storage_class is None or storage_class.get("provisioner") == _NO_PROVISIONER:
        return mask
    topologies = storage_class.get("allowedTopologies")
    if not topologies:
        return state.present.copy()
    terms = [
        {
            "matchExpressions": [
                {"key": e["key"], "operator": "In", "values": e["values"]}
                for e in t.get("matchLabelExpressions") or ()
            ]
        }
        for t in topologies
    ]
    return mask | state.node_selector_mask((), compile_node_selector({"nodeSelectorTerms": terms}))


def _volume_matches(volume: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    spec, wanted = volume["spec"], claim["spec"]
    reference = spec.get("claimRef")
    if reference is not None:
        same = (reference.get("namespace"), reference.get("name")) == (
            claim["metadata"].get("namespace"),
            claim["metadata"]["name"],
        )
        if not same:
            return False
    elif ((volume.get("status") or {}).get("phase") or "Available") != "Available":
        return False
    if (spec.get("storageClassName") or "") != _class_name(claim):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    selector = wanted.get("selector")
    labels = volume["metadata"].get("labels") or {}
    if selector is not None and not selector_matches(compile_label_selector(selector), labels):
        return False
    requests = (wanted.get("resources") or {}).get("requests") or {}
    capacity = (spec.get("capacity") or {}).get("storage") or 0
    return parse_nano(requests.get("storage") or 0) <= parse_nano(capacity)
