"""Fact tables as the metrics see them: a small protocol, derived columns, grouping by labels.

A run's own `Recorder` and the tables read back from a run directory both satisfy the protocol, so
that a summary can be computed again from files and must come out the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from sim.engine.tables import TableSpec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer[Any]]
"""Codes, row numbers and starts; 32 bits where that is enough."""

_SMALL: Final = 2**31


class FactTable(Protocol):
    """One fact table, readable by column."""

    spec: TableSpec

    def __len__(self) -> int:
        """Return the number of rows."""

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return values, or int32 codes into `categories` for text columns: (n_rows,)."""

    def categories(self, name: str) -> list[str]:
        """Return the distinct strings of a text column."""


class Facts(Protocol):
    """The fact tables of one run, by name."""

    def __getitem__(self, name: str) -> FactTable:
        """Return the table of that name."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Rows of a table, or some of them, ordered by group.

    ``rows`` : (n_selected,) int32 (int64 in huge tables), row numbers sorted by group, in table
    order within a group.
    ``starts`` : (n_groups + 1,) int64, where each group begins in ``rows``.
    ``labels`` : one tuple of label values per group, sorted.
    """

    rows: IntArray
    starts: IntArray
    labels: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a column (n_rows,) in the order of the groups; itself where nothing moves."""
        return column if self.is_whole(len(column)) else column[self.rows]

    def is_whole(self, row_count: int) -> bool:
        """Whether all rows of a table are in one group."""
        return len(self.labels) == 1 and len(self.rows) == row_count


def label_codes(table: FactTable, column: str) -> tuple[IntArray, list[str]]:
    """Return a column as (codes, values): text as stored, integers by value."""
    dtype = next(item.dtype for item in table.spec.columns if item.name == column)
    if dtype == "text":
        return table.column(column), table.categories(column)
    values = table.column(column)
    if not len(values):
        return np.empty(0, dtype=np.int32), []
    if values.dtype.kind != "i":
        distinct, inverse = np.unique(values, return_inverse=True)
        return inverse.astype(np.int32), [str(value) for value in distinct.tolist()]
    least = int(values.min())
    distinct, codes = _compact(values.astype(np.int64) - least)
    return codes, [str(value) for value in (distinct + least).tolist()]


def merge_categories(
    codes: IntArray, categories: Sequence[str], renamed: Sequence[str]
) -> tuple[IntArray, list[str]]:
    """Rename categories, merging those that become equal."""
    assert len(categories) == len(renamed)
    distinct = list(dict.fromkeys(renamed))
    position = {value: index for index, value in enumerate(distinct)}
    lookup = np.array([position[value] for value in renamed], dtype=np.int32)
    return (lookup[codes] if len(codes) else codes), distinct


def group_rows(
    columns: Sequence[tuple[IntArray, Sequence[str]]],
    row_count: int,
    selected: npt.NDArray[np.bool_] | None,
) -> Grouping:
    """Group rows by the combination of label columns.

    Args:
        columns: per label (codes (n_rows,), distinct values).
        row_count: rows of the table.
        selected: (n_rows,) bool, or None for all rows.
    """
    index_type = np.int32 if row_count < _SMALL else np.int64
    if selected is not None and selected.all():
        selected = None
    rows: IntArray
    if selected is None:
        rows = np.arange(row_count, dtype=index_type)
    else:
        rows = np.flatnonzero(selected).astype(index_type)
    if not len(rows):
        return Grouping(rows, np.zeros(1, dtype=np.int64), ())
    space = math.prod(max(1, len(values)) for _, values in columns)
    key: IntArray = np.zeros(len(rows), dtype=np.int32 if space < _SMALL else np.int64)
    for codes, values in columns:
        if len(values) > 1:
            key *= len(values)
            key += codes if selected is None else codes[rows]
    present, group = _compact(key)
    names = [_decode(int(value), columns) for value in present.tolist()]
    order = sorted(range(len(names)), key=lambda index: names[index])
    starts = np.zeros(len(names) + 1, dtype=np.int64)
    np.cumsum(np.bincount(group, minlength=len(names))[order], out=starts[1:])
    if len(names) > 1:
        # A stable sort of 16-bit integers is a radix sort: linear in the number of rows.
        rank = np.empty(len(order), dtype=np.int16 if len(order) < 32767 else np.int32)
        rank[order] = np.arange(len(order))
        rows = rows[np.argsort(rank[group], kind="stable")]
    return Grouping(rows, starts, tuple(names[index] for index in order))


def _compact(key: IntArray) -> tuple[IntArray, IntArray]:
    """Return (distinct keys ascending, position of each key among them)."""
    space = int(key.max()) + 1
    if space == 1:
        return np.zeros(1, dtype=np.int64), np.zeros(len(key), dtype=np.int32)
    if space > max(1 << 20, 4 * len(key)):
        distinct, inverse = np.unique(key, return_inverse=True)
        return distinct, inverse.astype(np.int32)
    present = np.flatnonzero(np.bincount(key, minlength=space))
    lookup = np.zeros(space, dtype=np.int32)
    lookup[present] = np.arange(len(present))
    return present, lookup[key]


def _decode(key: int, columns: Sequence[tuple[IntArray, Sequence[str]]]) -> tuple[str, ...]:
    parts: list[str] = []
    for _, values in reversed(columns):
        key, code = divmod(key, max(1, len(values)))
        parts.append(values[code])
    return tuple(reversed(parts))


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """Return labels as Prometheus writes them, without braces: ``verb="GET",scope="resource"``."""
    return ",".join(
        f'{name}="{escape_label(value)}"' for name, value in zip(names, values, strict=True)
    )


def escape_label(value: str) -> str:
    """Escape a label value as the OpenMetrics text format asks."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def label_mapping(names: Sequence[str], values: Sequence[str]) -> Mapping[str, str]:
    """Return labels as a mapping in the order of the catalogue."""
    return dict(zip(names, values, strict=True))
