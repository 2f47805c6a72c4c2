"""The workload driver against an API server that answers at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sim.base.errors import UserError
from sim.base.objects import Deployment, Node, Pod, Service
from sim.components.facts import ALL
from sim.components.ports import Request, WatchEvent
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.workload import operations as ops
from sim.workload.arrivals import Rate
from sim.workload.driver import WorkloadDriver
from sim.workload.object_reader import ObjectReader
from sim.workload.pod_templates import PodTemplates
from tests.support.instant_apiserver import InstantAPIServer

Change = Callable[[Any], None]


class Machines:
    """Stands for the cluster's machines; remembers what was asked of them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.joined: list[tuple[float, str]] = []
        self.faults: list[tuple[float, str, str]] = []

    def join_node(self, manifest: Any) -> None:
        self.joined.append((self.engine.now, manifest["metadata"]["name"]))

    def fault(self, fault: ops.Fault) -> None:
        self.faults.append((self.engine.now, "break", fault.what))

    def mend(self, fault: ops.Fault) -> None:
        self.faults.append((self.engine.now, "mend", fault.what))


class Stage:
    """Engine, API server, driver; a stand-in for scheduler and kubelets on demand."""

    def __init__(self, *operations: ops.Operation) -> None:
        self.engine = Engine(1)
        self.server = InstantAPIServer(self.engine)
        self.machines = Machines(self.engine)
        self.recorder = Recorder(ALL)
        self.driver = WorkloadDriver(
            self.engine,
            self.recorder,
            self.server.clients,
            operations,
            ObjectReader(PodTemplates()),
            self.machines,
        )

    def run(self, until_seconds: float = 1000.0) -> Stage:
        self.driver.start()
        self.engine.run(until_seconds)
        return self

    def objects(self, resource: str) -> list[Any]:
        return list(self.server.objects.get(resource, {}).values())

    def times(self, verb: str, resource: str) -> list[float]:
        return [row[0] for row in self.server.requests if row[2:4] == (verb, resource)]

    def notes(self) -> list[tuple[Any, ...]]:
        table = self.recorder["faults"]
        columns = []
        for name in ("what", "detail"):
            words = table.categories(name)
            columns.append([words[code] for code in table.column(name)])
        return list(zip(*columns, strict=True))

    def write(self, item: Any, change: Change) -> None:
        """Change an object as its controller would, behind the driver's back."""
        current = self.server.objects[item.resource][item.key]
        new = current.clone()
        change(new)
        self.server._commit("MODIFIED", new, current)

    def kubelets_run_pods(self, delay_seconds: float = 1.0) -> None:
        """Every new pod is bound after a delay and ready after as much again."""

        def bind(pod: Pod) -> None:
            if pod.key in self.server.objects["pods"]:
                self.write(pod, lambda new: setattr(new, "node_name", "n"))
                self.engine.call_later(delay_seconds, start, pod)

        def start(pod: Pod) -> None:
            if pod.key in self.server.objects["pods"]:
                self.write(pod, lambda new: setattr(new, "ready", True))

        original = self.server._commit

        def commit(kind: str, new: Any, old: Any) -> None:
            original(kind, new, old)
            if kind == "ADDED" and isinstance(new, Pod):
                self.engine.call_later(delay_seconds, bind, new)

        self.server._commit = commit  # type: ignore[method-assign]


