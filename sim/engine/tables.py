"""Append-only fact tables: one row per thing that happened, written once.

Rows are appended as plain tuples, kept as one list of values, and packed into typed numpy
columns every 2,048 rows, while the processor's cache still holds them. Text columns are
dictionary-encoded while packing, in order of first appearance, so equal runs give equal bytes.
Columns that together take few values (verb, resource, user … of a request) can be *shared*: their
tuple is registered once, and a row names it by its number.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_CHUNK_ROWS_COUNT: Final = 2048
_STRUCT_CODES: Final = {"f8": "d", "i8": "q", "i4": "i"}
"""Types that `struct` writes from tuples, in a quarter of the time that numpy takes."""


def _encode(values: Sequence[Any] | npt.NDArray[Any], codes: dict[Any, int]) -> npt.NDArray[Any]:
    """Return the code of each value, giving new ones to values not met before, in order."""
    try:
        found = list(map(codes.__getitem__, values))
    except KeyError:
        for value in values:
            codes.setdefault(value, len(codes))
        return _encode(values, codes)
    return _packed(found, "i4")


def _packed(values: Sequence[Any], dtype: str) -> npt.NDArray[Any]:
    """Return the column of a type that `struct` knows."""
    packed: npt.NDArray[Any] = np.empty(len(values), dtype=dtype)
    struct.pack_into(f"{len(values)}{_STRUCT_CODES[dtype]}", packed.data, 0, *values)
    return packed


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a fact table."""

    name: str
    dtype: str
    """numpy dtype (``f8``, ``i8``, ``i4``, ``b1``) or ``text`` for dictionary-encoded strings."""
    meaning: str


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a fact table records."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    shared: tuple[str, ...] = ()
    """Columns that together take few values."""

    def column_names(self) -> tuple[str, ...]:
        """Return the names in order."""
        return tuple(column.name for column in self.columns)


