"""Manifests → objects: what kubectl and the API server would make of them, and every refusal."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from sim.base.api_object import APIObject
from sim.base.errors import Problem, UserError
from sim.base.objects import (
    CronJob,
    Deployment,
    EndpointSlice,
    Generic,
    HorizontalPodAutoscaler,
    Job,
    LabelSelector,
    Node,
    Pod,
    PodDisruptionBudget,
    Service,
    StatefulSet,
    Taint,
)
from sim.workload.manifests import ObjectReader, load_manifests, node_from_manifest
from sim.workload.pod_templates import PodTemplates

# The Deployment, StatefulSet and CronJob shapes of the Kubernetes documentation's tutorials.
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx-deployment
  labels: {app: nginx}
spec:
  replicas: 3
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec:
      containers:
      - name: nginx
        image: nginx:1.14.2
        ports: [{containerPort: 80}]
        resources: {limits: {cpu: 500m, memory: 128Mi}}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: my-service}
spec:
  selector: {app: nginx}
  ports:
  - {protocol: TCP, port: 80, targetPort: 9376}
"""


def pod(name: str = "a", spec: str = "containers: [{name: c, image: i}]", extra: str = "") -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}{extra}}}\n"
        f"spec: {{{spec}}}\n"
    )


def node(allocatable: str, extra: str = "") -> str:
    return (
        f"apiVersion: v1\nkind: Node\nmetadata: {{name: n1{extra}}}\n"
        f"status: {{allocatable: {{{allocatable}}}}}\n"
    )


