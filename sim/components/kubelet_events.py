"""The event recorders of a fleet: one serial sink and spam filter per node.

**Modelled:** one POST at a time per node through the event client's bucket, the queue bound, the
spam filter per pod (25, one more every 300 s), a repeated event as a PATCH of its count.
**Not modelled:** aggregation of similar messages (a kubelet's messages about one pod differ by
container and reason only), retries of a failed write.
**Source:** `facts/model.md` 0.1, a.1; `facts/defaults.csv`, rows client-go and kubelet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from sim.base.api_object import APIObject
from sim.base.objects import EventRecord
from sim.components.kubelet_client import FleetClient
from sim.components.kubelet_params import KubeletParams
from sim.components.kubelet_record import PodRecord
from sim.components.ports import Request
from sim.engine.engine import Engine

_BLANK: Final = EventRecord(name="", involved_kind="Pod", source="kubelet")
"""Cloned for every new event: several times as fast as making one."""


class _Repeat:
    """Body of the PATCH that counts one more occurrence."""

    __slots__ = ("count", "seconds")

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self.seconds = seconds

    def apply(self, current: APIObject) -> APIObject:
        new = current.clone()
        assert isinstance(new, EventRecord)
        new.count = self.count
        new.last_seconds = self.seconds
        return new


class EventRecorders:
    """By node index: the event in flight and those that wait."""

    def __init__(self, engine: Engine, params: KubeletParams, client: FleetClient) -> None:
        self._engine = engine
        self._params = params
        self._client = client
        self._waiting: list[deque[Request] | None] = []
        self._flying: list[Request | None] = []
        self.reported_count = 0
        self.filtered_count = 0
        self.dropped_count = 0
        self.written_count = 0

    def add_node(self) -> None:
        """Give the next node a recorder."""
        self._waiting.append(None)
        self._flying.append(None)

    def reset(self, node: int) -> None:
        """The kubelet has stopped: what waited is lost."""
        self._waiting[node] = None
        self._flying[node] = None

    def report(
        self,
        record: PodRecord,
        reason: str,
        message: str,
        *,
        container_index: int = 0,
        type_: str = "Normal",
    ) -> None:
        """Report something about a pod, now."""
        self.reported_count += 1
        now = self._engine.now
        params = self._params
        tokens = record.spam_tokens
        if tokens < 0.0:
            tokens = params.spam_burst
        else:
            tokens += (now - record.spam_seconds) * params.spam_qps
            if tokens > params.spam_burst:
                tokens = params.spam_burst
        record.spam_seconds = now
        if tokens < 1.0:
            record.spam_tokens = tokens
            self.filtered_count += 1
            return
        record.spam_tokens = tokens - 1.0
        self._enqueue(
            record.node,
            self.request(
                record,
                reason,
                message,
                self._answered,
                container_index=container_index,
                type_=type_,
            ),
        )

    def request(
        self,
        record: PodRecord,
        reason: str,
        message: str,
        then: Callable[[Request], object],
        *,
        container_index: int = 0,
        type_: str = "Normal",
    ) -> Request:
        """Return the request that writes an event: a POST, or a PATCH of its count."""
        now = self._engine.now
        count = 1
        namespace, name = record.key
        event_name = f"{name}.{record.uid:x}.{reason}{container_index}"
        counts = record.event_counts
        if counts is not None:
            key = (reason, container_index)
            count = counts.get(key, 0) + 1
            counts[key] = count
        if count > 1:
            return Request(
                "patch", "events", namespace, event_name, mutate=_Repeat(count, now).apply,
                then=then,
            )  # fmt: skip
        event = _BLANK.clone()
        event.name = event_name
        event.namespace = namespace
        event.involved_name = name
        event.involved_namespace = namespace
        event.involved_uid = record.uid
        event.reason = reason
        event.message = message
        event.type = type_
        event.first_seconds = event.last_seconds = now
        return Request("create", "events", namespace, event_name, api_object=event, then=then)

    def report_node(self, node: int, name: str, reason: str, message: str) -> None:
        """Report something about the node itself, now."""
        self.reported_count += 1
        now = self._engine.now
        event = EventRecord(
            name=f"{name}.{self.reported_count:x}", namespace="default", involved_kind="Node",
            involved_name=name, reason=reason, message=message, source="kubelet",
            first_seconds=now, last_seconds=now,
        )  # fmt: skip
        self._enqueue(
            node,
            Request(
                "create", "events", "default", event.name, api_object=event, then=self._answered
            ),
        )

    def _enqueue(self, node: int, request: Request) -> None:
        if self._flying[node] is None:
            self._flying[node] = request
            self._client.submit(node, request)
            return
        waiting = self._waiting[node]
        if waiting is None:
            waiting = self._waiting[node] = deque()
        if len(waiting) >= self._params.event_queue_count_max:
            self.dropped_count += 1
            return
        waiting.append(request)

    def _answered(self, request: Request) -> None:
        if request.ok:
            self.written_count += 1
        else:
            self.dropped_count += 1
        node: int = request.client.index
        if self._flying[node] is not request:
            return
        waiting = self._waiting[node]
        if waiting:
            following = waiting.popleft()
            self._flying[node] = following
            self._client.submit(node, following)
        else:
            self._flying[node] = None
