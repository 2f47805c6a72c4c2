"""Executes a workload: operations one after another, each through clients and a watch of its own.

**Modelled:** everything goes the one road, as an administrator's or a load generator's requests;
barriers look at the driver's own informer of pods. **Not modelled:** the driver's own CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.components.client import ClientFactory
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.engine.tasks import Task
from sim.workload import changing, creating
from sim.workload import operations as ops
from sim.workload.driver_core import DriverCore
from sim.workload.faults import ClusterActions
from sim.workload.load import LoadGenerator
from sim.workload.manifests import load_manifests
from sim.workload.object_reader import ObjectReader
from sim.workload.openb import load_pods
from sim.workload.operations import Operation
from sim.workload.pod_tracker import PodTracker
from sim.workload.shaping import pod_manifest
from sim.workload.submission import Steps


def read_inputs(operation: Operation, reader: ObjectReader) -> Any:
    """Return what the files and pod shapes of an operation stand for, None if it has none.

    Raises:
        UserError: a file cannot be read, or what it or a shape says is wrong.
    """
    if isinstance(operation, ops.ApplyManifests):
        return reader.read(load_manifests(*operation.manifests))
    if isinstance(operation, ops.ReplayTrace):
        pods = load_pods(operation.pods_csv)
        return pods[: operation.limit] if operation.limit else pods
    shape = getattr(operation, "pod", None)
    if isinstance(shape, ops.PodShape):
        manifest = pod_manifest(shape, {}, "default")
        reader.read([manifest])
        return manifest
    return None


class WorkloadDriver:
    """Runs the operations of one experiment.

    Raises:
        UserError: at construction, if a file that an operation names cannot be read or is wrong.
    """

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        clients: ClientFactory,
        operations: Sequence[Operation],
        reader: ObjectReader,
        actions: ClusterActions,
    ) -> None:
        self._engine = engine
        self._operations = list(operations)
        inputs = {index: read_inputs(item, reader) for index, item in enumerate(self._operations)}
        self._core = DriverCore(engine, recorder, clients, reader, actions, inputs)
        self._background_count = 0

    @property
    def done(self) -> bool:
        """Whether every operation has ended."""
        return self._core.main_done and self._background_count == 0

    @property
    def tracker(self) -> PodTracker:
        """The driver's view of the pods."""
        return self._core.tracker

    @property
    def pods_expected_count(self) -> int:
        """Pods asked for so far."""
        return self._core.tracker.expected_total_count

    @property
    def request_count(self) -> int:
        """Requests answered."""
        return self._core.request_count

    @property
    def windows(self) -> dict[str, list[float]]:
        """Measured part → its start and, once it has ended, its end."""
        return self._core.windows

    def start(self) -> None:
        """Begin with the first operation."""
        tracker = self._core.tracker
        if any(isinstance(item, ops.Barrier | ops.DeletePods) for item in self._operations):
            for operation in self._operations:
                if isinstance(operation, ops.Barrier):
                    tracker.counter(operation.namespaces, operation.labels)
            tracker.informer.start()
            self._core.rollouts.watch({
                item.resource
                for item in self._operations
                if isinstance(item, ops.Scale | ops.RolloutRestart)
            })
        Task(self._engine, self._main())

    def _main(self) -> Steps:
        for index, operation in enumerate(self._operations):
            if operation.background:
                self._background_count += 1
                self._engine.process(self._in_background(index, operation))
            else:
                yield from self._execute(index, operation)
        self._core.main_done = True

    def _in_background(self, index: int, operation: Operation) -> Steps:
        yield from self._execute(index, operation)
        self._background_count -= 1

    def _execute(self, index: int, operation: Operation) -> Steps:
        steps = _STEPS[type(operation)](self._core, index, operation)
        if steps is not None:
            yield from steps
        self._core.note_refusals()


