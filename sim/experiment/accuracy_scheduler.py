"""Predictions for the rows of `groundtruth/scheduler_throughput.csv`.

Scheduler, apiserver, etcd and the load client share one 2-core host, as on the measured machine;
every row runs the components that clusters are made of.
**Source:** groundtruth/README.md, scheduler_throughput.csv (nodes of 4 CPU, 32 GiB, 110 pods in 3
zones; pods of 100m/500Mi; families of the upstream benchmark).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, Final

import numpy as np

from sim.base.api_object import APIObject
from sim.base.objects import Namespace, Node, Pod
from sim.base.pod_template import PodTemplate
from sim.components import facts
from sim.components.client import Client, ClientFactory
from sim.components.informer import Informer
from sim.components.ports import Request
from sim.components.scheduler import Scheduler, SchedulerParams
from sim.costs.profile import Profile
from sim.engine.tables import Recorder
from sim.experiment.accuracy import row_by_row
from sim.experiment.accuracy_apiserver_bench import Machine, Prediction
from sim.scheduling import SchedulerConfiguration
from sim.workload.pod_templates import PodTemplates

_NAMESPACE: Final = "bench"
_EXISTING: Final = "existing-"
"""How the names of ``pods_preexisting`` begin."""
_MASTERS: Final = ("system:masters",)
_NODE_BYTES: Final = 1500
"""A node of the benchmark: no images (assumed)."""
_CONCURRENT_CREATES_COUNT: Final = 38
"""Creators working side by side at rate 0. Fitted: scheduler_throughput.csv, create_to_bound of the
concurrent rows: with so many, creation and binding keep pace."""
_PRECREATE_CREATES_COUNT: Final = 16
_QUIET_SECONDS: Final = 15.0
"""A run ends when every pod is bound or, for pods that fit nowhere, when nothing was bound for so
long (assumed: longer than the longest back-off, 10 s)."""
_TICK_SECONDS: Final = 0.05
_START_SECONDS: Final = 0.35
"""From the start of the scheduler's process to its first LIST. **Source:** measured:
scheduler_throughput.csv, first creation to first bound pod with 80 pods."""
_REPLICATION_COUNT: Final = 9
"""A row is the median of that many runs: one late retry moves the rate of a short run."""
_LABELS: Final = {"app": "bench"}

_FAMILIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "basic": {},
    "topology_spread": {
        "topologySpreadConstraints": [
            {
                "maxSkew": 5,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": _LABELS},
            }
        ]
    },
    "preferred_anti_affinity": {
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "labelSelector": {"matchLabels": _LABELS},
                            "topologyKey": "kubernetes.io/hostname",
                        },
                    }
                ]
            }
        }
    },
    "required_anti_affinity": {
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "labelSelector": {"matchLabels": _LABELS},
                        "topologyKey": "kubernetes.io/hostname",
                    }
                ]
            }
        }
    },
}


def _template(family: str) -> PodTemplate:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": _NAMESPACE, "labels": dict(_LABELS)},
        "spec": {
            "containers": [
                {
                    "name": "pause",
                    "image": "registry.k8s.io/pause:3.10",
                    "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}},
                }
            ],
            **_FAMILIES[family],
        },
    }
    return PodTemplates().template(manifest)


def _node(index: int) -> Node:
    name = f"node-{index}"
    labels = {
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": f"zone-{index % 3}",
    }
    amounts = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    return Node(
        name=name,
        labels=labels,
        ready="True",
        cpu_allocatable_millicores=4000,
        memory_allocatable_bytes=32 * 2**30,
        size_bytes=_NODE_BYTES,
        manifest={
            "metadata": {"name": name, "labels": labels},
            "status": {"capacity": amounts, "allocatable": amounts},
        },
    )


def _pod(name: str, template: PodTemplate) -> Pod:
    return Pod(
        name=name,
        namespace=_NAMESPACE,
        template=template,
        labels=template.labels,
        size_bytes=1600,
    )


def _bound_pod(index: int, template: PodTemplate, nodes_count: int) -> Pod:
    """Return a pod that was there before: of the same family, dealt out to the nodes in turn."""
    pod = _pod(f"{_EXISTING}{index}", template)
    pod.node_name = f"node-{index % nodes_count}"
    return pod


class _LoadCaller:
    """Creates pods on the load generator's CPU."""

    user = "load"
    fleet_user = ""
    groups = _MASTERS
    shares_connection = True

    def __init__(self, machine: Machine, template: PodTemplate, count: int) -> None:
        self.machine = machine
        self.template = template
        self.count = count
        self.started_count = 0
        self.answered_count = 0
        self.created_seconds: dict[str, float] = {}
        """When the answer to a creation was there, by name of the pod."""
        law = machine.load_law
        self._demand_seconds = law.call_seconds + law.write_seconds + law.pod_seconds
        self._closed = True

    def closed_loop(self, clients: int) -> None:
        """Create as fast as possible, ``clients`` at a time."""
        for _ in range(min(clients, self.count)):
            self._next()

    def at_rate(self, per_second: float) -> None:
        """Create at a fixed rate."""
        self._closed = False
        self._tick(1.0 / per_second)

    def _tick(self, period_seconds: float) -> None:
        if self.started_count < self.count:
            self._next()
            self.machine.engine.call_later(period_seconds, self._tick, period_seconds)

    def _next(self) -> None:
        if self.started_count >= self.count:
            return
        name = f"p{self.started_count}"
        self.started_count += 1
        pod = _pod(name, self.template)
        request = Request("create", "pods", _NAMESPACE, name, api_object=pod)
        request.client = self
        request.submitted_seconds = self.machine.engine.now
        half = 0.5 * self._demand_seconds
        self.machine.run_client(half, self.machine.endpoint.send, request)

    def receive(self, request: Request) -> None:
        """Take the answer to a creation."""
        assert request.ok, request.code
        self.created_seconds[request.name] = self.machine.engine.now
        self.machine.run_client(0.5 * self._demand_seconds, self._answered, request)

    def _answered(self, _: Request) -> None:
        self.answered_count += 1
        if self._closed:
            self._next()


