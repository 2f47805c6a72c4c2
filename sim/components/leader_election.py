"""Leader election by a Lease, as client-go does it.

**Modelled:** acquire (GET, then POST or PUT), renewal by one PUT per retry period, take-over when
the record has not changed for the lease duration by the candidate's own clock, loss when no renewal
succeeded for the renew deadline.
**Source:** `facts/model.md` 0.3 (leader leases every 2 s); upstream defaults of
``--leader-elect-*``: lease 15 s, renew deadline 10 s, retry 2 s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sim.base.objects import Lease
from sim.components.client import Client
from sim.components.leader_election_params import LeaderElectionParams
from sim.components.ports import Request
from sim.engine.engine import Engine

_JITTER_RATIO: Final = 1.2
"""Candidates wait the retry period times U(1, 2.2). **Source:** upstream leaderelection."""


class LeaderElector:
    """One candidate."""

    def __init__(
        self,
        engine: Engine,
        client: Client,
        lease_name: str,
        candidate: str,
        params: LeaderElectionParams,
        on_started: Callable[[], object],
        on_stopped: Callable[[], object],
    ) -> None:
        self._engine = engine
        self._client = client
        self._lease_name = lease_name
        self._candidate = candidate
        self._params = params
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._stream = f"{lease_name}/{candidate}/leader-election"
        self._observed: Lease | None = None
        self._observed_seconds = 0.0
        self._renewed_seconds = 0.0
        self._generation = 0
        self.leading = False

    def start(self) -> None:
        """Become a candidate."""
        self._generation += 1
        self._try(self._generation)

    def stop(self) -> None:
        """The process is gone: no renewals any more, and no release either."""
        self._generation += 1
        self.leading = False

    def _again(self, generation: int) -> None:
        delay_seconds = self._params.leader_elect_retry_period_seconds
        if not self.leading:
            delay_seconds *= 1.0 + _JITTER_RATIO * self._engine.stream(self._stream).uniform()
        self._engine.call_later(delay_seconds, self._try, generation)

    def _try(self, generation: int) -> None:
        if generation != self._generation:
            return
        if self.leading and self._observed is not None:
            self._write(self._observed, generation)
            return
        request = Request("get", "leases", "kube-system", self._lease_name)
        request.then = lambda response: self._got(response, generation)
        self._client.submit(request)

    def _got(self, response: Request, generation: int) -> None:
        if generation != self._generation:
            return
        now = self._engine.now
        lease: Lease | None = response.result if response.ok else None
        if response.code == 404:
            self._write(None, generation)
            return
        if lease is None:
            self._again(generation)
            return
        known = self._observed
        if known is None or known.resource_version != lease.resource_version:
            self._observed = lease
            self._observed_seconds = now
        held_seconds = self._params.leader_elect_lease_duration_seconds
        if lease.holder in {"", self._candidate} or now - self._observed_seconds > held_seconds:
            self._write(lease, generation)
        else:
            self._again(generation)

    def _write(self, lease: Lease | None, generation: int) -> None:
        if lease is None:
            new = Lease(name=self._lease_name, namespace="kube-system")
        else:
            new = lease.clone()
            new.transition_count += new.holder != self._candidate
        new.holder = self._candidate
        new.renew_seconds = self._engine.now
        new.duration_seconds = self._params.leader_elect_lease_duration_seconds
        request = Request(
            "create" if lease is None else "update",
            "leases",
            new.namespace,
            new.name,
            api_object=new,
        )
        request.then = lambda response: self._written(response, generation)
        self._client.submit(request)

    def _written(self, response: Request, generation: int) -> None:
        if generation != self._generation:
            return
        now = self._engine.now
        if response.ok:
            self._observed = response.result
            self._observed_seconds = self._renewed_seconds = now
            if not self.leading:
                self.leading = True
                self._on_started()
        else:
            if response.code == 409:
                self._observed = None
            deadline_seconds = self._params.leader_elect_renew_deadline_seconds
            late = now - self._renewed_seconds > deadline_seconds
            if self.leading and (late or response.code == 409):
                self.leading = False
                self._on_stopped()
        self._again(generation)
