"""Which images these are: a hash of their content, wherever they lie; an unchanged file is not read again."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icf.components import PixelArray
from icf.pipeline.cache import count_cores
from icf.pipeline.files import digest
from icf.pipeline.pixels.threads import map_ordered

SETTLED_SECONDS = 2.0
"""A file that was changed less long ago may change again within the precision of its time."""

MOST_NOTES = 4_000_000
"""Notes of 32 bytes each; with more, all are forgotten."""

# The state last: a note that was torn is one of no file at all.
_NOTE = np.dtype([("content", "S16"), ("state", "S16")])

Hashes = npt.NDArray[np.bytes_]


def fingerprint(images: Sequence[Path] | PixelArray, notes: Path) -> str:
    """Return a hash of the images' content, in their order; ``notes`` is the file of contents that are known.

    Raises:
        OSError: the notes can't be read or written.
    """
    if isinstance(images, np.ndarray):
        return digest(list(images.shape), hashlib.sha256(np.ascontiguousarray(images).data).hexdigest())
    states = np.array([_describe_state(path) for path in images], dtype="S16")
    contents, known = _look_up(states, _read_notes(notes))
    unknown = np.flatnonzero(~known)
    started = time.time()
    hashed = map_ordered(lambda row: _hash_content(images[row]), unknown.tolist(), count_cores())
    for row, content in zip(unknown.tolist(), hashed, strict=True):
        contents[row] = content
    settled = [row for row in unknown.tolist() if _is_settled(images[row], started)]
    _append_notes(notes, states[settled], contents[settled])
    return digest(contents.tobytes())


def _describe_state(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        return _hash16(f"{error.errno}".encode())
    place = os.fsencode(path.absolute())
    return _hash16(place + f"|{status.st_size}|{status.st_mtime_ns}|{status.st_ino}".encode())


def _hash16(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]


def _hash_content(path: Path) -> bytes:
    """Return a hash of a file, or of the reason why there is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return _hash16(b"not a file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()[:16]
    except OSError as error:
        return _hash16(f"unreadable|{error.errno}".encode())


def _is_settled(path: Path, now: float) -> bool:
    try:
        return path.stat().st_mtime < now - SETTLED_SECONDS
    except OSError:
        return False


def _read_notes(path: Path) -> np.ndarray:
    if not path.exists():
        return np.zeros(0, _NOTE)
    whole = path.stat().st_size // _NOTE.itemsize
    return np.fromfile(path, _NOTE, count=min(whole, MOST_NOTES))


def _look_up(states: Hashes, notes: np.ndarray) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Return the content of each state, and whether it is known."""
    contents: Hashes = np.zeros(len(states), dtype="S16")
    if not len(notes):
        return contents, np.zeros(len(states), dtype=np.bool_)
    notes = notes[np.argsort(notes["state"], kind="stable")]
    places = np.minimum(np.searchsorted(notes["state"], states), len(notes) - 1)
    known = notes["state"][places] == states
    contents[known] = notes["content"][places[known]]
    return contents, known


def _append_notes(path: Path, states: Hashes, contents: Hashes) -> None:
    if not len(states):
        return
    added = np.zeros(len(states), _NOTE)
    added["state"], added["content"] = states, contents
    if path.exists() and path.stat().st_size > MOST_NOTES * _NOTE.itemsize:
        path.unlink(missing_ok=True)
    with path.open("ab") as file:
        # A process that was killed here may have left a part of a note.
        file.write(b"\0" * (-file.tell() % _NOTE.itemsize) + added.tobytes())
