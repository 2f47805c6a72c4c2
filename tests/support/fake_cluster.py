"""A cluster without models: fills every fact table with plausible rows, quickly and repeatably.

It stands in for `sim.cluster` where the subject of a test is what happens around a run: loading,
running with bounds, metrics, files, pages and commands. Its settings and operations are dataclasses
of the same style as the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from sim.components import facts
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.experiment.backend import Backend, Demand, Progress
from sim.metrics.node_join import STEPS

MILESTONES = (
    "scheduled", "observed", "volumes_mounted", "sandbox_created", "network_ready",
    "images_pulled", "containers_started", "running", "ready", "in_endpoint_slice",
    "programmed_50", "programmed_99", "programmed_100",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeEtcdParams:
    """A store."""

    fsync_seconds: Annotated[float, Gt(0)] = 0.002
    """Mean duration of an fsync."""
    quota_bytes: Annotated[int, Gt(0)] = 2 * 2**30
    """Size at which writes stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeParams:
    """The stand-in cluster."""

    node_count: Annotated[int, Ge(0), Le(5_000_000)] = 10
    """Worker nodes."""
    pods_per_second: Annotated[float, Gt(0)] = 20.0
    """Rate at which pods appear."""
    topology: Literal["stacked", "external"] = "stacked"
    etcd: FakeEtcdParams = FakeEtcdParams()
    manifests: tuple[str, ...] = ()
    """Files of nodes."""
    stuck: bool = False
    """Never settle."""
    broken: bool = False
    """Break an invariant."""
    crash: bool = False
    """Raise in the middle of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePods:
    """Create pods."""

    op: Literal["createPods"] = "createPods"
    count: Annotated[int, Ge(1)]
    """Pods to create."""
    namespace: str = "default"
    cpu_millicores: Annotated[int, Ge(0)] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Wait."""

    op: Literal["sleep"] = "sleep"
    duration_seconds: Annotated[float, Gt(0)] = 1.0


