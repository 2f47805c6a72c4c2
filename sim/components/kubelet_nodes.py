"""Node-level loops of a fleet: leases, node status, registration.

**Modelled:** lease PUT every 10 s from completion with 4 % jitter, five immediate retries, creation
of a missing lease; node status computed every 10 s and sent after 300 s, or on change, after which
the next report moves by up to half a period; registration with back-off, CSINode, the fast status
loop of a fresh node until its network is up.
**Not modelled:** eviction, image garbage collection, resource pressure conditions.
**Source:** `facts/model.md` a.3, a.6; `facts/defaults.csv`, rows kubelet.

Streams: ``kubelet/lease``, ``kubelet/node-status``.
"""

from __future__ import annotations

from math import ceil
from typing import Final

import numpy as np

from sim.base.api_object import APIObject
from sim.base.objects import Generic, Lease, Node, Taint
from sim.components.kubelet_client import FleetClient, NodeIdentity
from sim.components.kubelet_context import KubeletContext
from sim.components.ports import Request
from sim.engine.engine import Call

LEASE_NAMESPACE: Final = "kube-node-lease"
NOT_READY_TAINT: Final = "node.kubernetes.io/not-ready"


class _NodeStatus:
    """Body of a PATCH of nodes/status."""

    __slots__ = ("ready", "reason", "seconds")

    def __init__(self, ready: bool, seconds: float) -> None:
        self.ready = "True" if ready else "False"
        self.reason = "KubeletReady" if ready else "KubeletNotReady"
        self.seconds = seconds

    def apply(self, current: APIObject) -> APIObject:
        new = current.clone()
        assert isinstance(new, Node)
        if new.ready != self.ready:
            new.ready = self.ready
            new.ready_transition_seconds = self.seconds
        new.ready_reason = self.reason
        new.heartbeat_seconds = self.seconds
        return new


class _Heart:
    """The lease of one node and what is under way to renew it."""

    __slots__ = ("call", "lease", "node", "request", "retry_count")

    def __init__(self, node: int, lease: Lease) -> None:
        self.node = node
        self.lease = lease
        """As the kubelet knows it."""
        self.call: Call | None = None
        self.request: Request | None = None
        self.retry_count = 0


