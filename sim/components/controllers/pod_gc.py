"""Pod garbage collector: terminated pods beyond a threshold, and pods of nodes that are gone.

**Modelled:** the check every 20 s, the oldest terminated pods above 12,500, pods of missing nodes
after a quarantine of 40 s and one live GET of the node, unscheduled pods that are terminating,
PATCH to Failed before a forced DELETE.
**Source:** `facts/model.md` a.4; `facts/defaults.csv` rows of pod gc.
"""

from __future__ import annotations

from typing import Final

from sim.base.api_object import APIObject, Key
from sim.base.objects import Node, Pod
from sim.components.controllers.base import ERROR, OK, Controller, ControllerContext, Steps, Sync
from sim.components.controllers.node_pods import NodePods
from sim.components.ports import Request
from sim.engine.tasks import Task

CHECK_PERIOD_SECONDS: Final = 20.0
QUARANTINE_SECONDS: Final = 40.0
"""**Source:** `facts/defaults.csv`."""
TTL_ANNOTATION: Final = "node.alpha.kubernetes.io/ttl"
_TTL_STEPS: Final = ((100, 0), (500, 15), (1000, 30), (2000, 60), (10**9, 300))
_TTL_HYSTERESIS_RATIO: Final = 0.9


class PodGarbageCollector(Controller):
    """Works from a timer, not from a queue."""

    name = "pod_gc"
    service_account = "pod-garbage-collector"

    def __init__(
        self, context: ControllerContext, node_pods: NodePods, terminated_pod_gc_threshold: int
    ) -> None:
        super().__init__(context, 0)
        self._node_pods = node_pods
        self._threshold = terminated_pod_gc_threshold
        self._node_names: dict[str, None] = {}
        """Of the nodes that the informer knows: looked up by name alone, for every node at every
        check."""
        self._terminated: dict[int, Pod] = {}
        self._unbound_terminating: dict[int, Pod] = {}
        self._missing_since: dict[str, float] = {}
        context.informer("nodes").add_handler(self._node_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _node_changed(self, kind: str, new: Node, old: Node | None) -> None:
        if kind == "DELETED":
            self._node_names.pop(new.name, None)
        else:
            self._node_names[new.name] = None

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        uid = new.uid
        if kind != "DELETED" and new.is_terminal:
            self._terminated[uid] = new
        elif self._terminated:
            self._terminated.pop(uid, None)
        if kind != "DELETED" and not new.node_name and new.deletion_seconds >= 0.0:
            self._unbound_terminating[uid] = new
        elif self._unbound_terminating:
            self._unbound_terminating.pop(uid, None)

    def start(self) -> None:
        """Start the timer."""
        super().start()
        Task(self.engine, self._loop())

    def _loop(self) -> Steps:
        while self.context.running:
            yield from self._check()
            yield self.engine.sleep(CHECK_PERIOD_SECONDS)

    def _check(self) -> Steps:
        now = self.engine.now
        surplus = len(self._terminated) - self._threshold
        if surplus > 0 and self._threshold > 0:
            oldest = sorted(self._terminated.values(), key=lambda pod: pod.creation_seconds)
            for pod in oldest[:surplus]:
                yield from self._delete(pod)
        nodes = self._node_names
        missing = [name for name in self._node_pods.by_node if name not in nodes]
        for name in [name for name in self._missing_since if name not in missing]:
            del self._missing_since[name]
        for name in missing:
            since = self._missing_since.setdefault(name, now)
            if now - since < QUARANTINE_SECONDS:
                continue
            response = yield self.client.call(Request("get", "nodes", "", name))
            if response.code == 404:
                for pod in self._node_pods.of(name):
                    yield from self._delete(pod)
        for pod in list(self._unbound_terminating.values()):
            yield from self._delete(pod)

    def _delete(self, pod: Pod) -> Steps:
        """PATCH to Failed if it is not finished, then DELETE with grace 0."""

        def fail(current: APIObject) -> APIObject:
            assert isinstance(current, Pod)
            new = current.clone()
            new.phase = "Failed"
            new.ready = False
            new.disruption_target = True
            return new

        if not pod.is_terminal:
            yield self.client.call(
                Request("patch", "pods", pod.namespace, pod.name, subresource="status", mutate=fail)
            )
        yield self.client.call(
            Request(
                "delete", "pods", pod.namespace, pod.name,
                grace_seconds=0.0, precondition_uid=pod.uid,
            )
        )  # fmt: skip


def ttl_text(node_count: int) -> str:
    """Return the annotation's value in a cluster that has grown to so many nodes."""
    return str(next(ttl for limit, ttl in _TTL_STEPS if node_count <= limit))


class NodeTTLController(Controller):
    """Annotates nodes with the time for which kubelets may cache secrets and config maps.

    One PATCH per new node, and one per node whenever the size of the cluster crosses a step (with
    hysteresis). **Source:** `facts/model.md` a.3; `facts/defaults.csv`, node TTL annotation steps.
    """

    name = "node_ttl"
    service_account = "ttl-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count)
        self._nodes = context.informer("nodes")
        self._step = 0
        self._nodes.add_handler(self._node_changed)

    def _node_changed(self, kind: str, new: Node, old: Node | None) -> None:
        if kind == "MODIFIED":
            return
        count = len(self._nodes.objects)
        while count > _TTL_STEPS[self._step][0]:
            self._step += 1
        while self._step and count <= _TTL_STEPS[self._step - 1][0] * _TTL_HYSTERESIS_RATIO:
            self._step -= 1
        if kind == "ADDED":
            self.queue.add(new.key)

    def sync(self, key: Key) -> Sync:
        """Write the annotation of one node if it differs."""
        node = self._nodes.objects.get(key)
        wanted = str(_TTL_STEPS[self._step][1])
        if node is None or node.annotations.get(TTL_ANNOTATION) == wanted:
            return OK

        def annotate(current: APIObject) -> APIObject:
            new = current.clone()
            new.annotations = {**current.annotations, TTL_ANNOTATION: wanted}
            return new

        response = yield self.client.call(Request("patch", "nodes", "", key[1], mutate=annotate))
        return OK if response.ok or response.code == 404 else ERROR
