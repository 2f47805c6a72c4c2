"""Calibration: known laws come back from data made with them; profile files round-trip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.base.errors import UserError
from sim.costs.etcd import EtcdClientParams
from sim.costs.profile import PROFILES, Profile, mark_of, parameters
from sim.experiment.accuracy_etcd import Duration, EtcdCosts, predict_put_closed
from sim.experiment.calibrate import calibrate, changes, is_within
from sim.experiment.calibrate_closed import CYCLE_GROUPS
from sim.experiment.calibrate_etcd import ONE_MEMBER, SEVERAL_MEMBERS, Job, fit_group
from sim.experiment.calibrate_fit import fit_logarithms
from sim.experiment.calibrate_profile import load_profile, profile_text, with_parameters
from sim.experiment.calibrate_prometheus import difference, histogram, parse, total
from sim.experiment.calibrate_server import STAGES, stage_groups

BASE = next(iter(PROFILES.values()))


def test_profile_file_round_trip(tmp_path: Path) -> None:
    values = {
        "etcd.receive_seconds": (1.5e-5, "measured: here"),
        "disk.name": ("nvme", "assumed"),
        "disk.shape": (((0.0, 0.5), (1.0, 2.0)), "measured: here"),
    }
    path = tmp_path / "mine.yaml"
    path.write_text(profile_text("mine", BASE.name, "a test", values), encoding="utf-8")
    profile = load_profile(str(path))
    assert profile.name == "mine"
    assert profile.etcd.receive_seconds == 1.5e-5
    assert profile.disk.shape == ((0.0, 0.5), (1.0, 2.0))
    changed = {name for name, value, _ in parameters(profile)} & {
        name
        for (name, value, _), (_, other, _) in zip(
            parameters(profile), parameters(BASE), strict=True
        )
        if value != other and name not in {"name", "description"}
    }
    assert changed == set(values)


@pytest.mark.parametrize(
    "text",
    [
        "parameters: {etcd.no_such_thing: 1.0}\n",
        "parameters: {etcd.receive_seconds: fast}\n",
        "based_on: nothing\n",
        "parametres: {}\n",
        "- 1\n",
    ],
)
def test_wrong_profile_files_are_user_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        load_profile(str(path))


def test_unknown_profile_names_are_user_errors() -> None:
    with pytest.raises(UserError):
        load_profile("measured-2-cores")


def test_fit_finds_the_law_that_made_the_data() -> None:
    """Rows simulated under tripled demands: the fit starts at the base and finds them."""
    truth = with_parameters(BASE, {"etcd.apply_seconds": 3.0 * BASE.etcd.apply_seconds})
    client = EtcdClientParams()
    duration = Duration(0.05, 0.25)
    columns = ("throughput_ops_s", "etcd_cpu_us_per_op")
    jobs = []
    for clients in (1, 16, 64):
        row = {
            "members": "1", "storage": "disk", "value_bytes": "1024", "key_count": "100",
            "clients": str(clients),
        }  # fmt: skip
        made = predict_put_closed(
            row, EtcdCosts(law=truth.etcd, disk=truth.disk, client=client), 1, duration
        )
        measured = row | {column: repr(made[column]) for column in columns}
        jobs.append(Job(measured, predict_put_closed, columns, duration))
    found = fit_group(["etcd.apply_seconds"], jobs, BASE, client, seed=1, iteration_count=5)
    value = found.values["etcd.apply_seconds"]
    assert value == pytest.approx(truth.etcd.apply_seconds, rel=0.2)
    assert (found.good_before < 1.0, found.good_after) == (True, 1.0)
    assert 0.0 < found.errors["etcd.apply_seconds"] < 0.5


def test_counters_and_histograms_of_dumps() -> None:
    before = parse('a_total{x="1"} 3\na_total{x="2"} 1\nreset_total 100\n')
    after = parse(
        '# HELP a_total words\na_total{x="1"} 5\na_total{x="2"} 2\nreset_total 7\n'
        'h_bucket{le="0.1"} 2\nh_bucket{le="1"} 5\nh_bucket{le="+Inf"} 6\n'
    )
    found = difference(before, after)
    assert total(found, "a_total") == 3.0
    assert total(found, "a_total", x="2") == 1.0
    assert total(found, "reset_total") == 7.0, "a restarted process counts from zero"
    assert histogram(found, "h") == ([0.1, 1.0], [2.0, 5.0])
    with pytest.raises(UserError):
        parse("this is not a metric line at all !\n")


def test_real_dumps_give_a_profile(shared_dir: Path) -> None:
    found = calibrate(shared_dir / "groundtruth" / "metrics", BASE)
    names = {item.name for item in found.fitted}
    assert {"disk.sync_median_seconds", "disk.shape", "etcd.apply_seconds"} <= names
    assert "apiserver.base_seconds" in names
    # the mean of the WAL syncs between the dumps: the law has to give it back
    profile: Profile = found.profile
    for part, name in (
        ("etcd", "apply_seconds"), ("apiserver", "base_seconds"),
        ("scheduler", "cycle_base_seconds"),
    ):  # fmt: skip
        factor = getattr(getattr(profile, part), name) / getattr(getattr(BASE, part), name)
        assert 0.8 < factor < 1.25, f"{part}: the dumps are of the machine of the base profile"
    assert replace(profile.disk, name="measured").sync_median_seconds > 1e-4


def test_logarithms_find_what_made_the_data_and_how_well() -> None:
    """y = a·x + b with 5 % noise: both come back within their standard errors; c is not told."""
    draws = np.random.default_rng(3)
    x = np.linspace(1.0, 50.0, 40)
    measured = np.log((2.0 * x + 10.0) * np.exp(0.05 * draws.standard_normal(40)))

    def residuals(values: Mapping[str, float]) -> np.ndarray:
        return np.log(values["a"] * x + values["b"]) - measured

    start = {"a": 1.0, "b": 30.0, "c": 5.0}
    found = fit_logarithms([("a",), ("b",), ("c",)], start, residuals, iteration_count=20)
    for name, truth in (("a", 2.0), ("b", 10.0)):
        assert abs(math.log(found.values[name] / truth)) < 3.0 * found.errors[name]
    assert found.values["c"] == pytest.approx(5.0, rel=1e-3), "the prior keeps it"
    assert found.errors["a"] < 0.05 < found.errors["c"]
    together = fit_logarithms([("a", "b")], start, residuals, iteration_count=20)
    assert together.values["b"] / together.values["a"] == pytest.approx(30.0)


def test_without_simulation_the_shipped_values_are_what_the_data_yield(shared_dir: Path) -> None:
    """Disk, kube-proxy, overlay and the scheduling cycle: a fixed point within the tolerances."""
    found = calibrate(shared_dir / "groundtruth", BASE, iteration_count=0)
    rows = changes(found, BASE)
    assert len(rows) >= 140
    assert [row for row in rows if not row.within] == []
    parts = {row.name.partition(".")[0] for row in rows}
    assert parts == {"disk", "kube_proxy", "pod_network", "remote_node", "scheduler"}
    assert len(found.checks) >= 3, "the dumps beside the rows are compared, they do not decide"


def test_every_measured_constant_of_a_calibrated_part_is_fitted() -> None:
    """What a source calls measured or fitted in these parts, a calibration fits."""
    parts = {"disk", "etcd", "apiserver", "watch", "scheduler"}
    staged = {
        name for stage in STAGES for group in stage_groups(stage, BASE) for name in group
    }  # fmt: skip
    closed = {"disk.sync_median_seconds", "disk.shape", "scheduler.user_plugin_node_seconds",
              "scheduler.serial_ratio"}  # fmt: skip
    cycle = {name for group in CYCLE_GROUPS for name in group}
    covered = staged | closed | cycle | set(ONE_MEMBER) | set(SEVERAL_MEMBERS)
    measured = {
        name for name, _, source in parameters(BASE)
        if name.partition(".")[0] in parts and mark_of(source) == "measured"
    }  # fmt: skip
    assert sorted(measured - covered) == []


def test_of_shapes_the_body_is_compared() -> None:
    old = ((0.0, 0.5), (0.5, 1.0), (1.0, 30.0))
    assert is_within(old, ((0.0, 0.9), (0.5, 1.05), (1.0, 3.0)), 0.1)
    assert not is_within(old, ((0.0, 0.5), (0.5, 1.2), (1.0, 30.0)), 0.1)
    assert is_within(1.0, 0.5, 1.0)
    assert not is_within(1.0, 2.1, 1.0)
    assert not is_within("a", "b", 9.0)


def test_nothing_to_calibrate_from_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        calibrate(tmp_path, BASE)
