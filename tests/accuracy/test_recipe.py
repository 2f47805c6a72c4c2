"""The whole control plane against the recipe files: counts, rates, latencies, CPU.

Quick: requests that do not depend on timing are exact at any size, default client limits give the
measured pace. Long: the files as they are; held is that no file drifts off as a whole, since the
measured machine itself repeats within ±30 % only.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from sim.costs.profile import Profile
from sim.experiment.accuracy import EXACT_COUNT_MIN
from sim.experiment.accuracy_recipe import PREDICTORS

LATENCY, CPU = "recipe_density_latency.csv", "recipe_density_cpu.csv"
REQUESTS, COUNTS = "recipe_density_requests.csv", "recipe_request_counts.csv"


def rows(shared_dir: Path, name: str) -> list[dict[str, str]]:
    with (shared_dir / "groundtruth" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def density_row(phase: str, **more: str) -> dict[str, str]:
    return {
        "nodes": "20",
        "kubelet_watch": "per_node",
        "qps_profile": "high",
        "kubelet_delay_s": "1",
        "deployments": "2",
        "pods": "100",
        "phase_op": phase,
        **more,
    }


def request_row(phase: str, verb: str, resource: str, code: str = "200") -> dict[str, str]:
    return density_row(phase, verb=verb, resource=resource, code=code)


def test_requests_per_pod_are_exact_at_a_size_nobody_measured() -> None:
    expected = {
        ("scale_up", "POST", "pods", "201"): 100,
        ("scale_up", "POST", "pods/binding", "201"): 100,
        ("scale_up", "GET", "pods", "200"): 200,
        ("scale_up", "PATCH", "pods/status", "200"): 200,
        ("scale_up", "POST", "serviceaccounts/token", "201"): 102,
        ("scale_up", "POST", "events", "201"): 422,
        ("scale_up", "PATCH", "events", "200"): 30,
        ("scale_up", "POST", "deployments", "201"): 2,
        ("scale_down", "DELETE", "pods", "200"): 200,
        ("scale_down", "GET", "pods", "200"): 200,
        ("scale_down", "PATCH", "pods/status", "200"): 100,
        ("scale_down", "PUT", "replicasets", "200"): 2,
        ("scale_down", "WATCH", "configmaps", "200"): 20,
    }
    found = PREDICTORS[REQUESTS]([request_row(*key) for key in expected], Profile(), 3)
    assert [item["count"] for item in found[: len(expected)]] == list(expected.values())


def test_a_start_delay_is_part_of_the_latency() -> None:
    row = density_row("scale_up", metric="scheduled_to_running")
    (slow,) = PREDICTORS[LATENCY]([row], Profile(), 3)
    (fast,) = PREDICTORS[LATENCY]([{**row, "kubelet_delay_s": "0"}], Profile(), 3)
    assert slow["p50_ms"] > 1000.0
    assert fast["p50_ms"] < slow["p50_ms"]


def test_default_client_limits_set_the_pace(shared_dir: Path) -> None:
    chosen = [row for row in rows(shared_dir, LATENCY) if row["qps_profile"] == "default"]
    for row, found in zip(chosen, PREDICTORS[LATENCY](chosen, Profile(), 1), strict=True):
        assert found["pods_per_s"] == pytest.approx(float(row["pods_per_s"]), rel=0.05)
        if row["metric"].endswith("_since_first"):
            assert found["mean_ms"] == pytest.approx(float(row["mean_ms"]), rel=0.1)


def test_unknown_scenarios_and_conditions_are_told_row_by_row() -> None:
    good = {
        "conditions": "qps_high_delay0", "nodes": "10", "scenario": "rolling_update", "units": "8",
        "component": "kcm/replicaset-controller", "verb": "create", "resource": "pods",
        "code": "201",
    }  # fmt: skip
    bad = [{**good, "scenario": "rolling_downdate"}, {**good, "conditions": "warm"}]
    found = PREDICTORS[COUNTS]([*bad, good], Profile(), 1)
    assert "rolling_downdate" in found[0]["error"]
    assert "warm" in found[1]["error"]
    assert found[2]["count"] == 8


@pytest.mark.long
def test_a_failed_node_s_pods_are_replaced() -> None:
    keys = [
        ("kcm/node-controller", "update", "nodes/status", "200"),
        ("kcm/node-controller", "patch", "nodes", "200"),
        ("kcm/replicaset-controller", "create", "pods", "201"),
        ("scheduler", "create", "pods/binding", "201"),
    ]
    names = ("component", "verb", "resource", "code")
    base = {"conditions": "qps_high_delay0", "nodes": "8", "scenario": "node_fail", "units": "1"}
    chosen = [{**base, **dict(zip(names, key, strict=True))} for key in keys]
    counts = [item["count"] for item in PREDICTORS[COUNTS](chosen, Profile(), 1)[: len(keys)]]
    assert counts[0] >= 1
    assert counts[1] >= 1
    assert counts[2] == counts[3] >= 1, "every pod of the dead node is made and bound again"


def _ratios(
    found: Sequence[Mapping[str, str]], values: Sequence[Mapping[str, Any]], column: str
) -> list[float]:
    pairs = zip(found, values, strict=False)
    return [float(value[column]) / float(row[column]) for row, value in pairs]


def _share(ratios: Sequence[float], low: float, high: float) -> float:
    return sum(low <= ratio <= high for ratio in ratios) / len(ratios)


@pytest.mark.long
def test_density_latencies(shared_dir: Path) -> None:
    found = rows(shared_dir, LATENCY)
    values = PREDICTORS[LATENCY](found, Profile(), 1)
    for column in ("pods_per_s", "mean_ms", "p50_ms", "p90_ms", "p99_ms"):
        ratios = _ratios(found, values, column)
        assert 0.8 <= median(ratios) <= 1.2, column
        assert _share(ratios, 0.66, 1.5) >= 0.7, column


@pytest.mark.long
def test_density_cpu(shared_dir: Path) -> None:
    found = rows(shared_dir, CPU)
    values = PREDICTORS[CPU](found, Profile(), 1)
    for column in ("apiserver_cpu_s", "etcd_cpu_s"):
        assert _share(_ratios(found, values, column), 0.66, 1.5) >= 0.9, column
    for column in ("apiserver_requests", "etcd_puts"):
        assert _share(_ratios(found, values, column), 0.95, 1.05) == 1.0, column


@pytest.mark.long
@pytest.mark.parametrize("name", [REQUESTS, COUNTS])
def test_request_counts(shared_dir: Path, name: str) -> None:
    found = rows(shared_dir, name)
    values = PREDICTORS[name](found, Profile(), 1)
    met = 0
    for row, value in zip(found, values, strict=False):
        measured, predicted = float(row["count"]), float(value["count"])
        if measured > EXACT_COUNT_MIN:
            met += 0.9 * measured <= predicted <= 1.1 * measured
        else:
            met += predicted > 0.0
    assert met / len(found) >= 0.8
    assert (len(values) - len(found)) / len(found) <= 0.1, "kinds that nobody measured"
