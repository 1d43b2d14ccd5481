"""Files of the run folder: written whole or not at all, read without pickle."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from icf.components import FloatArray


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file of a temporary name, then rename it, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # By chance, since processes on two machines may have the same number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half written, in a folder and below it."""
    for path in list(folder.rglob(".*.tmp")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` atomically."""
    write_file(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; numbers must be finite."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file with a header, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a parquet file atomically."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: _to_arrow(values) for name, values in columns.items()}), sink)
    write_bytes(path, sink.getvalue().to_pybytes())


def _to_arrow(values: Any) -> pa.Array:
    """Return values as Arrow has them; numbers and strings by hand, since ``pa.array`` imports pandas."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        buffer = pa.py_buffer(np.ascontiguousarray(values))
        return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, buffer])
    if all(isinstance(value, str) for value in values):
        encoded = [value.encode() for value in values]
        ends = np.cumsum([0, *map(len, encoded)])
        if ends[-1] < 2**31:  # offsets of a column of strings have 32 bits
            return pa.StringArray.from_buffers(
                len(encoded), pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(encoded))
            )
    return pa.array(values)


def read_table(path: Path) -> dict[str, Any]:
    """Read a parquet file: numeric columns as numpy arrays, all others as lists."""
    with pq.ParquetFile(path) as file:  # pq.read_table imports pandas
        table = file.read()
    return {name: _to_column(table.column(name)) for name in table.column_names}


def _to_column(column: Any) -> Any:
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if not numeric or column.null_count:
        return column.to_pylist()
    empty = np.zeros(0, column.type.to_pandas_dtype())
    return np.concatenate([empty, *map(np.from_dlpack, column.chunks)])


def write_probabilities(
    path: Path, ids: Sequence[str], classes: Sequence[str], probabilities: FloatArray, **extra: Any
) -> None:
    """Write ids, ``extra`` columns, and one column ``p_<class>`` for each class."""
    columns: dict[str, Any] = {"id": list(ids), **extra}
    columns.update({f"p_{name}": probabilities[:, index] for index, name in enumerate(classes)})
    write_table(path, columns)


def read_probabilities(path: Path, classes: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Return ids and probabilities, float64 [N, K]."""
    table = read_table(path)
    columns = [np.asarray(table[f"p_{name}"], dtype=np.float64) for name in classes]
    return table["id"], np.stack(columns, axis=1)


def digest(*parts: object) -> str:
    """Return a short hash of bytes and JSON-able parts."""
    state = hashlib.sha256()
    for part in parts:
        if not isinstance(part, bytes):
            part = json.dumps(part, sort_keys=True).encode()
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()[:16]


def digest_strings(values: Iterable[str]) -> str:
    """Return a short hash of many strings, in their order."""
    state = hashlib.sha256()
    for value in values:
        state.update(value.encode(errors="surrogateescape") + b"\0")
    return state.hexdigest()[:16]
