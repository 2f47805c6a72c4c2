"""Event recorder: client-go's correlator and sink, used by every component that reports events.

**Modelled:** aggregation of similar events (10 distinct messages within 600 s), de-duplication into
PATCHes of a count, the spam filter (a token bucket per source and object: burst 25, one token per
300 s), the bounded queue (1,000, dropped when full), the sink that writes one event at a time and
retries 12 times, 10 s apart. With ``serial=False`` the sink of ``events.k8s.io`` (scheduler):
writes in parallel, repeats become one PATCH of a series and then stay silent until it is refreshed.
**Not modelled:** the final PATCH that closes a finished series.
**Source:** `facts/defaults.csv`, rows of component client-go; `facts/model.md` a.1;
`groundtruth/recipe_request_counts.csv` (10 POST + 15 PATCH for the pods of one ReplicaSet).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Final, TypeVar

from annotated_types import Ge, Gt

from sim.base.api_object import RESOURCE_TYPES, APIObject
from sim.base.objects import EventRecord
from sim.components.client import Client
from sim.components.ports import Request
from sim.engine.engine import Engine

_NAME_MASK: Final = (1 << 64) - 1
_BLANK: Final = EventRecord(name="")
"""Cloned for every new event: several times as fast as making one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecorderParams:
    """client-go's constants. **Source:** `facts/defaults.csv`, component client-go."""

    queue_count_max: Annotated[int, Gt(0)] = 1000
    """Events that wait for the sink; more are dropped."""
    aggregate_count: Annotated[int, Gt(0)] = 10
    """Distinct similar messages from which on events are aggregated."""
    aggregate_interval_seconds: Annotated[float, Gt(0)] = 600.0
    """Window of the aggregation."""
    spam_burst: Annotated[int, Gt(0)] = 25
    """Events of one source about one object that pass at once."""
    spam_qps: Annotated[float, Ge(0)] = 1.0 / 300.0
    """Refill of that burst."""
    cache_count_max: Annotated[int, Gt(0)] = 4096
    """Entries of each of the correlator's caches; the oldest used entry is forgotten."""
    try_count_max: Annotated[int, Gt(0)] = 12
    """Attempts to write one event."""
    retry_seconds: Annotated[float, Gt(0)] = 10.0
    """Pause between attempts."""
    series_refresh_seconds: Annotated[float, Gt(0)] = 1800.0
    """Pause between PATCHes of a running series (events.k8s.io)."""
    series_finish_seconds: Annotated[float, Gt(0)] = 360.0
    """Silence after which a series is over (events.k8s.io)."""


DEFAULT_PARAMS: Final = EventRecorderParams()


class _Pending:
    """One event on its way to the sink."""

    __slots__ = ("client", "involved", "kind", "message", "observed", "reason", "source", "tries",
                 "type_")  # fmt: skip

    def __init__(
        self,
        involved: APIObject,
        kind: str,
        type_: str,
        reason: str,
        message: str,
        source: str,
        client: Client,
    ) -> None:
        self.involved = involved
        self.kind = kind
        self.type_ = type_
        self.reason = reason
        self.message = message
        self.source = source
        self.client = client
        self.tries = 0
        self.observed: _Observed | None = None


class _Observed:
    """What the correlator remembers of one event key."""

    __slots__ = ("count", "first_seconds", "last_patch_seconds", "last_seconds", "name",
                 "namespace")  # fmt: skip

    def __init__(self, seconds: float) -> None:
        self.count = 0
        self.name = ""
        self.namespace = ""
        self.first_seconds = seconds
        self.last_seconds = seconds
        self.last_patch_seconds = seconds


_Key = tuple[str, ...]
_V = TypeVar("_V")


