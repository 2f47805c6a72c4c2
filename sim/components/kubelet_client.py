"""The clients of a fleet: one identity per node, token buckets as arrays.

**Modelled:** client-go's token bucket per node and purpose, Retry-After loops on 429, the user
that priority and fairness tells flows apart by.
**Source:** `facts/model.md` 0.1, 0.2; bucket semantics as `sim.engine.token_bucket`.
"""

from __future__ import annotations

from sim.components.client import RETRY_COUNT_MAX
from sim.components.ports import APIEndpoint, Balancer, Caller, Request
from sim.engine.engine import Engine
from sim.engine.host import HostProcess


class NodeIdentity(Caller):
    """What the apiserver sees of one member of a fleet; it receives the member's responses."""

    shares_connection = True
    """All its requests go over one HTTP/2 connection."""

    __slots__ = ("cpu_per_request_seconds", "fleet", "index", "process")

    def __init__(self, fleet: FleetIdentities, index: int, user: str) -> None:
        super().__init__(user, fleet.name, fleet.groups)
        self.fleet = fleet
        self.index = index
        self.process = fleet.process
        self.cpu_per_request_seconds = fleet.cpu_per_request_seconds

    def receive(self, request: Request) -> None:
        """Take a response off the network."""
        fleet = self.fleet
        if request.code == 429:
            fleet.rejected_count += 1
            if request.attempt_count < RETRY_COUNT_MAX:
                request.attempt_count += 1
                delay = request.retry_after_seconds
                fleet.engine.after(delay if delay > 1.0 else 1.0, fleet.sender, request)
                return
        if request.then is not None:
            request.then(request)


class FleetIdentities:
    """The members of a fleet as users of the API."""

    def __init__(
        self,
        engine: Engine,
        endpoint: APIEndpoint,
        *,
        name: str,
        user_prefix: str,
        groups: tuple[str, ...],
        process: HostProcess | None = None,
        cpu_per_request_seconds: float = 0.0,
    ) -> None:
        self.engine = engine
        self.endpoint = endpoint
        self.name = name
        self.user_prefix = user_prefix
        """User of a member: this and its node's name; alone if it does not end in a colon."""
        self.groups = groups
        self.process = process
        self.cpu_per_request_seconds = cpu_per_request_seconds
        spends_cpu = process is not None and cpu_per_request_seconds > 0.0
        self.sender = self._send_from_process if spends_cpu else endpoint.send
        """Puts a request on the network, after the CPU it costs where that is modelled."""
        self.balancer: Balancer | None = None
        """Where the sender puts requests at once, if that is such an endpoint."""
        if isinstance(endpoint, Balancer) and not spends_cpu:
            self.balancer = endpoint
        self.members: list[NodeIdentity] = []
        self.rejected_count = 0

    def add(self, node_name: str) -> None:
        """Add a member; its index is the number of members so far."""
        prefix = self.user_prefix
        user = prefix + node_name if prefix.endswith(":") else prefix
        self.members.append(NodeIdentity(self, len(self.members), user))

    def _send_from_process(self, request: Request) -> None:
        assert self.process is not None
        self.process.run(self.cpu_per_request_seconds, self.endpoint.send, request)


class FleetClient:
    """One clientset per member: the token buckets of one purpose. ``qps`` 0 means no limit."""

    def __init__(self, identities: FleetIdentities, qps: float, burst: int) -> None:
        self._members = identities.members
        self._engine = identities.engine
        self._send = identities.sender
        self._balancer = identities.balancer
        self._tokens: list[float] = []
        self._last_seconds: list[float] = []
        self.qps = qps
        self.burst = float(burst)
        self.request_count = 0
        self.waited_count = 0
        self.wait_sum_seconds = 0.0

    def add(self) -> None:
        """Give a full bucket to the next member."""
        self._tokens.append(self.burst)
        self._last_seconds.append(0.0)

    def submit(self, index: int, request: Request) -> None:
        """Send a request of one member when its bucket allows."""
        request.client = self._members[index]
        now = self._engine.now
        request.submitted_seconds = now
        self.request_count += 1
        qps = self.qps
        if qps > 0.0:
            tokens = self._tokens[index] + (now - self._last_seconds[index]) * qps - 1.0
            limit = self.burst - 1.0
            if tokens > limit:
                tokens = limit
            self._tokens[index] = tokens
            self._last_seconds[index] = now
            if tokens < 0.0:
                wait_seconds = -tokens / qps
                self.waited_count += 1
                self.wait_sum_seconds += wait_seconds
                request.limiter_wait_seconds = wait_seconds
                self._engine.after(wait_seconds, self._send, request)
                return
        if self._balancer is not None:
            self._balancer.send(request)
        else:
            self._send(request)
