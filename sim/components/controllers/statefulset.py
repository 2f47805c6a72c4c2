"""StatefulSet controller: pods with fixed names, in order.

**Modelled:** OrderedReady and Parallel management, creation in ordinal order, deletion and rolling
update from the highest ordinal, partition, ControllerRevisions, status, the stale-cache check.
**Not modelled:** volume claims (counted by the loader), maxUnavailable of the alpha gate.
**Source:** upstream pkg/controller/statefulset/stateful_set_control.go; `facts/model.md` k (17).
"""

from __future__ import annotations

from sim.base.api_object import Key, OwnerReference
from sim.base.objects import Generic, Pod, StatefulSet
from sim.components.controllers.base import (
    ERROR,
    OK,
    REQUEUE,
    Controller,
    ControllerContext,
    Steps,
    Sync,
    WrittenRevisions,
    owned_pod,
    safe_hash,
    template_identity,
    with_labels,
)
from sim.components.controllers.daemonset import REVISION_LABEL
from sim.components.ports import Request


def ordinal_of(pod: Pod, set_name: str) -> int:
    """Return the ordinal in a pod's name, -1 if it has none."""
    text = pod.name[len(set_name) + 1 :]
    return int(text) if pod.name.startswith(f"{set_name}-") and text.isdigit() else -1


class StatefulSetController(Controller):
    """Keys are stateful sets."""

    name = "statefulset"
    service_account = "statefulset-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count)
        self._sets = context.informer("statefulsets")
        self._pods = context.owner_index("pods")
        self._revisions = context.owner_index("controllerrevisions")
        self._written = WrittenRevisions(context)
        self._sets.add_handler(self._set_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _set_changed(self, kind: str, new: StatefulSet, old: StatefulSet | None) -> None:
        self.queue.add(new.key)

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        if new.owner is not None and new.owner.kind == "StatefulSet":
            self.queue.add((new.namespace, new.owner.name))

    def object_count(self, key: Key) -> int:
        """Return the pods of the set."""
        found = self._sets.objects.get(key)
        return len(self._pods.children.get(found.uid, ())) if found is not None else 0

    def sync(self, key: Key) -> Sync:
        """Take the next step of a stateful set."""
        stateful_set = self._sets.objects.get(key)
        if stateful_set is None or stateful_set.deletion_seconds >= 0.0:
            self._written.forget(key)
            return OK
        if not self._written.caught_up(key):
            return REQUEUE
        revision = safe_hash(template_identity(stateful_set.template))
        if not (yield from self._ensure_revision(stateful_set, revision)):
            return ERROR
        pods = {ordinal_of(pod, stateful_set.name): pod for pod in self._pods.of(stateful_set.uid)}
        pods.pop(-1, None)
        good = yield from self._step(stateful_set, revision, pods)
        written = yield from self._write_status(stateful_set, revision, pods)
        return OK if good and written else ERROR

    def _ensure_revision(self, stateful_set: StatefulSet, revision: str) -> Steps:
        name = f"{stateful_set.name}-{revision}"
        if any(item.name == name for item in self._revisions.of(stateful_set.uid)):
            return True
        item = Generic(
            name=name,
            namespace=stateful_set.namespace,
            owner=OwnerReference("StatefulSet", stateful_set.name, stateful_set.uid),
            kind_plural="controllerrevisions",
        )
        response = yield self.client.call(
            Request("create", "controllerrevisions", item.namespace, name, api_object=item)
        )
        self._written.wrote(stateful_set.key, response)
        return bool(response.ok or response.code == 409)

    def _step(self, stateful_set: StatefulSet, revision: str, pods: dict[int, Pod]) -> Steps:
        """Create, wait, scale down or update: with OrderedReady at most one pod per sync."""
        ordered = stateful_set.pod_management_policy == "OrderedReady"
        for ordinal in range(stateful_set.replica_count):
            pod = pods.get(ordinal)
            if pod is None:
                if not (yield from self._create(stateful_set, revision, ordinal)):
                    return False
            elif pod.is_terminal and pod.deletion_seconds < 0.0:
                if not (yield from self._delete(stateful_set, pod)):
                    return False
            elif pod.ready and pod.deletion_seconds < 0.0:
                continue
            if ordered:
                return True
        surplus = sorted((n for n in pods if n >= stateful_set.replica_count), reverse=True)
        for ordinal in surplus:
            pod = pods[ordinal]
            if pod.deletion_seconds < 0.0 and not (yield from self._delete(stateful_set, pod)):
                return False
            if ordered:
                return True
        if stateful_set.update_strategy == "OnDelete":
            return True
        for ordinal in range(stateful_set.replica_count - 1, stateful_set.partition_index - 1, -1):
            pod = pods.get(ordinal)
            if pod is None:
                return True
            if pod.labels.get(REVISION_LABEL) != revision and pod.deletion_seconds < 0.0:
                return (yield from self._delete(stateful_set, pod))
            if not pod.ready or pod.deletion_seconds >= 0.0:
                return True
        return True

    def _create(self, stateful_set: StatefulSet, revision: str, ordinal: int) -> Steps:
        name = f"{stateful_set.name}-{ordinal}"
        template = with_labels(
            stateful_set.template,
            {
                REVISION_LABEL: revision,
                "statefulset.kubernetes.io/pod-name": name,
                "apps.kubernetes.io/pod-index": str(ordinal),
            },
        )
        pod = owned_pod(stateful_set, "StatefulSet", name, template)
        response = yield self.client.call(
            Request("create", "pods", pod.namespace, name, api_object=pod)
        )
        if response.ok:
            self._written.wrote(stateful_set.key, response)
            message = f"create Pod {name} in StatefulSet {stateful_set.name} successful"
            self.events.event(stateful_set, "Normal", "SuccessfulCreate", message)
        return bool(response.ok)

    def _delete(self, stateful_set: StatefulSet, pod: Pod) -> Steps:
        response = yield self.client.call(
            Request("delete", "pods", pod.namespace, pod.name, precondition_uid=pod.uid)
        )
        if response.ok:
            self._written.wrote(stateful_set.key, response)
            message = f"delete Pod {pod.name} in StatefulSet {stateful_set.name} successful"
            self.events.event(stateful_set, "Normal", "SuccessfulDelete", message)
        return bool(response.ok or response.code == 404)

    def _write_status(
        self, stateful_set: StatefulSet, revision: str, pods: dict[int, Pod]
    ) -> Steps:
        new = stateful_set.clone()
        new.observed_generation = stateful_set.generation
        new.current_count = len(pods)
        new.ready_count = sum(pod.ready for pod in pods.values())
        new.available_count = new.ready_count
        new.updated_count = sum(pod.labels.get(REVISION_LABEL) == revision for pod in pods.values())
        new.update_revision = revision
        if not new.current_revision or new.updated_count == stateful_set.replica_count:
            new.current_revision = revision
        names = ("observed_generation", "current_count", "ready_count", "updated_count",
                 "update_revision", "current_revision")  # fmt: skip
        if all(getattr(new, name) == getattr(stateful_set, name) for name in names):
            return True
        response = yield self.client.call(
            Request(
                "update", "statefulsets", new.namespace, new.name,
                subresource="status", api_object=new,
            )
        )  # fmt: skip
        self._written.wrote(stateful_set.key, response)
        return response.ok