class TestCreating:
    def test_pods_at_a_rate(self) -> None:
        stage = Stage(ops.CreatePods(count=50, rate=Rate(per_second=10.0))).run()
        times = stage.times("create", "pods")
        assert len(times) == 50
        gaps = [later - sooner for sooner, later in pairwise(times)]
        assert gaps == pytest.approx([0.1] * 49)
        pods = stage.objects("pods")
        assert [pod.name for pod in pods[:2]] == ["pod-0", "pod-1"]
        assert len({id(pod.template) for pod in pods}) == 1
        assert stage.driver.done
        assert stage.driver.pods_expected_count == 50

    def test_in_flight_requests_are_bounded(self) -> None:
        """With p in flight and answers after d, the rate is p/d."""
        stage = Stage(ops.CreatePods(count=100, parallelism=5)).run()
        times = stage.times("create", "pods")
        assert times[-1] - times[0] == pytest.approx((100 / 5 - 1) * 0.002, rel=1e-6)

    def test_deployments_with_services_over_namespaces(self) -> None:
        stage = Stage(
            ops.CreateDeployments(
                count=4, replicas=3, namespace="team", namespace_count=2, service=True,
                name_prefix="web", pod=ops.PodShape(cpu_millicores=250, labels={"tier": "a"}),
            )
        ).run()  # fmt: skip
        assert sorted(item.name for item in stage.objects("namespaces")) == ["team-0", "team-1"]
        deployments: list[Deployment] = stage.objects("deployments")
        assert sorted(item.key for item in deployments) == [
            ("team-0", "web-0"), ("team-0", "web-1"), ("team-1", "web-0"), ("team-1", "web-1"),
        ]  # fmt: skip
        services: list[Service] = stage.objects("services")
        for deployment, service in zip(
            sorted(deployments, key=lambda item: item.key),
            sorted(services, key=lambda item: item.key),
            strict=True,
        ):
            assert service.selector is not None
            assert service.selector.matches(deployment.template.labels)
            assert deployment.template.cpu_requested_millicores == 250
            assert deployment.template.labels["tier"] == "a"
        assert stage.driver.pods_expected_count == 12

    def test_manifests_and_the_namespaces_they_need(self, tmp_path: Path) -> None:
        path = tmp_path / "m.yaml"
        path.write_text(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: lab}\n"
            "spec: {containers: [{name: c}]}\n---\n"
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: defined}\n---\n"
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: defined}\n---\n"
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n"
            "status: {capacity: {cpu: 1, memory: 1Gi, pods: 1}}\n"
        )
        stage = Stage(ops.ApplyManifests(manifests=(str(path),))).run()
        order = [(row[3], row[4]) for row in stage.server.requests if row[2] == "create"]
        assert order == [
            ("namespaces", "defined"), ("namespaces", "lab"), ("pods", "a"), ("configmaps", "c"),
        ]  # fmt: skip

    def test_a_missing_file_is_told_before_anything_runs(self) -> None:
        with pytest.raises(UserError) as caught:
            Stage(ops.ApplyManifests(manifests=("/nowhere/m.yaml",)))
        assert [item.code for item in caught.value.problems] == ["E001"]

    def test_machines_join_at_their_rate(self) -> None:
        stage = Stage(ops.CreateNodes(count=3, rate=Rate(per_second=2.0))).run()
        assert stage.machines.joined == [(0.0, "joined-0"), (0.5, "joined-1"), (1.0, "joined-2")]


class TestFailures:
    def test_a_passing_failure_is_tried_again(self) -> None:
        """Six tries, 0.1 s × 3ⁿ apart; what had been stored after all counts as created."""
        stage = Stage(ops.CreatePods(count=1))
        original = stage.server._create
        tries: list[float] = []

        def flaky(request: Request) -> None:
            tries.append(stage.engine.now)
            if len(tries) == 1:
                original(request)
            if len(tries) < 4:
                request.code = 504
            else:
                original(request)

        stage.server._create = flaky  # type: ignore[method-assign]
        stage.run()
        gaps = [later - sooner for sooner, later in pairwise(tries)]
        assert gaps == pytest.approx([0.102, 0.302, 0.902])
        assert len(stage.objects("pods")) == 1
        assert stage.driver.done
        assert stage.notes() == []

    def test_a_lasting_failure_is_given_up_and_told(self) -> None:
        stage = Stage(ops.CreatePods(count=2))
        tries: list[float] = []

        def broken(request: Request) -> None:
            tries.append(stage.engine.now)
            request.code = 500

        stage.server._create = broken  # type: ignore[method-assign]
        stage.run()
        assert len(tries) == 2 * 6
        assert stage.driver.done
        assert stage.notes() == [("requests refused", "2 x create pods: 500")]

    def test_a_refusal_is_not_repeated(self) -> None:
        stage = Stage(ops.CreateNamespaces(count=1), ops.CreateNamespaces(count=1)).run()
        assert stage.times("create", "namespaces") == pytest.approx([0.001, 0.003])
        assert stage.notes() == [("requests refused", "1 x create namespaces: 409")]


