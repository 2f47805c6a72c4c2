"""The simulated kubelets of the measurements: API traffic of a kubelet without a node behind it.

**Modelled:** per pod, one request after another: GET + PATCH (Pending), token, a fixed delay, GET +
PATCH (Running, Ready, address), events Pulled, Created, Started; at the end event Killing, GET +
PATCH (terminal phase), GET, DELETE with grace 0; GET + PATCH when a container has run its time. A
completed pod that is removed at once gets its event Killing and a GET (404), as measured.
**Not modelled:** retries after the node authorizer's 403.
**Source:** groundtruth README, "Simulated kubelets"; `recipe_request_counts.csv`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from sim.base.api_object import APIObject
from sim.base.objects import Pod
from sim.components.kubelet_client import FleetIdentities
from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_pods import CA_BUNDLE
from sim.components.kubelet_record import (
    GONE,
    OBSERVED,
    RUNNING,
    STOPPED,
    STOPPING,
    PodRecord,
    PodStatus,
)
from sim.components.kubelet_stop import PodTerminators
from sim.components.ports import Request, Watcher, WatchEvent

_START: tuple[str, ...] = (
    "get", "patch", "token", "delay", "get", "patch", "Pulled", "Created", "Started", "run",
)  # fmt: skip
_FINISH: tuple[str, ...] = ("get", "patch", "rest")
_END: tuple[str, ...] = ("Killing", "get", "patch", "get", "delete")
_VANISHED: tuple[str, ...] = ("Killing", "get")
_RUNNING_FROM: Final = 4
"""Step of the start at which the pod runs."""
_STATUS_BYTES: Final = 750
"""What a status version adds to the stored pod: conditions, container status, managed fields.
**Source:** groundtruth README: 3.1 kB when it runs; a pod without status has 1.6 kB (assumed)."""


class _GrowingStatus:
    """Body of a PATCH of pods/status that makes the object larger."""

    __slots__ = ("_added_bytes", "_status")

    def __init__(self, status: PodStatus) -> None:
        self._status = status
        self._added_bytes = _STATUS_BYTES if status.phase in {"Pending", "Running"} else 0

    def apply(self, current: APIObject) -> APIObject | None:
        new = self._status.apply(current)
        if new is not None and new is not current:
            new.size_bytes += self._added_bytes
        return new


class _CABundles:
    """Watches of ``kube-root-ca.crt``, one per node and namespace as long as pods need it.

    The first pod of a namespace opens it (a streaming list), the last one that goes closes it.
    **Source:** pkg/kubelet/util/manager/watch_based_manager.go.
    """

    def __init__(self, identities: FleetIdentities) -> None:
        self._identities = identities
        self._open: dict[tuple[int, str], tuple[Watcher, set[int]]] = {}
        self.closed_count = 0

    def use(self, record: PodRecord) -> None:
        """A pod is about to mount the bundle of its namespace."""
        key = (record.node, record.key[0])
        found = self._open.get(key)
        if found is not None:
            found[1].add(record.uid)
            return
        watcher = Watcher("configmaps", _forget_events, namespace=key[1], name=CA_BUNDLE)
        self._open[key] = (watcher, {record.uid})
        identities = self._identities
        identities.endpoint.watch(identities.members[record.node], watcher, _forget_list)

    def release(self, record: PodRecord) -> None:
        """A pod is gone."""
        key = (record.node, record.key[0])
        found = self._open.get(key)
        if found is None:
            return
        watcher, users = found
        users.discard(record.uid)
        if not users:
            del self._open[key]
            self.closed_count += 1
            self._identities.endpoint.unwatch(watcher)


def _forget_events(_: list[WatchEvent]) -> None:
    return


def _forget_list(_objects: list[APIObject], _revision: int) -> None:
    return


class SimulatedPods:
    """Start and end of pods as fixed sequences of requests."""

    def __init__(
        self, context: KubeletContext, terminators: PodTerminators, identities: FleetIdentities
    ) -> None:
        self._context = context
        self._engine = context.engine
        self._terminators = terminators
        self._row = context.transitions.append
        self.bundles = _CABundles(identities)
        self.started_count = 0

    def observe(self, node: int, pod: Pod) -> PodRecord:
        """A pod has appeared on the node's watch."""
        context = self._context
        record = PodRecord(pod, node, context.plan(pod.template))
        context.by_node[node][pod.uid] = record
        context.active_counts[node] += 1
        now = self._engine.now
        self._row((now, pod.uid, "observed", context.names[node]))
        record.start_seconds = now
        record.phase = "Pending"
        self._step(record, _START, 0)
        return record

    def delete(self, record: PodRecord) -> None:
        """The API asks for a graceful deletion."""
        if record.removing:
            return
        record.removing = True
        if record.stage in {OBSERVED, RUNNING}:
            self._end(record)
        elif record.stage == STOPPED:  # it has completed: the measured program ends it all the same
            self._step(record, _VANISHED, 0)

    def deleted(self, record: PodRecord) -> None:
        """The pod is gone from the API."""
        if record.stage == STOPPED and not record.removing:
            record.removing = True
            self._step(record, _VANISHED, 0)
        self._terminators.release(record)
        self.bundles.release(record)
        record.stage = GONE
        self._context.by_node[record.node].pop(record.uid, None)

    def _end(self, record: PodRecord) -> None:
        record.stage = STOPPING
        if record.call is not None:
            record.call.cancel()
            record.call = None
        self._row((self._engine.now, record.uid, "stopped", self._context.names[record.node]))
        self._finish(record, "Succeeded")
        self._step(record, _END, 0)

    def _finish(self, record: PodRecord, phase: str) -> None:
        record.phase = phase
        record.ready = False
        record.sandbox_ready = False
        record.ready_container_count = 0
        record.finished_seconds = self._engine.now
        self._terminators.release(record)

    def _answer(
        self, record: PodRecord, steps: tuple[str, ...], index: int, request: Request
    ) -> None:
        if not self._context.up[record.node]:
            return
        if record.stage == GONE and steps is not _VANISHED:
            return
        if record.stage == STOPPING and steps is not _END:
            return  # a deletion has overtaken the start
        if request.resource == "pods" and not request.ok:
            return
        self._step(record, steps, index + 1)

    def _step(self, record: PodRecord, steps: tuple[str, ...], index: int) -> None:
        if index == len(steps):
            return
        step = steps[index]
        context = self._context
        namespace, name = record.key
        then = partial(self._answer, record, steps, index)
        if step == "get":
            request = Request("get", "pods", namespace, name, then=then)
        elif step == "patch":
            status = _GrowingStatus(PodStatus(record, context.host_ips[record.node]))
            request = Request(
                "patch", "pods", namespace, name, subresource="status", mutate=status.apply,
                then=then,
            )  # fmt: skip
        elif step == "delete":
            request = Request(
                "delete", "pods", namespace, name, grace_seconds=0.0, precondition_uid=record.uid,
                then=then,
            )  # fmt: skip
        elif step == "token":
            self.bundles.use(record)
            request = Request(
                "create", "serviceaccounts", namespace, "default", subresource="token", then=then
            )
        elif step in {"delay", "run", "rest"}:
            self._wait(record, step)
            return
        else:
            request = context.events.request(record, step, f"{step} container", then)
            context.event_client.submit(record.node, request)
            return
        context.client.submit(record.node, request)

    def _wait(self, record: PodRecord, step: str) -> None:
        engine = self._engine
        if step == "delay":
            seconds = self._context.params.simulated_start_seconds
            record.call = engine.call_later(seconds, self._start_running, record)
        elif step == "run":
            record.stage = RUNNING
            seconds = max(item.run_seconds for item in record.plan.containers)
            if record.removing:
                self._end(record)
            elif seconds >= 0.0 and record.plan.template.restart_policy != "Always":
                record.call = engine.call_later(seconds, self._complete, record)
        else:
            record.stage = STOPPED

    def _start_running(self, record: PodRecord) -> None:
        record.call = None
        context = self._context
        node = record.node
        now = self._engine.now
        record.ip = context.host_ips[node]
        if not record.plan.template.host_network and context.overlay.has_cidr(node):
            _, record.ip, record.ip6 = context.overlay.cni_add(node)
            context.overlay.cni_added(node)
        self._row((now, record.uid, "network_ready", record.ip))
        self._row((now, record.uid, "containers_started", ""))
        self.started_count += 1
        context.count_running(record)
        record.phase = "Running"
        record.sandbox_ready = True
        record.ready = True
        record.ready_seconds = now
        record.ready_container_count = record.plan.serving_count
        self._step(record, _START, _RUNNING_FROM)

    def _complete(self, record: PodRecord) -> None:
        record.call = None
        record.stage = STOPPING
        self._row((self._engine.now, record.uid, "stopped", self._context.names[record.node]))
        self._finish(record, "Succeeded")
        record.stage = RUNNING
        self._step(record, _FINISH, 0)
