"""What must hold in every cluster at every time, checked from outside at no simulated cost.

A broken invariant means that a component is wrong, not that the modelled cluster is overloaded:
the run is marked invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from sim.base.api_object import APIObject, Key
from sim.base.objects import Node, Pod
from sim.base.quantity import QuantityError
from sim.components.etcd import Etcd
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.workload.pod_templates import amount

_SHOWN_COUNT: Final = 3


class _Load:
    """What the pods of one node ask for together."""

    __slots__ = ("memory_bytes", "millicores", "pod_count")

    def __init__(self) -> None:
        self.millicores = 0
        self.memory_bytes = 0
        self.pod_count = 0


class InvariantMonitor:
    """Looks at the store and the fact tables, now and then and at the end."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        etcd: Etcd,
        facts_revision: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._facts_revision = facts_revision
        self._recorder = recorder
        self._etcd = etcd
        self._revision = 0
        self._problems: dict[str, None] = {}
        self._pods: list[APIObject] = []
        """The pods looked at last; while they are the same, nothing about them is."""
        self._nodes: list[APIObject] = []
        """The nodes looked at last: large enough for these pods, or reported."""
        self._loads: dict[str, _Load] = {}
        """Node → what these pods ask of it, and below by (node, extended resource)."""
        self._extended: dict[tuple[str, str], int] = {}
        self.check_count = 0

    def observe(self) -> None:
        """Check the present state; problems are kept for `check`."""
        self.check_count += 1
        revision = self._etcd.revision
        if revision < self._revision:
            self._add(f"etcd: revision went back from {self._revision} to {revision}")
        self._revision = revision
        objects = list(self._etcd.objects("pods").values())
        nodes = self._etcd.objects("nodes")
        if objects != self._pods:
            self._pods = objects
            self._nodes = []
            pods = [item for item in objects if isinstance(item, Pod)]
            self._revisions(pods, revision)
            self._addresses(pods)
            self._add_up(pods)
        self._capacity(nodes)

    def _add(self, problem: str) -> None:
        self._problems[problem] = None

    def check(self) -> list[str]:
        """Check the present state and the fact tables; return all problems found so far."""
        self.observe()
        self._conservation()
        return list(self._problems)

    def _revisions(self, pods: list[Pod], revision: int) -> None:
        late = [pod.name for pod in pods if not 0 < pod.resource_version <= revision]
        if late:
            self._add(f"revisions: {len(late)} pods have one that etcd never gave: {_some(late)}")

    def _add_up(self, pods: list[Pod]) -> None:
        self._loads = loads = dict[str, _Load]()
        self._extended = extended = dict[tuple[str, str], int]()
        for pod in pods:
            if not pod.node_name or pod.is_terminal:
                continue
            template = pod.template
            load = loads.get(pod.node_name)
            if load is None:
                load = loads[pod.node_name] = _Load()
            load.millicores += template.cpu_requested_millicores
            load.memory_bytes += template.memory_requested_bytes
            load.pod_count += 1
            for name, value in template.extended_requested.items():
                key = (pod.node_name, name)
                extended[key] = extended.get(key, 0) + value

    def _capacity(self, nodes: Mapping[Key, APIObject]) -> None:
        known = self._nodes
        self._nodes = present = list(nodes.values())
        same_places = len(known) == len(present)
        for place, node in enumerate(present):
            if not (same_places and node is known[place]):
                self._hold(node)
        for (name, resource), asked in self._extended.items():
            owner = nodes.get(("", name))
            if isinstance(owner, Node) and asked > _offered(owner, resource):
                self._add(f"capacity: node {name} holds {asked} of {resource}")

    def _hold(self, node: APIObject) -> None:
        """Check that a node is large enough for its pods."""
        load = self._loads.get(node.name)
        if load is None or not isinstance(node, Node):
            return
        if (
            load.millicores <= node.cpu_allocatable_millicores
            and load.memory_bytes <= node.memory_allocatable_bytes
            and load.pod_count <= node.pods_allocatable_count
        ):
            return
        for what, asked, offered in (
            ("millicores", load.millicores, node.cpu_allocatable_millicores),
            ("bytes of memory", load.memory_bytes, node.memory_allocatable_bytes),
            ("pods", load.pod_count, node.pods_allocatable_count),
        ):
            if asked > offered:
                self._add(f"capacity: node {node.name} holds {asked} {what} of {offered}")

    def _addresses(self, pods: list[Pod]) -> None:
        owner: dict[str, Pod] = {}
        for pod in pods:
            if not pod.pod_ip or pod.template.host_network or pod.is_terminal:
                continue
            other = owner.setdefault(pod.pod_ip, pod)
            if other is not pod:
                self._add(
                    f"addresses: {pod.pod_ip} belongs to {other.namespace}/{other.name} and to"
                    f" {pod.namespace}/{pod.name}"
                )

    def _conservation(self) -> None:
        """Pods created less pods deleted are the pods in the store; each counted once."""
        rows = self._recorder["pods"]
        transitions = self._recorder["pod_transitions"]
        if not rows.enabled or not transitions.enabled:
            return
        created = rows.column("pod_uid")
        if len(np.unique(created)) != len(created):
            self._add("pods: the same uid was created twice")
        gone = transitions.column("pod_uid")[transitions.mask_equal("transition", "deleted")]
        if len(np.unique(gone)) != len(gone):
            self._add("pods: the same pod was deleted twice")
        told = self._facts_revision()
        pods = self._etcd.objects("pods").values()
        alive = {item.uid: item.resource_version for item in pods}
        expected = set(np.setdiff1d(created, gone).tolist())
        strange = [
            uid for uid, revision in alive.items() if uid not in expected and revision <= told
        ]
        if strange:
            self._add(f"pods: {len(strange)} in the store were never created")
        lost = expected - alive.keys()
        if lost and told == self._etcd.revision:  # else a deletion may not be told yet
            self._add(f"pods: {len(lost)} were created, never deleted, and are not in the store")


def _offered(node: Node, resource: str) -> int:
    status = (node.manifest or {}).get("status") or {}
    allocatable = status.get("allocatable") or status.get("capacity") or {}
    try:
        return amount(resource, allocatable.get(resource, 0))
    except QuantityError:
        return 0


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN_COUNT])
    return shown + (" …" if len(names) > _SHOWN_COUNT else "")