class TestBarriers:
    def test_stages_open_one_after_another(self) -> None:
        stage = Stage(
            ops.CreatePods(count=20),
            ops.Barrier(stage="scheduled"),
            ops.StartCollectingMetrics(name="a"),
            ops.Barrier(stage="ready"),
            ops.StopCollectingMetrics(name="a"),
        )
        stage.kubelets_run_pods(1.0)
        stage.run()
        start, end = stage.driver.windows["a"]
        assert stage.driver.done
        assert start == pytest.approx(1.0, abs=0.02)
        assert end == pytest.approx(2.0, abs=0.02)

    def test_system_pods_and_other_namespaces_do_not_count(self) -> None:
        stage = Stage(
            ops.CreatePods(count=2, namespace="kube-system"),
            ops.CreatePods(count=1, namespace="other"),
            ops.Barrier(stage="gone", namespaces=("empty",)),
            ops.Barrier(stage="scheduled", namespaces=("other",), timeout_seconds=5.0),
        ).run()
        assert stage.driver.done
        assert stage.notes() == [("barrier timed out", "scheduled: 0 of 1 pods")]

    def test_a_count_overrules_what_was_asked_for(self) -> None:
        stage = Stage(ops.CreatePods(count=5), ops.Barrier(stage="ready", count=3))
        stage.driver.start()
        stage.engine.run(1.0)
        for index, pod in enumerate(stage.objects("pods")[:3]):
            assert not stage.driver.done
            stage.write(pod, lambda new: setattr(new, "ready", True))
            stage.engine.run(2.0 + index)
        assert stage.driver.done

    def test_deleted_pods_are_waited_for_and_not_expected(self) -> None:
        stage = Stage(
            ops.CreatePods(count=6, pod=ops.PodShape(labels={"app": "x"})),
            ops.CreatePods(count=3, name_prefix="kept"),
            ops.Barrier(stage="scheduled"),
            ops.DeletePods(labels={"app": "x"}, grace_seconds=0.0),
            ops.Barrier(stage="scheduled"),
        )
        stage.kubelets_run_pods(0.1)
        stage.run()
        assert stage.driver.done
        assert {pod.name for pod in stage.objects("pods")} == {"kept-0", "kept-1", "kept-2"}
        assert stage.driver.pods_expected_count == 3


class TestChanging:
    def _rollout(self, change: ops.Operation) -> Stage:
        return Stage(
            ops.CreateDeployments(replicas=2, name_prefix="web"),
            change,
            ops.Barrier(stage="ready", count=2),
        )

    @pytest.mark.parametrize(
        "change", [ops.RolloutRestart(), ops.Scale(replicas=1)], ids=["restart", "scale"]
    )
    def test_ready_means_that_the_change_was_followed(self, change: ops.Operation) -> None:
        """Two old pods are ready all along: the barrier waits for the controller all the same."""
        stage = self._rollout(change)
        for name in ("a", "b"):
            pod = Pod(
                name=name, namespace="default", ready=True, node_name="n",
                template=PodTemplates().template({"spec": {"containers": [{}]}}),
            )  # fmt: skip
            stage.server._commit("ADDED", pod, None)
        stage.run(50.0)
        assert not stage.driver.done
        (deployment,) = stage.objects("deployments")
        assert deployment.generation == 2

        def followed(new: Deployment) -> None:
            wanted = new.replica_count
            new.observed_generation = 2
            new.updated_count = new.current_count = new.available_count = wanted

        stage.write(deployment, followed)
        stage.engine.run(60.0)
        assert stage.driver.done
        assert stage.notes() == []

    def test_a_restart_changes_the_template_and_nothing_else(self) -> None:
        stage = Stage(ops.CreateDeployments(replicas=2), ops.Sleep(duration_seconds=1.0))
        before = stage.run().objects("deployments")[0].template
        again = Stage(ops.CreateDeployments(replicas=2), ops.RolloutRestart()).run()
        after = again.objects("deployments")[0].template
        assert after.digest != before.digest
        assert after.labels == before.labels
        assert after.manifest["spec"] == before.manifest["spec"]

    def test_scaling_changes_what_is_expected(self) -> None:
        stage = Stage(
            ops.CreateDeployments(count=3, replicas=2), ops.Scale(replicas=5),
            ops.DeleteObjects(names=("deployment-0",)),
        ).run()  # fmt: skip
        assert [item.replica_count for item in stage.objects("deployments")] == [5, 5]
        assert stage.driver.pods_expected_count == 10


