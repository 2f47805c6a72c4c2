"""kube-scheduler: one replica.

**Modelled:** informers and cache (assumed pods never expire), the queues of `scheduling_queue`,
one pod at a time through the scheduling cycle, whose decision is the numpy core's and whose
duration is CPU on the scheduler's host; assume; asynchronous binding cycles through the client's
50/100 bucket; failure handling with status patch and event; preemption with victims deleted
through the apiserver (asynchronously, last victim last); several profiles; leader election.
**Not modelled:** extenders, permit plugins, volume binding's waits, the (disabled) async API
dispatcher and opportunistic batching, which cannot engage with default plugins.
**Source:** `facts/model.md` (e).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.base.objects import APIObject, Node, Pod, PodTemplate
from sim.components.client import ClientFactory
from sim.components.controllers.leader_election import LeaderElectionParams, LeaderElector
from sim.components.events import EventRecorder
from sim.components.informer import Informer
from sim.components.ports import Request
from sim.components.queueing_hints import HINTS
from sim.components.scheduler_cache import SchedulerCache
from sim.components.scheduling_queue import (
    ClusterEvent,
    QueuedPod,
    SchedulingQueue,
    SchedulingQueueParams,
)
from sim.costs.scheduler import CycleShape, SchedulerLaw, SchedulerLawParams
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder
from sim.scheduling import ClusterState, SchedulerConfiguration, SchedulingCore


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerParams:
    """kube-scheduler's own settings, beside the KubeSchedulerConfiguration file."""

    kube_api_qps: float = field(default=50.0, metadata={"source": "upstream: ClientConnection"})
    kube_api_burst: int = field(default=100, metadata={"source": "upstream: ClientConnection"})
    leader_election: LeaderElectionParams = LeaderElectionParams()
    queue: SchedulingQueueParams = SchedulingQueueParams()