class NodeLoops:
    """Heartbeats and registration, by node index."""

    def __init__(
        self, context: KubeletContext, heartbeat: FleetClient, main: FleetClient, capacity: int
    ) -> None:
        self._context = context
        self._engine = context.engine
        self._heartbeat = heartbeat
        self._main = main
        self._lease_stream = context.engine.stream("kubelet/lease")
        self._status_stream = context.engine.stream("kubelet/node-status")
        params = context.params
        self._jitter_ratio = params.heartbeat_jitter_ratio
        self._report_seconds = params.node_status_report_seconds
        self._update_seconds = params.node_status_update_seconds
        self._gets_status = params.node_status_get
        self._renew_seconds = params.node_lease_duration_seconds * params.node_lease_renew_ratio
        self.status_due_seconds = np.full(capacity, np.inf)
        """When each node reports its status next: (n_nodes,) float64."""
        self.ready = np.zeros(capacity, dtype=np.bool_)
        """Whether the kubelet calls its node Ready: (n_nodes,) bool."""
        self.registered = np.zeros(capacity, dtype=np.bool_)
        self._hearts: list[_Heart] = []
        self._status_calls: list[Call | None] = []
        self._changed: list[bool] = []
        """Whether the last status sent differed from the Node the kubelet knew."""
        self._register_counts: list[int] = []
        self._then_renew = self._renew
        self._then_renewed = self._renewed
        self._then_report = self._report
        self._then_reported = self._reported
        """Bound once: they are called for every heartbeat."""
        self.lease_count = 0
        self.lease_failure_count = 0
        self.status_count = 0

    def add_node(self, name: str) -> None:
        """Give the next node its loops."""
        lease = Lease(
            name=name,
            namespace=LEASE_NAMESPACE,
            holder=name,
            duration_seconds=self._context.params.node_lease_duration_seconds,
        )
        self._hearts.append(_Heart(len(self._hearts), lease))
        self._status_calls.append(None)
        self._changed.append(False)
        self._register_counts.append(0)

    def begin(self, node: int, lease_delay_seconds: float, status_delay_seconds: float) -> None:
        """Start the loops of a registered node."""
        self._arm_lease(self._hearts[node], lease_delay_seconds)
        self._arm_status(node, status_delay_seconds)

    def stop(self, node: int) -> None:
        """The kubelet has stopped."""
        heart = self._hearts[node]
        for call in (heart.call, self._status_calls[node]):
            if call is not None:
                call.cancel()
        heart.call = None
        heart.request = None
        self._status_calls[node] = None
        self.status_due_seconds[node] = np.inf

    # leases

    def _arm_lease(self, heart: _Heart, delay_seconds: float) -> None:
        heart.call = self._engine.call_later(delay_seconds, self._then_renew, heart)

    def _renew(self, heart: _Heart) -> None:
        lease = heart.lease.clone()
        lease.renew_seconds = self._engine.now
        request = Request("update", "leases", LEASE_NAMESPACE, lease.name, api_object=lease)
        request.then = self._then_renewed
        heart.request = request
        heart.call = None  # what is over is let go while the cache still holds it
        self.lease_count += 1
        self._heartbeat.submit(heart.node, request)

    def _renewed(self, request: Request) -> None:
        member: NodeIdentity = request.client
        heart = self._hearts[member.index]
        if heart.request is not request:
            return
        heart.request = None
        if request.ok:
            stored = request.result
            if isinstance(stored, Lease):
                heart.lease = stored
            heart.retry_count = 0
        else:
            self.lease_failure_count += 1
            heart.retry_count += 1
            if request.code == 404:
                self._create_lease(heart)
                return
            if heart.retry_count <= self._context.params.lease_retry_count:
                stale = heart.lease.clone()
                stale.resource_version = 0
                heart.lease = stale
                self._renew(heart)
                return
            heart.retry_count = 0
        jitter = 1.0 + self._jitter_ratio * self._lease_stream.uniform()
        self._arm_lease(heart, self._renew_seconds * jitter)

    def _create_lease(self, heart: _Heart) -> None:
        lease = heart.lease.clone()
        lease.resource_version = 0
        lease.uid = 0
        lease.renew_seconds = self._engine.now
        request = Request("create", "leases", LEASE_NAMESPACE, lease.name, api_object=lease)
        request.then = self._then_renewed
        heart.request = request
        self._heartbeat.submit(heart.node, request)

    # node status

    def _arm_status(self, node: int, delay_seconds: float) -> None:
        engine = self._engine
        self.status_due_seconds[node] = engine.now + delay_seconds
        self._status_calls[node] = engine.call_later(delay_seconds, self._then_report, node)

    def _report(self, node: int) -> None:
        if self._gets_status:
            name = self._context.names[node]
            request = Request("get", "nodes", "", name, list_mode="cache", then=self._got)
            self._heartbeat.submit(node, request)
        else:
            self._patch(node)

    def _got(self, request: Request) -> None:
        if self._context.up[request.client.index]:
            self._patch(request.client.index)

    def _patch(self, node: int) -> None:
        context = self._context
        status = _NodeStatus(bool(self.ready[node]), self._engine.now)
        self._changed[node] = context.nodes[node].ready != status.ready
        self.status_count += 1
        self._heartbeat.submit(
            node,
            Request(
                "patch", "nodes", "", context.names[node], subresource="status",
                mutate=status.apply, then=self._then_reported,
            ),
        )  # fmt: skip

    def _reported(self, request: Request) -> None:
        node: int = request.client.index
        context = self._context
        call = self._status_calls[node]
        if not context.up[node] or (
            call is not None and self.status_due_seconds[node] > self._engine.now
        ):
            return  # stopped meanwhile, or another report is planned already
        delay_seconds = self._report_seconds
        if self._changed[node]:
            delay_seconds *= 0.5 + self._status_stream.uniform()
        if not request.ok:
            delay_seconds = self._update_seconds
        jitter = 1.0 + self._jitter_ratio * self._status_stream.uniform()
        tick = self._update_seconds * jitter
        self._arm_status(node, tick * ceil(delay_seconds / tick))

    def change(self, node: int, ready: bool) -> None:
        """The node's Ready condition changes: report it with the next fast or normal pass."""
        if self.ready[node] == ready:
            return
        self.ready[node] = ready
        context = self._context
        if not context.up[node] or not self.registered[node]:
            return
        call = self._status_calls[node]
        if call is not None:
            call.cancel()
        self._arm_status(node, context.params.fast_status_seconds)
        if ready:
            name = context.names[node]
            context.events.report_node(
                node, name, "NodeReady", f"Node {name} status is now: NodeReady"
            )

    # registration

    def register(self, node: int) -> None:
        """POST the Node object (again, after an error)."""
        context = self._context
        new = context.nodes[node].clone()
        new.uid = 0
        new.resource_version = 0
        new.ready = "False"
        new.ready_reason = "KubeletNotReady"
        if not any(taint.key == NOT_READY_TAINT for taint in new.taints):
            # upstream's admission plugin TaintNodesByCondition does this inside the POST
            new.taints = (*new.taints, Taint(NOT_READY_TAINT, "", "NoSchedule", self._engine.now))
        self._heartbeat.submit(
            node, Request("create", "nodes", "", new.name, api_object=new, then=self._registered)
        )

    def _registered(self, request: Request) -> None:
        node: int = request.client.index
        context = self._context
        if not context.up[node]:
            return
        if not request.ok and request.code != 409:
            params = context.params
            count = self._register_counts[node]
            self._register_counts[node] = count + 1
            delay_seconds = min(
                params.register_backoff_seconds * 2.0**count, params.register_backoff_max_seconds
            )
            self._engine.after(delay_seconds, self.register, node)
            return
        name = context.names[node]
        if request.code == 409:
            self._heartbeat.submit(node, Request("get", "nodes", "", name))
        self.registered[node] = True
        context.events.report_node(node, name, "Starting", "Starting kubelet.")
        self._main.submit(
            node,
            Request(
                "create",
                "csinodes",
                "",
                name,
                api_object=Generic(name=name, kind_plural="csinodes"),
            ),
        )
        self._create_lease(self._hearts[node])
        self._arm_status(node, context.params.fast_status_seconds)
