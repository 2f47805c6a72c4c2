"""What the scheduler knows of the cluster: nodes, bound pods and other objects.

Topology counts are kept by :mod:`sim.scheduling.tallies`; a bind or unbind costs a few additions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sim.scheduling.affinity_terms import AffinityTerm
from sim.scheduling.match_index import MatchIndex, pairs_of
from sim.scheduling.nodes import LOG_ENTRIES_MAX, Node, NodeTable, Pod
from sim.scheduling.objects import ObjectStore
from sim.scheduling.shape import Labels, PodShape
from sim.scheduling.shape_compiler import ShapeCompiler
from sim.scheduling.tallies import (
    CarriedTerm,
    Eligibility,
    EligibilityKey,
    SpreadPredicate,
    Tally,
    TermsPredicate,
    tally_key,
)


class ClusterState(NodeTable):
    """Nodes, bound pods and the other objects that decisions depend on."""

    def __init__(self, resource_names: Iterable[str] = ()) -> None:
        super().__init__()
        self.pods: dict[str, Pod] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.objects = ObjectStore()
        self._tallies: dict[tuple[Any, ...], Tally] = {}
        self._tally_index: MatchIndex[Tally] = MatchIndex()
        self._carried_index: MatchIndex[CarriedTerm] = MatchIndex()
        self.match_epoch = 0
        self._eligibilities: dict[EligibilityKey, Eligibility] = {}
        self._carried_terms: dict[tuple[Any, ...], CarriedTerm] = {}
        self.nominated: dict[str, tuple[PodShape, Node]] = {}
        self.port_pods_count = 0
        self.volume_rows: dict[tuple[str, ...], dict[int, int]] = {}
        self._compiler = ShapeCompiler(self)
        for name in resource_names:
            self.column(name)

    # ------------------------------------------------------------------------------ pods
    def pod_shape(self, pod: Mapping[str, Any], *, namespace: str | None = None) -> PodShape:
        """The interned shape of a v1 Pod or pod template (a plain dict that must not change later).

        ``spec.nodeName`` is not part of it. Passing the same dict object again costs one dictionary
        look-up. Raises ``ValueError`` for a malformed quantity.
        """
        return self._compiler.shape(pod, namespace)

    def add_pod(
        self,
        key: str,
        shape: PodShape,
        node_name: str,
        *,
        terminating: bool = False,
        preempted: bool = False,
        start_time_seconds: float = 0.0,
    ) -> None:
        """Bind (or assume) a pod on a node, which need not be known yet.

        ``preempted``: it terminates because the scheduler preempted it. Raises ``KeyError`` when
        the key is taken.
        """
        if key in self.pods:
            raise KeyError(f"pod {key!r} is already bound")
        node = self.nodes.get(node_name)
        if node is None:
            node = self.new_node(node_name)
        pod = Pod(key, shape, node, start_time_seconds, terminating)
        if preempted:
            pod.preempted = True
        self.pods[key] = pod
        pods = node.pods
        pod.slot = len(pods)
        pods.append(pod)
        used = node.used
        for column, amount in shape.demand.additions:
            used[column] += amount
        if shape.host_ports:
            self._count_ports(node, shape, 1)
        if shape.claims:
            self._count_volumes(node, shape, 1)
        labels = shape.labels
        labels.pod_count += 1
        if node.present:
            for tally in labels.matching_tallies:
                tally.add(node, 1, terminating)
            for carried in shape.carried:
                carried.add(node, 1, terminating)
        log = self.log
        log.append(node.row)
        if len(log) > LOG_ENTRIES_MAX:
            self.changed(node)

    def remove_pod(self, key: str) -> Pod:
        """Unbind a pod. Raises ``KeyError`` if unknown."""
        pod = self.pods.pop(key)
        node = pod.node
        last = node.pods.pop()
        if last is not pod:
            node.pods[pod.slot] = last
            last.slot = pod.slot
        shape = pod.shape
        for column, amount in shape.demand.additions:
            node.used[column] -= amount
        if shape.host_ports:
            self._count_ports(node, shape, -1)
        if shape.claims:
            self._count_volumes(node, shape, -1)
        shape.labels.pod_count -= 1
        if node.present:
            self._count_pod(pod, -1)
        self.changed(node)
        if not node.present and not node.pods:
            self.drop(node)
        return pod

    def set_terminating(self, key: str, *, preempted: bool = False) -> None:
        """Note that a bound pod has a deletion timestamp. Raises ``KeyError`` if unknown."""
        pod = self.pods[key]
        if pod.node.present and not pod.terminating:
            self._count_pod(pod, -1)
            pod.terminating = True
            self._count_pod(pod, 1)
            self.changed(pod.node)
        pod.terminating = True
        pod.preempted = pod.preempted or preempted

    def nominate(self, key: str, shape: PodShape, node_name: str) -> None:
        """Reserve room on a node for a pod that preempted others there."""
        node = self.nodes.get(node_name)
        if node is not None:
            self.nominated[key] = (shape, node)

    def clear_nomination(self, key: str) -> None:
        """Drop a pod's nomination, if it has one."""
        self.nominated.pop(key, None)

    def _count_pod(self, pod: Pod, delta: int) -> None:
        labels = pod.shape.labels
        for tally in labels.matching_tallies:
            tally.add(pod.node, delta, pod.terminating)
        for carried in pod.shape.carried:
            carried.add(pod.node, delta, pod.terminating)

    def count_pods(self, node: Node, delta: int) -> None:
        """Count a node's pods into (1) or out of (-1) every tally."""
        for pod in node.pods:
            self._count_pod(pod, delta)

    def _count_ports(self, node: Node, shape: PodShape, delta: int) -> None:
        """Take or free host ports; as upstream a set, so freeing ignores other holders."""
        if node.ports is None:
            node.ports = {}
        self.port_pods_count += delta
        for ip, protocol, port in shape.host_ports:
            taken = node.ports.setdefault((protocol, port), set())
            if delta > 0:
                taken.add(ip)
            else:
                taken.discard(ip)
            if not taken:
                del node.ports[protocol, port]

    def _count_volumes(self, node: Node, shape: PodShape, delta: int) -> None:
        for claim in shape.claims:
            key = ("claim", shape.namespace, claim[1]) if claim[0] == "claim" else claim
            rows = self.volume_rows.setdefault(key, {})
            rows[node.row] = rows.get(node.row, 0) + delta
            if not rows[node.row]:
                del rows[node.row]

    # ------------------------------------------------------------------------------ tallies
    def new_labels(self, labels: Labels) -> None:
        """Connect labels seen for the first time with the selectors that match them."""
        self._tally_index.add_labels(labels)
        self._carried_index.add_labels(labels)
        self._connect(labels)

    def _connect(self, labels: Labels) -> None:
        labels.matching_tallies = [
            tally
            for tally in self._tally_index.items_for(labels)
            if tally.predicate is not None and tally.predicate.matches(self, labels)
        ]
        labels.matching_carried = [
            carried for carried in self._carried_index.items_for(labels) if carried.concerns(labels)
        ]

    def carried_term(self, term: AffinityTerm, kind: str, weight: int) -> CarriedTerm:
        """The count of pods that carry an affinity term."""
        key = (term, kind, weight)
        known = self._carried_terms.get(key)
        if known is None:
            known = self._carried_terms[key] = CarriedTerm(self, term, kind, weight)
            pairs = pairs_of(term.selector)
            self._carried_index.add(known, pairs)
            for labels in self._carried_index.labels_for(pairs):
                if known.concerns(labels):
                    labels.matching_carried.append(known)
        return known

    def tally(
        self,
        predicate: SpreadPredicate | TermsPredicate,
        key: str | None,
        eligibility: EligibilityKey | None = None,
    ) -> Tally:
        """The tally of a predicate per value of a label; counted from the pods when it is new."""
        identity = tally_key(predicate, key, eligibility)
        known = self._tallies.get(identity)
        if known is None:
            mask = None if eligibility is None else self.eligibility(eligibility)
            known = self._tallies[identity] = Tally(self, predicate, key, mask)
            self._count_existing(known, predicate)
        return known

    def _count_existing(self, tally: Tally, predicate: SpreadPredicate | TermsPredicate) -> None:
        pairs = predicate.pairs()
        self._tally_index.add(tally, pairs)
        matching: set[int] = set()
        for labels in self._tally_index.labels_for(pairs):
            if predicate.matches(self, labels):
                labels.matching_tallies.append(tally)
                if labels.pod_count:
                    matching.add(labels.index)
        if matching:
            for pod in self.pods.values():
                if pod.node.present and pod.shape.labels.index in matching:
                    tally.add(pod.node, 1, pod.terminating)

    def eligibility(self, key: EligibilityKey) -> Eligibility:
        """The interned mask of the nodes a spread constraint looks at."""
        known = self._eligibilities.get(key)
        if known is None:
            known = self._eligibilities[key] = Eligibility(self, key)
        return known

    def _recount(self) -> None:
        """Count every tally anew; needed when the meaning of a selector changed."""
        self.match_epoch += 1
        self.objects.epoch += 1
        for labels in self._compiler.labels():
            self._connect(labels)
        for tally in (*self._tallies.values(), *self._carried_terms.values()):
            tally.clear()
        for node in self.nodes.values():
            if node.present:
                self.count_pods(node, 1)

    # ------------------------------------------------------------------------------ other objects
    def set_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Add or relabel a namespace."""
        known = self.namespaces.get(name)
        if known is None or dict(known) != dict(labels or {}):
            self.namespaces[name] = dict(labels or {})
            self._recount()

    def add_object(self, document: Mapping[str, Any]) -> None:
        """Add or replace a Service, ReplicaSet, PodDisruptionBudget, PersistentVolume, ...

        Nodes and Namespaces are passed on to their own methods. Kinds that no decision depends on
        are ignored.
        """
        kind = document.get("kind")
        if kind == "Node":
            self.add_node(document)
        elif kind == "Namespace":
            metadata = document["metadata"]
            self.set_namespace(metadata["name"], metadata.get("labels"))
        else:
            self.objects.put(document)

    def remove_object(self, document: Mapping[str, Any]) -> None:
        """Remove an object added before; unknown ones are ignored."""
        kind = document.get("kind")
        if kind == "Node":
            self.remove_node(document["metadata"]["name"])
        elif kind == "Namespace":
            self.namespaces.pop(document["metadata"]["name"], None)
            self._recount()
        else:
            self.objects.discard(document)
