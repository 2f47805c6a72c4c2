"""Calibration: known laws come back from data made with them; profile files round-trip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sim.base.errors import UserError
from sim.costs.etcd import EtcdClientParams
from sim.costs.profile import PROFILES, Profile, parameters
from sim.experiment.accuracy_etcd import Duration, EtcdCosts, predict_put_closed
from sim.experiment.calibrate import calibrate
from sim.experiment.calibrate_etcd import Job, fit_group
from sim.experiment.calibrate_profile import load_profile, profile_text, with_parameters
from sim.experiment.calibrate_prometheus import difference, histogram, parse, total

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
    found, before, after = fit_group(
        ["etcd.apply_seconds"], jobs, BASE, client, seed=1, iteration_count=5
    )
    assert found["etcd.apply_seconds"] == pytest.approx(truth.etcd.apply_seconds, rel=0.2)
    assert after == 1.0
    assert before < 1.0


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
    factor = profile.etcd.apply_seconds / BASE.etcd.apply_seconds
    assert 0.5 < factor < 2.0, "the dumps come from the machine that the base profile describes"
    assert replace(profile.disk, name="measured").sync_median_seconds > 1e-4


def test_nothing_to_calibrate_from_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        calibrate(tmp_path, BASE)
