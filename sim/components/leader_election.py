"""Leader election by a Lease: who of several replicas of a component works.

**Modelled:** acquire, renew every ``retry_period_seconds``, loss after the renew deadline, taking
over an expired lease as observed by the candidate's own clock.
**Source:** client-go leaderelection; defaults 15 / 10 / 2 s (`facts/defaults.csv` row 258).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sim.base.objects import APIObject, Lease
from sim.components.client import Client
from sim.components.ports import Request
from sim.engine.engine import Engine

_UPSTREAM = {"source": "upstream: component-base LeaderElectionConfiguration defaults"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElectionParams:
    """Times of the leader election protocol."""

    leader_elect: bool = field(default=True, metadata=_UPSTREAM)
    lease_duration_seconds: float = field(default=15.0, metadata=_UPSTREAM)
    renew_deadline_seconds: float = field(default=10.0, metadata=_UPSTREAM)
    retry_period_seconds: float = field(default=2.0, metadata=_UPSTREAM)


class LeaderElector:
    """One candidate for a lease in namespace kube-system."""

    def __init__(
        self,
        engine: Engine,
        client: Client,
        lease_name: str,
        identity: str,
        params: LeaderElectionParams,
        on_started_leading: Callable[[], object],
        on_stopped_leading: Callable[[], object] | None = None,
    ) -> None:
        self._engine = engine
        self._client = client
        self._lease_name = lease_name
        self._identity = identity
        self._params = params
        self._on_started = on_started_leading
        self._on_stopped = on_stopped_leading
        self._observed_version = 0
        self._observed_seconds = 0.0
        self._last_renew_seconds = 0.0
        self._stopped = False
        self.is_leader = False

    def start(self) -> None:
        """Begin to compete (or lead at once when election is off)."""
        if not self._params.leader_elect:
            self.is_leader = True
            self._on_started()
            return
        self._stopped = False
        self._round(None)

    def stop(self) -> None:
        """The process is gone: no renewals, no call-backs."""
        self._stopped = True
        self.is_leader = False

    def _round(self, _: None) -> None:
        if self._stopped:
            return
        self._client.get("leases", "kube-system", self._lease_name, self._seen)

    def _seen(self, request: Request) -> None:
        if self._stopped:
            return
        now = self._engine.now
        if request.code == 404:
            lease = Lease(
                name=self._lease_name,
                namespace="kube-system",
                holder=self._identity,
                renew_seconds=now,
                duration_seconds=self._params.lease_duration_seconds,
            )
            self._client.create(lease, self._written)
            return
        if not request.ok:
            self._lost_round()
            return
        lease = request.result
        if lease.resource_version != self._observed_version:
            self._observed_version = lease.resource_version
            self._observed_seconds = now
        if (
            lease.holder != self._identity
            and lease.holder
            and (now < self._observed_seconds + self._params.lease_duration_seconds)
        ):
            self._lost_round()
            return
        new = lease.clone()
        if lease.holder != self._identity:
            new.transition_count += 1
        new.holder = self._identity
        new.renew_seconds = now
        self._client.update(new, self._written)

    def _written(self, request: Request) -> None:
        if self._stopped:
            return
        if not request.ok:
            self._lost_round()
            return
        result: APIObject = request.result
        self._observed_version = result.resource_version
        self._observed_seconds = self._last_renew_seconds = self._engine.now
        if not self.is_leader:
            self.is_leader = True
            self._on_started()
        self._engine.call_later(self._params.retry_period_seconds, self._round)

    def _lost_round(self) -> None:
        now = self._engine.now
        if self.is_leader and (
            now > self._last_renew_seconds + self._params.renew_deadline_seconds
        ):
            self.is_leader = False
            if self._on_stopped is not None:
                self._on_stopped()
        jitter = 1.0 + 1.2 * self._engine.stream(f"leader-election/{self._identity}").uniform()
        self._engine.call_later(self._params.retry_period_seconds * jitter, self._round)
