"""The rules of scoring: bands, spread, counts, bars, unknown files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sim.base.errors import UserError
from sim.costs.profile import Profile
from sim.experiment.accuracy import (
    FileSpec,
    Report,
    Row,
    Values,
    keeps,
    number,
    read_index,
    row_by_row,
    run_accuracy,
    score_rows,
    score_value,
)

BANDS = {"typical": (0.80, 1.25), "tail": (0.66, 1.50), "exact": (0.90, 1.10)}
SPEC = FileSpec(
    name="x.csv",
    conditions=("clients",),
    typical=("p50_ms",),
    tail=("p99_ms",),
    exact=("count",),
    zero=("lost",),
    spread={"p50_ms": ("low", "high")},
)


def row(**changes: str) -> dict[str, str]:
    base = {
        "clients": "4", "p50_ms": "10", "p99_ms": "20", "count": "100", "lost": "0",
        "low": "", "high": "",
    }  # fmt: skip
    return base | changes


def values(**changes: float) -> dict[str, float]:
    return {"p50_ms": 10.0, "p99_ms": 20.0, "count": 100.0, "lost": 0.0} | changes


@pytest.mark.parametrize(
    ("kind", "ratio", "met", "wide"),
    [
        ("typical", 0.80, True, True),
        ("typical", 0.79, False, True),
        ("typical", 1.25, True, True),
        ("typical", 1.26, False, True),
        ("typical", 0.65, False, False),
        ("typical", 1.51, False, False),
        ("tail", 0.66, True, True),
        ("tail", 1.50, True, True),
        ("tail", 1.51, False, False),
    ],
)
def test_bands_include_their_ends(kind: str, ratio: float, met: bool, wide: bool) -> None:
    assert score_value(kind, "c", 100.0, 100.0 * ratio, BANDS) == (met, wide)


def test_spread_of_repetitions_counts_as_met() -> None:
    assert score_value("typical", "c", 10.0, 20.0, BANDS, (8.0, 21.0)) == (True, True)
    assert score_value("typical", "c", 10.0, 22.0, BANDS, (8.0, 21.0)) == (False, False)


def test_counts() -> None:
    assert score_value("exact", "count", 100.0, 109.0, BANDS)[0]
    assert not score_value("exact", "count", 100.0, 111.0, BANDS)[0]
    assert score_value("exact", "count", 5.0, 9.0, BANDS)[0], "small counts only have to be there"
    assert not score_value("exact", "count", 5.0, 0.0, BANDS)[0]
    assert not score_value("exact", "count", 0.0, 3.0, BANDS)[0], "invented"
    assert score_value("exact", "limit_seats", 12.0, 12.0, BANDS)[0]
    assert not score_value("exact", "limit_seats", 12.0, 13.0, BANDS)[0], "seats are exact"
    assert score_value("zero", "lost", 0.0, 0.0, BANDS)[0]
    assert not score_value("zero", "lost", 0.0, 1.0, BANDS)[0]


def test_zero_measured_and_missing_predictions() -> None:
    assert score_value("tail", "c", 0.0, 0.0, BANDS) == (True, True)
    assert score_value("tail", "c", 0.0, 1.0, BANDS) == (False, False)
    assert score_value("tail", "c", 1.0, math.nan, BANDS) == (False, False)


def test_unmeasured_cells_are_not_scored_and_unpredicted_ones_fail() -> None:
    result = score_rows(SPEC, [row(p99_ms="")], [values(p50_ms=math.nan)], BANDS)
    assert {score.column: score.met for score in result.scores} == {
        "p50_ms": False,
        "count": True,
        "lost": True,
    }


def test_bars_of_a_file() -> None:
    good = [values()] * 4
    rows = [row()] * 5
    assert score_rows(SPEC, rows, [*good, values(p50_ms=12.6)], BANDS).passed, "80 % is enough"
    assert not score_rows(SPEC, rows, [*good, values(p50_ms=15.1)], BANDS).passed, "95 % wide"
    two = [*good[:3], values(p50_ms=12.6), values(p50_ms=12.6)]
    assert score_rows(SPEC, rows, two, BANDS).failures == ["typical 60% < 80%"]
    tails = [*good[:3], values(p99_ms=60.0), values(p99_ms=1.0)]
    assert score_rows(SPEC, rows, tails, BANDS).failures == ["tail 60% < 80%"]
    assert not score_rows(SPEC, rows, [*good, values(lost=1.0)], BANDS).passed
    assert not score_rows(SPEC, rows, [*good, values(), values()], BANDS).passed, "invented kind"


def test_worst_value_and_median() -> None:
    result = score_rows(SPEC, [row(), row()], [values(), values(p99_ms=50.0)], BANDS)
    assert result.worst is not None
    assert (result.worst.column, result.worst.ratio) == ("p99_ms", 2.5)
    assert result.median_ratio == 1.0


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", True),
        ("disturbed == 0", True),
        ("disturbed != 0", False),
        ("etcd == 3.6.8 and load <= 0.2", True),
        ("etcd == 3.5.1", False),
        ("load > 0.1", True),
        ("load >= 0.3", False),
        ("load < 0.15", False),
    ],
)
def test_keep_expressions(expression: str, expected: bool) -> None:
    assert keeps(expression, {"disturbed": "0", "etcd": "3.6.8", "load": "0.15"}) is expected


@pytest.mark.parametrize("expression", ["disturbed", "nothing == 1", "import os"])
def test_other_expressions_are_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        keeps(expression, {"disturbed": "0"})


def test_cells() -> None:
    assert number("1.5") == 1.5
    assert math.isnan(number(""))
    assert math.isnan(number(None))
    assert math.isnan(number("text"))


def write_folder(folder: Path, index: str, files: dict[str, str]) -> Path:
    (folder / "index.yaml").write_text(index, encoding="utf-8")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


INDEX = """
bands: {typical: [0.80, 1.25], tail: [0.66, 1.50], exact: [0.90, 1.10]}
files:
  overlay_remote_node_entries.csv:
    what: entries
    conditions: [op, step, remote_nodes]
    typical: [mean_ms]
  unheard_of.csv:
    what: nobody simulates this
    typical: [p50_ms]
  for_fitting.csv: {fit: true, what: not scored}
  absent.csv: {what: listed, not there}
