"""Taint eviction controller: deletes pods that do not tolerate a NoExecute taint for ever.

**Modelled:** toleration seconds counted from when the controller first saw the taint, cancellation,
GET + PATCH DisruptionTarget + DELETE + event per pod by 8 workers, 5 tries 10 ms apart.
**Source:** `facts/model.md` a.4 (5); `facts/defaults.csv` rows of taint eviction.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from sim.base.api_object import APIObject
from sim.base.objects import Node, Pod, Taint
from sim.components.controllers.base import ERROR, OK, Controller, ControllerContext, Sync
from sim.components.controllers.node_lifecycle import NOT_READY, UNREACHABLE
from sim.components.controllers.node_pods import NodePods
from sim.components.ports import Request

_WORKER_COUNT: Final = 8
_TRY_COUNT: Final = 5
_RETRY_SECONDS: Final = 0.01
DEFAULT_TOLERATION_SECONDS: Final = 300.0
"""What admission gives pods that say nothing. **Source:** DefaultTolerationSeconds plugin."""


def tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    """Whether a toleration matches a taint."""
    effect = toleration.get("effect") or ""
    key = toleration.get("key") or ""
    if effect and effect != taint.effect:
        return False
    if key and key != taint.key:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == taint.value


def stay_seconds(pod: Pod, taints: list[Taint]) -> float:
    """Return how long a pod may stay on a node with these NoExecute taints; inf for ever.

    A taint that is not tolerated means 0; otherwise the shortest tolerationSeconds counts.
    """
    shortest = inf
    for taint in taints:
        matching = [item for item in pod.template.tolerations if tolerates(item, taint)]
        if not matching:
            if taint.key not in {NOT_READY, UNREACHABLE}:
                return 0.0
            shortest = min(shortest, DEFAULT_TOLERATION_SECONDS)
            continue
        for item in matching:
            seconds = item.get("tolerationSeconds")
            if seconds is not None:
                shortest = min(shortest, max(0.0, float(seconds)))
    return shortest


class TaintEvictionController(Controller):
    """Queue keys are (namespace, name, uid) of pods whose time is up."""

    name = "taint_eviction"
    service_account = "node-controller"

    def __init__(self, context: ControllerContext, node_pods: NodePods) -> None:
        super().__init__(context, _WORKER_COUNT)
        self._node_pods = node_pods
        self._nodes = context.informer("nodes")
        self._tainted: dict[str, list[Taint]] = {}
        self._due: dict[int, tuple[float, float]] = {}
        """Pod uid → (when its time started, when it ends)."""
        self._nodes.add_handler(self._node_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _node_changed(self, kind: str, new: Node, old: Node | None) -> None:
        if old is not None and kind == "MODIFIED" and new.taints == old.taints:
            return
        taints = [taint for taint in new.taints if taint.effect == "NoExecute"]
        if kind == "DELETED" or not taints:
            if self._tainted.pop(new.name, None) is not None:
                for pod in self._node_pods.of(new.name):
                    self._cancel(pod)
            return
        self._tainted[new.name] = taints
        for pod in self._node_pods.of(new.name):
            self._plan(pod, taints)

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        if not self._tainted:
            return
        if kind == "DELETED":
            self._due.pop(new.uid, None)
        elif new.node_name in self._tainted and (old is None or not old.node_name):
            self._plan(new, self._tainted[new.node_name])

    def _plan(self, pod: Pod, taints: list[Taint]) -> None:
        seconds = stay_seconds(pod, taints)
        if seconds == inf:
            self._cancel(pod)
            return
        now = self.engine.now
        started_seconds, due_seconds = self._due.get(pod.uid, (now, inf))
        new_due_seconds = started_seconds + seconds
        if new_due_seconds == due_seconds:
            return
        self._due[pod.uid] = (started_seconds, new_due_seconds)
        self.engine.call_at(new_due_seconds, self._time_up, (pod, new_due_seconds))

    def _cancel(self, pod: Pod) -> None:
        if self._due.pop(pod.uid, None) is not None:
            self.events.event(pod, "Normal", "TaintManagerEviction",
                              f"Cancelling deletion of Pod {pod.namespace}/{pod.name}")  # fmt: skip

    def _time_up(self, argument: tuple[Pod, float]) -> None:
        pod, due_seconds = argument
        if self.context.running and self._due.get(pod.uid, (0.0, -1.0))[1] == due_seconds:
            self.queue.add((pod.namespace, pod.name, pod.uid))

    def sync(self, key: Any) -> Sync:
        """Delete one pod whose toleration has run out."""
        namespace, name, uid = key
        if uid not in self._due:
            return OK
        pod = self.context.informers["pods"].get(namespace, name)
        if pod is None or pod.uid != uid:
            return OK
        self.events.event(pod, "Normal", "TaintManagerEviction",
                          f"Marking for deletion Pod {namespace}/{name}")  # fmt: skip

        def mark(current: APIObject) -> APIObject:
            assert isinstance(current, Pod)
            new = current.clone()
            new.disruption_target = True
            return new

        for attempt in range(_TRY_COUNT):
            if attempt:
                yield self.engine.sleep(_RETRY_SECONDS)
            response = yield self.client.call(Request("get", "pods", namespace, name))
            if response.code == 404 or (response.ok and response.result.uid != uid):
                break
            if response.ok:
                response = yield self.client.call(
                    Request("patch", "pods", namespace, name, subresource="status", mutate=mark)
                )
            if response.ok:
                response = yield self.client.call(
                    Request("delete", "pods", namespace, name, precondition_uid=uid)
                )
            if response.ok or response.code == 404:
                break
        else:
            return ERROR
        self._due.pop(uid, None)
        return OK
