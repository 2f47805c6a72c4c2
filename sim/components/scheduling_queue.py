"""kube-scheduler's queues: active, back-off and unschedulable pods, and events in flight.

**Modelled:** the active heap (priority, then the time of the last failure or, before the first,
of arrival), the two back-off heaps (unschedulable and error) ordered by expiry in windows of one
second, the unschedulable pool with queueing hints per rejecting plugin, its 30 s sweep of pods
older than 5 minutes, events that arrive while a pod is being scheduled, pop from back-off when the
active queue is empty, pods held back before the active queue (gates, running preemption).
**Source:** `facts/model.md` e.1; `facts/defaults.csv` rows 238-242.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final

from sim.base.api_object import NEVER
from sim.base.objects import Pod
from sim.base.pod_template import PodTemplate
from sim.components.scheduling_queue_params import SchedulingQueueParams
from sim.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """What an informer saw, in the scheduler's words."""

    resource: str
    """node, pod (a pending one), assigned_pod, namespace, persistentvolume …"""
    action: str
    """add, update or delete."""
    new: Any = None
    old: Any = None


Hint = Callable[["QueuedPod", ClusterEvent], bool]
"""Whether the event may make the pod schedulable, asked per rejecting plugin."""

_LABELS: Final = {
    "assigned_pod": "AssignedPod",
    "pod": "UnscheduledPod",
    "node": "Node",
    "namespace": "Namespace",
    "persistentvolumeclaim": "PvcEvent",
    "persistentvolume": "PvEvent",
    "storageclass": "StorageClass",
    "csinode": "CSINode",
}
"""Resources as upstream's label ``event`` of scheduler_queue_incoming_pods_total names them."""


class QueuedPod:
    """One pod on its way through the queues."""

    __slots__ = (
        "attempt_count",
        "backoff_until_seconds",
        "enqueued_seconds",
        "error_count",
        "first_enqueued_seconds",
        "gated",
        "pod",
        "rejected_by",
        "sequence",
        "shape",
        "state",
        "template",
        "timestamp_seconds",
        "unschedulable_count",
    )

    def __init__(self, pod: Pod, now_seconds: float) -> None:
        self.pod = pod
        self.shape: Any = None
        self.template = pod.template
        self.attempt_count = 0
        self.unschedulable_count = 0
        self.error_count = 0
        self.first_enqueued_seconds = now_seconds
        self.enqueued_seconds = now_seconds
        """When it last entered the active queue."""
        self.timestamp_seconds = now_seconds
        """Arrival, then the end of the last attempt; orders pods of one priority."""
        self.backoff_until_seconds = NEVER
        """End of the back-off, cut to whole windows; NEVER without one."""
        self.rejected_by: tuple[str, ...] = ()
        """Plugins that rejected the pod in its last attempt."""
        self.gated = False
        """Held back before the active queue: by scheduling gates or by its own preemption."""
        self.sequence = 0
        """Number of its newest heap entry; older entries are void."""
        self.state = ""
        """active, backoff, error_backoff, unschedulable, in_flight or gone."""


_BackoffEntry = tuple[float, int, float, int, QueuedPod]
"""(end of back-off in windows, -priority, timestamp, sequence, pod)."""