class EventRecorder:
    """Reports events of one component through one client."""

    def __init__(
        self,
        engine: Engine,
        client: Client,
        source: str,
        *,
        params: EventRecorderParams = DEFAULT_PARAMS,
        serial: bool = True,
    ) -> None:
        self._engine = engine
        self._client = client
        self._params = params
        self._serial = serial
        self._queue: deque[_Pending] = deque()
        self._busy = False
        self._similar: dict[_Key, tuple[float, dict[str, None]]] = {}
        self._buckets: dict[_Key, tuple[float, float]] = {}
        self._observed: dict[_Key, _Observed] = {}
        self._name_count = 0
        self._salts: dict[str, int] = {}
        self.source = source
        self.reported_count = 0
        """Events that components reported."""
        self.filtered_count = 0
        """Events that the spam filter (or a running series) kept back."""
        self.dropped_count = 0
        """Events lost to a full queue or after the last try."""
        self.written_count = 0
        """Events written (POST or PATCH)."""

    @property
    def depth_count(self) -> int:
        """Events that wait for the sink."""
        return len(self._queue)

    def event(
        self,
        involved: APIObject,
        type_: str,
        reason: str,
        message: str,
        *,
        source: str = "",
        client: Client | None = None,
    ) -> None:
        """Report that something happened to an object; ``type_`` is Normal or Warning.

        ``source`` and ``client`` serve fleets, whose members share one recorder.
        """
        self.reported_count += 1
        row = RESOURCE_TYPES.get(involved.resource)
        kind = row.kind if row is not None else involved.resource
        pending = _Pending(
            involved, kind, type_, reason, message, source or self.source, client or self._client
        )
        if not self._serial:
            self._record_series(pending)
            return
        if len(self._queue) >= self._params.queue_count_max:
            self.dropped_count += 1
            return
        self._queue.append(pending)
        if not self._busy:
            self._next()

    # core/v1: one event at a time

    def _next(self) -> None:
        while self._queue:
            pending = self._queue.popleft()
            request = self._correlate(pending)
            if request is not None:
                self._busy = True
                self._send(request, pending)
                return
        self._busy = False

    def _send(self, request: Request, pending: _Pending) -> None:
        pending.tries += 1
        request.then = lambda response: self._answered(response, pending)
        pending.client.submit(request)

    def _answered(self, request: Request, pending: _Pending) -> None:
        code = request.code
        if request.ok:
            self.written_count += 1
        elif code == 404 and request.verb == "patch" and pending.observed is not None:
            pending.observed.name = ""  # it has expired; written anew with its count
            self._send(self._request(pending, pending.observed, pending.message), pending)
            return
        elif code >= 500 and pending.tries < self._params.try_count_max:
            self._engine.after(
                self._params.retry_seconds, lambda again: self._send(again, pending), request
            )
            return
        else:
            self.dropped_count += 1
        if self._serial:
            self._next()

    def _correlate(self, pending: _Pending) -> Request | None:
        """Aggregate, count and filter one event; return the request to send, None if none."""
        now = self._engine.now
        involved = pending.involved
        subject = (pending.source, pending.kind, involved.namespace, involved.name,
                   str(involved.uid))  # fmt: skip
        similar_key = (*subject, pending.type_, pending.reason)
        last, messages = self._similar.pop(similar_key, (now, {}))
        if now - last > self._params.aggregate_interval_seconds:
            messages = {}
        messages[pending.message] = None
        self._remember(self._similar, similar_key, (now, messages))
        key: _Key = (*similar_key, pending.message)
        message = pending.message
        if len(messages) >= self._params.aggregate_count:
            key = similar_key
            message = f"(combined from similar events): {message}"
            del messages[next(iter(messages))]
        observed = self._observe(key, now)
        if not self._passes(subject, now):
            self.filtered_count += 1
            return None
        return self._request(pending, observed, message)

    def _observe(self, key: _Key, now: float) -> _Observed:
        observed = self._observed.pop(key, None)
        if observed is None:
            observed = _Observed(now)
        observed.count += 1
        observed.last_seconds = now
        self._remember(self._observed, key, observed)
        return observed

    def _passes(self, subject: _Key, now: float) -> bool:
        params = self._params
        tokens, last = self._buckets.pop(subject, (float(params.spam_burst), now))
        tokens = min(float(params.spam_burst), tokens + (now - last) * params.spam_qps)
        passes = tokens >= 1.0
        self._remember(self._buckets, subject, (tokens - 1.0 if passes else tokens, now))
        return passes

    def _remember(self, cache: dict[_Key, _V], key: _Key, value: _V) -> None:
        cache[key] = value
        if len(cache) > self._params.cache_count_max:
            del cache[next(iter(cache))]

    def _request(self, pending: _Pending, observed: _Observed, message: str) -> Request:
        pending.observed = observed
        if observed.name:
            count, last = observed.count, observed.last_seconds

            def mutate(current: APIObject) -> APIObject:
                new = current.clone()
                assert isinstance(new, EventRecord)
                new.count = count
                new.last_seconds = last
                new.message = message
                return new

            return Request("patch", "events", observed.namespace, observed.name, mutate=mutate)
        involved = pending.involved
        self._name_count += 1
        observed.namespace = involved.namespace or "default"
        observed.name = f"{involved.name}.{self._suffix(pending.source)}"
        record = _BLANK.clone()
        record.name = observed.name
        record.namespace = observed.namespace
        record.involved_kind = pending.kind
        record.involved_name = involved.name
        record.involved_namespace = involved.namespace
        record.involved_uid = involved.uid
        record.reason = pending.reason
        record.message = message
        record.type = pending.type_
        record.source = pending.source
        record.count = observed.count
        record.first_seconds = observed.first_seconds
        record.last_seconds = observed.last_seconds
        return Request("create", "events", record.namespace, record.name, api_object=record)

    def _suffix(self, source: str) -> str:
        """Return 16 hexadecimal digits, as upstream's time stamps in event names are."""
        salt = self._salts.get(source)
        if salt is None:
            digest = sha256(source.encode()).digest()
            salt = self._salts[source] = int.from_bytes(digest[:8], "big")
        stamp = int(self._engine.now * 1e9)
        return f"{salt + stamp + self._name_count & _NAME_MASK:016x}"

    # events.k8s.io: in parallel, repeats are a series

    def _record_series(self, pending: _Pending) -> None:
        now = self._engine.now
        params = self._params
        involved = pending.involved
        key = (pending.source, pending.kind, str(involved.uid), pending.type_, pending.reason)
        known = self._observed.get(key)
        if known is not None and now - known.last_seconds > params.series_finish_seconds:
            del self._observed[key]
            known = None
        observed = self._observe(key, now)
        if known is not None:
            since_seconds = now - observed.last_patch_seconds
            if observed.count > 2 and since_seconds < params.series_refresh_seconds:
                self.filtered_count += 1
                return
            observed.last_patch_seconds = now
        self._send(self._request(pending, observed, pending.message), pending)