class _Bench:
    """One row: the machine, the scheduler, and a watch that sees pods being bound."""

    def __init__(self, row: Mapping[str, str], profile: Profile, seed: int) -> None:
        self.row = row
        self.machine = machine = Machine(profile, seed)
        self.engine = machine.engine
        self.count = int(row["pods"])
        template = _template(row["family"])
        nodes: list[APIObject] = [_node(index) for index in range(int(row["nodes"]))]
        there = int(row.get("pods_preexisting") or 0)
        existing = [_bound_pod(index, template, len(nodes)) for index in range(there)]
        machine.preload([Namespace(name=_NAMESPACE), *nodes, *existing])
        high = row["scheduler_qps"] == "high"
        self.process = machine.host.process("kube-scheduler")
        attempts = facts.SCHEDULING_ATTEMPTS.name
        self.recorder = Recorder(
            facts.ALL, frozenset(spec.name for spec in facts.ALL if spec.name != attempts)
        )
        self.scheduler = Scheduler(
            machine.engine,
            self.recorder,
            ClientFactory(machine.engine, machine.endpoint),
            SchedulerParams(
                kube_api_qps=5000.0 if high else 50.0,
                kube_api_burst=5000 if high else 100,
                leader_elect=False,
            ),
            SchedulerConfiguration.from_dict({}),
            profile.scheduler,
            self.process,
        )
        self.load = _LoadCaller(machine, template, self.count)
        self.bound_seconds: dict[str, float] = {}
        self.first_cpu_seconds = 0.0
        self.last_cpu_seconds = 0.0
        watching = Client(machine.engine, machine.endpoint, user="load", groups=_MASTERS)
        pods: Informer[Pod] = Informer(
            machine.engine, machine.endpoint, watching, "pods", process=machine.client_cpu
        )
        pods.add_handler(self._seen)
        pods.start()
        self._until(lambda: pods.synced)

    def _seen(self, _kind: str, new: Pod, _old: Pod | None) -> None:
        if new.name.startswith(_EXISTING):
            return
        if new.node_name and new.name not in self.bound_seconds:
            if not self.bound_seconds:
                self.first_cpu_seconds = self.process.cpu_seconds
            self.bound_seconds[new.name] = self.engine.now
            self.last_cpu_seconds = self.process.cpu_seconds

    def _progress(self) -> tuple[int, int]:
        return self.load.answered_count, len(self.bound_seconds)

    def _until(self, done: Callable[[], bool]) -> None:
        """Run until something is done, or nothing is created and bound any more."""
        progress, since_seconds = self._progress(), self.engine.now
        while not done():
            self.engine.run(self.engine.now + _TICK_SECONDS)
            if self._progress() != progress:
                progress, since_seconds = self._progress(), self.engine.now
            elif self.engine.now - since_seconds > _QUIET_SECONDS:
                return

    def run(self) -> Prediction:
        """Run the row to its last bound pod."""
        rate = float(self.row["create_rate_per_s"] or 0)
        if self.row["mode"] == "precreated":
            self.load.closed_loop(_PRECREATE_CREATES_COUNT)
            self._until(lambda: self.load.answered_count == self.count)
            self.engine.run(self.engine.now + _START_SECONDS)
            self.scheduler.start()
        else:
            self.scheduler.start()
            self._until(lambda: self.scheduler.leading)
            if rate > 0.0:
                self.load.at_rate(rate)
            else:
                self.load.closed_loop(_CONCURRENT_CREATES_COUNT)
        self._until(lambda: len(self.bound_seconds) == self.count)
        problems = [*self.machine.host.check(), *self.scheduler.check()]
        assert not problems, problems
        return self._prediction()

    def _prediction(self) -> Prediction:
        created = self.load.created_seconds
        bound = self.bound_seconds
        if len(bound) < 2:
            raise ValueError("fewer than two pods could be bound")
        waits = np.array([bound[name] - created[name] for name in bound]) * 1e3
        span_seconds = max(bound.values()) - min(bound.values())
        cycles = self.recorder["scheduling_attempts"].column("cycle_seconds")
        p50, p99 = np.quantile(waits, (0.5, 0.99))
        cpu_seconds = self.last_cpu_seconds - self.first_cpu_seconds
        return {
            "pods_per_s": (len(bound) - 1) / span_seconds,
            "algorithm_mean_ms": float(cycles.mean()) * 1e3,
            "algorithm_p50_ms": float(np.median(cycles)) * 1e3,
            "scheduler_cpu_ms_per_pod": cpu_seconds / len(bound) * 1e3,
            "create_to_bound_p50_ms": float(p50),
            "create_to_bound_p99_ms": float(p99),
        }


def predict(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """Simulate a row of scheduler_throughput.csv on the measured machine."""
    runs = [
        _Bench(row, profile, seed * _REPLICATION_COUNT + index).run()
        for index in range(_REPLICATION_COUNT)
    ]
    return {name: median(run[name] for run in runs) for name in runs[0]}


PREDICTORS = {"scheduler_throughput.csv": row_by_row(predict)}
"""By file name: one prediction of the scored columns per row."""
