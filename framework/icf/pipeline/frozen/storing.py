"""Writes embeddings into the cache: room for all is claimed first, and one process computes what others wait for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from icf.errors import IcfError
from icf.pipeline.frozen.separation import InseparableError
from icf.pipeline.pixels.journal import Journal
from icf.pipeline.pixels.lease import use
from icf.pipeline.pixels.part import Progress, complete, discard, open_part, recall, take_turn
from icf.pipeline.pixels.room import CacheFiles, make_room
from icf.pipeline.pixels.table import ImageFacts, digest_pixels


@dataclass(frozen=True)
class ArrayTask:
    """An array to be stored, ``dtype`` [*shape].

    ``compute(done)`` yields batches of rows, each with the number of its first one, in order: all that are not among
    the first ``done`` rows, and perhaps some of those before them.
    """

    files: CacheFiles
    shape: tuple[int, ...]
    dtype: torch.dtype
    compute: Callable[[int], Iterator[tuple[int, torch.Tensor]]]

    @property
    def stored(self) -> np.dtype[np.generic]:
        """The number format in the file: numpy has no bfloat16, whose bits are stored as int16."""
        return np.dtype("int16" if self.dtype == torch.bfloat16 else str(self.dtype).removeprefix("torch."))

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def store_arrays(tasks: Sequence[ArrayTask], most: int, leases: contextlib.ExitStack, progress: Progress) -> None:
    """Compute the arrays that are not there yet; nobody removes any of them before ``leases`` ends.

    They share ``most`` bytes with decoded images. What a killed process has computed is kept.

    Raises:
        InseparableError: there is no room.
        IcfError: the folder can't be written to.
    """
    done = total = 0

    def tell(rows: int, of: int) -> None:
        progress(done + rows, total or of)

    with contextlib.ExitStack() as turns:
        # In the order of their keys: processes that want the same arrays would wait for each other otherwise.
        ordered = sorted(tasks, key=lambda task: task.files.key)
        absent = [task for task in ordered if not _find(task, turns, leases, tell)]
        total = sum(task.shape[0] for task in absent)
        try:
            with contextlib.ExitStack() as parts:
                for task, (array, journal) in _claim_room(absent, most, parts):
                    _fill(task, array, journal, tell)
                    leases.enter_context(use(task.files.part))
                    done += len(array)
        except Exception as error:
            for task in absent:
                discard(task.files)
            if isinstance(error, OSError):
                reason = f"{absent[0].files.folder} can't hold them: {error.strerror or error}"
                raise InseparableError(f"embeddings are not stored: {reason}") from error
            raise
        for task in absent:
            complete(task.files)


def _find(task: ArrayTask, turns: contextlib.ExitStack, leases: contextlib.ExitStack, progress: Progress) -> bool:
    """Hold an array that is there; else wait until nobody else computes it, and take the turn if it still is not."""
    files = task.files
    try:
        files.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            leases.enter_context(use(files.array))
            return True
        with contextlib.ExitStack() as turn:
            turn.enter_context(take_turn(files, task.shape[0], progress))
            with contextlib.suppress(FileNotFoundError):  # another process has just finished it
                leases.enter_context(use(files.array))
                return True
            turns.enter_context(turn.pop_all())
            return False
    except OSError as error:
        raise IcfError(
            f"can't write embeddings to {files.folder}: {error.strerror or error}; set the environment variable"
            ' ICF_CACHE to a folder that can be written to and has room, or compute.embeddings = "off"'
        ) from error


def _claim_room(
    tasks: Sequence[ArrayTask], most: int, parts: contextlib.ExitStack
) -> list[tuple[ArrayTask, tuple[np.ndarray, Journal]]]:
    """Open the files of all arrays, in their full size, before anything is computed."""
    begun = [task for task in tasks if task.files.part.exists()]
    new = [task for task in tasks if task not in begun]
    opened = [(task, _open(task, parts)) for task in begun]
    why = make_room(new[0].files.folder, sum(task.size for task in new), most) if new else ""
    if why:
        raise InseparableError(f"embeddings are not stored: {why}")
    return opened + [(task, _open(task, parts)) for task in new]


def _open(task: ArrayTask, parts: contextlib.ExitStack) -> tuple[np.ndarray, Journal]:
    return parts.enter_context(open_part(task.files.part, task.shape, task.stored))


def _fill(task: ArrayTask, array: np.ndarray, journal: Journal, progress: Progress) -> None:
    done = len(recall(journal, array))
    for start, values in task.compute(done):
        rows = (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()[done - start :]
        array[done : done + len(rows)] = rows
        for row in rows:
            journal.append(ImageFacts(digest_pixels(row), "", None))
        done += len(rows)
        progress(done, len(array))
