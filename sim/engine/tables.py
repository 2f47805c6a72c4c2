"""Append-only fact tables: one row per thing that happened, written once.

Rows are appended as plain tuples and written at once into one block of bytes, value by value in
their columns' types: the objects that held them can go before the processor's cache has lost them.
Every 2,048 rows the block becomes numpy columns. Text columns are dictionary-encoded in order of
first appearance, so equal runs give equal bytes. Columns that together take few values (verb,
resource, user … of a request) can be *shared*: their tuple is registered once, and a row names it
by its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from librt.strings import BytesWriter, write_f64_le, write_i32_le, write_i64_le
from librt.vecs import vec
from mypy_extensions import i32, i64, u8

_CHUNK_ROWS_COUNT: Final = 2048
_FLOAT: Final = 0
_LONG: Final = 1
_INTEGER: Final = 2
_TRUTH: Final = 3
_TEXT: Final = 4
_KINDS: Final = {"f8": _FLOAT, "i8": _LONG, "i4": _INTEGER, "b1": _TRUTH, "text": _TEXT}
"""How a value is written into a row, by the type of its column."""


def _encode(values: Sequence[Any] | npt.NDArray[Any], codes: dict[Any, int]) -> npt.NDArray[Any]:
    """Return the code of each value, giving new ones to values not met before, in order."""
    try:
        found = list(map(codes.__getitem__, values))
    except KeyError:
        for value in values:
            codes.setdefault(value, len(codes))
        return _encode(values, codes)
    return np.array(found, dtype=np.int32)


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
    build rows nobody keeps; a disabled table ignores rows. Hot paths write a row value by value, so
    that none becomes an object: `put_float` and `put_integer` in the order of the columns, then
    `end_row`; never to a disabled table.
    """

    __slots__ = (
        "_chunks", "_codes", "_kinds", "_met", "_own_indices", "_pending_count", "_place",
        "_row_codes", "_row_type", "_rows", "_shared_indices", "_shared_numbers", "_shared_tuples",
        "_shared_values", "_width", "enabled", "packed_row_count", "spec",
    )  # fmt: skip

    def __init__(self, spec: TableSpec, *, enabled: bool = True) -> None:
        self.spec = spec
        self.enabled = enabled
        self._rows = BytesWriter()
        """The rows not packed yet, one after another."""
        self._pending_count: i64 = 0
        """How many these are."""
        self._place: i64 = 0
        """How many values have been put into the next one."""
        self._chunks: list[list[npt.NDArray[Any]]] = [[] for _ in spec.columns]
        self._codes: list[dict[str, int]] = [{} for _ in spec.columns]
        names = spec.column_names()
        self._shared_indices = [names.index(name) for name in spec.shared]
        self._own_indices = [index for index, name in enumerate(names) if name not in spec.shared]
        dtypes = [spec.columns[index].dtype for index in self._own_indices]
        if spec.shared:
            dtypes.insert(0, "i4")
        self._width: i64 = len(dtypes)
        self._kinds = vec[i64]([_KINDS[dtype] for dtype in dtypes])
        """How each value of an appended row is written."""
        own_codes = [self._codes[index] for index in self._own_indices]
        self._row_codes = [{}, *own_codes] if spec.shared else own_codes
        """And with which codes, where it is a text."""
        fields = [f"<{'i4' if dtype == 'text' else dtype}" for dtype in dtypes]
        self._row_type = np.dtype(",".join(fields) + ",")
        """The bytes of a row: fields f0, f1, …"""
        self._shared_numbers: dict[tuple[Any, ...], int] = {}
        """Every tuple of shared values to its number."""
        self._shared_tuples: list[tuple[Any, ...]] = []
        """And back."""
        self._met: list[bool] = []
        """Of each of these whether a packed row has named it, and below per shared column its
        value, or the code of its text, if so."""
        self._shared_values: list[list[Any]] = [[] for _ in spec.shared]
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
        rows = self._rows
        kinds = self._kinds
        for place, value in enumerate(row):
            kind = kinds[place]
            if kind == _FLOAT:
                number: float = value
                write_f64_le(rows, number)
            elif kind == _LONG:
                long: i64 = value
                write_i64_le(rows, long)
            elif kind == _INTEGER:
                integer: i32 = value
                write_i32_le(rows, integer)
            elif kind == _TEXT:
                codes = self._row_codes[place]
                code: i32 = codes.setdefault(value, len(codes))
                write_i32_le(rows, code)
            else:
                truth: u8 = 1 if value else 0
                rows.append(truth)
        self._count_row()

    def put_float(self, value: float) -> None:
        """Write the next value of a row, of a column of type ``f8``."""
        assert self._kinds[self._place] == _FLOAT, self.spec.name
        self._place += 1
        write_f64_le(self._rows, value)

    def put_integer(self, value: i64) -> None:
        """Write the next value of a row, of a column of type ``i8`` or ``i4``."""
        kind = self._kinds[self._place]
        self._place += 1
        if kind == _LONG:
            write_i64_le(self._rows, value)
        else:
            assert kind == _INTEGER, self.spec.name
            write_i32_le(self._rows, i32(value))

    def end_row(self) -> None:
        """End a row that has been written value by value."""
        assert self._place == self._width, self.spec.name
        self._place = 0
        self._count_row()

    def _count_row(self) -> None:
        self._pending_count += 1
        if self._pending_count >= _CHUNK_ROWS_COUNT:
            self._pack()

    def extend_columns(self, columns: Sequence[npt.NDArray[Any] | Sequence[Any]]) -> None:
        """Append many rows at once, given as one sequence per column (fleets use this)."""
        if not self.enabled or len(columns[0]) == 0:
            return
        self._pack()
        self._pack_columns(columns)

    def __len__(self) -> int:
        return self.packed_row_count + int(self._pending_count)

    def _pack(self) -> None:
        if not self._pending_count:
            return
        rows = np.frombuffer(self._rows.getvalue(), dtype=self._row_type)
        self._rows.truncate(0)
        self.packed_row_count += len(rows)
        self._pending_count = 0
        place = 0
        if self._shared_indices:
            self._pack_shared(rows["f0"])
            place = 1
        for index in self._own_indices:
            self._chunks[index].append(np.array(rows[f"f{place}"], dtype=self._dtype(index)))
            place += 1

    def _dtype(self, index: int) -> str:
        """Return the numpy dtype of a column."""
        dtype = self.spec.columns[index].dtype
        return "i4" if dtype == "text" else dtype

    def _pack_shared(self, numbers: npt.NDArray[np.int32]) -> None:
        missing_count = len(self._shared_tuples) - len(self._met)
        self._met += [False] * missing_count
        for values in self._shared_values:
            values += [0] * missing_count
        places = numbers.astype(np.intp)
        unmet = numbers[~np.array(self._met).take(places)]
        for number in dict.fromkeys(unmet.tolist()):
            self._meet(number)
        for index, values in zip(self._shared_indices, self._shared_values, strict=True):
            lookup = np.array(values, dtype=self._dtype(index))
            self._chunks[index].append(lookup.take(places))

    def _meet(self, number: int) -> None:
        """Take note of a tuple of shared values that no row has named before."""
        self._met[number] = True
        for index, value, values in zip(
            self._shared_indices, self._shared_tuples[number], self._shared_values, strict=True
        ):
            if self.spec.columns[index].dtype == "text":
                codes = self._codes[index]
                values[number] = codes.setdefault(value, len(codes))
            else:
                values[number] = value

    def _pack_columns(self, columns: Sequence[npt.NDArray[Any] | Sequence[Any]]) -> None:
        assert len(columns) == len(self.spec.columns), self.spec.name
        self.packed_row_count += len(columns[0])
        for index, values in enumerate(columns):
            self._pack_column(index, values)

    def _pack_column(self, index: int, values: npt.NDArray[Any] | Sequence[Any]) -> None:
        dtype = self.spec.columns[index].dtype
        if dtype == "text":
            packed = _encode(values, self._codes[index])
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
            return np.empty(0, dtype=self._dtype(index))
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