class Files:
    """Writes manifests and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reader = ObjectReader(PodTemplates())

    def write(self, text: str, name: str = "m.yaml") -> Path:
        path = self.folder / name
        path.write_text(dedent(text))
        return path

    def read(self, *texts: str) -> list[APIObject]:
        return self.reader.read(load_manifests(self.write("---\n".join(texts))))

    def faults(self, *texts: str) -> tuple[Problem, ...]:
        with pytest.raises(UserError) as caught:
            self.read(*texts)
        return caught.value.problems

    def fault(self, *texts: str) -> Problem:
        (problem,) = self.faults(*texts)
        return problem


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class TestFiles:
    def test_documents_and_lists_become_one_flat_list(self, files: Files) -> None:
        text = """\
            apiVersion: v1
            kind: List
            items:
            - {apiVersion: v1, kind: Namespace, metadata: {name: one}}
            - apiVersion: v1
              kind: NamespaceList
              items: [{apiVersion: v1, kind: Namespace, metadata: {name: two}}]
            ---
            # nothing but a comment
            ---
            {apiVersion: v1, kind: Namespace, metadata: {name: three}}
            """
        path = files.write(text)
        assert [item["metadata"]["name"] for item in load_manifests(path)] == [
            "one", "two", "three",
        ]  # fmt: skip

    def test_a_problem_inside_a_list_points_at_its_line(self, files: Files) -> None:
        text = """\
            apiVersion: v1
            kind: List
            items:
            - {apiVersion: v1, kind: Namespace, metadata: {name: one}}
            - apiVersion: v1
              kind: Pod
              metadata: {name: p}
              spec:
                containers:
                - name: c
                  imagePullPolicy: Sometimes
            """
        problem = files.fault(text)
        assert (problem.code, problem.line, problem.column) == ("E014", 11, 24)
        assert problem.allowed == ("Always", "IfNotPresent", "Never")

    def test_a_file_without_a_last_line_end_is_told(self, files: Files) -> None:
        assert load_manifests(files.write(SERVICE)).warnings == []
        warned = load_manifests(files.write(SERVICE.rstrip("\n"), "cut.yaml")).warnings
        assert [item.code for item in warned] == ["W007"]

    def test_a_truncated_file_is_refused(self, files: Files) -> None:
        cut = DEPLOYMENT[: DEPLOYMENT.index("memory: 128")]
        assert [item.code for item in files.faults(cut)] == ["E003"]

    def test_all_files_are_told_at_once(self, files: Files) -> None:
        good = files.write(SERVICE)
        bad = files.write("a: [", "bad.yaml")
        empty = files.write("# nothing\n", "empty.yaml")
        with pytest.raises(UserError) as caught:
            load_manifests(bad, good, files.folder / "absent.yaml", empty)
        found = [(Path(item.file or "").name, item.code) for item in caught.value.problems]
        assert found == [("bad.yaml", "E003"), ("absent.yaml", "E001"), ("empty.yaml", "E005")]

    def test_a_changed_file_is_read_again(self, files: Files) -> None:
        path = files.write(pod("a"))
        assert load_manifests(path)[0]["metadata"]["name"] == "a"
        assert load_manifests(path)[0] is load_manifests(path)[0]
        files.write(pod("longer"))
        assert load_manifests(path)[0]["metadata"]["name"] == "longer"

    def test_a_repeated_key_is_refused(self, files: Files) -> None:
        assert files.fault(pod(spec="containers: [], containers: []")).code == "E004"


class TestKinds:
    def test_deployment_with_defaults(self, files: Files) -> None:
        (made,) = files.read(DEPLOYMENT)
        assert isinstance(made, Deployment)
        assert made.key == ("default", "nginx-deployment")
        assert made.replica_count == 3
        assert (made.strategy, made.max_surge, made.max_unavailable) == (
            "RollingUpdate", "25%", "25%",
        )  # fmt: skip
        assert (made.revision_history_limit_count, made.progress_deadline_seconds) == (10, 600.0)
        assert made.selector == LabelSelector((("app", "nginx"),))
        template = made.template
        assert (template.cpu_requested_millicores, template.memory_requested_bytes) == (
            500, 128 * 2**20,
        )  # fmt: skip
        assert made.size_bytes >= 2000

    def test_equal_templates_are_one_object(self, files: Files) -> None:
        second = DEPLOYMENT.replace("name: nginx-deployment", "name: other")
        first, other = files.read(DEPLOYMENT, second)
        assert isinstance(first, Deployment)
        assert isinstance(other, Deployment)
        assert first.template is other.template

    def test_services(self, files: Files) -> None:
        headless = SERVICE.replace("spec:", "spec:\n  clusterIP: None").replace("my-", "headless-")
        given = SERVICE.replace("spec:", "spec:\n  clusterIP: 172.16.9.9").replace("my-", "given-")
        external = (
            "apiVersion: v1\nkind: Service\nmetadata: {name: e}\n"
            "spec: {type: ExternalName, externalName: example.org}\n"
        )
        plain, none, fixed, outside = files.read(SERVICE, headless, given, external)
        assert isinstance(plain, Service)
        assert isinstance(none, Service)
        assert isinstance(fixed, Service)
        assert isinstance(outside, Service)
        assert plain.ports[0][1:4] == (80, "9376", "TCP")
        assert plain.selector == LabelSelector((("app", "nginx"),))
        assert plain.cluster_ip.startswith("172.16.")
        assert (none.headless, none.cluster_ip, fixed.cluster_ip) == (True, "", "172.16.9.9")
        assert (outside.cluster_ip, outside.selector) == ("", None)

    def test_every_service_gets_an_address_of_its_own(self, files: Files) -> None:
        made = files.read(*[SERVICE.replace("my-", f"s{index}-") for index in range(600)])
        addresses = [item.cluster_ip for item in made if isinstance(item, Service)]
        assert len(set(addresses)) == 600
        assert all(int(part) < 256 for text in addresses for part in text.split("."))

    def test_stateful_set_job_and_cron_job(self, files: Files) -> None:
        stateful = (
            DEPLOYMENT.replace("kind: Deployment", "kind: StatefulSet")
            .replace("  replicas: 3", "  serviceName: nginx\n  podManagementPolicy: Parallel\n"
                     "  updateStrategy: {rollingUpdate: {partition: 2}}")
        )  # fmt: skip
        job_spec = "spec: {restartPolicy: Never, containers: [{name: pi, image: perl}]}"
        job = (
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: pi}\n"
            f"spec: {{parallelism: 5, ttlSecondsAfterFinished: 100, template: {{{job_spec}}}}}\n"
        )
        cron = (
            "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: hello}\n"
            "spec: {schedule: '* * * * *', concurrencyPolicy: Forbid, jobTemplate: {spec: "
            f"{{completions: 4, template: {{{job_spec}}}}}}}}}\n"
        )
        first, second, third = files.read(stateful, job, cron)
        assert isinstance(first, StatefulSet)
        assert (first.replica_count, first.pod_management_policy, first.partition_index) == (
            1, "Parallel", 2,
        )  # fmt: skip
        assert isinstance(second, Job)
        assert (second.parallelism_count, second.completion_count) == (5, 5)
        assert (second.backoff_limit_count, second.ttl_after_finished_seconds) == (6, 100.0)
        assert isinstance(third, CronJob)
        assert (third.schedule, third.concurrency_policy) == ("* * * * *", "Forbid")
        assert (third.completion_count, third.parallelism_count) == (4, 1)

    def test_autoscaler_in_both_versions(self, files: Files) -> None:
        head = (
            "kind: HorizontalPodAutoscaler\nmetadata: {name: %s}\nspec:\n"
            "  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: php-apache}\n"
            "  minReplicas: 2\n  maxReplicas: 10\n"
        )
        metric = (
            "  metrics: [{type: Resource, resource: {name: cpu, "
            "target: {type: Utilization, averageUtilization: 50}}}]\n"
        )
        two, one, neither = files.read(
            "apiVersion: autoscaling/v2\n" + head % "two" + metric,
            "apiVersion: autoscaling/v1\n" + head % "one"
            + "  targetCPUUtilizationPercentage: 65\n",
            "apiVersion: autoscaling/v2\n" + head % "neither",
        )  # fmt: skip
        for item, target in ((two, 0.5), (one, 0.65), (neither, 0.8)):
            assert isinstance(item, HorizontalPodAutoscaler)
            assert item.cpu_utilization_target_ratio == target
            assert (item.replica_count_min, item.replica_count_max) == (2, 10)
            assert (item.target_kind, item.target_name) == ("Deployment", "php-apache")
        assert files.reader.warnings == []

    def test_budget_slice_and_stored_kinds(self, files: Files) -> None:
        budget, piece, config, secret = files.read(
            "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\n"
            "spec: {maxUnavailable: 30%, selector: {matchExpressions: "
            "[{key: app, operator: In, values: [a, b]}]}}\n",
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
            "metadata: {name: s, labels: {kubernetes.io/service-name: web}}\n"
            "addressType: IPv4\nports: [{port: 80}]\n"
            "endpoints: [{addresses: [10.1.2.3], conditions: {ready: false, serving: true}}]\n",
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n"
            f"data: {{k: {'x' * 5000}}}\n",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: t}\ndata: {k: YWJj}\n",
        )
        assert isinstance(budget, PodDisruptionBudget)
        assert (budget.max_unavailable, budget.min_available) == ("30%", "")
        assert budget.selector.matches({"app": "b"})
        assert not budget.selector.matches({"app": "c"})
        assert isinstance(piece, EndpointSlice)
        assert piece.service_name == "web"
        assert [(item.address, item.ready, item.serving) for item in piece.endpoints] == [
            ("10.1.2.3", False, True)
        ]
        assert isinstance(config, Generic)
        assert config.kind_plural == "configmaps"
        assert 5000 < config.size_bytes < 5600
        assert isinstance(secret, Generic)
        assert secret.size_bytes < 500

    def test_node(self, files: Files) -> None:
        (node,) = files.read(
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {zone: a}}\n"
            "spec: {unschedulable: true, taints: [{key: k, value: v, effect: NoSchedule}]}\n"
            "status: {capacity: {cpu: 4, memory: 16Gi, pods: 110}, "
            "allocatable: {cpu: 3920m, memory: 15Gi, pods: '109'}}\n"
        )
        assert isinstance(node, Node)
        assert (node.cpu_allocatable_millicores, node.memory_allocatable_bytes) == (
            3920, 15 * 2**30,
        )  # fmt: skip
        assert node.pods_allocatable_count == 109
        assert node.unschedulable
        assert node.taints == (Taint("k", "v", "NoSchedule"),)

    def test_node_falls_back_to_capacity(self) -> None:
        status = {"capacity": {"cpu": "2", "memory": "1Gi"}}
        node = node_from_manifest({"metadata": {"name": "n"}, "status": status})
        assert node.cpu_allocatable_millicores == 2000
        assert node.pods_allocatable_count == 110

    def test_pods_take_names_annotations_and_nodes(self, files: Files) -> None:
        first, second, bound = files.read(
            pod("", extra="generateName: web-").replace("name: generateName", "generateName"),
            pod("", extra="generateName: web-").replace("name: generateName", "generateName"),
            pod("bound", "nodeName: n7, containers: [{name: c}]",
                ", namespace: team, annotations: {note: '%s'}" % ("x" * 3000)),
        )  # fmt: skip
        assert first.name.startswith("web-")
        assert len(first.name) == 9
        assert first.name != second.name
        assert isinstance(bound, Pod)
        assert (bound.node_name, bound.namespace) == ("n7", "team")
        assert bound.size_bytes > bound.template.size_bytes + 3000


class TestPriorityClasses:
    CLASS = (
        "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\n"
        "metadata: {name: high}\nvalue: 1000000\n"
    )

    def test_a_class_after_its_pods_counts(self, files: Files) -> None:
        named = pod("a", "priorityClassName: high, containers: [{name: c}]")
        first, _, plain = files.read(named, self.CLASS, pod("b"))
        assert isinstance(first, Pod)
        assert isinstance(plain, Pod)
        assert (first.template.priority, plain.template.priority) == (1_000_000, 0)

    def test_the_default_class_counts_for_the_others(self, files: Files) -> None:
        default = self.CLASS + "globalDefault: true\n"
        plain, _ = files.read(pod("b"), default)
        assert isinstance(plain, Pod)
        assert plain.template.priority == 1_000_000

    def test_an_unknown_class_is_refused(self, files: Files) -> None:
        problem = files.fault(pod("a", "priorityClassName: hihg, containers: [{name: c}]"))
        assert problem.code == "E037"
        assert "system-node-critical" in problem.allowed


class TestBadObjects:
    @pytest.mark.parametrize(
        ("text", "code", "words"),
        [
            (pod(spec="containers: [{name: c, imagee: x}]"), "E010", "imagee"),
            (pod(spec="container: [{name: c}], containers: [{name: c}]"), "E010", "container"),
            (pod(spec="containers: []"), "E033", "at least one"),
            (pod(spec="restartPolicy: Always"), "E011", "containers"),
            (pod(spec="containers: [{image: x}]"), "E011", "name"),
            (pod(spec="containers: {name: c}"), "E012", "list"),
            (pod(spec="containers: [nginx]"), "E012", "mapping"),
            (pod(spec="containers: [{name: c}], terminationGracePeriodSeconds: -1"), "E013", "-1"),
            (pod(spec="containers: [{name: c}], hostNetwork: 'true'"), "E012", "true or false"),
            (pod(spec="containers: [{name: c}], restartPolicy: Allways"), "E014", "Allways"),
            (pod(spec="containers: [{name: c, resources: {requests: {cpu: 5 m}}}]"), "E015", "5 m"),
            (pod(spec="containers: [{name: c, resources: {requests: {cpu: -1}}}]"), "E013", "-1"),
            (pod(spec="containers: [{name: c, resources: {requests: {memory: 1Q}}}]"), "E015",
             "1Q"),
            (pod(spec="containers: [{name: c, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]"),
             "E019", "more than the limit"),
            (pod("Upper"), "E033", "Upper"),
            (pod("no"), "E012", "quote it"),  # YAML 1.1 reads a boolean, as kubectl does
            (pod(extra=", labels: {tier: 1}"), "E012", "quote it"),
            (pod().replace("v1", "v2", 1), "E017", "v2"),
            (pod().replace("kind: Pod", "kind: Pood"), "E017", "Pood"),
            (pod().replace("kind: Pod\n", ""), "E011", "kind"),
            ("apiVersion: v1\nkind: Namespace\n", "E011", "metadata"),
            ("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n", "E030", "neither"),
            (node("cpu: 1, memory: 0, pods: 10"), "E030", "memory is zero"),
            (node("cpu: 1, memory: 1Gi"), "E030", "no pods"),
            (node("cpu: 1, memory: 1, pods: 1", ", namespace: x"), "E033", "namespace"),
            (DEPLOYMENT.replace("app: nginx}}\n    spec", "app: other}}\n    spec"), "E033",
             "does not match"),
            (DEPLOYMENT.replace("selector: {matchLabels: {app: nginx}}", "selector: {}"), "E033",
             "empty"),
            (DEPLOYMENT.replace("replicas: 3", "replicas: three"), "E012", "whole number"),
            (DEPLOYMENT.replace("replicas: 3", "replcas: 3"), "E010", "replcas"),
            (DEPLOYMENT.replace("apps/v1", "extensions/v1beta1"), "E017", "extensions"),
            (SERVICE.replace("\n  - {protocol: TCP, port: 80, targetPort: 9376}", " []"), "E033",
             "port"),
            (SERVICE.replace("TCP", "tcp"), "E014", "tcp"),
        ],
    )  # fmt: skip
    def test_one_clear_problem(self, files: Files, text: str, code: str, words: str) -> None:
        problem = files.fault(text)
        assert problem.code == code
        assert words in problem.message
        assert problem.line is not None
        assert (problem.file or "").endswith("m.yaml")

    def test_the_nearest_spelling_is_named(self, files: Files) -> None:
        problem = files.fault(DEPLOYMENT.replace("replicas: 3", "replcas: 3"))
        assert (problem.nearest, problem.line, problem.column) == ("replicas", 7, 3)

    def test_jobs_must_end(self, files: Files) -> None:
        job = (
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n"
            "spec: {template: {spec: {containers: [{name: c}]}}}\n"
        )
        assert files.fault(job).allowed == ("OnFailure", "Never")

    def test_two_objects_of_one_name(self, files: Files) -> None:
        problem = files.fault(pod("a"), pod("b"), pod("a"))
        assert (problem.code, problem.line) == ("E034", 13)
        assert len(files.read(pod("a"), pod("a", extra=", namespace: other"))) == 2

    def test_all_problems_at_once_in_the_order_of_the_file(self, files: Files) -> None:
        found = files.faults(
            pod("a", "containers: [{name: c, imagePullPolicy: Rarely, ports: [{hostPort: x}]}]"),
            SERVICE.replace("port: 80", "port: eighty"),
            pod("b"),
            DEPLOYMENT.replace("replicas: 3", "replicas: -3"),
        )
        assert [item.code for item in found] == ["E014", "E012", "E011", "E012", "E013"]
        assert [item.line for item in found] == sorted(item.line or 0 for item in found)

    def test_a_flood_of_problems_is_cut(self, files: Files) -> None:
        found = files.faults(*[pod(f"p{index}", "containers: []") for index in range(300)])
        assert len(found) == 100

    def test_plain_dicts_are_told_without_a_place(self) -> None:
        reader = ObjectReader(PodTemplates())
        bad: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}
        with pytest.raises(UserError) as caught:
            reader.read([bad])
        (problem,) = caught.value.problems
        assert (problem.code, problem.line) == ("E011", None)
        assert "Pod x" in problem.message


class TestOutsideTheModel:
    def test_unknown_kinds_are_stored_sized_and_counted(self, files: Files) -> None:
        policy = (
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s}\n"
            "spec: {podSelector: {}}\n"
        )
        role = (
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n"
            "metadata: {name: 'system:x'}\n"
        )
        first, _, cluster_wide = files.read(policy % "a", policy % "b", role)
        assert isinstance(first, Generic)
        assert (first.kind_plural, first.namespace) == ("networkpolicies", "default")
        assert first.size_bytes > 0
        assert cluster_wide.key == ("", "system:x")
        assert files.reader.report.unknown_kinds == {"NetworkPolicy": 2, "ClusterRole": 1}
        assert [(item.code, item.line) for item in files.reader.warnings] == [
            ("W001", 2), ("W001", 12),
        ]  # fmt: skip

    def test_fields_that_matter_are_counted_per_object(self, files: Files) -> None:
        spec = "activeDeadlineSeconds: 60, containers: [{name: c, lifecycle: {}}]"
        files.read(pod("a", spec), pod("b", spec), pod("c"))
        assert files.reader.report.unmodelled_fields == {
            "Pod.spec.activeDeadlineSeconds": 2,
            "Pod.spec.containers.lifecycle": 2,
        }
        assert {item.code for item in files.reader.warnings} == {"W002"}
        assert "2 objects" in files.reader.warnings[0].message

    def test_a_field_nobody_knows_is_counted_too(self, files: Files) -> None:
        files.read(pod(spec="containers: [{name: c}], quantumEntanglement: 7"))
        assert files.reader.report.unmodelled_fields == {"Pod.spec.quantumEntanglement": 1}

    def test_metrics_other_than_cpu_are_told(self, files: Files) -> None:
        files.read(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\n"
            "spec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: d}, metrics: "
            "[{type: Pods, pods: {metric: {name: qps}}}]}\n"
        )
        assert list(files.reader.report.unmodelled_fields) == [
            "HorizontalPodAutoscaler.spec.metrics"
        ]


def test_real_manifests(shared_dir: Path) -> None:
    """1,213 nodes and 7,064 pods: totals as summed by a reader of the raw text."""
    folder = shared_dir / "data" / "k8s-sims"
    manifests = load_manifests(folder / "nodes-1200.yaml", folder / "pods-1200.yaml")
    reader = ObjectReader(PodTemplates())
    objects = reader.read(manifests)
    nodes = [item for item in objects if isinstance(item, Node)]
    pods = [item for item in objects if isinstance(item, Pod)]
    assert (len(nodes), len(pods)) == (1213, 7064)
    assert reader.report.kinds == {"Node": 1213, "Pod": 7064}
    assert reader.warnings == []
    cpu_lines = [
        line.split(":")[1].strip() for line in (folder / "nodes-1200.yaml").read_text().split("\n")
        if line.startswith("    cpu:")
    ]  # fmt: skip
    assert sum(node.cpu_allocatable_millicores for node in nodes) * 2 == sum(
        int(text.removesuffix("m")) for text in cpu_lines
    )
    memory_lines = [
        line.split(":")[1].strip() for line in (folder / "pods-1200.yaml").read_text().split("\n")
        if line.startswith("        memory:")
    ]  # fmt: skip
    assert sum(item.template.memory_requested_bytes for item in pods) * 2 == sum(
        int(text.removesuffix("Mi")) * 2**20 for text in memory_lines
    )
    assert len({id(item.template) for item in pods}) < 100
    assert {item.template.restart_policy for item in pods} == {"OnFailure"}
