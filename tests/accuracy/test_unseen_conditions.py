"""Conditions that nobody measured: every file's predictor takes them and follows the trend.

The folder that scores the model need not be the one that it was fitted to: other operations,
resources, sizes, pods that fit nowhere, pods that are there already.
"""

from __future__ import annotations

import math

import pytest

from sim.costs.profile import Profile
from sim.experiment.accuracy import Values, predictor_for

PROFILE = Profile()


def predict(file: str, *rows: dict[str, str]) -> list[Values]:
    predictor = predictor_for(file)
    assert predictor is not None
    found = list(predictor(rows, PROFILE, 1))
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("op", ["bind_pod", "delete_pod", "delete_configmap", "create_event"])
def test_open_loops_of_operations_that_use_up_objects(op: str) -> None:
    (found,) = predict("apiserver_verbs_open.csv", {"op": op, "rate_per_s": "300"})
    assert found["throughput_per_s"] == pytest.approx(300.0, rel=0.1)
    assert 1.0 < found["p50_ms"] < 20.0


@pytest.mark.parametrize("resource", ["pods", "nodes", "services", "configmaps"])
def test_fan_out_of_any_resource(resource: str) -> None:
    row = {"resource": resource, "object_bytes": "1500", "watches": "100"}
    (found,) = predict("apiserver_watch_fanout.csv", row | {"updates_per_s_offered": "10"})
    assert 1.0 < found["p50_ms"] < 30.0


def scheduling(**changes: str) -> dict[str, str]:
    base = {
        "mode": "precreated", "scheduler_qps": "high", "nodes": "50", "family": "basic",
        "pods": "80", "pods_preexisting": "0", "create_rate_per_s": "0",
    }  # fmt: skip
    return base | changes


def test_pods_that_fit_nowhere_end_a_run_of_the_scheduler() -> None:
    found, unknown = predict(
        "scheduler_throughput.csv",
        scheduling(family="required_anti_affinity"),
        scheduling(family="unheard of"),
    )
    assert found["pods_per_s"] > 50.0
    assert "unheard of" in unknown["error"]


def test_pods_that_are_there_already_take_room_and_are_not_counted() -> None:
    there = scheduling(family="required_anti_affinity", pods_preexisting="40", pods="20")
    alone = scheduling(family="required_anti_affinity", pods="10")
    crowded, roomy = predict("scheduler_throughput.csv", there, alone)
    assert crowded["pods_per_s"] > 20.0
    assert crowded["algorithm_mean_ms"] > 0.8 * roomy["algorithm_mean_ms"]


def test_puts_grow_with_clients_and_size() -> None:
    row = {
        "etcd_version": "3.6.8", "members": "1", "storage": "disk", "fsync_delay_ms": "0",
        "target": "leader", "key_count": "10000", "conns": "8",
    }  # fmt: skip
    rows = [
        row | {"clients": clients, "value_bytes": size}
        for size in ("128", "2048", "65536")
        for clients in ("12", "48", "512")
    ]
    found = predict("etcd_put_closed.csv", *rows)
    rates = [values["throughput_ops_s"] for values in found]
    for first in range(0, 9, 3):  # more clients
        assert rates[first] < rates[first + 1] < rates[first + 2]
    for first in range(3):  # larger values
        assert rates[first] > rates[first + 3] > rates[first + 6]
    assert all(math.isfinite(values["p99_ms"]) for values in found)
