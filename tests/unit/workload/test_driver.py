"""Operations executed against controllers and small stand-ins of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

from sim.base.errors import UserError
from sim.base.objects import Node
from sim.workload import operations as ops
from sim.workload.arrivals import Rate
from sim.workload.driver import _STEPS, WorkloadDriver
from sim.workload.object_reader import ObjectReader
from sim.workload.pod_templates import PodTemplates
from tests.unit.components.controllers.stand_ins import World


class Hands:
    """Notes what the workload asked of the machines."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: list[tuple[float, str, str]] = []

    def join_node(self, manifest: Mapping[str, Any]) -> None:
        self.world.add_node(manifest["metadata"]["name"])

    def fault(self, fault: ops.Fault) -> None:
        self.done.append((self.world.engine.now, "fault", fault.what))

    def mend(self, fault: ops.Fault) -> None:
        self.done.append((self.world.engine.now, "mend", fault.what))


class Run:
    def __init__(self, *operations: ops.Operation, node_count: int = 4, **options: Any) -> None:
        self.world = World(node_count, controllers=("*", "-node_lifecycle"), **options)
        self.hands = Hands(self.world)
        self.driver = WorkloadDriver(
            self.world.engine, self.world.recorder, self.world.server.clients, operations,
            ObjectReader(PodTemplates()), self.hands,
        )  # fmt: skip
        self.began = self.world.engine.now
        self.driver.start()

    def until_done(self, limit_seconds: float = 600.0) -> float:
        """Run to the end of the workload; return how long it took."""
        while not self.driver.done:
            assert self.world.engine.now < self.began + limit_seconds, "not done in time"
            self.world.run(0.1)
        return self.world.engine.now - self.began

    def requests(self, verb: str, resource: str, user: str = "kubernetes-admin") -> list[float]:
        return [
            seconds - self.began
            for seconds, who, what, where, _ in self.world.server.requests
            if (who, what, where) == (user, verb, resource) and seconds >= self.began
        ]

    def notes(self) -> list[str]:
        table = self.world.recorder["faults"]
        names = table.categories("what")
        return [names[code] for code in table.column("what")]


def test_every_operation_has_a_word_a_step_and_documented_fields() -> None:
    import ast
    import inspect

    assert {cls: word for word, cls in ops.OPERATION_TYPES.items()}.keys() == _STEPS.keys()
    tree = ast.parse(inspect.getsource(ops))
    documented = {
        (cls.name, first.target.id)
        for cls in tree.body if isinstance(cls, ast.ClassDef)
        for first, second in zip(cls.body, cls.body[1:], strict=False)
        if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr)
        and isinstance(first.target, ast.Name)
    }  # fmt: skip
    for word, cls in ops.OPERATION_TYPES.items():
        own = {item.name: item for item in fields(cls)}
        assert own["op"].default == word
        missing = [name for name in own if name != "op" and not any(
            (base.__name__, name) in documented for base in cls.__mro__)]  # fmt: skip
        assert missing == [], word


def test_pods_at_a_rate_and_a_barrier() -> None:
    run = Run(
        ops.CreatePods(count=40, rate=Rate(per_second=20.0), collect=True),
        ops.Barrier(stage="ready"),
        ops.StopCollectingMetrics(),
    )
    took = run.until_done()
    times = run.requests("create", "pods")
    assert len(times) == 40
    assert times[-1] - times[0] == pytest.approx(39 / 20, abs=0.01)
    assert 1.95 <= took <= 2.3
    assert run.driver.windows["measured"] == pytest.approx([run.began, run.began + took], abs=0.11)
    assert all(pod.ready for pod in run.world.objects("pods"))


def test_without_a_rate_so_many_are_in_flight() -> None:
    run = Run(ops.CreatePods(count=100, parallelism=10), delay_seconds=0.1)
    assert run.until_done() == pytest.approx(1.0, abs=0.15)
    per_instant = Counter(round(seconds, 3) for seconds in run.requests("create", "pods"))
    assert set(per_instant.values()) == {10}


def test_deployments_with_services_are_scaled_restarted_and_deleted() -> None:
    run = Run(
        ops.CreateDeployments(count=3, replicas=4, service=True, namespace="shop"),
        ops.Barrier(stage="ready"),
        ops.Scale(replicas=6, namespace="shop"),
        ops.Barrier(stage="ready"),
        ops.Sleep(duration_seconds=2.0),
        ops.RolloutRestart(namespace="shop"),
        ops.Sleep(duration_seconds=10.0),
    )
    run.until_done()
    world = run.world
    assert {item.name for item in world.objects("namespaces")} == {"shop"}
    assert [item.updated_count for item in world.objects("deployments")] == [6, 6, 6]
    assert len(world.objects("replicasets")) == 6, "a restart makes a new ReplicaSet each"
    slices = world.objects("endpointslices")
    assert [len(item.endpoints) for item in slices] == [6, 6, 6]
    assert run.driver.pods_expected_count == 18
    done = Run(
        ops.CreateDeployments(count=2, replicas=2),
        ops.Barrier(stage="ready"),
        ops.DeleteObjects(resource="deployments"),
        ops.Barrier(stage="gone"),
    )
    done.until_done()
    assert done.world.objects("pods") == []
    assert done.driver.pods_expected_count == 0


