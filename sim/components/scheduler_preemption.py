"""Asynchronous preemption: the victims of one pod are deleted through the apiserver.

**Modelled:** per victim PATCH status (DisruptionTarget) then DELETE with UID precondition; all but
the last victim side by side, the last one after them, so that its deletion is what wakes the
preemptor; the preemptor is held back until the last one's turn; it is activated when a call
failed; nominations of lower priority on the node are given up.
**Source:** upstream ``pkg/scheduler/framework/preemption/executor.go``; `facts/model.md` e.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from sim.base.api_object import APIObject
from sim.base.objects import Pod
from sim.components.client import Client
from sim.components.events import EventRecorder
from sim.components.ports import Request

_GONE_CODES: Final = frozenset({404, 409})
"""Not found, or another pod of that name: nothing is left to preempt."""


class Preemption:
    """The deletion of one pod's victims."""

    def __init__(
        self,
        client: Client,
        events: EventRecorder,
        node_name: str,
        victims: Sequence[Pod],
        on_last: Callable[[], object],
        on_failure: Callable[[], object],
    ) -> None:
        self._client = client
        self._events = events
        self._node_name = node_name
        self._victims = victims
        self._on_last = on_last
        self._on_failure = on_failure
        self._waiting_count = len(victims) - 1
        self._failed = False

    def start(self) -> None:
        """Begin with all victims but the last."""
        if self._waiting_count == 0:
            self._last()
            return
        for victim in self._victims[:-1]:
            self._evict(victim, self._one_done)

    def _one_done(self) -> None:
        self._waiting_count -= 1
        if self._waiting_count == 0:
            self._last()

    def _last(self) -> None:
        self._on_last()
        self._evict(self._victims[-1], self._finished)

    def _finished(self) -> None:
        if self._failed:
            self._on_failure()

    def _evict(self, victim: Pod, then: Callable[[], object]) -> None:
        def marked(response: Request) -> None:
            if response.code in _GONE_CODES:
                then()
                return
            if not response.ok:
                self._failed = True
                then()
                return
            self._client.delete(
                "pods", victim.namespace, victim.name, deleted, precondition_uid=victim.uid
            )

        def deleted(response: Request) -> None:
            if response.ok:
                self._events.event(
                    victim, "Normal", "Preempted", f"Preempted by pod on node {self._node_name}"
                )
            elif response.code not in _GONE_CODES:
                self._failed = True
            then()

        def mark(current: APIObject) -> APIObject | None:
            assert isinstance(current, Pod)
            if current.uid != victim.uid:
                return None
            if current.disruption_target:
                return current
            new = current.clone()
            new.disruption_target = True
            return new

        self._client.patch(
            "pods", victim.namespace, victim.name, mark, then=marked, subresource="status"
        )
