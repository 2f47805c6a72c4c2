"""kube-scheduler: one replica.

**Modelled:** informers and cache (assumed pods never expire), the queues of `scheduling_queue`,
one pod at a time through the scheduling cycle, whose decision is the numpy core's and whose
duration is CPU on the scheduler's host; assume; asynchronous binding cycles through the client's
50/100 bucket; failure handling with status patch and event; preemption with victims deleted
through the apiserver (asynchronously, last victim last); several profiles; leader election; death
and restart with empty caches.
**Not modelled:** extenders, permit plugins, volume binding's waits, the (disabled) async API
dispatcher and opportunistic batching, which cannot engage with default plugins.
**Source:** `facts/model.md` (e).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sim.base.api_object import APIObject
from sim.base.errors import Problem, UserError
from sim.base.objects import Pod
from sim.base.pod_template import PodTemplate
from sim.components.client import ClientFactory
from sim.components.events import EventRecorder
from sim.components.leader_election import LeaderElector
from sim.components.ports import Request
from sim.components.queueing_hints import HINTS
from sim.components.scheduler_cache import SchedulerCache
from sim.components.scheduler_params import SchedulerParams, with_configuration
from sim.components.scheduler_preemption import Preemption
from sim.components.scheduler_process import GoProcess
from sim.components.scheduler_watches import SchedulerWatches
from sim.components.scheduling_queue import ClusterEvent, QueuedPod, SchedulingQueue
from sim.costs.scheduler import SchedulerLaw, SchedulerLawParams
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder
from sim.scheduling import (
    ClusterState,
    Decision,
    SchedulerConfiguration,
    SchedulingCore,
    UserPlugins,
)
from sim.scheduling import Preemption as PreemptionOutcome
from sim.scheduling.preemption import NOT_ELIGIBLE_POLICY, NOT_ELIGIBLE_TERMINATING

__all__ = ["Scheduler", "SchedulerParams"]

_USER: Final = "system:kube-scheduler"
_POLL_SECONDS: Final = 0.1
"""client-go polls every 100 ms whether informers have synced. **Source:** WaitForCacheSync."""
_OFFSET_MAX: Final = 1 << 30


class _Cycle:
    """One scheduling cycle under way: what was decided, and when it began."""

    __slots__ = ("core", "decision", "life", "preemption", "queue_seconds", "queued",
                 "started_seconds")  # fmt: skip

    def __init__(
        self,
        queued: QueuedPod,
        core: SchedulingCore,
        decision: Decision,
        preemption: PreemptionOutcome | None,
        started_seconds: float,
        life: int,
    ) -> None:
        self.queued = queued
        self.core = core
        self.decision = decision
        self.preemption = preemption
        self.started_seconds = started_seconds
        self.queue_seconds = started_seconds - queued.enqueued_seconds
        self.life = life


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
        user_plugins: Mapping[str, UserPlugins] | None = None,
    ) -> None:
        """Place replica ``index`` on a host; nothing happens before `start`.

        What ``configuration`` says is put over ``params``; ``user_plugins`` are the user's own, by
        scheduler name.

        Raises:
            ConfigurationError: clientConnection or leaderElection cannot be read.
        """
        self._engine = engine
        self._attempts = recorder["scheduling_attempts"]
        self._bindings = recorder["bindings"]
        self._faults = recorder["faults"]
        self._params = params = with_configuration(params, configuration)
        self._configuration = configuration
        self._user_plugins = dict(user_plugins or {})
        self._law = SchedulerLaw(law_params, configuration.parallelism_count)
        self._process = GoProcess(engine, process, self._law)
        self._offsets = engine.stream(f"scheduler/{index}/preemption-offset")
        self.name = f"kube-scheduler-{index}"
        self._endpoint = clients.endpoint
        self._clients(clients, f"{index}", law_params)
        self.queue = SchedulingQueue(engine, params.queue, HINTS, self._is_gated, self._wake)
        self._life = 0
        self._alive = False
        self._leading = False
        self._busy = False
        self._decided_seconds = 0.0
        """When the last cycle was over."""
        self.bound_count = 0
        self.failed_bind_count = 0
        self.preemption_victim_count = 0
        self.binding_count = 0
        """Binding cycles in progress."""
        self._begin_life()

    def _clients(self, clients: ClientFactory, purpose: str, law: SchedulerLawParams) -> None:
        params = self._params
        answer_ratio = law.answer_ratio
        self._client = clients.client(
            _USER,
            purpose=purpose,
            qps=params.kube_api_qps,
            burst=params.kube_api_burst,
            process=self._process,
            cpu_per_request_seconds=(1.0 - answer_ratio) * law.bind_request_seconds,
            cpu_per_answer_seconds=answer_ratio * law.bind_request_seconds,
        )
        events = clients.client(
            _USER,
            purpose=f"{purpose}/events",
            qps=params.kube_api_qps,
            burst=params.kube_api_burst,
            process=self._process,
            cpu_per_request_seconds=(1.0 - answer_ratio) * law.event_request_seconds,
            cpu_per_answer_seconds=answer_ratio * law.event_request_seconds,
        )
        self._events = EventRecorder(self._engine, events, "default-scheduler", serial=False)
        self._lease_client = clients.client(
            _USER, purpose=f"{purpose}/lease", process=self._process
        )

    def _begin_life(self) -> None:
        """Everything that a new process starts without."""
        self._life += 1
        self.state = ClusterState()
        self._cores = {
            profile.scheduler_name: SchedulingCore(
                self.state, profile, user_plugins=self._user_plugins.get(profile.scheduler_name)
            )
            for profile in self._configuration.profiles
        }
        self._cache = SchedulerCache(self.state)
        self._watches = SchedulerWatches(
            self._engine,
            self._endpoint,
            self._client,
            self._process,
            self._law.params,
            self._cache,
            self.queue,
            self._cores,
        )
        self._pods = self._watches.pods
        identity = self.name if self._life == 1 else f"{self.name}_{self._life}"
        self._elector = LeaderElector(
            self._engine,
            self._lease_client,
            "kube-scheduler",
            identity,
            self._params.leader_election,
            self._lead,
            self._lose,
        )

    def start(self) -> None:
        """Start the informers; the election follows when they have synced."""
        self._alive = True
        self._process.alive = True
        self.queue.start()
        self._watches.start()
        self._await_sync(self._life)

    def _await_sync(self, life: int) -> None:
        if life != self._life:
            return
        if not self._watches.synced:
            self._engine.after(_POLL_SECONDS, self._await_sync, life)
        elif self._params.leader_elect:
            self._elector.start()
        else:
            self._lead()

    def stop(self) -> None:
        """The process has died: what it knew and had assumed is lost; its lease runs out."""
        self._alive = False
        self._leading = False
        self._busy = False
        self._life += 1
        self._elector.stop()
        self._watches.stop()
        self._process.die()
        self.queue.clear()
        self.binding_count = 0

    def restart(self) -> None:
        """The process is back: it lists everything anew and competes again."""
        if not self._alive:
            self._begin_life()
            self.start()

    @property
    def leading(self) -> bool:
        """Whether this replica schedules."""
        return self._leading

    def _lead(self) -> None:
        self._leading = True
        self._wake()

    def _lose(self) -> None:
        """A scheduler that lost its lease exits; the kubelet starts it again."""
        self._faults.append((self._engine.now, self.name, "leadership lost", "the process exits"))
        self.stop()
        self._engine.after(self._params.restart_seconds, lambda _: self.restart())

    # The scheduling cycle.

    def _is_gated(self, queued: QueuedPod) -> bool:
        if queued.pod.uid in self._watches.preempting:
            return True
        return bool(queued.template.manifest.get("spec", {}).get("schedulingGates"))

    def _wake(self) -> None:
        if self._leading and not self._busy:
            self._busy = True
            self._engine.after(0.0, self._schedule_one, self._life)

    def _schedule_one(self, life: int) -> None:
        if life != self._life:
            return
        queued = self.queue.pop()
        if queued is None:
            self._busy = False
            return
        pod = queued.pod
        if queued.shape is None:
            queued.shape = self._cache.shape(pod)
        core = self._cores[queued.template.scheduler_name]
        key = f"{pod.namespace}/{pod.name}"
        try:
            decision = core.schedule(
                queued.shape, nominated_node=pod.nominated_node_name or None, pod_key=key
            )
        except ValueError as error:
            if not core.user_plugins.by_name:
                raise
            raise UserError(Problem(code="E012", message=str(error))) from error
        preemption = None
        if decision.node_name is None:
            preemption = core.preempt(
                queued.shape,
                offset=self._offsets.integer(_OFFSET_MAX),
                nominated_node=pod.nominated_node_name or None,
                diagnosis=decision.diagnosis,
                pod_key=key,
            )
        cycle = _Cycle(queued, core, decision, preemption, self._engine.now, life)
        self._spend(cycle)

    def _spend(self, cycle: _Cycle) -> None:
        """Spend the cycle's CPU: its critical path, and the work of the workers beside it."""
        law = self._law
        decision = cycle.decision
        process = self._process
        busy = process.saturated
        roomy = process.host.roomy  # enough cores for caches of one's own
        seconds = law.cycle_seconds(
            self._cache.cycle_shape(cycle.queued.pod),
            self.state.node_count,
            _examined(decision),
            decision.feasible_nodes,
            self._cache.pods_present,
            user_plugins_count=len(cycle.core.user_plugins.by_name),
            gap_seconds=0.0 if roomy else self._engine.now - self._decided_seconds,
            busy=busy and not roomy,
        )
        if cycle.preemption is not None:
            outcome = cycle.preemption
            dry_runs = len(outcome.candidates) + len(outcome.not_candidates)
            seconds += law.preemption_seconds(dry_runs)
        critical, beside = law.split(seconds, process.host.core_count)
        if beside > 0.0:
            if not process.occupy(beside):
                process.run(beside, _nothing)
        # The workers of a cycle stand in line with all goroutines, where there is a line.
        # Source: upstream, pkg/scheduler/framework/parallelize; Go runtime, runqput.
        spend = process.run if busy else process.go_on
        spend(critical, self._decided, cycle)

    def _decided(self, cycle: _Cycle) -> None:
        if cycle.life != self._life:
            return
        self._decided_seconds = self._engine.now
        queued, decision = cycle.queued, cycle.decision
        pod = queued.pod
        node_name = decision.node_name or ""
        plugin = ""
        if queued.state == "gone":
            result, plugin = "error", "deleted"
        elif node_name and self._cache.assume(pod, queued.shape, node_name):
            result = "scheduled"
        elif node_name:
            result, plugin = "error", "node gone"
        else:
            result = "unschedulable"
            plugin = min(decision.unschedulable_plugins, default="")
            assert cycle.preemption is not None
            node_name = cycle.preemption.nominated_node or ""
        self._attempts.append(
            (
                cycle.started_seconds,
                pod.uid,
                queued.template.scheduler_name,
                cycle.queue_seconds,
                self._engine.now - cycle.started_seconds,
                _examined(decision),
                decision.feasible_nodes,
                queued.attempt_count,
                result,
                plugin,
                node_name,
            )
        )
        if result == "scheduled":
            self._cache.nominate(pod, None, "")
            self.queue.done(queued)
            self._bind(queued, node_name)
        elif result == "unschedulable":
            self._unschedulable(cycle)
        elif plugin == "node gone":
            self.queue.reject(queued, (), error=True)
        self._schedule_one(cycle.life)

    # Binding.

    def _bind(self, queued: QueuedPod, node_name: str) -> None:
        engine = self._engine
        pod = queued.pod
        life = self._life
        started_seconds = engine.now
        self.binding_count += 1

        def bind(current: APIObject) -> APIObject | None:
            assert isinstance(current, Pod)
            if current.node_name or current.uid != pod.uid or current.deletion_seconds >= 0.0:
                return None
            if life != self._life:
                return None  # it was never sent: the process died while it waited for a token
            new = current.clone()
            new.node_name = node_name
            new.scheduled_seconds = engine.now
            return new

        def bound(request: Request) -> None:
            now = engine.now
            duration_seconds = now - started_seconds
            end_to_end_seconds = now - queued.first_enqueued_seconds
            self._bindings.append(
                (started_seconds, pod.uid, duration_seconds, request.code, end_to_end_seconds)
            )
            if life != self._life:
                return
            self.binding_count -= 1
            if request.ok:
                self.bound_count += 1
                self._events.event(
                    pod,
                    "Normal",
                    "Scheduled",
                    f"Successfully assigned {pod.namespace}/{pod.name} to {node_name}",
                )
            else:
                self._bind_failed(queued)

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

    def _bind_failed(self, queued: QueuedPod) -> None:
        """Undo the assumption, tell those who waited for the room, try again later."""
        pod = queued.pod
        self.failed_bind_count += 1
        self._cache.forget(pod)
        self.queue.cluster_event(
            ClusterEvent("assigned_pod", "delete", pod, pod), except_uid=pod.uid
        )
        current = self._pods.objects.get(pod.key)
        if current is None or current.uid != pod.uid or current.node_name:
            self.queue.remove(pod.uid)
            return
        queued.pod = current
        self.queue.reject(queued, (), error=True)

    # No node.

    def _unschedulable(self, cycle: _Cycle) -> None:
        queued, outcome = cycle.queued, cycle.preemption
        assert outcome is not None
        pod = queued.pod
        nominated = outcome.nominated_node or ""
        plugins = tuple(sorted(cycle.decision.unschedulable_plugins))
        victims = [
            victim
            for key in outcome.victims
            if (victim := self._pods.objects.get(_key(key))) is not None
        ]
        if nominated and victims:
            self._preempt(queued, nominated, victims)
        self.queue.reject(queued, plugins, error=False)
        ineligible = (NOT_ELIGIBLE_POLICY, NOT_ELIGIBLE_TERMINATING)
        if any(text in outcome.post_filter_message for text in ineligible):
            nominated = pod.nominated_node_name
        else:
            self._cache.nominate(pod, queued.shape, nominated)
        self._events.event(pod, "Warning", "FailedScheduling", outcome.message)
        self._patch_status(pod, outcome.message, nominated)

    def _patch_status(self, pod: Pod, message: str | None, nominated: str) -> None:
        """Write condition PodScheduled and status.nominatedNodeName where they differ."""

        def differs(current: Pod) -> bool:
            return current.nominated_node_name != nominated or (
                message is not None and current.message != message
            )

        def mark(current: APIObject) -> APIObject | None:
            assert isinstance(current, Pod)
            if current.node_name or current.uid != pod.uid or not differs(current):
                return current
            new = current.clone()
            if message is not None:
                new.message = message
            new.nominated_node_name = nominated
            return new

        if differs(pod):
            self._client.patch("pods", pod.namespace, pod.name, mark, subresource="status")

    def _preempt(self, queued: QueuedPod, node_name: str, victims: list[Pod]) -> None:
        uid = queued.pod.uid
        watches = self._watches
        watches.preempting.add(uid)
        self.preemption_victim_count += len(victims)
        for key in self._cache.nominated_below(node_name, queued.template.priority):
            other = self._pods.objects.get(_key(key))
            if other is not None:
                self._cache.nominate(other, None, "")
                self._patch_status(other, None, "")

        def last() -> None:
            watches.preempting.discard(uid)

        def failed() -> None:
            self.queue.activate(uid, "PreemptionFailed")

        Preemption(self._client, self._events, node_name, victims, last, failed).start()

    def placed_kinds(self, limit_count: int) -> list[tuple[PodTemplate, int]]:
        """Return the most frequent kinds of the pods placed so far, with their numbers."""
        counts = self._cache.placed_counts.items()
        return sorted(counts, key=lambda item: -item[1])[:limit_count]

    def check(self) -> list[str]:
        """Return broken invariants: cache against core, queue against its counters."""
        return [*self._cache.check(), *self.queue.check()]


def _examined(decision: Decision) -> int:
    """Nodes the filters ran on: those processed, or the nominated node alone."""
    return max(decision.processed_nodes, decision.evaluated_nodes)


def _key(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    return (namespace, name)


def _nothing(_: object) -> None:
    return
