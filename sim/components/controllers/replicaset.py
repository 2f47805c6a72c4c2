"""ReplicaSet controller: keeps the number of pods.

**Modelled:** expectations, burst of 500, slow start, parallel deletes in the order of upstream's
ranking, one event per pod (spam-filtered), status with one retry after a conflict, refusal to sync
before the informers have seen the controller's own writes (v1.36), minReadySeconds.
**Not modelled:** adoption and release by label changes; ReplicationControllers.
**Source:** `facts/model.md` a.1 step 2, a.2; `facts/defaults.csv`.
"""

from __future__ import annotations

from math import log2
from typing import Final

from sim.base.api_object import Key
from sim.base.objects import Pod, ReplicaSet
from sim.components.controllers.base import (
    ERROR,
    OK,
    REQUEUE,
    Controller,
    ControllerContext,
    Expectations,
    Steps,
    Sync,
    WrittenRevisions,
    owned_pod,
    set_terminating,
    slow_start,
    terminating_count,
)
from sim.components.ports import Request

BURST_COUNT: Final = 500
"""**Source:** `facts/defaults.csv`, replicaset burst replicas per sync."""
_PHASE_RANK: Final = {"Pending": 0, "Unknown": 1, "Running": 2}


class PodCounts:
    """Numbers of one owner's pods, kept up to date by pod events."""

    __slots__ = ("active", "ready", "terminating")

    def __init__(self) -> None:
        self.active = 0
        self.ready = 0
        self.terminating = 0

    def apply(self, pod: Pod, sign: int) -> None:
        """Add (+1) or take away (-1) one pod."""
        if pod.is_active:
            self.active += sign
            if pod.ready:
                self.ready += sign
        elif not pod.is_terminal:
            self.terminating += sign


def scrambled(uid: int) -> int:
    """Return a number that orders uids as randomly as upstream's random UIDs do."""
    return (uid * 2_654_435_761) & 0xFFFFFFFF


def log_age(seconds: float) -> int:
    """Return the power of two of an age: ages in one bucket rank the same."""
    return int(log2(seconds)) if seconds >= 1.0 else 0


def deletion_order(pods: list[Pod], related: list[Pod], now_seconds: float) -> list[Pod]:
    """Return pods with the first to delete first.

    Unassigned, pending, not ready; then those on nodes with more related pods; then the youngest
    by powers of two of age; ties are random. **Source:** upstream pkg/controller/
    controller_utils.go, ActivePodsWithRanks with LogarithmicScaleDown (GA).
    """
    per_node: dict[str, int] = {}
    for pod in related:
        if pod.is_active:
            per_node[pod.node_name] = per_node.get(pod.node_name, 0) + 1

    def rank(pod: Pod) -> tuple[float, ...]:
        ready_age = now_seconds - pod.ready_seconds if pod.ready_seconds >= 0.0 else 0.0
        return (
            1 if pod.node_name else 0,
            _PHASE_RANK.get(pod.phase, 2),
            1 if pod.ready else 0,
            int(pod.annotations.get("controller.kubernetes.io/pod-deletion-cost", "0")),
            -per_node.get(pod.node_name, 0),
            log_age(ready_age) if pod.ready else 0,
            -pod.restart_count,
            log_age(now_seconds - pod.creation_seconds),
            scrambled(pod.uid),
        )

    return sorted(pods, key=rank)


