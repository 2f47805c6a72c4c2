"""Fact tables: what goes in comes out, whatever the mixture of rows, columns and reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine import tables
from sim.engine.tables import Column, Recorder, Table, TableSpec

SPEC = TableSpec(
    "things",
    "things that happened",
    (
        Column("time_seconds", "f8", "when"),
        Column("size_count", "i4", "how many"),
        Column("kind", "text", "which"),
        Column("is_good", "b1", "whether"),
    ),
)
SHARING = replace(SPEC, shared=("kind", "size_count"))

rows = st.tuples(
    st.floats(-1e9, 1e9), st.integers(-(2**31), 2**31 - 1), st.sampled_from("abcde"), st.booleans()
)
steps = st.one_of(
    st.tuples(st.just("row"), st.lists(rows, min_size=1, max_size=1)),
    st.tuples(st.just("columns"), st.lists(rows, max_size=5)),
    st.tuples(st.just("read"), st.just([])),
)


@given(
    spec=st.sampled_from([SPEC, SHARING]),
    history=st.lists(steps, max_size=30),
    chunk=st.integers(1, 8),
)
def test_everything_that_is_written_is_read_in_order(
    spec: TableSpec, history: list[tuple[str, list[tuple[float, int, str, bool]]]], chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_CHUNK_ROWS_COUNT", chunk)
        table = Table(spec)
        written: list[tuple[float, int, str, bool]] = []
        for action, batch in history:
            if action == "row":
                table.append(batch[0])
            elif action == "columns":
                table.extend_columns([list(column) for column in zip(*batch, strict=True)] or [[]])
            else:
                table.column("kind")
            written += batch
            assert len(table) == len(written)
        codes = table.column("kind")
        names = table.categories("kind")
        read = list(
            zip(
                table.column("time_seconds").tolist(),
                table.column("size_count").tolist(),
                [names[code] for code in codes],
                table.column("is_good").tolist(),
                strict=True,
            )
        )
        assert read == written
        assert names == list(dict.fromkeys(row[2] for row in written))
        for name in ("a", "unheard of"):
            mask = table.mask_equal("kind", name)
            assert mask.tolist() == [row[2] == name for row in written]
        assert table.column("time_seconds").dtype == np.float64
        assert table.column("size_count").dtype == np.int32


def test_a_disabled_table_keeps_nothing() -> None:
    recorder = Recorder((SPEC,), disabled=frozenset({"things"}))
    table = recorder["things"]
    assert not table.enabled
    table.append((1.0, 1, "a", True))
    table.extend_columns([[1.0], [1], ["a"], [True]])
    assert len(table) == len(table.column("kind")) == 0
    assert table.categories("kind") == []


def test_a_row_of_the_wrong_width_is_a_programmers_error() -> None:
    table = Table(SPEC)
    with pytest.raises(AssertionError, match="things"):
        table.extend_columns([[1.0], [1]])
    with pytest.raises(AssertionError, match="things"):
        table.append((1.0, 1))


def test_a_long_table_is_packed_and_complete() -> None:
    table = Table(SPEC)
    count = 150_000
    for index in range(count):
        table.append((float(index), index, "xyz"[index % 3], index % 2 == 0))
    assert table.packed_row_count >= 65_536
    assert len(table) == count
    assert table.column("size_count").sum() == count * (count - 1) // 2
    assert table.mask_equal("kind", "z").sum() == count // 3


def test_shared_columns_are_encoded_in_the_order_of_the_rows() -> None:
    """A table whose rows share columns holds the same codes as one whose rows do not."""
    plain, sharing = Table(SPEC), Table(SHARING)
    sharing.share(("never named", 1))
    for kind, count in (("b", 3), ("a", 3), ("b", 4), ("c", 3), ("a", 3)):
        plain.append((1.0, count, kind, True))
        sharing.append_sharing((sharing.share((kind, count)), 1.0, True))
    assert sharing.categories("kind") == plain.categories("kind") == ["b", "a", "c"]
    for name in SPEC.column_names():
        assert sharing.column(name).tolist() == plain.column(name).tolist()
        assert sharing.column(name).dtype == plain.column(name).dtype


def test_a_row_written_value_by_value_is_like_any_other() -> None:
    columns = (Column("a_seconds", "f8", ""), Column("b_count", "i4", ""), Column("c", "i8", ""))
    table = Table(TableSpec("numbers", "", columns))
    table.append((1.5, 2, 3))
    table.put_float(2.5)
    table.put_integer(-4)
    table.put_integer(2**40)
    table.end_row()
    assert len(table) == 2
    assert table.column("a_seconds").tolist() == [1.5, 2.5]
    assert table.column("b_count").tolist() == [2, -4]
    assert table.column("c").tolist() == [3, 2**40]
    with pytest.raises(AssertionError, match="numbers"):
        table.put_integer(1)
    with pytest.raises(AssertionError, match="numbers"):
        table.end_row()