class FakeCluster:
    def __init__(
        self, params: FakeParams, operations: Sequence[Any], engine: Engine, recorder: Recorder
    ) -> None:
        self.params = params
        self.engine = engine
        self.tables = recorder.tables
        self.pod_total = sum(o.count for o in operations if isinstance(o, CreatePods))
        self.namespace = next(
            (o.namespace for o in operations if isinstance(o, CreatePods)), "default"
        )
        self.created = 0
        self.ready = 0
        self.requests = 0

    def start(self) -> None:
        for index in range(self.params.node_count):
            detail = json.dumps({
                "status": "Ready", "roles": "<none>", "version": "v1.36.2",
                "internal_ip": f"192.168.0.{index + 1}",
            }, sort_keys=True, separators=(",", ":"))  # fmt: skip
            self.tables["objects"].append((0.0, "nodes", "", f"node-{index}", "ADDED", detail, ""))
        self.tables["objects"].append((
            0.0, "services", self.namespace, "web", "ADDED",
            json.dumps({"type": "ClusterIP", "cluster_ip": "172.16.0.9", "ports": "80/TCP"}),
            "",
        ))  # fmt: skip
        self._disturb()
        self.engine.call_later(0.0, self._next)
        self.engine.call_later(1.0, self._sample)

    def _disturb(self) -> None:
        """A node joins, another is lost together with an endpoint."""
        for index, step in enumerate(STEPS):
            self.tables["node_transitions"].append((1.0 + 0.1 * index, "node-new", step, ""))
        self.tables["node_transitions"].append((3.0, "node-1", "unknown", "NodeStatusUnknown"))
        self.tables["reachability"].append((2.0, "all nodes", "service/default/web", 10, 9))
        self.tables["faults"].append((2.0, "workload", "fault", "killNode node-1"))
        for time, ready in ((0.5, 3), (2.5, 2)):
            detail = {"service": "web", "ready_count": ready, "endpoint_count": 3}
            self.tables["objects"].append((
                time, "endpointslices", self.namespace, "web-abcde", "MODIFIED",
                json.dumps(detail), "",
            ))  # fmt: skip

    def _next(self, _: object) -> None:
        if self.created >= self.pod_total:
            return
        self.created += 1
        self._create(self.created)
        if self.params.crash and self.created == 3:
            raise RuntimeError("the stand-in was told to crash")
        self.engine.call_later(1.0 / self.params.pods_per_second, self._next)

    def _request(self, time: float, verb: str, resource: str, user: str, total: float) -> None:
        self.requests += 1
        scope = "cluster" if verb == "list" else "resource"
        level = "system" if "node" in user else "workload-low"
        limiter = 0.5 * total if user.endswith("replicaset-controller") else 0.0
        sub = "binding" if user.endswith("scheduler") and verb == "create" else ""
        self.tables["requests"].append((
            time, verb, resource, sub, scope, user, level, 0,
            201 if verb == "create" else 200, limiter, 0.01 * total, 0.4 * total, total,
            3100,
        ))  # fmt: skip

    def _create(self, uid: int) -> None:
        engine, tables, now = self.engine, self.tables, self.engine.now
        stream = engine.stream("fake/pods")
        etcd = engine.stream("fake/etcd")
        name = f"web-{uid:05d}"
        tables["pods"].append((now, uid, self.namespace, name, "ReplicaSet", "web", 1, 100,
                               128 << 20, 0, "app=web"))  # fmt: skip
        tables["pod_transitions"].append((now, uid, "created", ""))
        controller = "system:serviceaccount:kube-system:replicaset-controller"
        self._request(now, "create", "pods", controller, 0.02 + stream.exponential(0.05))
        self._request(now, "patch", "pods", "system:nodes", 0.005 + stream.exponential(0.01))
        self._request(now, "create", "pods", "system:kube-scheduler", stream.exponential(0.01))
        if uid % 50 == 1:
            self._request(now, "list", "pods", "kubectl", 0.1 + stream.exponential(0.3))
        fsync = etcd.exponential(self.params.etcd.fsync_seconds)
        tables["etcd_commits"].append((now, 3, 9300, fsync, fsync * 1.3, 0.0005, 0))
        if uid % 10 == 0:
            tables["etcd_backend_commits"].append((now, 0, 30, 0.004 + fsync, 20 << 20))
        tables["scheduling_attempts"].append((
            now, uid, "default-scheduler", 0.01, 0.002, min(100, self.params.node_count), 10, 1,
            "scheduled", "", f"node-{uid % max(1, self.params.node_count)}",
        ))  # fmt: skip
        tables["bindings"].append((now + 0.002, uid, 0.006, 201, 0.02))
        tables["controller_syncs"].append((now, "replicaset", 0.001, 0.004, "ok"))
        tables["image_pulls"].append((now + 0.3, f"node-{uid % 7}", "web:1", 0.01, 0.5, 1 << 20,
                                      "pulled" if uid % 7 == 0 else "present"))  # fmt: skip
        tables["events"].append((now, self.namespace, "Normal", "Scheduled", "Pod", name,
                                 "default-scheduler", 1, f"assigned {name}"))  # fmt: skip
        tables["watch_deliveries"].append((now, "pods", 0, 1, 12, 0.0004, 0.001, 0.003))
        self._live(uid, now, stream)
        if uid % 25 == 0:
            tables["proxy_syncs"].append((now, self.params.node_count, "partial", 1, 0.02, 0.09, 5,
                                          uid))  # fmt: skip
            tables["network_programming"].append((now, self.namespace, "web", 0.1, 0.5, 0.9, 1.2,
                                                  self.params.node_count))  # fmt: skip
            tables["dns_queries"].append((now, 100, 0.0007, 0.1))

    def _live(self, uid: int, now: float, stream: Any) -> None:
        at = now
        for milestone in MILESTONES:
            at += stream.exponential(0.4 if milestone == "images_pulled" else 0.1)
            detail = ""
            if milestone == "scheduled":
                detail = f"node-{uid % max(1, self.params.node_count)}"
            elif milestone == "network_ready":
                detail = f"10.0.{uid // 250}.{uid % 250 + 2}"
            self.engine.call_at(at, self._reach, (uid, milestone, detail))

    def _reach(self, step: tuple[int, str, str]) -> None:
        uid, milestone, detail = step
        self.ready += milestone == "ready"
        self.tables["pod_transitions"].append((self.engine.now, uid, milestone, detail))

    def _sample(self, _: object) -> None:
        now = self.engine.now
        for name, busy in (("cp-0", 0.4), ("etcd-0", 0.2)):
            self.tables["gauges"].append((now, "host_utilization_ratio", name, busy))
        self.tables["gauges"].append((now, "scheduler_pending_pods", "active",
                                      float(self.created - self.ready)))  # fmt: skip
        if self.params.stuck or self.ready < self.pod_total:
            self.engine.call_later(1.0, self._sample)

    def settled(self) -> bool:
        return not self.params.stuck and self.ready >= self.pod_total

    def progress(self) -> Progress:
        return Progress(
            time_seconds=self.engine.now,
            pods_total_count=self.pod_total,
            pods_running_count=self.ready,
            request_count=self.requests,
        )

    def check(self) -> list[str]:
        return ["pods conserved: 3 created, 2 accounted for"] if self.params.broken else []

    def finish(self) -> None:
        self.tables["faults"].append((self.engine.now, "kube-proxy", "note", "end"))


def build(
    params: FakeParams,
    operations: Sequence[Any],
    engine: Engine,
    recorder: Recorder,
    profile: Any = None,
) -> FakeCluster:
    return FakeCluster(params, operations, engine, recorder)


def demand(params: FakeParams, operations: Sequence[Any]) -> Demand:
    pods = sum(o.count for o in operations if isinstance(o, CreatePods))
    return Demand(
        node_count=params.node_count,
        pod_count=pods,
        memory_bytes=100 * 2**20 + params.node_count * 20_000 + pods * 20_000,
        event_count=pods * 100,
    )


def backend() -> Backend:
    return Backend(
        params_type=FakeParams,
        operation_types={"createPods": CreatePods, "sleep": Sleep},
        build=build,
        tables=facts.ALL,
        profiles=("baseline", "small"),
        demand=demand,
        reference="tests.support.fake_cluster:backend",
    )


def filled_recorder(pod_count: int = 300, seed: int = 1, **settings: Any) -> Recorder:
    """The facts of one settled run."""
    engine = Engine(seed)
    recorder = Recorder(facts.ALL)
    cluster = FakeCluster(
        FakeParams(**settings), (CreatePods(count=pod_count),), engine, recorder
    )
    cluster.start()
    engine.run(10_000.0)
    assert cluster.settled()
    cluster.finish()
    return recorder
