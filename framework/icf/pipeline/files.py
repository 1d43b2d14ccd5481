"""Files of the run folder: written whole or not at all, read without pickle."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from icf.components import FloatArray
from icf.errors import IcfError
from icf.pipeline.disk import describe_full_disk, is_disk_full

PART_CELLS = 10_000_000
"""Rows times columns of a table that are in memory at once: 80 MB of float64."""


def write_file(path: Path, write: Callable[[Path], object], size: int = 0) -> None:
    """Let ``write`` fill a file of a temporary name, then rename it, so that a reader never sees half of it.

    Raises:
        DiskFullError: there is no room for it, or for its about ``size`` bytes; what was there is there still.
    """
    # By chance, since processes on two machines may have the same number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    # Libraries tell a full disk by errors of many types.
    except Exception as error:
        if is_disk_full(error):
            raise describe_full_disk(path, size) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed processes left half written, in a folder and below it."""
    for path in list(folder.rglob(".*.tmp")):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` atomically."""
    write_file(path, lambda temporary: temporary.write_bytes(content), len(content))


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
    table = _to_table(columns)
    write_file(path, lambda temporary: pq.write_table(table, temporary))


def _to_table(columns: Mapping[str, Any]) -> pa.Table:
    return pa.table({name: _to_arrow(values) for name, values in columns.items()})


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


def read_table(path: Path, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """Read a parquet file, or some of its columns: numeric ones as numpy arrays, all others as lists."""
    with pq.ParquetFile(path) as file:  # pq.read_table imports pandas
        table = file.read(columns)
    return {name: _to_column(table.column(name)) for name in table.column_names}


def _to_column(column: Any) -> Any:
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if not numeric or column.null_count:
        return column.to_pylist()
    empty = np.zeros(0, column.type.to_pandas_dtype())
    return np.concatenate([empty, *map(np.from_dlpack, column.chunks)])


def count_part_rows(columns: int) -> int:
    """Return how many rows of a table are handled at once, so that memory does not grow with the table."""
    return max(1, PART_CELLS // columns)


def make_table(rows: int, columns: int, folder: Path) -> FloatArray:
    """Return float64 [rows, columns], to be filled.

    One of more than a part is mapped from a file without a name in ``folder``, which is gone with the array: the system
    can take its memory back at any time.

    Raises:
        IcfError: the disk has no room for it.
    """
    if rows <= count_part_rows(columns):
        return np.empty((rows, columns))
    size = 8 * rows * columns
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            if hasattr(os, "posix_fallocate"):  # writing to mapped memory on a full disk would kill the process
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            needed = f"{rows:,} rows of {columns:,} probabilities need {size / 1e9:,.1f} GB"
            raise IcfError(f"{needed}, which {folder} can't hold: {error.strerror or error}") from error
        return np.asarray(np.memmap(file, np.float64, "w+", shape=(rows, columns)))


def write_probabilities(
    path: Path, ids: Sequence[str], classes: Sequence[str], probabilities: FloatArray, **extra: Any
) -> None:
    """Write ids, ``extra`` columns, and one column ``p_<class>`` for each class, in parts of bounded size."""
    rows = count_part_rows(len(classes))

    def choose(start: int) -> pa.Table:
        part = slice(start, start + rows)
        columns: dict[str, Any] = {"id": ids[part], **{name: values[part] for name, values in extra.items()}}
        by_class = np.ascontiguousarray(probabilities[part].T)
        return _to_table(columns | {f"p_{name}": values for name, values in zip(classes, by_class, strict=True)})

    def write(temporary: Path) -> None:
        first = choose(0)
        with pq.ParquetWriter(temporary, first.schema) as file:
            file.write_table(first)
            for start in range(rows, len(ids), rows):
                file.write_table(choose(start))

    write_file(path, write)


def read_parts(path: Path, classes: Sequence[str], rows: int | None = None) -> Iterator[FloatArray]:
    """Yield the probabilities of a file in parts, float64 [n, K] of at most ``rows`` rows, in order."""
    rows, left = rows or count_part_rows(len(classes)), np.empty((0, len(classes)))
    for part in _read_groups(path, [f"p_{name}" for name in classes], rows):
        left = np.concatenate([left, part]) if len(left) else part
        while len(left) >= rows:
            yield left[:rows]
            left = left[rows:]
    if len(left):
        yield left


def _read_groups(path: Path, names: Sequence[str], rows: int) -> Iterator[FloatArray]:
    """Yield the columns, one row group after the other: asked for all, pyarrow keeps what it has read to the end."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(rows, [group], columns=names):
                yield np.stack([np.from_dlpack(batch.column(name)) for name in names], axis=1)


def read_probabilities(path: Path, classes: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Return ids and probabilities, float64 [N, K]."""
    ids = read_table(path, ["id"])["id"]
    found, start = make_table(len(ids), len(classes), path.parent), 0
    for part in read_parts(path, classes):
        found[start : start + len(part)] = part
        start += len(part)
    return ids, found


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
