"""`kubesim accuracy` and `kubesim calibrate` as a shell sees them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sim.base.errors import UserError
from sim.base.exit_codes import ExitCode
from sim.cli.accuracy import command as accuracy
from sim.cli.calibrate import command as calibrate
from sim.experiment.calibrate_profile import load_profile

INDEX = """
bands: {typical: [0.80, 1.25], tail: [0.66, 1.50], exact: [0.90, 1.10]}
files:
  overlay_remote_node_entries.csv: {conditions: [op, step, remote_nodes], typical: [mean_ms]}
"""
ENTRIES = "op,step,remote_nodes,mean_ms\nremote_node_netlink,arp_entry,1000,{}\n"


def folder(tmp_path: Path, value: str) -> Path:
    (tmp_path / "index.yaml").write_text(INDEX, encoding="utf-8")
    path = tmp_path / "overlay_remote_node_entries.csv"
    path.write_text(ENTRIES.format(value), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("value", "code"), [("0.0245", ExitCode.OK), ("0.1", ExitCode.THRESHOLD_CROSSED)]
)
def test_exit_code_is_the_verdict(tmp_path: Path, value: str, code: ExitCode) -> None:
    result = CliRunner().invoke(accuracy, [str(folder(tmp_path, value))])
    assert result.exit_code == code
    assert "overlay_remote_node_entries.csv" in result.stdout


def test_every_value_as_csv_and_json(tmp_path: Path) -> None:
    place = str(folder(tmp_path, "0.0245"))
    text = CliRunner().invoke(accuracy, [place, "-o", "csv"]).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    records = json.loads(CliRunner().invoke(accuracy, [place, "-o", "json"]).stdout)
    assert len(rows) == len(records) == 1
    assert float(rows[0]["ratio"]) == pytest.approx(records[0]["ratio"], rel=1e-4)
    assert records[0]["measured"] == 0.0245
    assert records[0]["met"] is True


def test_picture_and_page(tmp_path: Path) -> None:
    place = folder(tmp_path, "0.0245")
    picture, page = tmp_path / "a.png", tmp_path / "a.md"
    arguments = [str(place), "--plot", str(picture), "--page", str(page)]
    assert CliRunner().invoke(accuracy, arguments).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "| overlay_remote_node_entries.csv | 1 |" in page.read_text(encoding="utf-8")


def test_calibrate_writes_a_profile_that_experiments_can_name(
    tmp_path: Path, shared_dir: Path
) -> None:
    path = tmp_path / "mine.yaml"
    source = shared_dir / "groundtruth" / "metrics"
    result = CliRunner().invoke(calibrate, [str(source), "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert "disk.sync_median_seconds" in result.stdout
    assert "of the base profile" in result.stdout, "says how well"
    assert load_profile(str(path)).name == "mine"


def test_calibrate_from_nothing_is_a_user_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(calibrate, [str(tmp_path), "-o", str(tmp_path / "x.yaml")])
    assert isinstance(result.exception, UserError)
