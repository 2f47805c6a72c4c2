"""The container runtime of every node: how long its calls take while others run beside them.

**Modelled:** sandbox, create, start and stop through CRI with a profile for containerd or Docker;
calls slow each other down by the number of pod operations in progress on the node when they
begin, and their computing part by pods and kube-proxy if these want more cores than the node has;
CPU demand is counted per node.
**Not modelled:** a call that has begun does not change its pace; image pulls are in
`sim.components.image`.
**Source:** laws and profiles of `sim.costs.container_runtime`.

Streams: ``runtime/jitter``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

from sim.components.node_cpu import NodeCPUs
from sim.costs.container_runtime import ContainerRuntimeParams, Real
from sim.engine.engine import Engine


class _Call:
    """A law that is linear in the number of concurrent operations, as two numbers."""

    __slots__ = ("base_seconds", "slope_seconds")

    def __init__(self, law: Callable[[Real, Real], Real]) -> None:
        self.base_seconds = float(law(1.0, 0.0))
        self.slope_seconds = float(law(2.0, 0.0)) - self.base_seconds


class ContainerRuntime:
    """The runtimes of a fleet: counters per node, durations by call."""

    def __init__(
        self, engine: Engine, law: ContainerRuntimeParams, cpus: NodeCPUs | None = None
    ) -> None:
        self.law = law
        self.cpus = cpus
        """Cores of the nodes; None for nodes that are never short of them."""
        self._engine = engine
        self._stream = engine.stream("runtime/jitter")
        self._sandbox = _Call(law.run_pod_sandbox_seconds)
        self._create = _Call(law.create_container_seconds)
        self._start = _Call(law.start_container_seconds)
        self._stop = _Call(law.stop_container_seconds)
        self._stop_sandbox = _Call(law.stop_pod_sandbox_seconds)
        self.inspect_seconds = float(law.inspect_pod_seconds())
        """One pod looked at by PLEG."""
        self._relist_base = float(law.relist_seconds(0, 0))
        self._relist_per_pod = float(law.relist_seconds(1, 0)) - self._relist_base
        self.status_call_seconds = law.status_call_seconds
        self.operation_counts: list[int] = []
        """Pod operations (start or stop of a pod) in progress, by node."""
        self.cpu_seconds: list[float] = []
        """CPU used by runtime calls so far, by node."""

    def add_node(self) -> None:
        """Give the next node a runtime."""
        self.operation_counts.append(0)
        self.cpu_seconds.append(0.0)

    def begin(self, node: int) -> None:
        """A pod operation starts on a node."""
        self.operation_counts[node] += 1
        if self.cpus is not None:
            self.cpus.operation_begins(node)

    def end(self, node: int) -> None:
        """A pod operation is over."""
        self.operation_counts[node] -= 1
        if self.cpus is not None:
            self.cpus.operation_ends(node)

    def reset(self, node: int) -> None:
        """The node crashed: nothing is in progress any more."""
        if self.cpus is not None:
            self.cpus.operation_ends(node, self.operation_counts[node])
        self.operation_counts[node] = 0

    def _seconds(self, node: int, call: _Call) -> float:
        others = self.operation_counts[node] - 1
        seconds = call.base_seconds
        if others > 0:
            seconds += call.slope_seconds * others
        if self.law.jitter_log_sd > 0.0:
            seconds *= exp(self.law.jitter_log_sd * self._stream.normal())
        compute_seconds = seconds * self.law.cpu_per_wall_ratio
        self.cpu_seconds[node] += compute_seconds
        if self.cpus is not None:
            stretch = self.cpus.call_stretch(node, self._engine.now)
            seconds += compute_seconds * (stretch - 1.0)
        return seconds

    def sandbox_seconds(self, node: int) -> float:
        """RunPodSandbox without CNI ADD."""
        return self._seconds(node, self._sandbox)

    def create_seconds(self, node: int) -> float:
        """CreateContainer."""
        return self._seconds(node, self._create)

    def start_seconds(self, node: int) -> float:
        """StartContainer."""
        return self._seconds(node, self._start)

    def stop_seconds(self, node: int) -> float:
        """StopContainer, from the exit of the process on."""
        return self._seconds(node, self._stop)

    def stop_sandbox_seconds(self, node: int) -> float:
        """StopPodSandbox without CNI DEL."""
        return self._seconds(node, self._stop_sandbox)

    def relist_seconds(self, pods_count: int) -> float:
        """List all sandboxes and containers of a node with that many pods."""
        return self._relist_base + self._relist_per_pod * pods_count
