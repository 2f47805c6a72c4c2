"""Who reaches whom at a moment: pods over the pod network, Services over kube-proxy's rules.

An observer: it asks the overlay and the proxies what is programmed now and spends no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.base.api_object import Key
from sim.base.objects import Pod

if TYPE_CHECKING:
    from sim.cluster.cluster import Cluster


class Reachability:
    """Looks at one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def look(self, source: str, target: str) -> tuple[int, int]:
        """Return (nodes asked, nodes from which the target is reached) now.

        Args:
            source: ``node/NAME``, ``pod/NAMESPACE/NAME``, or empty for every node that runs.
            target: ``node/NAME`` (any pod on it), ``pod/NAMESPACE/NAME`` or
                ``service/NAMESPACE/NAME``; without a namespace it is ``default``.

        A source that does not exist or run asks nothing. A Service is reached where the rules lead
        to one of its endpoints; a pod where both nodes have each other's overlay entries and the
        pod has its address.
        """
        cluster = self._cluster
        now = cluster.engine.now
        nodes = self._sources(source)
        kind, key = _parsed(target)
        if kind == "service":
            reached = sum(cluster.proxies.programmed(key, node, now) for node in nodes)
            return len(nodes), reached
        there = self._node_of(kind, key)
        if there < 0:
            return len(nodes), 0
        reachable = cluster.overlay.reachable
        return len(nodes), sum(
            node == there or reachable(node, there, now) for node in nodes
        )

    def _sources(self, source: str) -> list[int]:
        up = self._cluster.kubelets.context.up
        if not source:
            return [index for index, runs in enumerate(up) if runs]
        index = self._node_of(*_parsed(source))
        return [index] if index >= 0 and up[index] else []

    def _node_of(self, kind: str, key: Key) -> int:
        """Return the index of a node, or of the node of a pod that has its address; -1 for none."""
        name = key[1]
        if kind == "pod":
            pod = self._cluster.etcd.objects("pods").get(key)
            if not isinstance(pod, Pod) or not pod.pod_ip or pod.is_terminal:
                return -1
            name = pod.node_name
        return self._cluster.kubelets.index_by_name.get(name, -1)


def _parsed(text: str) -> tuple[str, Key]:
    kind, _, rest = text.partition("/")
    namespace, slash, name = rest.partition("/")
    return kind, (namespace, name) if slash else ("default", namespace)
