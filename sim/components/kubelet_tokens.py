"""Renewal of bound service account tokens: steady background load of running pods.

**Modelled:** a token is due after 80 % of its 3,607 s less up to 10 s; the pod's next regular sync
(60 s with up to 50 % jitter) notices and requests another one.
**Source:** `facts/model.md` 0.3; `facts/defaults.csv`, pod token refresh, syncFrequency.

Due tokens wait in buckets of ten seconds, so that they cost no event of their own until then.
Streams: ``kubelet/token``.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_record import RUNNING, PodRecord
from sim.components.ports import Request

LIFETIME_SECONDS: Final = 3607.0
"""What the kubelet asks for. **Source:** `facts/model.md` 0.3."""
REFRESH_RATIO: Final = 0.8
REFRESH_JITTER_SECONDS: Final = 10.0
SYNC_SECONDS: Final = 60.0
"""syncFrequency. **Source:** `facts/defaults.csv`."""
SYNC_JITTER_RATIO: Final = 0.5
_BUCKET_SECONDS: Final = 10.0


class TokenRenewals:
    """When the tokens of all running pods are requested again."""

    def __init__(self, context: KubeletContext) -> None:
        self._context = context
        self._engine = context.engine
        self._stream = context.engine.stream("kubelet/token")
        self._buckets: dict[int, list[tuple[float, PodRecord]]] = {}
        self._armed = False
        self.renewal_count = 0

    def granted(self, record: PodRecord) -> None:
        """A pod has got a token."""
        now = self._engine.now
        # The first sync after the due time comes up to one (jittered) sync period later.
        noticed = self._stream.uniform() * SYNC_SECONDS * (1.0 + 0.5 * SYNC_JITTER_RATIO)
        jitter = self._stream.uniform() * REFRESH_JITTER_SECONDS
        self._plan(now + LIFETIME_SECONDS * REFRESH_RATIO - jitter + noticed, record)

    def preloaded(self, record: PodRecord) -> None:
        """A pod that runs already got its token at some time before."""
        age = self._stream.uniform()
        self._plan(self._engine.now + LIFETIME_SECONDS * REFRESH_RATIO * age, record)

    def _plan(self, due_seconds: float, record: PodRecord) -> None:
        if due_seconds < (int(self._engine.now / _BUCKET_SECONDS) + 1) * _BUCKET_SECONDS:
            self._engine.at(due_seconds, self._renew, record)
            return
        bucket = int(due_seconds / _BUCKET_SECONDS)
        self._buckets.setdefault(bucket, []).append((due_seconds, record))
        if not self._armed:
            self._armed = True
            first = int(self._engine.now / _BUCKET_SECONDS) + 1
            self._engine.at(first * _BUCKET_SECONDS, self._tick, first)

    def _tick(self, bucket: int) -> None:
        """Turn a bucket into events when its time begins."""
        engine = self._engine
        for due_seconds, record in self._buckets.pop(bucket, ()):
            engine.at(due_seconds, self._renew, record)
        engine.at((bucket + 1) * _BUCKET_SECONDS, self._tick, bucket + 1)

    def _renew(self, record: PodRecord) -> None:
        if record.stage != RUNNING:
            return
        if not self._context.up[record.node]:
            self.granted(record)  # its kubelet asks for a new one when it is back
            return
        self.renewal_count += 1
        self._context.client.submit(
            record.node,
            Request(
                "create", "serviceaccounts", record.key[0], "default", subresource="token",
                then=partial(self._renewed, record),
            ),
        )  # fmt: skip

    def _renewed(self, record: PodRecord, request: Request) -> None:
        if record.stage == RUNNING:
            self.granted(record)
