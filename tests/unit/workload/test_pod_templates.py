"""Pod templates: the API server's defaults, effective requests, interning."""

from __future__ import annotations

from typing import Any

import pytest

from sim.workload.pod_templates import PodTemplates, effective_requests


def container(cpu: str, memory: str = "0", **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}


def sidecar(cpu: str) -> dict[str, Any]:
    return container(cpu, restartPolicy="Always")


@pytest.mark.parametrize(
    ("init", "main", "cpu_millicores"),
    [
        # KEP-753's rule: max over start-up of (own + sidecars before), against sidecars + mains.
        ([], ["1", "2"], 3000),
        ([container("2")], ["1"], 2000),
        ([container("1"), container("2")], ["1", "500m"], 2000),
        ([sidecar("1")], ["1"], 2000),
        ([sidecar("1"), container("3")], ["2"], 4000),
        ([container("3"), sidecar("1")], ["1"], 3000),
        ([container("3"), sidecar("1")], ["2500m"], 3500),
        ([sidecar("1"), container("1"), sidecar("1"), container("2")], ["1"], 4000),
    ],
)
def test_effective_requests(
    init: list[dict[str, Any]], main: list[str], cpu_millicores: int
) -> None:
    spec = {"initContainers": init, "containers": [container(cpu) for cpu in main]}
    assert effective_requests(spec)["cpu"] == cpu_millicores


def test_overhead_is_added_and_pod_level_requests_replace() -> None:
    spec: dict[str, Any] = {
        "containers": [container("1", "1Gi")],
        "overhead": {"cpu": "250m", "memory": "120Mi"},
    }
    assert effective_requests(spec) == {"cpu": 1250, "memory": (1024 + 120) * 2**20}
    spec["resources"] = {"requests": {"cpu": "4"}}
    assert effective_requests(spec) == {"cpu": 4250, "memory": (1024 + 120) * 2**20}


def test_requests_default_to_limits_one_by_one() -> None:
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "500m"}}
    made = PodTemplates().template({"spec": {"containers": [{"resources": resources}]}})
    assert (made.cpu_requested_millicores, made.memory_requested_bytes) == (500, 2**30)


def test_extended_resources_are_kept_apart() -> None:
    resources = {"limits": {"nvidia.com/gpu": 2}}
    made = PodTemplates().template({"spec": {"containers": [{"resources": resources}]}})
    assert dict(made.extended_requested) == {"nvidia.com/gpu": 2}
    assert made.cpu_requested_millicores == 0


class TestDefaults:
    def test_the_two_tolerations_of_five_minutes(self) -> None:
        made = PodTemplates().template({"spec": {"containers": [{}]}})
        assert [(item["key"], item["tolerationSeconds"]) for item in made.tolerations] == [
            ("node.kubernetes.io/not-ready", 300),
            ("node.kubernetes.io/unreachable", 300),
        ]

    @pytest.mark.parametrize(
        ("toleration", "count"),
        [
            ({"operator": "Exists"}, 1),
            ({"key": "", "operator": "Exists", "effect": ""}, 1),
            ({"operator": "Exists", "effect": "NoExecute"}, 1),
            ({"operator": "Exists", "effect": "NoSchedule"}, 3),
            ({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}, 2),
            ({"key": "other", "operator": "Exists"}, 3),
        ],
    )
    def test_own_tolerations_replace_them(self, toleration: dict[str, Any], count: int) -> None:
        spec = {"containers": [{}], "tolerations": [toleration]}
        assert len(PodTemplates().template({"spec": spec}).tolerations) == count

    @pytest.mark.parametrize(
        ("image", "policy"),
        [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry.example:5000/nginx", "Always"),
            ("registry.example:5000/nginx:1", "IfNotPresent"),
        ],
    )
    def test_pull_policy_follows_the_tag(self, image: str, policy: str) -> None:
        made = PodTemplates().template({"spec": {"containers": [{"name": "c", "image": image}]}})
        assert made.containers[0].image_pull_policy == policy

    def test_probes_and_grace_period(self) -> None:
        spec = {"containers": [{"name": "c", "readinessProbe": {"httpGet": {}}}]}
        made = PodTemplates().template({"spec": spec})
        probe = made.containers[0].readiness_probe
        assert probe is not None
        assert (probe.period_seconds, probe.timeout_seconds, probe.failure_threshold_count) == (
            10.0, 1.0, 3,
        )  # fmt: skip
        assert made.termination_grace_period_seconds == 30.0
        assert made.restart_policy == "Always"


class TestInterning:
    def test_equal_content_is_one_template(self) -> None:
        templates = PodTemplates()
        first = templates.template({"metadata": {"name": "a"}, "spec": {"containers": [{}]}})
        again = templates.template({"metadata": {"name": "b"}, "spec": {"containers": [{}]}})
        elsewhere = templates.template({"spec": {"containers": [{}]}}, "other")
        labelled = templates.template({"metadata": {"labels": {"a": "b"}}, "spec": {
            "containers": [{}]}})  # fmt: skip
        assert first is again
        assert len({first.digest, elsewhere.digest, labelled.digest}) == 3

    def test_a_digest_depends_on_content_only(self) -> None:
        spec = {"containers": [{"name": "c"}], "hostNetwork": True}
        turned = dict(reversed(spec.items()))
        assert (
            PodTemplates().template({"spec": spec}).digest
            == PodTemplates().template({"spec": turned}).digest
        )

    def test_a_check_sees_new_content_only(self) -> None:
        templates, seen = PodTemplates(), []
        for name in ("a", "b"):
            templates.template(
                {"metadata": {"name": name}, "spec": {"containers": [{}]}}, check=seen.append
            )
        assert [item["metadata"]["name"] for item in seen] == ["a"]
