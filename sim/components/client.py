"""A Kubernetes API client: token bucket, retries, and the identity that the apiserver sees.

**Modelled:** client-go's per-clientset token bucket with reservations in order, Retry-After loops
on 429 (up to 10 tries), the CPU that the caller spends per call when it sits on a modelled host.
**Not modelled:** connection set-up and TLS handshakes of long-lived clients.
**Source:** `facts/model.md` 0.1, b.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sim.base.api_object import APIObject
from sim.components.ports import APIEndpoint, Caller, Mutate, Request
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tasks import Signal
from sim.engine.token_bucket import TokenBucket

RETRY_COUNT_MAX: Final = 10


class Client(Caller):
    """One clientset of one process."""

    shares_connection = True
    """All its requests go over one HTTP/2 connection."""

    def __init__(
        self,
        engine: Engine,
        endpoint: APIEndpoint,
        *,
        user: str,
        groups: tuple[str, ...] = (),
        qps: float = 0.0,
        burst: int = 0,
        process: HostProcess | None = None,
        cpu_per_request_seconds: float = 0.0,
        cpu_per_answer_seconds: float = 0.0,
    ) -> None:
        super().__init__(user, user, groups)
        self._engine = engine
        self._endpoint = endpoint
        self.bucket = TokenBucket(qps, burst) if qps > 0.0 else None
        self.process = process
        self.cpu_per_request_seconds = cpu_per_request_seconds
        self.cpu_per_answer_seconds = cpu_per_answer_seconds
        self.request_count = 0
        self.in_flight_count = 0
        self.rejected_count = 0
        """Responses 429 received, retried or not."""

    def submit(self, request: Request) -> None:
        """Send a request when the token bucket allows; ``request.then`` gets the response."""
        engine = self._engine
        request.client = self
        now = engine.now
        request.submitted_seconds = now
        self.request_count += 1
        self.in_flight_count += 1
        bucket = self.bucket
        if bucket is not None:
            wait_seconds = bucket.reserve(now)
            if wait_seconds > 0.0:
                request.limiter_wait_seconds = wait_seconds
                engine.after(wait_seconds, self._send, request)
                return
        self._send(request)

    def _send(self, request: Request) -> None:
        process = self.process
        if process is not None and self.cpu_per_request_seconds > 0.0:
            process.run(self.cpu_per_request_seconds, self._endpoint.send, request)
        else:
            self._endpoint.send(request)

    def receive(self, request: Request) -> None:
        """Take a response off the network."""
        process = self.process
        if process is not None and self.cpu_per_answer_seconds > 0.0:
            process.run(self.cpu_per_answer_seconds, self._answered, request)
        else:
            self._answered(request)

    def _answered(self, request: Request) -> None:
        """Hand a response to the caller; retry 429 as client-go does."""
        if request.code == 429:
            self.rejected_count += 1
            if request.attempt_count < RETRY_COUNT_MAX:
                request.attempt_count += 1
                self._engine.after(max(1.0, request.retry_after_seconds), self._send, request)
                return
        self.in_flight_count -= 1
        if request.then is not None:
            request.then(request)

    def call(self, request: Request) -> Signal:
        """Submit from a process: ``response = yield client.call(request)``."""
        event = Signal(self._engine)
        request.then = event.succeed
        self.submit(request)
        return event

    # The verbs, for the common cases. Each returns the request it has submitted.

    def create(self, new: APIObject, then: Callable[[Request], object] | None = None) -> Request:
        """POST an object."""
        request = Request(
            "create", new.resource, new.namespace, new.name, api_object=new, then=then
        )
        self.submit(request)
        return request

    def update(
        self,
        new: APIObject,
        then: Callable[[Request], object] | None = None,
        subresource: str = "",
    ) -> Request:
        """PUT an object; answered 409 if its resource_version is not the current one."""
        request = Request(
            "update",
            new.resource,
            new.namespace,
            new.name,
            subresource=subresource,
            api_object=new,
            then=then,
        )
        self.submit(request)
        return request

    def patch(
        self,
        resource: str,
        namespace: str,
        name: str,
        mutate: Mutate,
        then: Callable[[Request], object] | None = None,
        subresource: str = "",
    ) -> Request:
        """PATCH an object by a function of its current state."""
        request = Request(
            "patch", resource, namespace, name, subresource=subresource, mutate=mutate, then=then
        )
        self.submit(request)
        return request

    def get(
        self,
        resource: str,
        namespace: str,
        name: str,
        then: Callable[[Request], object] | None = None,
        list_mode: str = "consistent",
    ) -> Request:
        """GET one object (linearizable unless ``list_mode`` is cache)."""
        request = Request("get", resource, namespace, name, then=then, list_mode=list_mode)
        self.submit(request)
        return request

    def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        then: Callable[[Request], object] | None = None,
        grace_seconds: float = -1.0,
        precondition_uid: int = 0,
    ) -> Request:
        """DELETE one object."""
        request = Request(
            "delete",
            resource,
            namespace,
            name,
            then=then,
            grace_seconds=grace_seconds,
            precondition_uid=precondition_uid,
        )
        self.submit(request)
        return request


class ClientFactory:
    """Makes the clients of a cluster; handed to components so that they never see the endpoint."""

    def __init__(self, engine: Engine, endpoint: APIEndpoint) -> None:
        self._engine = engine
        self.endpoint = endpoint
        self.clients: dict[str, Client] = {}
        """By ``user`` or ``user/purpose``, for reports on limiters."""

    def client(
        self,
        user: str,
        *,
        purpose: str = "",
        groups: tuple[str, ...] = (),
        qps: float = 0.0,
        burst: int = 0,
        process: HostProcess | None = None,
        cpu_per_request_seconds: float = 0.0,
        cpu_per_answer_seconds: float = 0.0,
    ) -> Client:
        """Return a new client; ``qps`` 0 means no client-side limit."""
        made = Client(
            self._engine,
            self.endpoint,
            user=user,
            groups=groups,
            qps=qps,
            burst=burst,
            process=process,
            cpu_per_request_seconds=cpu_per_request_seconds,
            cpu_per_answer_seconds=cpu_per_answer_seconds,
        )
        key = f"{user}/{purpose}" if purpose else user
        assert key not in self.clients, f"two clients named {key}"
        self.clients[key] = made
        return made