class SchedulingQueue:
    """All pods that wait for a node."""

    def __init__(
        self,
        engine: Engine,
        params: SchedulingQueueParams,
        hints: Mapping[str, Hint],
        is_gated: Callable[[QueuedPod], bool],
        on_ready: Callable[[], object],
    ) -> None:
        self._engine = engine
        self._params = params
        self._hints = hints
        self._is_gated = is_gated
        self._on_ready = on_ready
        self._sequence = 0
        self._active: list[tuple[int, float, int, QueuedPod]] = []
        self._backoff: list[_BackoffEntry] = []
        self._error_backoff: list[_BackoffEntry] = []
        self._unschedulable: dict[int, QueuedPod] = {}
        self._in_flight: dict[int, list[ClusterEvent]] = {}
        self._life = 0
        self._counts = {"active": 0, "backoff": 0, "error_backoff": 0}
        self.pods: dict[int, QueuedPod] = {}
        """Every pod known here, by uid; those being bound included."""
        self.incoming_counts: dict[tuple[str, str], int] = {}
        """(queue, event) → pods that entered, as scheduler_queue_incoming_pods_total."""
        self.hint_count = 0
        """Pods of the pool looked at for cluster events so far."""

    def start(self) -> None:
        """Begin the sweeps: back-off every whole second, the unschedulable pool every 30 s."""
        self._life += 1
        now, window = self._engine.now, self._params.backoff_window_seconds
        self._engine.at((now // window + 1.0) * window, self._flush_backoff, self._life)
        self._engine.after(
            self._params.unschedulable_flush_seconds, self._flush_unschedulable, self._life
        )

    def clear(self) -> None:
        """Forget every pod and end the sweeps: the process has died."""
        self._life += 1
        for queued in self.pods.values():
            queued.state = "gone"
        for container in (self._active, self._backoff, self._error_backoff):
            container.clear()
        for pool in (self._unschedulable, self._in_flight, self.pods):
            pool.clear()
        self._counts = dict.fromkeys(self._counts, 0)

    # Depths, as scheduler_pending_pods shows them.

    @property
    def active_count(self) -> int:
        """Pods in the active queue."""
        return self._counts["active"]

    @property
    def backoff_count(self) -> int:
        """Pods in back-off, of either kind."""
        return self._counts["backoff"] + self._counts["error_backoff"]

    @property
    def unschedulable_count(self) -> int:
        """Pods in the unschedulable pool, gated ones included."""
        return len(self._unschedulable)

    # Entering and leaving.

    def add(self, pod: Pod) -> None:
        """Take a new pending pod."""
        queued = QueuedPod(pod, self._engine.now)
        self.pods[pod.uid] = queued
        self._admit(queued, "PodAdd")

    def update(self, pod: Pod) -> None:
        """Note a newer version of a pending pod; only changes of its spec or labels can wake it."""
        queued = self.pods.get(pod.uid)
        if queued is None:
            self.add(pod)
            return
        old = queued.pod
        queued.pod = pod
        if pod.template is old.template and pod.labels == old.labels:
            return
        queued.template = pod.template
        queued.shape = None
        event = ClusterEvent("pod", "update", pod, old)
        if queued.state == "in_flight":
            self._in_flight.get(pod.uid, []).append(event)
        elif queued.state == "unschedulable" and not self._is_gated(queued):
            self.hint_count += 1
            if queued.gated or self._wakes(queued, event):
                self._unpark(queued, "PodUpdate")

    def remove(self, uid: int) -> None:
        """Forget a pod (deleted, or bound)."""
        queued = self.pods.pop(uid, None)
        if queued is None:
            return
        self._unschedulable.pop(uid, None)
        self._in_flight.pop(uid, None)
        if queued.state in self._counts:
            self._counts[queued.state] -= 1
        queued.state = "gone"

    def pop(self) -> QueuedPod | None:
        """Take the next pod, or None; the caller must say `done` or `reject` for it later."""
        queued = self._pop_active()
        if queued is None and self._params.pop_from_backoff:
            queued = self._pop_backoff()
        if queued is None:
            return None
        queued.state = "in_flight"
        queued.attempt_count += 1
        queued.backoff_until_seconds = NEVER
        self._in_flight[queued.pod.uid] = []
        return queued

    def done(self, queued: QueuedPod) -> None:
        """The pod got a node; events seen meanwhile no longer matter."""
        self._in_flight.pop(queued.pod.uid, None)

    def reject(self, queued: QueuedPod, plugins: tuple[str, ...], *, error: bool) -> None:
        """Put a pod back that found no node or could not be bound.

        Events that arrived during its attempt are replayed against the hints of ``plugins``.
        """
        uid = queued.pod.uid
        events = self._in_flight.pop(uid, [])
        if self.pods.get(uid) is not queued:
            return
        queued.rejected_by = plugins
        now = queued.timestamp_seconds = self._engine.now
        if error:
            queued.error_count += 1
            queued.backoff_until_seconds = self._backoff_end_seconds(now, queued.error_count)
            self._push_backoff(queued, "error_backoff", "ScheduleAttemptFailure")
            return
        queued.error_count = 0
        queued.unschedulable_count += 1
        queued.backoff_until_seconds = self._backoff_end_seconds(now, queued.unschedulable_count)
        self.hint_count += len(events)
        if any(self._wakes(queued, event) for event in events):
            self._requeue(queued, "ScheduleAttemptFailure")
        else:
            self._park(queued)
            self._count("unschedulable", "ScheduleAttemptFailure")

    def cluster_event(self, event: ClusterEvent, *, except_uid: int = 0) -> None:
        """Move the pods that this event may help out of the unschedulable pool.

        ``except_uid`` names a pod that the event is not meant for (it caused it).
        """
        for uid, events in self._in_flight.items():
            if uid != except_uid:
                events.append(event)
        if not self._unschedulable:
            return
        self.hint_count += len(self._unschedulable)
        answers: dict[tuple[PodTemplate, str, tuple[str, ...]], bool] = {}
        woken = []
        for queued in self._unschedulable.values():
            key = (queued.template, queued.pod.namespace, queued.rejected_by)
            wakes = answers.get(key)
            if wakes is None:
                wakes = answers[key] = self._wakes(queued, event)
            if wakes and queued.pod.uid != except_uid and not self._is_gated(queued):
                woken.append(queued)
        label = _LABELS.get(event.resource, event.resource) + event.action.capitalize()
        for queued in woken:
            self._unpark(queued, label)

    def activate(self, uid: int, event: str) -> None:
        """Move one pod to the active queue, back-off or not (upstream: Handle.Activate)."""
        queued = self.pods.get(uid)
        if queued is None or queued.state not in {"unschedulable", "backoff", "error_backoff"}:
            return
        if queued.state == "unschedulable":
            del self._unschedulable[uid]
        else:
            self._counts[queued.state] -= 1
        self._admit(queued, event)

    def check(self) -> list[str]:
        """Return what is broken: every known pod must be in exactly one place."""
        places = {"active": 0, "backoff": 0, "error_backoff": 0, "unschedulable": 0}
        for queued in self.pods.values():
            if queued.state in places:
                places[queued.state] += 1
        counted = {**self._counts, "unschedulable": len(self._unschedulable)}
        if counted == places:
            return []
        return [f"scheduling queue: {counted} counted, {places} found"]

    # Inside.

    def _window_seconds(self, time_seconds: float) -> float:
        window = self._params.backoff_window_seconds
        return time_seconds // window * window

    def _backoff_end_seconds(self, now_seconds: float, count: int) -> float:
        p = self._params
        duration_seconds = min(
            p.pod_initial_backoff_seconds * 2.0 ** min(count - 1, 40), p.pod_max_backoff_seconds
        )
        return self._window_seconds(now_seconds + duration_seconds)

    def _backing_off(self, queued: QueuedPod) -> bool:
        """Whether the back-off lasts, to the window (it ends with the tick after its window)."""
        return queued.backoff_until_seconds >= self._window_seconds(self._engine.now)

    def _wakes(self, queued: QueuedPod, event: ClusterEvent) -> bool:
        if not queued.rejected_by:
            return True
        for plugin in queued.rejected_by:
            hint = self._hints.get(plugin)
            if hint is None or hint(queued, event):
                return True
        return False

    def _count(self, queue: str, event: str) -> None:
        key = (queue, event)
        self.incoming_counts[key] = self.incoming_counts.get(key, 0) + 1

    def _admit(self, queued: QueuedPod, event: str) -> None:
        """To the active queue, unless the pod is held back."""
        queued.gated = self._is_gated(queued)
        if queued.gated:
            self._park(queued)
            self._count("gated", event)
        else:
            self._activate(queued, event)

    def _activate(self, queued: QueuedPod, event: str) -> None:
        queued.state = "active"
        queued.enqueued_seconds = self._engine.now
        queued.sequence = self._sequence = self._sequence + 1
        heappush(
            self._active,
            (-queued.template.priority, queued.timestamp_seconds, queued.sequence, queued),
        )
        self._counts["active"] += 1
        self._count("active", event)
        self._on_ready()

    def _pop_active(self) -> QueuedPod | None:
        heap = self._active
        while heap:
            _, _, sequence, queued = heappop(heap)
            if queued.state == "active" and queued.sequence == sequence:
                self._counts["active"] -= 1
                return queued
        return None

    def _push_backoff(self, queued: QueuedPod, queue: str, event: str) -> None:
        heap = self._backoff if queue == "backoff" else self._error_backoff
        queued.state = queue
        queued.sequence = self._sequence = self._sequence + 1
        heappush(
            heap,
            (
                queued.backoff_until_seconds,
                -queued.template.priority,
                queued.timestamp_seconds,
                queued.sequence,
                queued,
            ),
        )
        self._counts[queue] += 1
        self._count("backoff", event)
        if queue == "backoff" and self._params.pop_from_backoff:
            self._on_ready()

    def _pop_backoff(self) -> QueuedPod | None:
        """Take the best pod of the unschedulable back-off before its time."""
        while self._backoff:
            _, _, _, sequence, queued = heappop(self._backoff)
            if queued.state != "backoff" or queued.sequence != sequence:
                continue
            self._counts["backoff"] -= 1
            if self._is_gated(queued):
                queued.gated = True
                self._park(queued)
                continue
            queued.enqueued_seconds = self._engine.now
            return queued
        return None

    def _park(self, queued: QueuedPod) -> None:
        queued.state = "unschedulable"
        self._unschedulable[queued.pod.uid] = queued

    def _unpark(self, queued: QueuedPod, event: str) -> None:
        del self._unschedulable[queued.pod.uid]
        self._requeue(queued, event)

    def _requeue(self, queued: QueuedPod, event: str) -> None:
        if self._backing_off(queued):
            self._push_backoff(queued, "backoff", event)
        else:
            self._admit(queued, event)

    def _flush_backoff(self, life: int) -> None:
        if life != self._life:
            return
        for heap, state in (
            (self._backoff, "backoff"),
            (self._error_backoff, "error_backoff"),
        ):
            while heap:
                _, _, _, sequence, queued = heap[0]
                current = queued.state == state and queued.sequence == sequence
                if current and self._backing_off(queued):
                    break
                heappop(heap)
                if current:
                    self._counts[state] -= 1
                    self._admit(queued, "BackoffComplete")
        now, window = self._engine.now, self._params.backoff_window_seconds
        self._engine.at((now // window + 1.0) * window, self._flush_backoff, life)

    def _flush_unschedulable(self, life: int) -> None:
        if life != self._life:
            return
        limit = self._engine.now - self._params.unschedulable_max_seconds
        old = [
            queued
            for queued in self._unschedulable.values()
            if not self._is_gated(queued) and queued.timestamp_seconds < limit
        ]
        for queued in old:
            self._unpark(queued, "UnschedulableTimeout")
        self._engine.after(
            self._params.unschedulable_flush_seconds, self._flush_unschedulable, life
        )
