"""Turns pods and pod templates into interned shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.scheduling.affinity_terms import PodAffinity, compile_pod_affinity
from sim.scheduling.quantities import is_extended_resource, is_scalar_resource
from sim.scheduling.requests import Requests, compute_requests
from sim.scheduling.shape import (
    Labels,
    NodeConstraints,
    PodShape,
    ResourceDemand,
    compile_host_ports,
    compile_images,
    compile_node_constraints,
    compile_spread_constraint,
)
from sim.scheduling.tallies import CarriedTerm

if TYPE_CHECKING:
    from sim.scheduling.state import ClusterState

_IDENTITIES_MAX = 8192
_CONSTRAINT_FIELDS = ("affinity", "nodeSelector", "tolerations", "topologySpreadConstraints")


class ShapeCompiler:
    """Interns shapes and their parts for one :class:`ClusterState`."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._by_identity: dict[tuple[int, str | None], tuple[Mapping[str, Any], PodShape]] = {}
        self._shapes: dict[tuple[Any, ...], PodShape] = {}
        self._labels: dict[tuple[str, tuple[tuple[str, str], ...]], Labels] = {}
        self._nodes: dict[NodeConstraints, int] = {}
        self._demands: dict[Requests, ResourceDemand] = {}
        self._images: dict[tuple[str, ...], tuple[str, ...]] = {}

    def labels(self) -> list[Labels]:
        """Every distinct pair of namespace and labels seen."""
        return list(self._labels.values())

    def shape(self, pod: Mapping[str, Any], namespace: str | None) -> PodShape:
        """See :meth:`ClusterState.pod_shape`."""
        identity = (id(pod), namespace)
        known = self._by_identity.get(identity)
        if known is not None and known[0] is pod:
            return known[1]
        shape = self._compile(pod, namespace)
        if len(self._by_identity) >= _IDENTITIES_MAX:
            self._by_identity.clear()
        self._by_identity[identity] = (pod, shape)
        return shape

    def _compile(self, pod: Mapping[str, Any], namespace: str | None) -> PodShape:
        metadata = pod.get("metadata") or {}
        spec = pod["spec"]
        space = namespace or metadata.get("namespace") or "default"
        labels = self._intern_labels(space, metadata.get("labels") or {})
        requests = compute_requests(spec, pod.get("status"))
        images = compile_images(spec)
        ports = compile_host_ports(spec)
        owner = _controller(metadata)
        constraints = {f: spec[f] for f in _CONSTRAINT_FIELDS if spec.get(f)}
        claims = _claims(spec, metadata.get("name", ""))
        key = (
            labels.index,
            requests,
            images,
            ports,
            owner,
            spec.get("priority") or 0,
            spec.get("preemptionPolicy") or "",
            spec.get("schedulerName") or "",
            json.dumps(constraints, sort_keys=True) if constraints else "",
            spec.get("nodeSelector") is None,
            claims,
        )
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._build(key, spec, labels, requests)
            self._shapes[key] = shape
        return shape

    def _intern_labels(self, namespace: str, labels: Mapping[str, str]) -> Labels:
        key = (namespace, tuple(sorted(labels.items())))
        known = self._labels.get(key)
        if known is None:
            known = self._labels[key] = Labels(len(self._labels), namespace, labels)
            self._state.new_labels(known)
        return known

    def _build(
        self, key: tuple[Any, ...], spec: Mapping[str, Any], labels: Labels, requests: Requests
    ) -> PodShape:
        shape = PodShape()
        shape.index = len(self._shapes)
        shape.labels = labels
        shape.node = compile_node_constraints(spec)
        shape.node_index = self._nodes.setdefault(shape.node, len(self._nodes))
        shape.demand = self._demand(requests)
        shape.images = self._images.setdefault(key[2], key[2])
        shape.host_ports = key[3]
        shape.owner = key[4]
        shape.priority = int(key[5])
        shape.preemption_policy = key[6] or "PreemptLowerPriority"
        shape.scheduler_name = key[7]
        shape.claims = key[10]
        shape.affinity = compile_pod_affinity(spec.get("affinity"), labels.namespace, labels.labels)
        shape.carried = self._carried(shape.affinity)
        given = spec.get("topologySpreadConstraints") or ()
        shape.spread_given = bool(given)
        shape.spread = tuple(compile_spread_constraint(c, labels.labels) for c in given)
        shape.plans = {}
        return shape

    def _demand(self, requests: Requests) -> ResourceDemand:
        known = self._demands.get(requests)
        if known is None:
            known = self._demands[requests] = _build_demand(
                self._state, len(self._demands), requests
            )
        return known

    def _carried(self, affinity: PodAffinity) -> tuple[CarriedTerm, ...]:
        carried = self._state.carried_term
        found = [carried(t, "anti", 0) for t in affinity.required_anti]
        found.extend(carried(t, "hard", 0) for t in affinity.required)
        found.extend(carried(t, "soft", w) for t, w in affinity.preferred)
        return tuple(found)


def _build_demand(state: ClusterState, index: int, requests: Requests) -> ResourceDemand:
    fixed = {"cpu": 0, "memory": 1, "ephemeral-storage": 2}
    amounts = dict(requests.request)
    columns = [(column, amounts[name], name) for name, column in fixed.items() if amounts.get(name)]
    columns.extend(
        (state.column(name), amount, name)
        for name, amount in requests.request
        if name not in fixed and amount and is_scalar_resource(name)
    )
    additions = [(column, amount) for column, amount, _ in columns]
    additions.append((3, 1))
    additions.append((4, requests.nonzero_cpu_millicores))
    additions.append((5, requests.nonzero_memory_bytes))
    for name, _ in requests.score_request:
        if is_extended_resource(name):
            state.column(name)
    return ResourceDemand(index, requests, tuple(additions), tuple(columns))


def _controller(metadata: Mapping[str, Any]) -> tuple[str, str, str] | None:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return (owner.get("apiVersion", ""), owner.get("kind", ""), owner.get("name", ""))
    return None


def _claims(spec: Mapping[str, Any], pod_name: str) -> tuple[tuple[str, ...], ...]:
    """Volumes that scheduling looks at, as tuples that start with their kind."""
    found: list[tuple[str, ...]] = []
    for volume in spec.get("volumes") or ():
        claim = volume.get("persistentVolumeClaim")
        if claim:
            found.append(("claim", claim["claimName"]))
        elif volume.get("ephemeral"):
            found.append(("claim", f"{pod_name}-{volume['name']}"))
        else:
            found.extend(_exclusive_disk(volume))
    return tuple(found)


def _exclusive_disk(volume: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Inline disks that conflict when used twice: ``(kind, identity, read-only)``.

    **Source:** ``volumerestrictions/volume_restrictions.go`` ``isVolumeConflict``.
    """
    disks = (
        ("gcePersistentDisk", "pdName"),
        ("awsElasticBlockStore", "volumeID"),
        ("iscsi", "iqn"),
        ("rbd", "image"),
    )
    found: list[tuple[str, ...]] = []
    for kind, identity in disks:
        disk = volume.get(kind)
        if disk:
            name = str(disk.get(identity) or "")
            if kind == "rbd":
                pool = disk.get("pool") or "rbd"
                for monitor in disk.get("monitors") or disk.get("cephMonitors") or ():
                    found.append(
                        ("disk", kind, f"{monitor}/{pool}/{name}", str(bool(disk.get("readOnly"))))
                    )
                continue
            read_only = bool(disk.get("readOnly")) and kind != "awsElasticBlockStore"
            found.append(("disk", kind, name, str(read_only)))
    return found
