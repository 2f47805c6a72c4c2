"""CSV: UTF-8, LF, one header line, shortest round-trip floats, empty for missing, true/false."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.metrics.facts_view import FactTable

_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]|^\s|\s$')
_BLOCK_ROWS_COUNT: Final = 1 << 18


def cell(value: Any) -> str:
    """Return one value as a CSV cell."""
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if value != value else repr(float(value))  # noqa: PLR0124 - NaN
    return str(value)


def quoted(text: str) -> str:
    """Return a text quoted if CSV asks for it."""
    if _NEEDS_QUOTES.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a small table as CSV."""
    lines = [",".join(header)]
    lines.extend(",".join(map(cell, row)) for row in rows)
    return "\n".join(lines) + "\n"


def float_cells(values: npt.NDArray[Any]) -> list[str]:
    """Return floats as cells: (n,) float64 → n texts."""
    texts = list(map(repr, values.tolist()))
    for index in np.flatnonzero(np.isnan(values)).tolist():
        texts[index] = ""
    return texts


def _cells(table: FactTable, name: str, dtype: str, start: int, end: int) -> list[str]:
    values = table.column(name)[start:end]
    if dtype == "text":
        categories = [quoted(value) for value in table.categories(name)]
        chosen: list[str] = np.array(categories, dtype=object)[values].tolist()
        return chosen
    if dtype.startswith("f"):
        return float_cells(values)
    if dtype.startswith("b"):
        return ["true" if value else "false" for value in values.tolist()]
    return list(map(str, values.tolist()))


def table_blocks(table: FactTable) -> Iterator[str]:
    """Yield a fact table as CSV in blocks, so that a large one needs little memory."""
    columns = table.spec.columns
    yield ",".join(column.name for column in columns) + "\n"
    for start in range(0, len(table), _BLOCK_ROWS_COUNT):
        end = min(start + _BLOCK_ROWS_COUNT, len(table))
        cells = [_cells(table, column.name, column.dtype, start, end) for column in columns]
        yield "\n".join(map(",".join, zip(*cells, strict=True))) + "\n"
