"""Sending many requests: at a rate, or with so many in flight; again if they fail in passing."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

from sim.components.client import Client
from sim.components.ports import Request
from sim.engine.engine import Engine
from sim.engine.streams import Stream
from sim.engine.tasks import Waitable, sleep
from sim.workload.arrivals import Rate

Steps = Generator[Waitable, Any, Any]

_PASSING_CODES: Final = frozenset({429, 500, 503, 504})
_RETRY_COUNT_MAX: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.1
_PAUSE_FACTOR: Final = 3.0


class Retries:
    """Sends requests again that failed for a reason that passes.

    **Source:** clusterloader2 pkg/framework/client/objects.go: six tries, 100 ms before the
    second, three times as long before each further one; a POST that is answered "already exists"
    after a failure has been successful.
    """

    def __init__(self, engine: Engine, client: Client) -> None:
        self._engine = engine
        self._client = client
        self._counts: dict[Request, int] = {}
        """Looked up, never iterated."""
        self.retry_count = 0

    def again(self, request: Request) -> bool:
        """Take an answer; whether the request is on its way once more."""
        if request.code not in _PASSING_CODES:
            if self._counts and self._counts.pop(request, 0) and request.code == 409:
                request.code = 201 if request.verb == "create" else 409
            return False
        count = self._counts.pop(request, 0)
        if count >= _RETRY_COUNT_MAX:
            return False
        self._counts[request] = count + 1
        self.retry_count += 1
        request.attempt_count = 0
        pause_seconds = _FIRST_PAUSE_SECONDS * _PAUSE_FACTOR**count
        self._engine.call_later(pause_seconds, self._client.submit, request)
        return True


class Submission:
    """One batch of requests of one operation."""

    def __init__(
        self,
        engine: Engine,
        client: Client,
        requests: Iterator[Request],
        answered: Callable[[Request], object],
    ) -> None:
        self._engine = engine
        self._client = client
        self._requests = requests
        self._answered = answered
        self._in_flight_count = 0
        self._exhausted = False
        self._finished = engine.event()
        self._retries = Retries(engine, client)

    def at_rate(self, rate: Rate, stream: Stream) -> Steps:
        """Send each request at its time; end when the last is answered."""
        start_seconds = self._engine.now
        for time_seconds in rate.times(stream):
            request = next(self._requests, None)
            if request is None:
                break
            wait_seconds = start_seconds + time_seconds - self._engine.now
            if wait_seconds > 0.0:
                yield sleep(self._engine, wait_seconds)
            self._send(request, self._arrived)
        self._exhausted = True
        if self._in_flight_count:
            yield self._finished

    def in_parallel(self, parallelism_count: int) -> Steps:
        """Keep so many requests in flight; end when the last is answered."""
        for _ in range(parallelism_count):
            if not self._send_next():
                break
        if self._in_flight_count:
            yield self._finished

    def _send(self, request: Request, then: Callable[[Request], object]) -> None:
        self._in_flight_count += 1
        request.then = then
        self._client.submit(request)

    def _send_next(self) -> bool:
        request = next(self._requests, None)
        if request is None:
            self._exhausted = True
            return False
        self._send(request, self._replaced)
        return True

    def _arrived(self, request: Request) -> None:
        if self._retries.again(request):
            return
        self._in_flight_count -= 1
        self._answered(request)
        if self._exhausted and not self._in_flight_count:
            self._finished.succeed()

    def _replaced(self, request: Request) -> None:
        if self._retries.again(request):
            return
        self._in_flight_count -= 1
        self._answered(request)
        if not self._exhausted:
            self._send_next()
        if self._exhausted and not self._in_flight_count:
            self._finished.succeed()
