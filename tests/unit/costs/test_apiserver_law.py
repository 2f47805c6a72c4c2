"""The apiserver's cost laws against measured CPU, without simulating anything."""

from __future__ import annotations

import csv
import math
from dataclasses import fields
from pathlib import Path
from statistics import median

import pytest

from sim.costs.apiserver import GZIP_THRESHOLD_BYTES, APIServerLaw
from sim.costs.watch import WatchLaw

LAW = APIServerLaw()


def total(verb: str, resource: str, subresource: str = "", size_bytes: int = 0) -> float:
    cost = LAW.request_cost(verb, resource, subresource)
    return (
        cost.authentication_seconds
        + cost.before_seconds
        + cost.after_seconds
        + size_bytes * LAW.write_byte_seconds(verb, subresource)
    )


def test_every_parameter_names_its_source() -> None:
    for law in (LAW, WatchLaw()):
        for item in fields(law):
            assert item.metadata.get("source"), item.name


def test_what_does_more_costs_more() -> None:
    get = total("get", "pods")
    create = total("create", "configmaps", size_bytes=1024)
    create_pod = total("create", "pods", size_bytes=1600)
    patch = total("patch", "pods", "status", 1600)
    assert get < create < create_pod < patch
    assert total("patch", "pods", "binding") < create_pod


@pytest.mark.parametrize(
    ("op", "verb", "resource", "subresource", "size_bytes"),
    [
        ("create_configmap", "create", "configmaps", "", 1024),
        ("create_pod", "create", "pods", "", 1600),
        ("bind_pod", "patch", "pods", "binding", 0),
        ("update_lease", "update", "leases", "", 400),
        ("patch_pod_status", "patch", "pods", "status", 1600),
    ],
)
def test_demands_are_the_measured_cpu_at_high_concurrency(
    shared_dir: Path, op: str, verb: str, resource: str, subresource: str, size_bytes: int
) -> None:
    """At 16 and more clients nothing sleeps: CPU per request is demand and garbage collection."""
    measured = []
    for name in ("apiserver_verbs_closed.csv", "apiserver_verbs_closed_repeat.csv"):
        with (shared_dir / "groundtruth" / name).open(newline="") as file:
            measured += [
                float(row["apiserver_cpu_ms_per_req"]) / 1e3
                for row in csv.DictReader(file)
                if row["op"] == op and row["etcd"] == "3.6.8" and int(row["clients"]) >= 16
            ]
    demand = total(verb, resource, subresource, size_bytes)
    demand += WatchLaw().fill(size_bytes)  # its own event comes back
    assert demand * (1.0 + LAW.garbage_ratio) == pytest.approx(median(measured), rel=0.4)


def test_lists_cost_what_was_measured_per_item(shared_dir: Path) -> None:
    """Median over both encodings, with and without gzip, of predicted over measured CPU."""
    ratios = []
    with (shared_dir / "groundtruth" / "apiserver_list.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["mode"] != "rv0" or row["etcd"] != "3.6.8":
                continue
            seconds = LAW.list_seconds(
                int(row["items"]),
                int(row["body_bytes_uncompressed"]),
                compress=row["gzip"] == "true",
            )
            seconds *= 1.0 + LAW.garbage_ratio
            ratios.append(seconds / (float(row["apiserver_cpu_ms_per_list"]) / 1e3))
    assert 0.85 < median(ratios) < 1.15
    assert all(0.45 < ratio < 1.6 for ratio in ratios), ratios


def test_small_bodies_are_not_compressed() -> None:
    small = GZIP_THRESHOLD_BYTES - 1
    assert LAW.list_seconds(1, small, compress=True) == LAW.list_seconds(1, small, compress=False)


def test_a_long_sleep_costs_no_more_than_its_bound() -> None:
    assert LAW.cold(0.0) == 0.0
    assert LAW.cold(1e6) == pytest.approx(LAW.cold_seconds)
    half = LAW.cold_time_constant_seconds * math.log(2.0)
    assert LAW.cold(half) == pytest.approx(LAW.cold_seconds / 2.0)