def test_pod_sets_have_namespaces_of_their_own() -> None:
    run = Run(ops.CreatePodSets(count=3, count_per_set=5), ops.Barrier(stage="scheduled"))
    run.until_done()
    assert Counter(pod.namespace for pod in run.world.objects("pods")) == {
        "set-0": 5, "set-1": 5, "set-2": 5,
    }  # fmt: skip


def test_a_barrier_counts_only_its_pods_and_gives_up_in_time() -> None:
    run = Run(
        ops.CreatePods(count=5, pod=ops.PodShape(labels={"app": "a"})),
        ops.CreatePods(count=7, name_prefix="b", pod=ops.PodShape(labels={"app": "b"})),
        ops.Barrier(labels={"app": "b"}, stage="ready"),
        ops.Barrier(labels={"app": "c"}, stage="ready", count=1, timeout_seconds=5.0),
    )
    assert run.until_done() == pytest.approx(5.2, abs=0.3)
    assert "barrier timed out" in run.notes()


def test_pods_that_end_by_themselves_count_as_succeeded() -> None:
    run = Run(ops.CreatePods(count=4), ops.Barrier(stage="succeeded"))
    run.world.kubelet.run_seconds = 3.0
    assert run.until_done() == pytest.approx(3.2, abs=0.4)


def test_deleting_pods_waits_for_their_end() -> None:
    run = Run(
        ops.CreatePods(count=6),
        ops.Barrier(stage="ready"),
        ops.DeletePods(limit=4),
    )
    run.world.kubelet.stop_spread_seconds = 3.0
    run.until_done()
    assert len(run.world.objects("pods")) == 2
    assert run.driver.pods_expected_count == 2


def test_churn_ends_with_the_rest() -> None:
    run = Run(
        ops.Churn(mode="recreate", number=2, interval_seconds=1.0, background=True),
        ops.Sleep(duration_seconds=9.5),
    )
    run.until_done()
    assert len(run.requests("create", "pods")) == 20
    assert len(run.requests("delete", "pods")) == 18
    run.world.run(3.0)
    assert len(run.world.objects("pods")) == 2


def test_nodes_join_at_a_rate() -> None:
    run = Run(ops.CreateNodes(count=5, rate=Rate(per_second=2.0)), ops.Sleep(duration_seconds=1.0))
    assert run.until_done() == pytest.approx(3.0, abs=0.15)
    names = [item.name for item in run.world.objects("nodes")]
    assert names[-5:] == [f"joined-{index}" for index in range(5)]


def test_a_drained_node_is_cordoned_and_its_pods_are_evicted() -> None:
    run = Run(
        ops.CreateDeployments(replicas=8),
        ops.Barrier(stage="ready"),
        ops.Drain(nodes=("node-1",), timeout_seconds=20.0),
        ops.Uncordon(nodes=("node-1",)),
    )
    while not run.requests("create", "pods/eviction"):
        run.world.run(0.05)
    node: Node = run.world.server.objects["nodes"]["", "node-1"]  # type: ignore[assignment]
    assert node.unschedulable
    evicted = [pod for pod in run.world.objects("pods") if pod.node_name == "node-1"]
    assert len(run.requests("create", "pods/eviction")) == len(evicted) == 2
    for pod in evicted:  # the small apiserver does not know evictions
        run.world.driver.delete("pods", pod.namespace, pod.name)
    run.until_done()
    assert not run.world.server.objects["nodes"]["", "node-1"].unschedulable  # type: ignore[attr-defined]
    assert "drain timed out" not in run.notes()


def test_faults_happen_and_are_mended_at_their_times() -> None:
    run = Run(
        ops.Fault(what="killNode", target="node-1", after_seconds=2.0, duration_seconds=5.0,
                  background=True),
        ops.Fault(what="slowDisk", factor=3.0),
    )  # fmt: skip
    run.until_done()
    assert [(round(time - run.began, 3), verb, what) for time, verb, what in run.hands.done] == [
        (0.0, "fault", "slowDisk"), (2.0, "fault", "killNode"), (7.0, "mend", "killNode"),
    ]  # fmt: skip


