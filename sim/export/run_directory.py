"""The files of one run: what each holds and how it is named; see ``docs/results.md``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from sim.export import parquet
from sim.export.csv_ import csv_text, float_cells, quoted, table_blocks
from sim.export.files import cannot_write
from sim.metrics.facts_view import FactTable
from sim.metrics.series import Series
from sim.metrics.summary import SummaryRow

CSV_ROWS_MAX: Final = 50_000
"""``auto`` writes tables with more rows as Parquet, if it can."""

SUMMARY_HEADER: Final = ("metric", "labels", "stat", "unit", "value", "ci_low", "ci_high", "n")
SERIES_HEADER: Final = ("time_seconds", "metric", "labels", "stat", "unit", "value")


def summary_csv(rows: Sequence[SummaryRow]) -> str:
    """Return summary.csv of one run; intervals are empty, since one run has none."""
    return csv_text(
        SUMMARY_HEADER,
        ((row.metric, row.labels, row.stat, row.unit, row.value, None, None, row.n)
         for row in rows),
    )  # fmt: skip


def series_csv(series: Sequence[Series]) -> str:
    """Return series.csv in long form, ordered by series and time."""
    parts = [",".join(SERIES_HEADER) + "\n"]
    for line in series:
        if len(line.times):
            fixed = ",".join(map(quoted, (line.metric, line.labels, line.stat, line.unit)))
            cells = zip(float_cells(line.times), float_cells(line.values), strict=True)
            parts.append("\n".join([f"{time},{fixed},{value}" for time, value in cells]) + "\n")
    return "".join(parts)


def summary_tree(rows: Sequence[SummaryRow]) -> dict[str, Any]:
    """Return metric → labels → stat → value: nested scalars, as DVC and jq like them."""
    tree: dict[str, Any] = {}
    for row in rows:
        tree.setdefault(row.metric, {}).setdefault(row.labels, {})[
            f"{row.stat}_{_key(row.unit)}"
        ] = row.value
    return tree


def _key(unit: str) -> str:
    return unit.replace("/", "_per_")


def write_facts(folder: Path, tables: Mapping[str, FactTable], choice: str) -> list[str]:
    """Write the fact tables that have rows; return their file names.

    ``choice`` is auto, csv, parquet or none.

    Raises:
        UserError: a file cannot be written, or Parquet is asked for and pyarrow is absent.
    """
    if choice == "none":
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in tables.items():
        if not len(table):
            continue
        is_large = choice == "auto" and len(table) > CSV_ROWS_MAX and parquet.is_available()
        path = folder / (f"{name}.parquet" if choice == "parquet" or is_large else f"{name}.csv")
        try:
            if path.suffix == ".parquet":
                parquet.write_table(table, path)
            else:
                with path.open("w", encoding="utf-8", newline="\n") as stream:
                    stream.writelines(table_blocks(table))
        except OSError as error:
            raise cannot_write(path, error) from error
        written.append(path.name)
    return written


def fact_digest(tables: Mapping[str, FactTable]) -> str:
    """Return the SHA-256 of all facts: names, categories and raw column bytes, in order."""
    state = hashlib.sha256()
    for name, table in tables.items():
        state.update(f"{name}:{len(table)}\n".encode())
        if not len(table):
            continue
        for column in table.spec.columns:
            values = table.column(column.name)
            if column.dtype == "text":
                state.update("\n".join(table.categories(column.name)).encode())
            state.update(np.ascontiguousarray(values).data)
    return state.hexdigest()
