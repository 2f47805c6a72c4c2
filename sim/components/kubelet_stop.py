"""The end of pods: graceful deletion, completion, force deletion.

**Modelled:** event Killing per container, SIGTERM and the grace period, StopContainer,
StopPodSandbox with CNI DEL and the address's release, the listing newer than the kill, the terminal
status, unmounting noticed by the 100 ms poll, cgroup removal, and only then the final DELETE.
**Not modelled:** preStop hooks (count them into ``stop_seconds``), a runtime call in progress at
the time of the deletion (it is abandoned).
**Source:** `facts/model.md` a.2, h.6.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from sim.components.kubelet_containers import ContainerRuns
from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_record import (
    GONE,
    NETWORK,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    PodRecord,
)

_TOLERANCE: Final = 1e-9


class PodTerminators:
    """Stops pods; every method is one step of one pod's worker."""

    def __init__(self, context: KubeletContext) -> None:
        self._context = context
        self._engine = context.engine
        self._row = context.transitions.append
        self.runs: ContainerRuns
        self.stopped_count = 0
        """Pods whose sandbox is gone."""

    def abandon(self, record: PodRecord) -> None:
        """Give up the worker's pending step and what it holds of the runtime."""
        if record.call is not None:
            record.call.cancel()
            record.call = None
        record.request = None
        context = self._context
        context.end(record)
        if record.stage == NETWORK:
            context.overlay.cni_added(record.node)
        elif record.stage == STARTING:
            context.images.cancel(record.node, record.uid)
        if record.runs is not None:
            self.runs.cancel(record)

    def delete(self, record: PodRecord, grace_seconds: float) -> None:
        """The API asks for a graceful deletion (or the pod was deleted under the kubelet)."""
        if record.stage >= STOPPED:
            if not record.removing and not record.deleted:
                record.removing = True
                record.deletable = True
                self._context.poke(record)
            return
        already = record.removing
        record.removing = True
        if record.stage == STOPPING or already:
            return
        context = self._context
        started_count = record.started_count
        ended = {run.index for run in record.runs or () if not run.running}
        self.abandon(record)
        record.stage = STOPPING
        if started_count:
            plan = record.plan
            for index in range(record.container_index):
                container = plan.containers[index]
                if index in ended or (container.is_init and not container.is_sidecar):
                    continue
                context.events.report(
                    record, "Killing", f"Stopping container {container.name}",
                    container_index=index,
                )  # fmt: skip
        killed = started_count > 0 and record.plan.template.stop_seconds > grace_seconds
        record.finished_seconds = -1.0
        record.phase = "Failed" if killed or not started_count else "Succeeded"
        exit_seconds = min(record.plan.template.stop_seconds, grace_seconds)
        self._stop(record, exit_seconds if started_count else 0.0, bool(started_count))

    def complete(self, record: PodRecord) -> None:
        """All main containers have ended by themselves."""
        self.abandon(record)
        record.stage = STOPPING
        record.phase = "Succeeded"
        record.ready = False
        record.ready_container_count = 0
        record.reason = "Completed"
        record.finished_seconds = self._engine.now
        self._context.publish(record)
        self._stop(record, 0.0, containers=False)

    def _stop(self, record: PodRecord, exit_seconds: float, containers: bool) -> None:
        context = self._context
        node = record.node
        runtime = context.runtime
        context.cpu_seconds[node] += context.law.pod_stop_cpu_seconds
        context.begin(record)
        seconds = exit_seconds
        if containers:
            seconds += runtime.stop_seconds(node)
        if record.has_sandbox:
            seconds += runtime.stop_sandbox_seconds(node)
            if not record.plan.template.host_network:
                seconds += context.overlay.cni_del_seconds()
        record.call = self._engine.call_later(seconds, self._stopped, record)

    def release(self, record: PodRecord) -> None:
        """Give back what a pod holds of its node: sandbox, addresses, its place."""
        if not record.placed:
            return
        record.placed = False
        context = self._context
        node = record.node
        context.active_counts[node] -= 1
        if record.counted:
            context.uncount_running(record)
        if record.has_sandbox:
            record.has_sandbox = False
            context.pleg.pod_counts[node] -= 1
        if record.ip and not record.plan.template.host_network:
            context.overlay.release(node, record.ip, record.ip6)

    def _stopped(self, record: PodRecord) -> None:
        context = self._context
        now = self._engine.now
        record.call = None
        context.end(record)
        self.release(record)
        self.stopped_count += 1
        record.started_count = 0
        self._row((now, record.uid, "stopped", context.names[record.node]))
        if record.deleted:
            self._drop(record)
            return
        noticed = context.pleg.requested_seconds(record.node, now)
        record.call = self._engine.call_at(noticed, self._terminal, record)

    def _terminal(self, record: PodRecord) -> None:
        context = self._context
        now = self._engine.now
        record.ready = False
        record.sandbox_ready = False
        record.ready_container_count = 0
        if record.finished_seconds < 0.0:
            record.finished_seconds = now
            context.publish(record)
        law = context.law
        unmounted = (
            context.reconciled_seconds(record.node, now)
            + law.unmount_per_volume_seconds * record.plan.mount_count
        )
        period = context.params.volume_loop_seconds
        polls = ceil((unmounted - now) / period - _TOLERANCE)
        seconds = law.cgroup_removal_seconds
        if record.plan.mount_count and record.volumes_mounted:
            seconds += period * polls
        record.call = self._engine.call_later(seconds, self._finished, record)

    def _finished(self, record: PodRecord) -> None:
        record.call = None
        record.stage = STOPPED
        if record.deleted:
            self._drop(record)
        elif record.removing:
            record.deletable = True
            self._context.poke(record)

    def _drop(self, record: PodRecord) -> None:
        record.stage = GONE
        self._context.by_node[record.node].pop(record.uid, None)

    def deleted(self, record: PodRecord) -> None:
        """The pod is gone from the API: forget it, or kill it first if it still runs."""
        record.deleted = True
        if record.stage == STOPPED:
            self._drop(record)
        elif record.stage < STOPPING:
            self.delete(record, min(record.plan.template.termination_grace_period_seconds, 1.0))
        assert record.stage != RUNNING
