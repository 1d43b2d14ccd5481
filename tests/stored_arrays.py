"""Embeddings for tests: arrays that are stored as the stage "embed" stores them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from icf.pipeline.frozen.storing import ArrayTask, store_arrays
from icf.pipeline.pixels.room import CacheFiles

BATCH = 3


def make_task(folder: Path, key: str, values: torch.Tensor, asked: list[int] | None = None) -> ArrayTask:
    """Return the task of storing ``values``; ``asked`` takes the first row of each batch that is computed."""

    def compute(done: int) -> Iterator[tuple[int, torch.Tensor]]:
        for start in range(done // BATCH * BATCH if done < len(values) else done, len(values), BATCH):
            if asked is not None:
                asked.append(start)
            yield start, values[start : start + BATCH]

    return ArrayTask(CacheFiles(folder, key), tuple(values.shape), values.dtype, compute)


def store(*tasks: ArrayTask, most: int = 10**9) -> None:
    """Store arrays that are not kept from being removed afterwards."""
    with contextlib.ExitStack() as leases:
        store_arrays(tasks, most, leases, lambda _done, _total: None)
