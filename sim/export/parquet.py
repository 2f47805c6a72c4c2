"""Parquet for large fact tables: zstd, dictionary-encoded text, meaning of every column inside."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sim.base.errors import MissingExtraError
from sim.metrics.facts_view import FactTable


def is_available() -> bool:
    """Whether pyarrow is installed (it is not imported)."""
    return importlib.util.find_spec("pyarrow") is not None


def write_table(table: FactTable, path: Path) -> None:
    """Write a fact table. Raises MissingExtraError without pyarrow."""
    if not is_available():
        raise MissingExtraError("writing Parquet", "parquet")
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    arrays, fields = [], []
    for column in table.spec.columns:
        values = table.column(column.name)
        if column.dtype == "text":
            array = pa.DictionaryArray.from_arrays(
                pa.array(values), pa.array(table.categories(column.name), pa.string())
            )
        else:
            array = pa.array(values)
        arrays.append(array)
        fields.append(pa.field(column.name, array.type, metadata={"meaning": column.meaning}))
    schema = pa.schema(fields, metadata={"meaning": table.spec.meaning})
    texts = [column.name for column in table.spec.columns if column.dtype == "text"]
    numbers = [column.name for column in table.spec.columns if column.dtype == "f8"]
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        path,
        compression="zstd",
        use_dictionary=texts,
        use_byte_stream_split=numbers,
    )
