"""Quantities, requests, selection and node order, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sim.scheduling.node_order import zone_key, zone_round_robin
from sim.scheduling.quantities import is_extended_resource, is_scalar_resource, parse_nano, round_up
from sim.scheduling.requests import compute_requests
from sim.scheduling.resource_kernels import broken_line
from sim.scheduling.select import feasible_nodes_to_find
from sim.scheduling.shape import Taint, Toleration, normalized_image_name


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("500m", 5 * 10**8), ("1", 10**9), ("0.5", 5 * 10**8), ("1e3", 10**12), ("1E", 10**27),
        ("1Ki", 1024 * 10**9), ("1.5Gi", 3 * 2**29 * 10**9), ("129e6", 129 * 10**15),
        ("1n", 1), ("1u", 1000), ("0.1n", 1), (2, 2 * 10**9),
        ("15872345600500m", 15872345600500 * 10**6),
    ],
)  # fmt: skip
def test_quantities_are_exact_in_nano_units(text: str | int, nano: int) -> None:
    assert parse_nano(text) == nano


@pytest.mark.parametrize("text", ["", "abc", "1Q", "1 Gi", "--1"])
def test_malformed_quantities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"quantity|suffix"):
        parse_nano(text)


def test_amounts_round_up() -> None:
    assert round_up("cpu", parse_nano("1500001u")) == 1501
    assert round_up("memory", parse_nano("1500m")) == 2


def test_kinds_of_resources() -> None:
    assert is_extended_resource("nvidia.com/gpu")
    assert not is_extended_resource("kubernetes.io/batteries")
    assert not is_extended_resource("requests.nvidia.com/gpu")
    assert is_scalar_resource("hugepages-2Mi")
    assert is_scalar_resource("attachable-volumes-csi-x")
    assert not is_scalar_resource("cpu")
    assert not is_scalar_resource("pods")


def container(name: str = "c", cpu: str | None = None, **more: Any) -> dict[str, Any]:
    requests = {} if cpu is None else {"cpu": cpu}
    return {"name": name, "resources": {"requests": requests}, **more}


def cpu_of(spec: dict[str, Any], status: dict[str, Any] | None = None) -> int:
    return dict(compute_requests(spec, status).request).get("cpu", 0)


def test_init_containers_count_at_their_peak() -> None:
    spec = {
        "initContainers": [container(cpu="3"), container(cpu="1", restartPolicy="Always"),
                           container(cpu="2500m")],
        "containers": [container(cpu="1"), container(cpu="1")],
    }  # fmt: skip
    # While the last init container runs: 1 + 2.5; afterwards 1 + 2; at first 3.
    assert cpu_of(spec) == 3500


def test_overhead_and_pod_level_requests() -> None:
    spec = {
        "containers": [container(cpu="1")],
        "overhead": {"cpu": "250m"},
        "resources": {"requests": {"cpu": "4"}},
    }
    requests = compute_requests(spec)
    assert dict(requests.request)["cpu"] == 4250
    assert dict(requests.score_request)["cpu"] == 1250
    assert requests.nonzero_cpu_millicores == 4250
    # Memory is missing at both levels, so the container's default counts.
    assert requests.nonzero_memory_bytes == 200 * 2**20


def test_nonzero_defaults_apply_per_container() -> None:
    spec = {"containers": [container(), container(cpu="1")]}
    requests = compute_requests(spec)
    assert requests.nonzero_cpu_millicores == 1100
    assert requests.nonzero_memory_bytes == 400 * 2**20
    assert dict(requests.request) == {"cpu": 1000}


def test_a_resize_in_place_counts_the_largest() -> None:
    spec = {"containers": [container(cpu="1")]}
    entry = {
        "name": "c",
        "resources": {"requests": {"cpu": "3"}},
        "allocatedResources": {"cpu": "2"},
    }
    status: dict[str, Any] = {"containerStatuses": [entry]}
    assert cpu_of(spec, status) == 3000
    entry["resources"] = {"requests": {"cpu": "500m"}}
    entry["allocatedResources"] = {"cpu": "600m"}
    assert cpu_of(spec, status) == 1000
    status["conditions"] = [{"type": "PodResizePending", "reason": "Infeasible"}]
    assert cpu_of(spec, status) == 600


@pytest.mark.parametrize(
    ("node_count", "percentage", "expected"),
    [
        (99, 0, 99), (100, 0, 100), (500, 0, 230), (1000, 0, 420), (2000, 0, 680),
        (5000, 0, 500), (15000, 0, 750), (1000, 30, 300), (200, 10, 100), (5000, 100, 5000),
    ],
)  # fmt: skip
def test_how_many_feasible_nodes_are_wanted(
    node_count: int, percentage: int, expected: int
) -> None:
    # The adaptive values are those of facts/model.md (e.2).
    assert feasible_nodes_to_find(node_count, percentage) == expected


def test_zones_take_turns() -> None:
    assert zone_round_robin([["a1", "a2", "a3"], ["b1"], [], ["c1", "c2"]]) == [
        "a1", "b1", "c1", "a2", "c2", "a3",
    ]  # fmt: skip
    assert zone_key({}) == ""
    assert zone_key({"topology.kubernetes.io/zone": "z"}) == zone_key(
        {"failure-domain.beta.kubernetes.io/zone": "z"}
    )


def test_a_falling_line_truncates_towards_zero() -> None:
    line = broken_line(((0, 100), (30, 0)))
    # 100 - trunc(100 * 1 / 30) = 97, where rounding down would give 96.
    assert line[[0, 1, 15, 30, 31, 100]].tolist() == [100, 97, 50, 0, 0, 0]


def test_image_names_without_a_tag() -> None:
    assert normalized_image_name("registry:5000/a") == "registry:5000/a:latest"
    assert normalized_image_name("a@sha256:00") == "a@sha256:00"


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        (Toleration("k", "Exists", "", ""), True),
        (Toleration("", "Exists", "", ""), True),
        (Toleration("k", "Equal", "v", "NoSchedule"), True),
        (Toleration("k", "", "v", ""), True),
        (Toleration("k", "Equal", "w", ""), False),
        (Toleration("k", "Exists", "", "NoExecute"), False),
        (Toleration("j", "Exists", "", ""), False),
    ],
)
def test_tolerations(toleration: Toleration, covers: bool) -> None:
    assert toleration.tolerates(Taint("k", "v", "NoSchedule")) is covers