class Scheduler:
    """One kube-scheduler process."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        clients: ClientFactory,
        params: SchedulerParams,
        configuration: SchedulerConfiguration,
        law_params: SchedulerLawParams,
        process: HostProcess,
        *,
        index: int = 0,
    ) -> None:
        self._engine = engine
        self._process = process
        self._attempts = recorder["scheduling_attempts"]
        self._bindings = recorder["bindings"]
        self._law = SchedulerLaw(law_params, configuration.parallelism_count)
        self._rng = engine.stream(f"scheduler/{index}/preemption-offset")
        suffix = f"{index}"
        user = "system:kube-scheduler"
        self._client = clients.client(
            user,
            purpose=suffix,
            qps=params.kube_api_qps,
            burst=params.kube_api_burst,
            process=process,
            cpu_per_request_seconds=law_params.bind_request_seconds,
        )
        self._events = EventRecorder(
            engine,
            clients.client(
                user,
                purpose=f"{suffix}/events",
                qps=params.kube_api_qps,
                burst=params.kube_api_burst,
                process=process,
                cpu_per_request_seconds=law_params.event_request_seconds,
            ),
            "default-scheduler",
            serial=False,
        )
        self._elector = LeaderElector(
            engine,
            clients.client(user, purpose=f"{suffix}/lease", process=process),
            "kube-scheduler",
            f"kube-scheduler-{index}",
            params.leader_election,
            self._lead,
            self._stop_leading,
        )
        self.state = ClusterState()
        self._cores = {
            profile.scheduler_name: SchedulingCore(self.state, profile)
            for profile in configuration.profiles
        }
        self._cache = SchedulerCache(self.state)
        self.queue = SchedulingQueue(engine, params.queue, HINTS, self._is_gated, self._wake)
        self._cycle_shapes: dict[PodTemplate, CycleShape] = {}
        self._preempting: set[int] = set()
        self._leading = False
        self._busy = False
        self.bound_count = 0
        self.failed_bind_count = 0
        self.preemption_victim_count = 0
        self.binding_count = 0
        """Binding cycles in progress."""
        endpoint = clients.endpoint

        def informer(resource: str) -> Informer[Any]:
            return Informer(engine, endpoint, self._client, resource, process=process)

        self._pods: Informer[Pod] = informer("pods")
        self._pods.add_handler(self._on_pod)
        self._nodes: Informer[Node] = informer("nodes")
        self._nodes.add_handler(self._on_node)
        self._others = [
            informer(resource)
            for resource in (
                "namespaces",
                "services",
                "replicasets",
                "statefulsets",
                "poddisruptionbudgets",
                "persistentvolumeclaims",
                "persistentvolumes",
                "storageclasses",
                "csinodes",
            )
        ]
        for other in self._others:
            other.add_handler(self._on_other)

    def start(self) -> None:
        """Start the informers, the queue's sweeps and the election."""
        self._nodes.start()
        for other in self._others:
            other.start()
        self._pods.start()
        self.queue.start()
        self._elector.start()

    def stop(self) -> None:
        """The process has died: it decides and binds nothing more; its lease runs out."""
        self._elector.stop()
        self._leading = False

    def restart(self) -> None:
        """The process is back and competes again (its caches have been kept warm)."""
        if not self._leading:
            self._elector.start()

    @property
    def leading(self) -> bool:
        """Whether this replica schedules."""
        return self._leading

    def _lead(self) -> None:
        self._leading = True
        self._wake()

    def _stop_leading(self) -> None:
        self._leading = False

    # What the informers see.

    def _on_pod(self, kind: str, new: Pod, old: Pod | None) -> None:
        if new.template.scheduler_name not in self._cores and not new.node_name:
            return
        if kind == "DELETED" or new.is_terminal:
            self._forget(new, old)
        elif new.node_name:
            if old is None or not old.node_name:
                self.queue.remove(new.uid)
                self._cache.confirm(new)
                self.queue.cluster_event(ClusterEvent("assigned_pod", "add", new, old))
            elif new.deletion_seconds >= 0.0 and old.deletion_seconds < 0.0:
                self._cache.mark_terminating(new)
                self.queue.cluster_event(ClusterEvent("assigned_pod", "update", new, old))
        elif new.deletion_seconds >= 0.0:
            self.queue.remove(new.uid)
        elif old is None:
            self.queue.add(new)
        else:
            self.queue.update(new)

    def _forget(self, new: Pod, old: Pod | None) -> None:
        self._preempting.discard(new.uid)
        if self._cache.remove(new):
            self.queue.cluster_event(ClusterEvent("assigned_pod", "delete", new, old))
        self.queue.remove(new.uid)

    def _on_node(self, kind: str, new: Node, old: Node | None) -> None:
        if kind == "DELETED":
            self._cache.remove_node(new)
            self.queue.cluster_event(ClusterEvent("node", "delete", new, old))
        elif old is None:
            self._cache.add_node(new)
            self.queue.cluster_event(ClusterEvent("node", "add", new, None))
        elif self._cache.update_node(new, old):
            self.queue.cluster_event(ClusterEvent("node", "update", new, old))

    def _on_other(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        if self._cache.update_other(kind, new, old):
            action = {"ADDED": "add", "MODIFIED": "update", "DELETED": "delete"}[kind]
            self.queue.cluster_event(ClusterEvent(new.resource.removesuffix("s"), action, new, old))

    # The scheduling cycle.

    def _is_gated(self, queued: QueuedPod) -> bool:
        if queued.pod.uid in self._preempting:
            return True
        return bool(queued.template.manifest.get("spec", {}).get("schedulingGates"))

    def _wake(self) -> None:
        if self._leading and not self._busy:
            self._busy = True
            self._engine.call_later(0.0, self._schedule_one)

    def _schedule_one(self, _: None) -> None:
        queued = self.queue.pop() if self._leading and self._nodes.synced else None
        if queued is None:
            self._busy = False
            return
        pod = queued.pod
        if queued.shape is None:
            queued.shape = self._cache.shape(pod)
        core = self._cores[queued.template.scheduler_name]
        decision = core.schedule(queued.shape, nominated_node=pod.nominated_node_name or None)
        seconds = self._law.cycle_seconds(
            self._cycle_shape(pod),
            self.state.node_count,
            decision.evaluated_nodes,
            decision.feasible_nodes,
        )
        now = self._engine.now
        elapsed_ratio = self._law.elapsed_ratio(self._process.host.core_count)
        argument = (queued, decision, core, now, now - queued.enqueued_seconds)
        self._process.run(seconds * elapsed_ratio, self._decided, argument)

    def _decided(self, argument: tuple[QueuedPod, Any, SchedulingCore, float, float]) -> None:
        queued, decision, core, started_seconds, queue_seconds = argument
        pod = queued.pod
        node_name = decision.node_name or ""
        if queued.state == "gone":
            result, plugin = "error", "deleted"
        elif node_name and self._cache.assume(pod, queued.shape, node_name):
            result, plugin = "scheduled", ""
        elif node_name:
            result, plugin = "error", "node gone"
        else:
            result = "unschedulable"
            plugin = min(decision.unschedulable_plugins, default="")
        self._attempts.append(
            (
                started_seconds,
                pod.uid,
                queued.template.scheduler_name,
                queue_seconds,
                self._engine.now - started_seconds,
                decision.evaluated_nodes,
                decision.feasible_nodes,
                queued.attempt_count,
                result,
                plugin,
                node_name,
            )
        )
        if result == "scheduled":
            self.queue.done(queued)
            self._bind(queued, node_name)
        elif result == "unschedulable":
            self._unschedulable(queued, decision, core)
        elif plugin == "node gone":
            self.queue.reject(queued, (), error=True)
        self._schedule_one(None)

    def _cycle_shape(self, pod: Pod) -> CycleShape:
        shape = self._cycle_shapes.get(pod.template)
        if shape is None:
            shape = _cycle_shape(pod.template.manifest.get("spec", {}), pod.owner is not None)
            self._cycle_shapes[pod.template] = shape
        return shape

    # Binding.

    def _bind(self, queued: QueuedPod, node_name: str) -> None:
        engine = self._engine
        pod = queued.pod
        started_seconds = engine.now
        self.binding_count += 1

        def bind(current: APIObject) -> APIObject | None:
            assert isinstance(current, Pod)
            if current.node_name or current.uid != pod.uid or current.deletion_seconds >= 0.0:
                return None
            new = current.clone()
            new.node_name = node_name
            new.scheduled_seconds = engine.now
            return new

        def bound(request: Request) -> None:
            self.binding_count -= 1
            now = engine.now
            self._bindings.append(
                (
                    started_seconds,
                    pod.uid,
                    now - started_seconds,
                    request.code,
                    now - queued.first_enqueued_seconds,
                )
            )
            if request.ok:
                self.bound_count += 1
                self._events.event(
                    pod,
                    "Normal",
                    "Scheduled",
                    f"Successfully assigned {pod.namespace}/{pod.name} to {node_name}",
                )
                return
            self.failed_bind_count += 1
            self._cache.forget(pod)
            self.queue.cluster_event(ClusterEvent("assigned_pod", "delete", pod, pod))
            if request.code != 404:
                self.queue.reject(queued, (), error=True)

        self._client.submit(
            Request(
                "create",
                "pods",
                pod.namespace,
                pod.name,
                subresource="binding",
                mutate=bind,
                then=bound,
            )
        )

    # No node.

    def _unschedulable(self, queued: QueuedPod, decision: Any, core: SchedulingCore) -> None:
        pod = queued.pod
        plugins = tuple(sorted(decision.unschedulable_plugins))
        preemption = core.preempt(
            queued.shape,
            offset=self._rng.integer(1 << 30),
            diagnosis=decision.diagnosis,
            pod_key=f"{pod.namespace}/{pod.name}",
        )
        message = preemption.message
        nominated = preemption.nominated_node or ""
        victims = [
            victim
            for key in preemption.victims
            if (victim := self._pods.objects.get(_key(key))) is not None
        ]
        if nominated and victims:
            self._preempting.add(pod.uid)
            self._preempt(queued, nominated, victims)
        elif nominated:
            plugins = (*plugins, "DefaultPreemption")
        self.queue.reject(queued, plugins, error=False)
        self._events.event(pod, "Warning", "FailedScheduling", message)
        if pod.message == message and pod.nominated_node_name == nominated:
            return

        def mark(current: APIObject) -> APIObject | None:
            assert isinstance(current, Pod)
            if current.node_name or (
                current.message == message and current.nominated_node_name == nominated
            ):
                return current
            new = current.clone()
            new.message = message
            new.nominated_node_name = nominated
            return new

        self._client.patch("pods", pod.namespace, pod.name, mark, subresource="status")

    def _preempt(self, queued: QueuedPod, node_name: str, victims: list[Pod]) -> None:
        """Delete the victims: all but the last in parallel, then the last (its event wakes)."""
        uid = queued.pod.uid
        waiting_count = len(victims) - 1

        def evict(victim: Pod, then: Any) -> None:
            def patched(_: Request) -> None:
                self._events.event(
                    victim, "Normal", "Preempted", f"Preempted by pod on node {node_name}"
                )
                self._client.delete("pods", victim.namespace, victim.name, then=then)

            self.preemption_victim_count += 1
            self._client.patch(
                "pods",
                victim.namespace,
                victim.name,
                _mark_disrupted,
                then=patched,
                subresource="status",
            )

        def finished(_: Request) -> None:
            self._preempting.discard(uid)

            current = self.queue.pods.get(uid)
            if current is not None and current.gated:
                current.gated = False

        def one_done(_: Request) -> None:
            nonlocal waiting_count
            waiting_count -= 1
            if waiting_count == 0:
                evict(victims[-1], finished)

        if waiting_count == 0:
            evict(victims[-1], finished)
        for victim in victims[:-1]:
            evict(victim, one_done)

    def check(self) -> list[str]:
        """Return broken invariants: the cache may not hold more than nodes can take."""
        return self._cache.check()


def _mark_disrupted(current: APIObject) -> APIObject | None:
    assert isinstance(current, Pod)
    if current.disruption_target:
        return current
    new = current.clone()
    new.disruption_target = True
    return new


def _key(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    return (namespace, name)


def _cycle_shape(spec: Mapping[str, Any], has_owner: bool) -> CycleShape:
    affinity = spec.get("affinity") or {}
    terms = [affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}]
    return CycleShape(
        node_affinity=bool(affinity.get("nodeAffinity") or spec.get("nodeSelector")),
        spread=bool(spec.get("topologySpreadConstraints")) or has_owner,
        preferred_affinity=any(
            term.get("preferredDuringSchedulingIgnoredDuringExecution") for term in terms
        ),
        required_affinity=any(
            term.get("requiredDuringSchedulingIgnoredDuringExecution") for term in terms
        ),
    )
