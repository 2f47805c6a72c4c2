"""Reading a run directory back: its manifest, and its fact tables as metrics want them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.base.errors import MissingExtraError, Problem, UserError
from sim.components.facts import ALL
from sim.engine.tables import TableSpec
from sim.metrics.summary import SummaryRow

RESULTS_SCHEMA = 1
"""Version of the layout of run directories."""

_MANIFEST = "manifest.json"
_MANIFEST_KEYS = ("complete", "experiment", "scenario", "seed", "totals", "valid")


class StoredTable:
    """A fact table read from a file."""

    def __init__(
        self,
        spec: TableSpec,
        columns: dict[str, npt.NDArray[Any]],
        categories: dict[str, list[str]],
    ) -> None:
        self.spec = spec
        self._columns = columns
        self._categories = categories

    def __len__(self) -> int:
        return len(self._columns[self.spec.columns[0].name])

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return values, or int32 codes for text columns: (n_rows,)."""
        return self._columns[name]

    def categories(self, name: str) -> list[str]:
        """Return the distinct strings of a text column."""
        return self._categories[name]


class StoredFacts:
    """The fact tables of a run directory, read when first asked for."""

    def __init__(self, folder: Path, specs: tuple[TableSpec, ...] = ALL) -> None:
        self._folder = folder
        self._specs = {spec.name: spec for spec in specs}
        self._tables: dict[str, StoredTable] = {}

    def __getitem__(self, name: str) -> StoredTable:
        found = self._tables.get(name)
        if found is None:
            found = self._tables[name] = self._read(self._specs[name])
        return found

    def _read(self, spec: TableSpec) -> StoredTable:
        parquet = self._folder / f"{spec.name}.parquet"
        if parquet.is_file():
            return _read_parquet(spec, parquet)
        text = self._folder / f"{spec.name}.csv"
        if text.is_file():
            return _read_csv(spec, text)
        return _empty(spec)


def _empty(spec: TableSpec) -> StoredTable:
    columns = {
        column.name: np.empty(0, dtype="i4" if column.dtype == "text" else column.dtype)
        for column in spec.columns
    }
    return StoredTable(spec, columns, {column.name: [] for column in spec.columns})


def _read_csv(spec: TableSpec, path: Path) -> StoredTable:
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        absent = _absent_columns(spec, header, path)
        cells = list(zip(*reader, strict=True))
    if not cells:
        return _empty(spec)
    cells += [("",) * len(cells[0])] * len(absent)
    columns: dict[str, npt.NDArray[Any]] = {}
    categories: dict[str, list[str]] = {}
    for column, texts in zip(spec.columns, cells, strict=True):
        if column.dtype == "text":
            codes: dict[str, int] = {}
            columns[column.name] = np.fromiter(
                (codes.setdefault(text, len(codes)) for text in texts), np.int32, len(texts)
            )
            categories[column.name] = list(codes)
        elif column.dtype.startswith("f"):
            columns[column.name] = np.array([float(text or "nan") for text in texts])
        elif column.dtype.startswith("b"):
            columns[column.name] = np.array([text == "true" for text in texts])
        else:
            columns[column.name] = np.array([int(text) for text in texts], dtype=column.dtype)
    return StoredTable(spec, columns, categories)


def _absent_columns(spec: TableSpec, header: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the columns at the end of a table that an older version did not write: labels.

    Raises UserError E041 if the header differs in any other way.
    """
    names = spec.column_names()
    absent = names[len(header) :]
    if tuple(header) != names[: len(header)] or not set(absent) <= {"labels"}:
        raise _unreadable(path, "its columns are not those of this version")
    return absent


def _read_parquet(spec: TableSpec, path: Path) -> StoredTable:
    try:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(f"reading {path.name}", "parquet") from error
    table = pq.read_table(path)
    absent = _absent_columns(spec, table.column_names, path)
    columns: dict[str, npt.NDArray[Any]] = {}
    categories: dict[str, list[str]] = {}
    for column in spec.columns:
        if column.name in absent:
            columns[column.name] = np.zeros(table.num_rows, dtype=np.int32)
            categories[column.name] = [""]
            continue
        stored = table.column(column.name)
        if column.dtype == "text":
            array = stored.unify_dictionaries().combine_chunks()
            if hasattr(array, "chunks"):
                array = array.chunk(0)
            columns[column.name] = array.indices.to_numpy(zero_copy_only=False).astype(np.int32)
            categories[column.name] = array.dictionary.to_pylist()
        else:
            columns[column.name] = stored.to_numpy()
    return StoredTable(spec, columns, categories)


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(Problem(code="E041", message=why, file=str(path)))


class StoredRun:
    """A run directory: manifest, resolved experiment, summary and facts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_manifest(folder)
        self.facts = StoredFacts(folder / "facts")

    @property
    def has_facts(self) -> bool:
        """Whether the run wrote its fact tables."""
        return (self.folder / "facts").is_dir()

    def require_facts(self) -> StoredFacts:
        """Return the facts. Raises UserError if the run was told not to write them."""
        if not self.has_facts:
            raise UserError(Problem(
                code="E040", message="the run wrote no fact tables", file=str(self.folder),
                hint="run it again with outputs.facts: auto",
            ))  # fmt: skip
        return self.facts

    def json(self, name: str) -> Any:
        """Return a JSON file of the run."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def text(self, name: str) -> str:
        """Return a text file of the run."""
        return (self.folder / name).read_text(encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a run directory. Raises UserError E040, E041."""
    path = folder / _MANIFEST
    if not path.is_file():
        runs = find_runs(folder) if folder.is_dir() else []
        hint = f"one of its runs: {runs[0]}" if runs else "kubesim run writes such folders"
        raise UserError(
            Problem(code="E040", message=f"no {_MANIFEST} here", file=str(folder), hint=hint)
        )
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _unreadable(path, f"not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise _unreadable(path, "not a manifest")
    if manifest.get("results_schema") != RESULTS_SCHEMA:
        found = manifest.get("results_schema")
        raise _unreadable(path, f"results schema {found}, this version reads {RESULTS_SCHEMA}")
    absent = [key for key in _MANIFEST_KEYS if key not in manifest]
    if absent:
        raise _unreadable(path, f"damaged: no {', '.join(absent)} in it")
    return manifest


def open_run(path: str | Path) -> StoredRun:
    """Open a run directory, or the only run below a folder.

    Raises:
        UserError: there is no run, or there are several and none was chosen.
    """
    folder = Path(path)
    if (folder / _MANIFEST).is_file():
        return StoredRun(folder)
    runs = find_runs(folder) if folder.is_dir() else []
    if len(runs) == 1:
        return StoredRun(runs[0])
    if len(runs) > 1:
        shown = ", ".join(str(run) for run in runs[:5])
        raise UserError(Problem(
            code="E040", message=f"{len(runs)} runs below this folder: name one",
            file=str(folder), hint=shown,
        ))  # fmt: skip
    return StoredRun(folder)


def find_runs(folder: Path) -> list[Path]:
    """Return the run directories below a folder, sorted."""
    return sorted(
        found.parent for found in folder.glob("**/" + _MANIFEST)
        if not any(part.startswith(".") for part in found.relative_to(folder).parts)
    )  # fmt: skip


def read_summary(folder: Path) -> Iterator[SummaryRow]:
    """Yield the rows of a run's summary.csv."""
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield SummaryRow(
                row["metric"], row["labels"], row["stat"], row["unit"], float(row["value"]),
                int(row["n"]),
            )  # fmt: skip
