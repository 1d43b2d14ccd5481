"""What is known of every image besides its pixels: a hash of them, the file's format, and what is wrong with it."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from icf.pipeline.files import write_bytes

Digests: TypeAlias = npt.NDArray[np.bytes_]
"""Hashes of 16 bytes, "S16" [N]; of a million images, a list of texts would take several times the memory."""


class ImageFacts(NamedTuple):
    """``digest`` is a hash of the pixels, empty where ``error`` says why there are none."""

    digest: bytes
    format: str
    error: str | None


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Equal images have equal ``digests``; ``formats`` are the files' true ones ("JPEG"), empty for an array's."""

    digests: Digests
    formats: tuple[str, ...]
    errors: dict[int, str]


class TableDraft:
    """A table that is filled row by row."""

    def __init__(self, rows: int) -> None:
        self._digests: Digests = np.zeros(rows, dtype="S16")
        self._formats: list[str] = []
        self._errors: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._formats)

    def append(self, facts: ImageFacts) -> None:
        """Add the next row."""
        row = len(self)
        self._digests[row] = facts.digest
        self._formats.append(sys.intern(facts.format))
        if facts.error is not None:
            self._errors[row] = facts.error

    def finish(self) -> ImageTable:
        """Return the table."""
        return ImageTable(self._digests, tuple(self._formats), self._errors)


def digest_pixels(pixels: np.ndarray) -> bytes:
    """Return a hash of one image, or of what was computed from it, 16 bytes."""
    # Processors have instructions for SHA-256, which make it twice as fast as BLAKE2.
    return sha256(np.ascontiguousarray(pixels).data).digest()[:16]


def write_image_table(path: Path, table: ImageTable) -> None:
    """Write a table atomically."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        digests=table.digests,
        formats=np.array(table.formats, dtype="S16"),
        rows=np.array(list(table.errors), dtype=np.int64),
        errors=np.array(list(table.errors.values()), dtype=np.str_),
    )
    write_bytes(path, buffer.getvalue())


def read_image_table(path: Path) -> ImageTable:
    """Read what ``write_image_table`` wrote."""
    with np.load(path, allow_pickle=False) as columns:
        formats = tuple(sys.intern(name.decode()) for name in columns["formats"].tolist())
        errors = dict(zip(columns["rows"].tolist(), columns["errors"].tolist(), strict=True))
        return ImageTable(columns["digests"], formats, errors)
