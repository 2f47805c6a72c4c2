"""kube-scheduler's queues: active, back-off and unschedulable pods, and events in flight.

**Modelled:** the active heap (priority, then time), the two back-off heaps (unschedulable and
error) ordered by expiry in windows of one second, the unschedulable pool with queueing hints per
rejecting plugin, its 30 s sweep of pods older than 5 minutes, events that arrive while a pod is
being scheduled, pop from back-off when the active queue is empty, gated pods.
**Source:** `facts/model.md` e.1; `facts/defaults.csv` rows 238-242.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from sim.base.objects import Pod
from sim.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """What an informer saw, in the scheduler's words."""

    resource: str
    """node, pod (a pending one), assigned_pod, namespace, service …"""
    action: str
    """add, update or delete."""
    new: Any = None
    old: Any = None


Hint = Callable[["QueuedPod", ClusterEvent], bool]
"""Whether the event may make the pod schedulable, asked per rejecting plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingQueueParams:
    """Back-off and sweep times of the scheduling queue."""

    pod_initial_backoff_seconds: float = field(
        default=1.0, metadata={"source": "upstream: podInitialBackoffSeconds"}
    )
    pod_max_backoff_seconds: float = field(
        default=10.0, metadata={"source": "upstream: podMaxBackoffSeconds"}
    )
    unschedulable_max_seconds: float = field(
        default=300.0, metadata={"source": "upstream: DefaultPodMaxInUnschedulablePodsDuration"}
    )
    unschedulable_flush_seconds: float = field(
        default=30.0, metadata={"source": "upstream: flushUnschedulablePodsLeftover"}
    )
    backoff_window_seconds: float = field(
        default=1.0, metadata={"source": "upstream: backoffQOrderingWindowDuration"}
    )
    pop_from_backoff: bool = field(
        default=True, metadata={"source": "upstream: SchedulerPopFromBackoffQ (beta, on)"}
    )


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
        "shape",
        "state",
        "template",
        "unschedulable_count",
        "unschedulable_since_seconds",
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
        self.backoff_until_seconds = 0.0
        self.unschedulable_since_seconds = 0.0
        self.rejected_by: tuple[str, ...] = ()
        """Plugins that rejected the pod in its last attempt."""
        self.gated = False
        self.state = ""
        """active, backoff, error_backoff, unschedulable, in_flight or gone."""


class SchedulingQueue:
    """All pods that wait for a node."""

    def __init__(
        self,
        engine: Engine,
        params: SchedulingQueueParams,
        hints: dict[str, Hint],
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
        self._backoff: list[tuple[float, int, float, int, QueuedPod]] = []
        self._error_backoff: list[tuple[float, int, float, int, QueuedPod]] = []
        self._unschedulable: dict[int, QueuedPod] = {}
        self._in_flight: dict[int, tuple[QueuedPod, list[ClusterEvent]]] = {}
        self.pods: dict[int, QueuedPod] = {}
        """Every pod known here, by uid."""
        self._counts = {"active": 0, "backoff": 0, "error_backoff": 0}
        self.incoming_counts: dict[tuple[str, str], int] = {}
        """(queue, event) → pods that entered, as scheduler_queue_incoming_pods_total."""

    def start(self) -> None:
        """Begin the sweeps: back-off every whole second, the unschedulable pool every 30 s."""
        self._engine.call_later(self._params.backoff_window_seconds, self._flush_backoff)
        self._engine.call_later(self._params.unschedulable_flush_seconds, self._flush_unschedulable)

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
        if self._is_gated(queued):
            queued.gated = True
            self._park(queued)
            self._count("gated", "PodAdd")
        else:
            self._activate(queued, "PodAdd")

    def update(self, pod: Pod) -> None:
        """Note a newer version of a pod that is still pending."""
        queued = self.pods.get(pod.uid)
        if queued is None:
            self.add(pod)
            return
        old = queued.pod
        queued.pod = pod
        if queued.state == "unschedulable":
            event = ClusterEvent("pod", "update", pod, old)
            if queued.gated:
                if not self._is_gated(queued):
                    queued.gated = False
                    self._unpark(queued, "PodUpdate")
            elif self._wakes(queued, event):
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
            queued = self._pop_heap(self._backoff, "backoff")
        if queued is None:
            return None
        queued.state = "in_flight"
        queued.attempt_count += 1
        self._in_flight[queued.pod.uid] = (queued, [])
        return queued

    def done(self, queued: QueuedPod) -> None:
        """The pod got a node; events seen meanwhile no longer matter."""
        self._in_flight.pop(queued.pod.uid, None)

    def reject(self, queued: QueuedPod, plugins: tuple[str, ...], *, error: bool) -> None:
        """Put a pod back that found no node or could not be bound.

        Events that arrived during its attempt are replayed against the hints of ``plugins``.
        """
        uid = queued.pod.uid
        _, events = self._in_flight.pop(uid, (queued, []))
        if self.pods.get(uid) is not queued:
            return
        queued.rejected_by = plugins
        now = self._engine.now
        if error:
            queued.error_count += 1
            queued.backoff_until_seconds = now + self._backoff_seconds(queued.error_count)
            self._push_backoff(queued, "error_backoff", "ScheduleAttemptFailure")
            return
        queued.error_count = 0
        queued.unschedulable_count += 1
        queued.backoff_until_seconds = now + self._backoff_seconds(queued.unschedulable_count)
        if any(self._wakes(queued, event) for event in events):
            self._push_backoff(queued, "backoff", "ScheduleAttemptFailure")
        else:
            self._park(queued)
            self._count("unschedulable", "ScheduleAttemptFailure")

    def cluster_event(self, event: ClusterEvent) -> None:
        """Move the pods that this event may help out of the unschedulable pool."""
        for _, events in self._in_flight.values():
            events.append(event)
        if not self._unschedulable:
            return
        woken = [
            queued
            for queued in self._unschedulable.values()
            if not queued.gated and self._wakes(queued, event)
        ]
        for queued in woken:
            self._unpark(queued, event.resource + event.action.capitalize())

    def reactivate(self, uid: int, event: str) -> None:
        """Wake one pod whatever its hints say (preemption finished, gate lifted)."""
        queued = self._unschedulable.get(uid)
        if queued is not None:
            queued.gated = False
            self._unpark(queued, event)

    # Inside.

    def _backoff_seconds(self, count: int) -> float:
        p = self._params
        return float(
            min(
                p.pod_initial_backoff_seconds * 2.0 ** min(count - 1, 40),
                p.pod_max_backoff_seconds,
            )
        )

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

    def _activate(self, queued: QueuedPod, event: str) -> None:
        now = self._engine.now
        queued.state = "active"
        queued.enqueued_seconds = now
        self._sequence += 1
        heappush(self._active, (-queued.template.priority, now, self._sequence, queued))
        self._counts["active"] += 1
        self._count("active", event)
        self._on_ready()

    def _pop_active(self) -> QueuedPod | None:
        heap = self._active
        while heap:
            queued = heappop(heap)[3]
            if queued.state == "active":
                self._counts["active"] -= 1
                return queued
        return None

    def _push_backoff(self, queued: QueuedPod, queue: str, event: str) -> None:
        heap = self._backoff if queue == "backoff" else self._error_backoff
        window = self._params.backoff_window_seconds
        expiry = queued.backoff_until_seconds
        queued.state = queue
        self._sequence += 1
        heappush(
            heap,
            (
                expiry // window * window,
                -queued.template.priority,
                queued.enqueued_seconds,
                self._sequence,
                queued,
            ),
        )
        self._counts[queue] += 1
        self._count("backoff", event)
        if queue == "backoff" and self._params.pop_from_backoff:
            self._on_ready()

    def _pop_heap(
        self, heap: list[tuple[float, int, float, int, QueuedPod]], state: str
    ) -> QueuedPod | None:
        while heap:
            queued = heappop(heap)[4]
            if queued.state == state:
                self._counts[state] -= 1
                return queued
        return None

    def _park(self, queued: QueuedPod) -> None:
        queued.state = "unschedulable"
        queued.unschedulable_since_seconds = self._engine.now
        self._unschedulable[queued.pod.uid] = queued

    def _unpark(self, queued: QueuedPod, event: str) -> None:
        del self._unschedulable[queued.pod.uid]
        if self._is_gated(queued):
            queued.gated = True
            self._park(queued)
        elif queued.backoff_until_seconds > self._engine.now:
            self._push_backoff(queued, "backoff", event)
        else:
            self._activate(queued, event)

    def _flush_backoff(self, _: None) -> None:
        now = self._engine.now
        for heap, state in (
            (self._backoff, "backoff"),
            (self._error_backoff, "error_backoff"),
        ):
            while heap:
                queued = heap[0][4]
                if queued.state == state and queued.backoff_until_seconds > now:
                    break
                heappop(heap)
                if queued.state == state:
                    self._counts[state] -= 1
                    self._activate(queued, "BackoffComplete")
        window = self._params.backoff_window_seconds
        self._engine.call_at((now // window + 1.0) * window, self._flush_backoff)

    def _flush_unschedulable(self, _: None) -> None:
        limit = self._engine.now - self._params.unschedulable_max_seconds
        old = [
            queued
            for queued in self._unschedulable.values()
            if not queued.gated and queued.unschedulable_since_seconds < limit
        ]
        for queued in old:
            self._unpark(queued, "UnschedulableTimeout")
        self._engine.call_later(self._params.unschedulable_flush_seconds, self._flush_unschedulable)
