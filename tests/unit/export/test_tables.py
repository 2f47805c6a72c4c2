"""CSV, Parquet and the readers: what is written comes back, bit for bit."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.base.errors import UserError
from sim.components.facts import ALL
from sim.engine.tables import Column, Recorder, TableSpec
from sim.export import parquet, run_directory
from sim.export.csv_ import csv_text, table_blocks
from sim.export.files import publish_folder, staging_folder, write_text
from sim.export.reader import StoredFacts, find_runs, open_run, read_manifest
from sim.export.run_directory import fact_digest, write_facts
from sim.metrics.derive import Derivation
from sim.metrics.summary import summary
from tests.support.fake_cluster import filled_recorder

SPEC = TableSpec(
    "things", "one thing",
    (Column("time_seconds", "f8", "when"), Column("count", "i8", "how many"),
     Column("name", "text", "what"), Column("good", "b1", "whether")),
)  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.floats(allow_infinity=False), st.integers(-(2**62), 2**62),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=6), st.booleans(),
        ),
        max_size=12,
    )  # fmt: skip
)
def test_csv_reads_back_with_the_standard_library(rows) -> None:
    recorder = Recorder([SPEC])
    for row in rows:
        recorder["things"].append(row)
    text = "".join(table_blocks(recorder["things"]))
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read[0] == ["time_seconds", "count", "name", "good"]
    assert len(read) == len(rows) + 1
    for row, cells in zip(rows, read[1:], strict=True):
        assert (cells[0] == "") == np.isnan(row[0])
        if cells[0]:
            assert float(cells[0]) == row[0]
        assert (int(cells[1]), cells[2], cells[3] == "true") == row[1:]


def test_small_csv_cells() -> None:
    text = csv_text(("a", "b"), [(1.0, None), (True, 'x,"y"'), (float("nan"), 3)])
    assert text == 'a,b\n1.0,\ntrue,"x,""y"""\n,3\n'


@pytest.mark.parametrize("choice", ["csv", "parquet", "auto"])
def test_facts_and_their_summary_come_back(choice: str, tmp_path: Path) -> None:
    recorder = filled_recorder(60)
    written = write_facts(tmp_path / "facts", recorder.tables, choice)
    assert ("requests.parquet" in written) == (choice == "parquet")
    stored = StoredFacts(tmp_path / "facts")
    for spec in ALL:
        table, back = recorder[spec.name], stored[spec.name]
        assert len(table) == len(back)
        for column in spec.columns:
            mine, theirs = table.column(column.name), back.column(column.name)
            if column.dtype == "text" and len(table):
                mine = np.array(table.categories(column.name), dtype=object)[mine]
                theirs = np.array(back.categories(column.name), dtype=object)[theirs]
            assert mine.tolist() == theirs.tolist(), (spec.name, column.name)
    assert summary(Derivation(stored)) == summary(Derivation(recorder))


def test_arrays_are_those_that_arrow_makes_itself() -> None:
    for dtype in ("f8", "i8", "i4", "b1"):
        values = np.array([0.0, 1.0, 0.0, 7.0] * 5, dtype=dtype)
        assert parquet._array(values[::2]).equals(pa.array(values[::2]))
    for texts in ([], ["", "a", "für", "", "日本"]):
        assert parquet._text_array(texts).equals(pa.array(texts, pa.string()))


def test_large_tables_become_parquet(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_directory, "CSV_ROWS_MAX", 150)
    recorder = filled_recorder(60)
    written = write_facts(tmp_path, recorder.tables, "auto")
    assert "requests.parquet" in written  # 182 rows
    assert "bindings.csv" in written
    frame = pd.read_parquet(tmp_path / "requests.parquet")
    assert list(frame.columns) == list(ALL[0].column_names())
    assert frame["total_seconds"].sum() == pytest.approx(
        recorder["requests"].column("total_seconds").sum()
    )


def test_pandas_reads_the_csv(tmp_path: Path) -> None:
    recorder = filled_recorder(40)
    write_facts(tmp_path, recorder.tables, "csv")
    frame = pd.read_csv(tmp_path / "etcd_commits.csv")
    assert frame["fsync_seconds"].tolist() == pytest.approx(
        recorder["etcd_commits"].column("fsync_seconds").tolist()
    )


def test_digest_sees_every_change() -> None:
    base = fact_digest(filled_recorder(30).tables)
    assert base == fact_digest(filled_recorder(30).tables)
    assert base != fact_digest(filled_recorder(31).tables)
    assert base != fact_digest(filled_recorder(30, seed=2).tables)
    changed = filled_recorder(30)
    changed["faults"].append((1.0, "a", "b", "c"))
    assert base != fact_digest(changed.tables)


def test_folders_appear_at_once_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "run"
    for text in ("one", "two"):
        staging = staging_folder(final)
        write_text(staging / "a" / "file", text)
        assert (final / "a" / "file").exists() == (text == "two")
        publish_folder(staging, final)
        assert (final / "a" / "file").read_text() == text
    assert [item.name for item in tmp_path.iterdir()] == ["run"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for act in (
        lambda: write_text(tmp_path / "file" / "inner", "x"),
        lambda: staging_folder(tmp_path / "file" / "inner"),
    ):
        with pytest.raises(UserError) as caught:
            act()
        assert caught.value.problems[0].code == "E042"


def test_what_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="E040"):
        open_run(tmp_path / "nowhere")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"results_schema": 999}')
    with pytest.raises(UserError, match="E041"):
        open_run(tmp_path)
    (tmp_path / "run" / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="E041"):
        read_manifest(tmp_path / "run")
    (tmp_path / ".other.partial-1").mkdir()
    (tmp_path / ".other.partial-1" / "manifest.json").write_text("{}")
    assert find_runs(tmp_path) == [tmp_path / "run"]


def test_columns_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "faults.csv").write_text("time_seconds,what\n1.0,x\n")
    with pytest.raises(UserError, match="E041"):
        StoredFacts(tmp_path)["faults"]
