"""An array that is being filled: a file that outlives its process, and a journal of the rows that are done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from icf.pipeline.pixels.journal import Journal, count_lines
from icf.pipeline.pixels.lease import hold
from icf.pipeline.pixels.room import CacheFiles
from icf.pipeline.pixels.table import TableDraft, digest_pixels

Progress: TypeAlias = Callable[[int, int], None]

WAIT_SECONDS = 1.0
"""How often a process that waits for another tells how far that one is."""


@contextlib.contextmanager
def take_turn(files: CacheFiles, total: int, progress: Progress) -> Iterator[None]:
    """Wait until no other process fills the same ``total`` rows, and keep others from it."""
    lock = FileLock(files.lock)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=WAIT_SECONDS)
        except Timeout:
            progress(min(count_lines(files.journal), total - 1), total)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def open_part(
    part: Path, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> Iterator[tuple[np.memmap[Any, Any], Journal]]:
    """Open what a killed process began, or begin; in the end the rows are on the disk.

    Only one process at a time may do so. The file's room on the disk is claimed first: a full disk would kill a
    process that writes to mapped memory.

    Raises:
        OSError: the disk has no room, or the file can't be written.
    """
    part.touch()
    with hold(part), Journal(journal_of(part)) as journal:
        array = _open_array(part, shape, np.dtype(dtype))
        _reserve(part)
        yield array, journal
        array.flush()
        _sync(part)


def recall(journal: Journal, array: np.ndarray) -> TableDraft:
    """Return what a killed process has done; a crash of the machine may have lost rows that were noted."""
    draft = TableDraft(len(array))
    for facts in journal.recall():
        row = len(draft)
        if row == len(array) or (facts.error is None and digest_pixels(array[row]) != facts.digest):
            break
        draft.append(facts)
    journal.forget_rest()
    return draft


def complete(files: CacheFiles) -> None:
    """Give a filled array its name."""
    files.part.replace(files.array)
    files.journal.unlink()


def discard(files: CacheFiles) -> None:
    """Remove an array that is not to be filled."""
    files.part.unlink(missing_ok=True)
    files.journal.unlink(missing_ok=True)


def journal_of(part: Path) -> Path:
    """Return the path of the journal of an array that is being filled."""
    return part.with_suffix(".journal")


def _open_array(part: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.memmap[Any, Any]:
    try:
        array = np.lib.format.open_memmap(part, mode="r+")
        if array.shape == shape and array.dtype == dtype:
            return array
    except (ValueError, OSError):  # not begun, or killed before its header was written
        pass
    return np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)


def _reserve(path: Path) -> None:
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