class Table:
    """The rows of one fact table of one run.

    ``append`` takes one tuple with the columns in order; ``append_sharing``, for tables with shared
    columns, a tuple whose first item is what `share` has returned for the tuple of these (in their
    order), the others following in order. ``enabled`` is a fact for callers that would otherwise
    build rows nobody keeps; a disabled table ignores rows.
    """

    __slots__ = (
        "_chunks", "_codes", "_full_count", "_own_indices", "_shared_codes", "_shared_indices",
        "_shared_numbers", "_shared_tuples", "_shared_values", "_values", "_width", "enabled",
        "packed_row_count", "spec",
    )  # fmt: skip

    def __init__(self, spec: TableSpec, *, enabled: bool = True) -> None:
        self.spec = spec
        self.enabled = enabled
        self._values: list[Any] = []
        """The rows not packed yet, one after another: columns are then steps through the list."""
        self._width = 1 + len(spec.columns) - len(spec.shared) if spec.shared else len(spec.columns)
        self._full_count = self._width * _CHUNK_ROWS_COUNT
        self._chunks: list[list[npt.NDArray[Any]]] = [[] for _ in spec.columns]
        self._codes: list[dict[str, int]] = [{} for _ in spec.columns]
        names = spec.column_names()
        self._shared_indices = [names.index(name) for name in spec.shared]
        self._own_indices = [index for index, name in enumerate(names) if name not in spec.shared]
        self._shared_numbers: dict[tuple[Any, ...], int] = {}
        """Every tuple of shared values to its number."""
        self._shared_tuples: list[tuple[Any, ...]] = []
        """And back."""
        self._shared_codes: dict[int, int] = {}
        """Number to place among those that rows have named, in order of first appearance."""
        self._shared_values: list[list[Any]] = [[] for _ in spec.shared]
        """Per shared column: value, or code of a text, in each of these tuples."""
        self.packed_row_count = 0

    def append(self, row: tuple[Any, ...]) -> None:
        """Append one row: its columns in order."""
        if self._shared_indices:
            shared = tuple([row[index] for index in self._shared_indices])
            row = (self.share(shared), *[row[index] for index in self._own_indices])
        self.append_sharing(row)

    def share(self, values: tuple[Any, ...]) -> int:
        """Return the number by which rows name these values of the shared columns."""
        number = self._shared_numbers.get(values)
        if number is None:
            number = self._shared_numbers[values] = len(self._shared_tuples)
            self._shared_tuples.append(values)
        return number

    def append_sharing(self, row: tuple[Any, ...]) -> None:
        """Append one row of a table with shared columns: the number of these, then the others."""
        if not self.enabled:
            return
        assert len(row) == self._width, self.spec.name
        values = self._values
        values += row
        if len(values) >= self._full_count:
            self._pack()

    def extend_columns(self, columns: Sequence[npt.NDArray[Any] | Sequence[Any]]) -> None:
        """Append many rows at once, given as one sequence per column (fleets use this)."""
        if not self.enabled or len(columns[0]) == 0:
            return
        self._pack()
        self._pack_columns(columns)

    def __len__(self) -> int:
        return self.packed_row_count + len(self._values) // self._width

    def _pack(self) -> None:
        if not self._values:
            return
        values, self._values = self._values, []
        width = self._width
        self.packed_row_count += len(values) // width
        place = 0
        if self._shared_indices:
            self._pack_shared(values[::width])
            place = 1
        for index in self._own_indices:
            self._pack_column(index, values[place::width])
            place += 1

    def _pack_shared(self, numbers: Sequence[int]) -> None:
        known_count = len(self._shared_codes)
        codes = _encode(numbers, self._shared_codes)
        if len(self._shared_codes) > known_count:
            for number in list(self._shared_codes)[known_count:]:
                self._learn(self._shared_tuples[number])
        for index, values in zip(self._shared_indices, self._shared_values, strict=True):
            dtype = self.spec.columns[index].dtype
            lookup = np.array(values, dtype=np.int32 if dtype == "text" else dtype)
            self._chunks[index].append(lookup[codes])

    def _learn(self, item: tuple[Any, ...]) -> None:
        """Take note of a tuple of shared values not met before."""
        for index, value, values in zip(
            self._shared_indices, item, self._shared_values, strict=True
        ):
            if self.spec.columns[index].dtype == "text":
                codes = self._codes[index]
                values.append(codes.setdefault(value, len(codes)))
            else:
                values.append(value)

    def _pack_columns(self, columns: Sequence[npt.NDArray[Any] | Sequence[Any]]) -> None:
        assert len(columns) == len(self.spec.columns), self.spec.name
        self.packed_row_count += len(columns[0])
        for index, values in enumerate(columns):
            self._pack_column(index, values)

    def _pack_column(self, index: int, values: npt.NDArray[Any] | Sequence[Any]) -> None:
        dtype = self.spec.columns[index].dtype
        if dtype == "text":
            packed = _encode(values, self._codes[index])
        elif dtype in _STRUCT_CODES and not isinstance(values, np.ndarray):
            packed = _packed(values, dtype)
        else:
            packed = np.asarray(values, dtype=dtype)
        self._chunks[index].append(packed)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one column: values, or int32 codes into `categories` for text columns."""
        self._pack()
        index = self.spec.column_names().index(name)
        chunks = self._chunks[index]
        if len(chunks) > 1:
            self._chunks[index] = chunks = [np.concatenate(chunks)]
        if not chunks:
            dtype = self.spec.columns[index].dtype
            return np.empty(0, dtype=np.int32 if dtype == "text" else dtype)
        return chunks[0]

    def categories(self, name: str) -> list[str]:
        """Return the distinct strings of a text column, in order of first appearance."""
        self._pack()
        return list(self._codes[self.spec.column_names().index(name)])

    def mask_equal(self, name: str, value: str) -> npt.NDArray[np.bool_]:
        """Return the rows whose text column equals ``value``: (n_rows,) bool."""
        codes = self.column(name)
        code = self._codes[self.spec.column_names().index(name)].get(value, -1)
        mask: npt.NDArray[np.bool_] = codes == code
        return mask


class Recorder:
    """The fact tables of one run, by name."""

    def __init__(self, specs: Sequence[TableSpec], disabled: frozenset[str] = frozenset()) -> None:
        self.tables: dict[str, Table] = {
            spec.name: Table(spec, enabled=spec.name not in disabled) for spec in specs
        }

    def __getitem__(self, name: str) -> Table:
        return self.tables[name]