class ReplicaSetController(Controller):
    """Keys are replica sets."""

    name = "replicaset"
    service_account = "replicaset-controller"

    def __init__(self, context: ControllerContext, worker_count: int) -> None:
        super().__init__(context, worker_count)
        self._replica_sets = context.informer("replicasets")
        self._siblings = context.owner_index("replicasets")
        self._pods = context.owner_index("pods")
        self._expectations = Expectations(context.engine)
        self._written = WrittenRevisions(context)
        self._counts: dict[int, PodCounts] = {}
        self._replica_sets.add_handler(self._replica_set_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _replica_set_changed(self, kind: str, new: ReplicaSet, old: ReplicaSet | None) -> None:
        self.queue.add(new.key)

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        owner = new.owner
        if owner is None or owner.kind != "ReplicaSet":
            return
        counts = self._counts.get(owner.uid)
        if counts is None:
            counts = self._counts[owner.uid] = PodCounts()
        if kind != "ADDED" and old is not None:
            counts.apply(old, -1)
        key = (new.namespace, owner.name)
        if kind == "DELETED":
            self._expectations.deletion_observed(key, new.key)
        else:
            counts.apply(new, 1)
            if new.deletion_seconds >= 0.0:
                self._expectations.deletion_observed(key, new.key)
            elif kind == "ADDED":
                self._expectations.creation_observed(key)
        self.queue.add(key)

    def object_count(self, key: Key) -> int:
        """Return the pods of the replica set, all of which upstream walks through."""
        replica_set = self._replica_sets.objects.get(key)
        if replica_set is None:
            return 0
        return len(self._pods.children.get(replica_set.uid, ()))

    def sync(self, key: Key) -> Sync:
        """Create or delete pods, then write the status."""
        replica_set = self._replica_sets.objects.get(key)
        if replica_set is None:
            self._expectations.forget(key)
            self._written.forget(key)
            return OK
        if not self._written.caught_up(key):
            return REQUEUE
        uid = replica_set.uid
        counts = self._counts.get(uid) or PodCounts()
        active, ready, terminating = counts.active, counts.ready, counts.terminating
        available = self._available_count(replica_set, ready)
        failed = False
        if replica_set.deletion_seconds < 0.0 and self._expectations.satisfied(key):
            difference = active - replica_set.replica_count
            if difference < 0:
                failed = yield from self._create(replica_set, min(-difference, BURST_COUNT))
            elif difference > 0:
                failed = yield from self._delete(replica_set, min(difference, BURST_COUNT))
        written = yield from self._write_status(replica_set, active, ready, available, terminating)
        if failed or not written:
            return ERROR
        if ready != available:
            self.queue.add_after(key, replica_set.min_ready_seconds)
        return OK

    def _available_count(self, replica_set: ReplicaSet, ready: int) -> int:
        delay_seconds = replica_set.min_ready_seconds
        if delay_seconds <= 0.0:
            return ready
        limit_seconds = self.engine.now - delay_seconds
        return sum(
            1
            for pod in self._pods.of(replica_set.uid)
            if pod.is_active and pod.ready and pod.ready_seconds <= limit_seconds
        )

    def _create(self, replica_set: ReplicaSet, count: int) -> Steps:
        key = replica_set.key
        self._expectations.expect_creations(key, count)
        template = replica_set.template

        def make() -> Request:
            name = f"{replica_set.name}-{self.context.next_suffix(replica_set.uid)}"
            pod = owned_pod(replica_set, "ReplicaSet", name, template)
            return Request(
                "create", "pods", pod.namespace, name, api_object=pod, then=self._created
            )

        done, failed = yield from slow_start(self.context, self.client, count, make)
        if done < count:
            self._expectations.creation_observed(key, count - done)
        return failed

    def _created(self, request: Request) -> None:
        pod = request.api_object
        assert pod is not None
        assert pod.owner is not None
        key = (pod.namespace, pod.owner.name)
        replica_set = self._replica_sets.objects.get(key)
        if replica_set is None:
            return
        if request.ok:
            self._written.wrote(key, request)
            self.events.event(replica_set, "Normal", "SuccessfulCreate", f"Created pod: {pod.name}")
        else:
            message = f"Error creating pod {pod.name}: {request.code}"
            self.events.event(replica_set, "Warning", "FailedCreate", message)

    def _delete(self, replica_set: ReplicaSet, count: int) -> Steps:
        pods = [pod for pod in self._pods.of(replica_set.uid) if pod.is_active]
        if count < len(pods):
            pods = deletion_order(pods, self._related(replica_set), self.engine.now)[:count]
        return (yield from self.delete_pods(replica_set, pods, self._expectations))

    def _related(self, replica_set: ReplicaSet) -> list[Pod]:
        """Return the pods of all replica sets with the same owner."""
        owner = replica_set.owner
        siblings = [replica_set] if owner is None else self._siblings.of(owner.uid)
        return [pod for item in siblings for pod in self._pods.of(item.uid)]

    def _write_status(
        self, replica_set: ReplicaSet, active: int, ready: int, available: int, terminating: int
    ) -> Steps:
        """PUT the status if it changed; once more on the fresh object after a conflict."""
        current = replica_set
        for attempt in (0, 1):
            if (
                current.observed_generation == replica_set.generation
                and current.current_count == active
                and current.ready_count == ready
                and current.available_count == available
                and terminating_count(current) == terminating
            ):
                return True
            changed = current.clone()
            changed.observed_generation = replica_set.generation
            changed.current_count = active
            changed.ready_count = ready
            changed.available_count = available
            set_terminating(changed, terminating)
            response = yield self.client.call(
                Request(
                    "update", "replicasets", changed.namespace, changed.name,
                    subresource="status", api_object=changed,
                )
            )  # fmt: skip
            if response.ok:
                self._written.wrote(replica_set.key, response)
                return True
            if attempt or response.code == 404:
                return False
            response = yield self.client.call(
                Request("get", "replicasets", changed.namespace, changed.name)
            )
            if not response.ok:
                return False
            current = response.result
        return False