def test_manifests_are_applied_with_the_namespaces_they_need(tmp_path: Any) -> None:
    path = tmp_path / "things.yaml"
    path.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: team}\n"
        "spec: {containers: [{name: main, image: x}]}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: v}\n---\n"
        "apiVersion: v1\nkind: Node\nmetadata: {name: machine}\n"
        "status: {capacity: {cpu: 1, memory: 1Gi, pods: 10}}\n"
    )
    run = Run(ops.ApplyManifests(manifests=(str(path),)), ops.Barrier(stage="ready"))
    run.until_done()
    assert [item.name for item in run.world.objects("namespaces")] == ["team"]
    assert [pod.namespace for pod in run.world.objects("pods")] == ["team"]
    names = [item.name for item in run.world.objects("configmaps") if item.namespace == "default"]
    assert names == ["c"]
    assert "machine" not in [item.name for item in run.world.objects("nodes")]


def test_a_trace_is_replayed_at_its_scaled_times(tmp_path: Any) -> None:
    path = tmp_path / "pods.csv"
    header = ("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
              "creation_time,deletion_time,scheduled_time")  # fmt: skip
    path.write_text(
        f"{header}\nlate,100,1,0,0,,LS,R,50,,0\nfirst,100,1,0,0,,LS,R,0,100,0\n"
        "mid,200,1,0,0,,LS,R,25,30,0\n"
    )
    run = Run(ops.ReplayTrace(pods_csv=str(path), time_scale=10.0))
    assert run.until_done() == pytest.approx(10.0, abs=0.15)
    created = run.requests("create", "pods")
    assert [time - created[0] for time in created] == pytest.approx([0.0, 2.5, 5.0])
    deleted = run.requests("delete", "pods")
    assert [time - created[0] for time in deleted] == pytest.approx([3.0, 10.0])
    run.world.run(3.0)
    assert [pod.name for pod in run.world.objects("pods")] == ["late"]


def test_a_closed_loop_obeys_the_response_time_law() -> None:
    """X = N / (R + Z): 5 clients, 20 ms answers, 80 ms thinking → 50 requests per second."""
    run = Run(
        ops.Load(verb="get", clients=5, think_seconds=0.08, duration_seconds=60.0, object_count=10),
        delay_seconds=0.02,
    )
    run.until_done()
    users = {user for _, user, verb, _, _ in run.world.server.requests if verb == "get"}
    assert {f"load-{index}" for index in range(5)} <= users
    count = sum(
        1 for seconds, user, verb, resource, _ in run.world.server.requests
        if user.startswith("load") and (verb, resource) == ("get", "configmaps")
    )  # fmt: skip
    assert count / 60.0 == pytest.approx(50.0, rel=0.04)


def test_an_open_loop_sends_at_its_rate_whatever_the_answers_take() -> None:
    run = Run(
        ops.Load(verb="patch", resource="configmaps", rate=Rate(per_second=40.0), clients=3,
                 duration_seconds=10.0, object_count=7),
        delay_seconds=0.5,
    )  # fmt: skip
    run.until_done()
    run.world.run(1.0)
    patches = Counter(
        user for _, user, verb, resource, _ in run.world.server.requests
        if (verb, resource) == ("patch", "configmaps")
    )  # fmt: skip
    assert sum(patches.values()) == 400
    assert max(patches.values()) - min(patches.values()) <= 1


def test_lists_in_pages_and_storms() -> None:
    run = Run(
        ops.Load(verb="list", clients=2, think_seconds=1.0, duration_seconds=10.0,
                 object_count=1200, list_limit=500, object_bytes=100),
    )  # fmt: skip
    run.until_done()
    run.world.run(2.0)
    lists = [user for _, user, verb, _, _ in run.world.server.requests
             if verb == "list" and user.startswith("load")]  # fmt: skip
    assert len(lists) % 3 == 0
    assert len(lists) >= 2 * 3 * 6


def test_load_creates_updates_and_deletes_what_exists() -> None:
    for verb in ("create", "update", "delete"):
        run = Run(
            ops.Load(verb=verb, rate=Rate(per_second=10.0), duration_seconds=3.0, object_count=30)  # type: ignore[arg-type]
        )
        run.until_done()
        run.world.run(1.0)
        codes = Counter(
            code
            for (_, user, what, _, _), code in zip(
                run.world.server.requests, run.world.server.codes, strict=True
            )
            if user == "load" and what == verb
        )
        assert set(codes) <= {200, 201}, (verb, codes)
        assert sum(codes.values()) >= 30


def test_refused_requests_are_facts() -> None:
    run = Run(ops.Scale(replicas=3, names=("nobody",)))
    run.until_done()
    assert "requests refused" in run.notes()


def test_faulty_files_are_told_before_anything_runs(tmp_path: Any) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
        "spec: {containers: [{name: main, image: x, resources: {requests: {cpu: lots}}}]}\n"
    )
    for operation in (
        ops.ApplyManifests(manifests=(str(path),)),
        ops.CreatePods(count=1, pod=ops.PodShape(manifest=str(path))),
        ops.CreateDeployments(pod=ops.PodShape(spec={"containers": []})),
        ops.ReplayTrace(pods_csv=str(path)),
    ):
        with pytest.raises(UserError):
            Run(operation)
