"""Parquet for large fact tables: zstd, dictionary-encoded text, meaning of every column inside."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
        array = _array(table.column(column.name))
        if column.dtype == "text":
            texts = _text_array(table.categories(column.name))
            array = pa.DictionaryArray.from_arrays(array, texts)
        arrays.append(array)
        fields.append(pa.field(column.name, array.type, metadata={"meaning": column.meaning}))
    schema = pa.schema(fields, metadata={"meaning": table.spec.meaning})
    text_names = [column.name for column in table.spec.columns if column.dtype == "text"]
    number_names = [column.name for column in table.spec.columns if column.dtype == "f8"]
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        path,
        compression="zstd",
        use_dictionary=text_names,
        use_byte_stream_split=number_names,
    )


def _array(values: npt.NDArray[Any]) -> Any:
    """Return numbers as an array of Arrow's, made from its buffer.

    `pyarrow.array` would import pandas, which takes longer than writing a table.
    """
    import pyarrow as pa

    if values.dtype == np.bool_:  # a bit each
        buffer = pa.py_buffer(np.packbits(values, bitorder="little"))
    else:
        buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])


def _text_array(texts: Sequence[str]) -> Any:
    """Return texts as an array of Arrow's, made from its buffers."""
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    ends = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(item) for item in encoded], out=ends[1:])
    assert ends[-1] < 2**31, "more text than offsets of 32 bits can tell apart"
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))
    )