"""
ENTRIES = "op,step,remote_nodes,mean_ms\nremote_node_netlink,arp_entry,1000,{}\n"


def test_files_without_a_predictor_do_not_pass(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path,
        INDEX,
        {
            "overlay_remote_node_entries.csv": ENTRIES.format("0.0245"),
            "unheard_of.csv": "p50_ms\n1.0\n",
            "for_fitting.csv": "x\n1\n",
        },
    )
    report = run_accuracy(folder)
    assert [result.spec.name for result in report.files] == [
        "overlay_remote_node_entries.csv",
        "unheard_of.csv",
    ]
    assert report.files[0].passed
    assert report.files[1].failures == ["not simulated"]
    assert not report.passed
    assert run_accuracy(folder, names=["overlay"]).passed


def test_a_wrong_measurement_fails(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path, INDEX, {"overlay_remote_node_entries.csv": ENTRIES.format("0.1")}
    )
    assert not run_accuracy(folder).passed


def test_no_index_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_index(tmp_path)
    (tmp_path / "index.yaml").write_text("files: 3\n", encoding="utf-8")
    with pytest.raises(UserError):
        read_index(tmp_path)


def test_an_empty_report_passes_nothing_wrongly() -> None:
    assert Report(files=[]).scores() == []


def test_a_row_that_cannot_be_simulated_costs_itself_only() -> None:
    def predict(row: Row, _profile: Profile, _seed: int) -> Values:
        families = {"basic": 10.0}
        return values(p50_ms=families[row["family"]])

    rows = [row(family="basic"), row(family="unheard of"), row(family="basic")]
    predictions = row_by_row(predict)(rows, Profile(), 1)
    assert predictions[1] == {"error": "KeyError: 'unheard of'"}
    result = score_rows(SPEC, rows, predictions, BANDS)
    assert [score.met for score in result.of_kind("typical")] == [True, False, True]
    assert "unheard of" in result.of_kind("typical")[1].conditions
