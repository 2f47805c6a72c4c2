"""Cached pods by the node they are bound to, shared by the controllers that care for nodes."""

from __future__ import annotations

from sim.base.objects import Pod
from sim.components.informer import Informer


class NodePods:
    """Index of the pod informer by spec.nodeName."""

    def __init__(self, pods: Informer[Pod]) -> None:
        self.by_node: dict[str, dict[int, Pod]] = {}
        pods.add_handler(self._changed)

    def _changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        node_name = new.node_name
        if not node_name:
            return
        pods = self.by_node.get(node_name)
        if kind == "DELETED":
            if pods is not None:
                pods.pop(new.uid, None)
                if not pods:
                    del self.by_node[node_name]
            return
        if pods is None:
            pods = self.by_node[node_name] = {}
        pods[new.uid] = new

    def of(self, node_name: str) -> list[Pod]:
        """Return the pods bound to a node."""
        return list(self.by_node.get(node_name, {}).values())
