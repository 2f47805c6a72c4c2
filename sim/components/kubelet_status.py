"""The status managers of a fleet: one serial GET + PATCH per changed pod and node.

**Modelled:** one pod at a time per node; a version that is overwritten before its turn is never
sent; the PATCH is left out if the stored pod says the same already; the final DELETE with grace 0
and the uid as precondition once everything of the pod is gone; failures, and statuses that somebody
else has overwritten (node lifecycle marks the pods of lost nodes as not ready), wait for the next
full pass (10 s).
**Not modelled:** the order among the pods of one pass (upstream's is random, here first come first
served).
**Source:** `facts/model.md` h.5, a.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sim.base.objects import Pod
from sim.components.kubelet_client import FleetClient
from sim.components.kubelet_params import KubeletParams
from sim.components.kubelet_record import GONE, PodRecord, PodStatus
from sim.components.ports import Request
from sim.engine.engine import Engine


class StatusManagers:
    """By node index: who is being reported, and who waits."""

    def __init__(
        self,
        engine: Engine,
        params: KubeletParams,
        client: FleetClient,
        removed: Callable[[PodRecord], object],
    ) -> None:
        self._engine = engine
        self._params = params
        self._client = client
        self._removed = removed
        """Called when the apiserver no longer knows the pod."""
        self._waiting: list[deque[PodRecord] | None] = []
        self._current: list[PodRecord | None] = []
        self._sending: list[PodStatus | None] = []
        self._request: list[Request | None] = []
        self.get_count = 0
        self.patch_count = 0
        self.delete_count = 0
        self.coalesced_count = 0
        """Versions that were overwritten before they were sent."""

    def add_node(self) -> None:
        """Give the next node a status manager."""
        self._waiting.append(None)
        self._current.append(None)
        self._sending.append(None)
        self._request.append(None)

    def depth_count(self, node: int) -> int:
        """Pods that wait on a node."""
        waiting = self._waiting[node]
        return len(waiting) if waiting else 0

    def reset(self, node: int) -> None:
        """The kubelet has stopped: nothing is in flight any more."""
        waiting = self._waiting[node]
        if waiting:
            for record in waiting:
                record.queued = False
            waiting.clear()
        self._current[node] = None
        self._request[node] = None

    def publish(self, record: PodRecord, host_ip: str) -> None:
        """A pod has a new status."""
        record.status = PodStatus(record, host_ip)
        self.poke(record)

    def poke(self, record: PodRecord) -> None:
        """A pod has something to report (or to delete)."""
        if record.queued:
            self.coalesced_count += 1
            return
        record.queued = True
        node = record.node
        if self._current[node] is None:
            self._begin(node, record)
            return
        waiting = self._waiting[node]
        if waiting is None:
            waiting = self._waiting[node] = deque()
        waiting.append(record)

    def _begin(self, node: int, record: PodRecord) -> None:
        record.queued = False
        self._current[node] = record
        self._sending[node] = record.status
        namespace, name = record.key
        request = Request("get", "pods", namespace, name, then=self._got)
        self._request[node] = request
        self.get_count += 1
        self._client.submit(node, request)

    def _next(self, node: int) -> None:
        waiting = self._waiting[node]
        while waiting:
            record = waiting.popleft()
            if record.stage != GONE:
                self._begin(node, record)
                return
        self._current[node] = None
        self._request[node] = None

    def _got(self, request: Request) -> None:
        node: int = request.client.index
        record = self._current[node]
        if self._request[node] is not request or record is None:
            return  # of a kubelet that has stopped meanwhile
        pod = request.result
        if request.code == 404 or (request.ok and pod.uid != record.uid):
            self._removed(record)
            self._next(node)
            return
        status = self._sending[node]
        if not request.ok or status is None:
            self._failed(record)
            self._next(node)
            return
        assert isinstance(pod, Pod)
        if status.same(pod):
            record.sent = status
            self._settled(node, record)
            return
        namespace, name = record.key
        patch = Request(
            "patch", "pods", namespace, name, subresource="status", mutate=status.apply,
            then=self._patched,
        )  # fmt: skip
        self._request[node] = patch
        self.patch_count += 1
        self._client.submit(node, patch)

    def _patched(self, request: Request) -> None:
        node: int = request.client.index
        record = self._current[node]
        if self._request[node] is not request or record is None:
            return
        if request.ok:
            record.sent = self._sending[node]
            self._settled(node, record)
            return
        if request.code == 404:
            self._removed(record)
        else:
            self._failed(record)
        self._next(node)

    def _settled(self, node: int, record: PodRecord) -> None:
        """The apiserver has this version: delete the pod if it is finished, else go on."""
        if record.deletable and record.sent is record.status:
            namespace, name = record.key
            request = Request(
                "delete", "pods", namespace, name, grace_seconds=0.0, precondition_uid=record.uid,
                then=self._deleted,
            )  # fmt: skip
            self._request[node] = request
            self.delete_count += 1
            self._client.submit(node, request)
            return
        self._next(node)

    def _deleted(self, request: Request) -> None:
        node: int = request.client.index
        record = self._current[node]
        if self._request[node] is not request or record is None:
            return
        if not request.ok and request.code not in {404, 409}:
            self._failed(record)
        self._next(node)

    def _failed(self, record: PodRecord) -> None:
        self._engine.after(self._params.status_retry_seconds, self._retry, record)

    def overwritten(self, record: PodRecord, pod: Pod, phase_ratio: float) -> None:
        """Somebody else has changed a pod's status: the next full pass of the node puts it right.

        ``phase_ratio`` is the place of the node's passes within their period, 0 to 1.
        """
        status = record.status
        if status is None or record.sent is not status or record.queued or status.same(pod):
            return
        period = self._params.status_retry_seconds
        passed = (self._engine.now / period - phase_ratio) % 1.0
        self._engine.after(period * (1.0 - passed), self._reconcile, record)

    def _reconcile(self, record: PodRecord) -> None:
        status = record.status
        if status is not None and record.sent is status and not status.same(record.pod):
            self._retry(record)

    def _retry(self, record: PodRecord) -> None:
        if record.stage != GONE and not record.queued:
            self.poke(record)