def _barrier(core: DriverCore, _: int, operation: ops.Barrier) -> Steps:
    """Wait for the pods asked for so far; ready pods of a changed workload are the new ones."""
    counter = core.tracker.counter(operation.namespaces, operation.labels)
    expected = operation.count or max(0, core.tracker.expected_count(counter))

    def reached() -> bool:
        if operation.stage == "gone":
            return counter.counts["existing"] == 0
        if operation.stage == "ready" and not core.rollouts.is_settled(operation.namespaces):
            return False
        return counter.counts[operation.stage] >= expected

    good = yield from core.until(reached, operation.timeout_seconds)
    if not good:
        found = counter.counts["existing" if operation.stage == "gone" else operation.stage]
        core.note("barrier timed out", f"{operation.stage}: {found} of {expected} pods")


def _sleep(core: DriverCore, _: int, operation: ops.Sleep) -> Steps:
    yield core.engine.sleep(operation.duration_seconds)


def _start_collecting(core: DriverCore, _: int, operation: ops.StartCollectingMetrics) -> None:
    core.begin(operation.name)


def _stop_collecting(core: DriverCore, _: int, operation: ops.StopCollectingMetrics) -> None:
    window = core.windows.get(operation.name)
    if window is not None:
        window[1:] = [core.engine.now]
    core.note("measurement ends", operation.name)


def _fault(core: DriverCore, _: int, operation: ops.Fault) -> Steps:
    """Break something at its time; mend it after its duration."""
    if operation.after_seconds > 0.0:
        yield core.engine.sleep(operation.after_seconds)
    core.note("fault", f"{operation.what} {operation.target}".strip())
    core.actions.fault(operation)
    if operation.duration_seconds > 0.0:
        yield core.engine.sleep(operation.duration_seconds)
        core.note("fault ends", f"{operation.what} {operation.target}".strip())
        core.actions.mend(operation)


def _load(core: DriverCore, index: int, operation: ops.Load) -> Steps:
    if operation.namespace:
        yield from core.ensure_namespaces([operation.namespace])
    generator = LoadGenerator(core.engine, core.clients, operation, f"workload/{index}")
    yield from generator.run()
    core.request_count += generator.request_count


def _probe(core: DriverCore, _: int, operation: ops.Probe) -> Steps:
    """Look who reaches the target, every so often."""
    end_seconds = core.engine.now + operation.duration_seconds
    while True:
        source, target = operation.source_text, operation.target_text
        asked, reached = core.actions.look(source, target)
        core.reachability.append(
            (core.engine.now, source or "all nodes", target, asked, reached)
        )
        if operation.interval_seconds <= 0.0 or core.engine.now >= end_seconds:
            return
        yield core.engine.sleep(operation.interval_seconds)


_STEPS: dict[type[Operation], Callable[[DriverCore, int, Any], Steps | None]] = {
    ops.CreateNodes: creating.create_nodes,
    ops.CreateNamespaces: creating.create_namespaces,
    ops.CreatePods: creating.create_pods,
    ops.CreatePodSets: creating.create_pod_sets,
    ops.CreateDeployments: creating.create_deployments,
    ops.CreateServices: creating.create_services,
    ops.CreateObjects: creating.create_objects,
    ops.ApplyManifests: creating.apply_manifests,
    ops.ReplayTrace: creating.replay_trace,
    ops.DeletePods: changing.delete_pods,
    ops.DeleteObjects: changing.delete_objects,
    ops.Scale: changing.scale,
    ops.RolloutRestart: changing.rollout_restart,
    ops.Churn: changing.churn,
    ops.Barrier: _barrier,
    ops.Sleep: _sleep,
    ops.StartCollectingMetrics: _start_collecting,
    ops.StopCollectingMetrics: _stop_collecting,
    ops.Drain: changing.drain,
    ops.Uncordon: changing.uncordon,
    ops.Fault: _fault,
    ops.Load: _load,
    ops.Probe: _probe,
}