class TestNodesAndFaults:
    def test_faults_are_mended_after_their_time(self) -> None:
        stage = Stage(
            ops.Fault(what="slowDisk", after_seconds=3.0, duration_seconds=10.0, background=True),
            ops.Sleep(duration_seconds=1.0),
            ops.Fault(what="restartKubelets"),
        ).run()
        assert stage.machines.faults == [
            (1.0, "break", "restartKubelets"), (3.0, "break", "slowDisk"),
            (13.0, "mend", "slowDisk"),
        ]  # fmt: skip
        assert stage.driver.done

    def test_a_drain_cordons_evicts_and_waits(self) -> None:
        stage = Stage(ops.Drain(nodes=("n1",)))
        stage.server._commit("ADDED", Node(name="n1"), None)
        template = PodTemplates().template({"spec": {"containers": [{}]}})
        for name, node in (("here", "n1"), ("elsewhere", "n2")):
            pod = Pod(name=name, namespace="default", node_name=node, template=template)
            stage.server._commit("ADDED", pod, None)
        stage.run(20.0)
        assert stage.objects("nodes")[0].unschedulable
        evicted = [row[4] for row in stage.server.requests if row[3] == "pods/eviction"]
        assert evicted == ["here"]
        assert not stage.driver.done
        pod = stage.server.objects["pods"]["default", "here"]
        stage.server._commit("DELETED", pod, pod)
        stage.engine.run(30.0)
        assert stage.driver.done


class TestTrace:
    HEAD = (
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
        "creation_time,deletion_time,scheduled_time\n"
    )

    def test_pods_come_and_go_at_scaled_times(self, tmp_path: Path) -> None:
        path = tmp_path / "pods.csv"
        path.write_text(
            self.HEAD
            + "a,1000,1024,0,0,,LS,Running,0,400,0\n"
            + "b,1000,1024,1,500,,LS,Running,100,,100\n"
            + "c,2000,1024,1,500,,LS,Failed,200,300,200\n"
        )
        stage = Stage(ops.ReplayTrace(pods_csv=str(path), time_scale=100.0)).run()
        assert stage.times("create", "pods") == pytest.approx([0.001, 1.001, 2.001])
        assert stage.times("delete", "pods") == pytest.approx([3.001, 4.001])
        assert [pod.name for pod in stage.objects("pods")] == ["b"]
        assert stage.driver.pods_expected_count == 1


def test_an_old_tracked_pod_leaves_at_the_cost_of_one_event() -> None:
    """Deleting n pods costs the driver O(n): each event touches only its own pod."""
    stage = Stage(ops.CreatePods(count=300), ops.DeletePods(grace_seconds=0.0))
    tracker = stage.driver.tracker
    stage.driver.start()
    stage.engine.run(0.5)
    left = tracker.leaving(list(tracker.informer.objects.values()))
    looked: list[int] = []
    tracker.listeners.append(lambda: looked.append(len(left)))
    for pod in list(tracker.informer.objects.values()):
        event = WatchEvent("DELETED", "pods", pod.key, pod, pod, 10**6, 0.0)
        tracker.informer.bring([event])
    assert looked == list(range(len(looked) - 1, -1, -1))
