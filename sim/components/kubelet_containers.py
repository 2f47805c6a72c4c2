"""Single containers that are probed, that end, or that are restarted.

**Modelled:** readiness and startup probes (first run at the sync that sees the container running,
then every period), exits that PLEG's listing notices, completion under restartPolicy Never and
OnFailure, restarts with the crash-loop back-off (10 s doubling to 300 s, reset after 10 min).
**Not modelled:** failing exits (a process that ends has succeeded), failing liveness probes.
**Assumes:** a probe succeeds at its first attempt after the application answers.
**Source:** `facts/model.md` h.2, h.7; `facts/defaults.csv`, rows kubelet crash loop.

Streams: ``kubelet/probe-race``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Final

from sim.base.pod_template import ContainerSpec, ProbeSpec
from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_record import RUNNING, STARTING, ContainerRun, PodRecord

_BACKOFF_RESET_RATIO: Final = 2.0
"""The back-off of a container is forgotten after this many times its maximum."""
_TOLERANCE: Final = 1e-9


def probe_success_seconds(
    probe: ProbeSpec, first_run_seconds: float, answers_seconds: float
) -> float:
    """When a probe has succeeded often enough, less the duration of the last run.

    Runs happen at ``first_run + k · period``; those before ``answers_seconds`` fail, and success
    needs ``successThreshold`` in a row. **Source:** `facts/model.md` h.7.
    """
    period = probe.period_seconds
    failed = ceil((answers_seconds - first_run_seconds) / period - _TOLERANCE)
    if failed < 0:
        failed = 0
    return first_run_seconds + period * (failed + probe.success_threshold_count - 1)


class ContainerRuns:
    """Follows the containers of pods that need it."""

    def __init__(self, context: KubeletContext, completed: Callable[[PodRecord], object]) -> None:
        self._context = context
        self._engine = context.engine
        self._completed = completed
        """Called when a pod has run to completion."""
        self._race = context.engine.stream("kubelet/probe-race")
        self.restart_count = 0

    def started(self, record: PodRecord, index: int) -> None:
        """A container of a followed pod has been started for the first time."""
        run = ContainerRun(record, index)
        if record.runs is None:
            record.runs = []
        record.runs.append(run)
        self._run(run)

    def _spec(self, run: ContainerRun) -> ContainerSpec:
        return run.record.plan.containers[run.index]

    def _run(self, run: ContainerRun) -> None:
        run.running = True
        run.start_seconds = self._engine.now
        seconds = self._spec(run).run_seconds
        if seconds >= 0.0:
            run.call = self._engine.call_later(seconds, self._exited, run)

    # probes

    def seen_running(self, record: PodRecord) -> None:
        """The sync that first sees all containers running: probes start."""
        assert record.runs is not None
        for run in record.runs:
            if run.running and not run.ready:
                self._probe(run)
        self._count(record)

    def _probe(self, run: ContainerRun) -> None:
        spec = self._spec(run)
        law = self._context.law
        now = self._engine.now
        answers = run.start_seconds + law.application_ready_seconds
        begin = now
        if spec.startup_probe is not None:
            first = max(now, run.start_seconds + spec.startup_probe.initial_delay_seconds)
            begin = probe_success_seconds(spec.startup_probe, first, answers) + law.probe_seconds
        probe = spec.readiness_probe
        if probe is None:
            if begin <= now:
                run.ready = True
                return
            ready = begin
        else:
            first = max(begin, run.start_seconds + probe.initial_delay_seconds)
            lost = self._context.params.probe_race_lost_ratio
            if first <= now and lost > 0.0 and self._race.uniform() < lost:
                first += probe.period_seconds
            ready = probe_success_seconds(probe, first, answers) + law.probe_seconds
        self._engine.at(ready, self._ready, (run, run.start_seconds))

    def _ready(self, argument: tuple[ContainerRun, float]) -> None:
        run, start_seconds = argument
        record = run.record
        if run.start_seconds != start_seconds or not run.running or record.stage != RUNNING:
            return
        run.ready = True
        self._count(record)
        self._context.publish(record)

    def _count(self, record: PodRecord) -> None:
        assert record.runs is not None
        ready_count = sum(run.ready for run in record.runs)
        record.ready_container_count = ready_count
        ready = ready_count == record.plan.serving_count
        if ready and not record.ready:
            record.ready_seconds = self._engine.now
        record.ready = ready

    # exits and restarts

    def _exited(self, run: ContainerRun) -> None:
        run.call = None
        record = run.record
        if not self._context.up[record.node]:
            return  # the kubelet looks when it is back
        noticed = self._context.pleg.noticed_seconds(record.node, self._engine.now)
        run.call = self._engine.call_at(noticed, self._exit_noticed, run)

    def resume(self, record: PodRecord) -> None:
        """The kubelet is back: notice the exits that happened meanwhile."""
        for run in record.runs or ():
            spec = self._spec(run)
            if run.running and run.call is None and spec.run_seconds >= 0.0:
                self._exited(run)
            elif not run.running and run.call is None and self._restarts(run):
                self._restart(run)

    def _restarts(self, run: ContainerRun) -> bool:
        return self._spec(run).is_sidecar or run.record.plan.template.restart_policy == "Always"

    def _exit_noticed(self, run: ContainerRun) -> None:
        run.call = None
        record = run.record
        if record.stage not in {STARTING, RUNNING}:
            return
        run.running = False
        run.ready = False
        record.started_count -= 1
        self._count(record)
        if self._restarts(run):
            self._back_off(run)
            return
        assert record.runs is not None
        plan = record.plan
        main = [item for item in record.runs if item.index >= plan.first_main_index]
        if len(main) == plan.main_count and not any(item.running for item in main):
            self._completed(record)
        elif record.phase == "Running":
            self._context.publish(record)

    def _back_off(self, run: ContainerRun) -> None:
        context = self._context
        record = run.record
        params = context.params
        now = self._engine.now
        reset_seconds = _BACKOFF_RESET_RATIO * params.crash_loop_max_seconds
        fresh = run.backoff_seconds == 0.0 or now - run.backoff_set_seconds > reset_seconds
        wait_seconds = 0.0 if fresh else run.backoff_seconds
        doubled = min(2.0 * run.backoff_seconds, params.crash_loop_max_seconds)
        run.backoff_seconds = params.crash_loop_base_seconds if fresh else doubled
        run.backoff_set_seconds = now
        if record.event_counts is None:
            record.event_counts = {
                (reason, index): 1
                for reason in ("Pulled", "Created", "Started")
                for index in range(len(record.plan.containers))
            }
        if wait_seconds > 0.0:
            record.reason = "CrashLoopBackOff"
            name = self._spec(run).name
            context.events.report(
                record, "BackOff", f"Back-off restarting container {name}",
                container_index=run.index, type_="Warning",
            )  # fmt: skip
        context.publish(record)
        run.call = self._engine.call_later(wait_seconds, self._restart, run)

    def _restart(self, run: ContainerRun) -> None:
        record = run.record
        run.call = None
        if record.stage not in {STARTING, RUNNING}:
            return
        context = self._context
        node = record.node
        context.runtime.begin(node)
        spec = self._spec(run)
        context.events.report(
            record, "Pulled", f'Container image "{spec.image}" already present on machine',
            container_index=run.index,
        )  # fmt: skip
        seconds = context.runtime.create_seconds(node) + context.runtime.start_seconds(node)
        run.call = self._engine.call_later(seconds, self._restarted, run)

    def _restarted(self, run: ContainerRun) -> None:
        run.call = None
        record = run.record
        context = self._context
        node = record.node
        context.runtime.end(node)
        for reason in ("Created", "Started"):
            context.events.report(
                record, reason, f"Container {reason.lower()}: {self._spec(run).name}",
                container_index=run.index,
            )  # fmt: skip
        run.restarts += 1
        record.restart_count += 1
        record.started_count += 1
        self.restart_count += 1
        self._run(run)
        noticed = context.pleg.requested_seconds(node, self._engine.now)
        self._engine.at(noticed, self._seen_again, (run, run.start_seconds))

    def _seen_again(self, argument: tuple[ContainerRun, float]) -> None:
        run, start_seconds = argument
        record = run.record
        if run.start_seconds != start_seconds or not run.running or record.stage != RUNNING:
            return
        record.reason = ""
        self._probe(run)
        self._count(record)
        self._context.publish(record)

    def cancel(self, record: PodRecord) -> None:
        """The pod is being killed, or its node has died."""
        for run in record.runs or ():
            self._drop_call(run)

    def pause(self, record: PodRecord) -> None:
        """The kubelet stops; processes go on and their exits are noticed later."""
        for run in record.runs or ():
            if run.call is not None and run.call.callback != self._exited:
                self._drop_call(run)

    def _drop_call(self, run: ContainerRun) -> None:
        call = run.call
        if call is not None:
            if call.callback == self._restarted:
                self._context.runtime.end(run.record.node)
            call.cancel()
            run.call = None
