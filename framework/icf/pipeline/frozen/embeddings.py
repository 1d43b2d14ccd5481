"""Embeddings: what a frozen backbone makes of the images, in memory-mapped files that all folds and runs share."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from icf.components import IntArray
from icf.pipeline.files import digest, read_json
from icf.pipeline.folder import RunFolder
from icf.pipeline.frozen.views import choose_views
from icf.pipeline.pixels.lease import use
from icf.pipeline.training.tta import ViewTransform

PLAIN = "plain"
"""The array of images as they are."""

AUGMENTED = "augmented"
"""The array of a fixed number of augmented views: all rows of the first view, then all of the second, ..."""


class EmbeddingFiles(BaseModel):
    """Where the embeddings of a run are: files of arrays [rows of the pixel cache, ...], by what the backbone saw.

    ``dtype`` is torch's name of the number format; bfloat16, which numpy does not have, is stored as int16. ``length``
    is how many numbers an embedding has.
    ``views`` counts those of the array "augmented"; without it, training sees the plain images. ``dropout`` is the
    probability with which the network drops numbers of an embedding while its head is trained. ``fused``: the backbone
    ran with batch normalisation made part of its convolutions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    length: int
    dropout: float
    fused: bool = False
    views: int
    train: dict[str, Path]
    test: dict[str, Path]

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [*self.train.values(), *self.test.values()]

    @property
    def key(self) -> str:
        """A hash of everything that the embeddings depend on."""
        return digest([path.name for path in self.paths], self.dropout)


def read_embedding_files(folder: RunFolder) -> EmbeddingFiles | None:
    """Return the embeddings that a run's folds train on; None: they train on images."""
    if not folder.embeddings.exists():
        return None
    files = read_json(folder.embeddings)["files"]
    return None if files is None else EmbeddingFiles.model_validate(files)


class Embeddings:
    """What heads take for any rows of one pixel cache; the files are kept while this object lives."""

    def __init__(self, arrays: dict[str, Path], files: EmbeddingFiles, device: torch.device) -> None:
        for path in arrays.values():
            weakref.finalize(self, use(path).close)
        self._arrays = {name: _open(path, files.dtype) for name, path in arrays.items()}
        self._views = files.views
        self._device = device

    def read(self, rows: IntArray) -> torch.Tensor:
        """Return [B, ...] on the device, of images that are not augmented."""
        return self._gather(PLAIN, rows)

    def read_views(self, rows: IntArray, views: Sequence[ViewTransform]) -> Iterator[torch.Tensor]:
        """Yield what ``read`` returns, and then the same of each test-time view."""
        for name in (PLAIN, *(view.key for view in views)):
            yield self._gather(name, rows)

    def read_augmented(self, rows: IntArray, seed: int) -> torch.Tensor:
        """Return [B, ...] on the device; ``seed`` chooses one of the augmented views for each row."""
        if AUGMENTED not in self._arrays:
            return self.read(rows)
        count = len(self._arrays[AUGMENTED]) // self._views
        return self._gather(AUGMENTED, rows + count * choose_views(len(rows), self._views, seed))

    def _gather(self, name: str, positions: IntArray) -> torch.Tensor:
        found = self._arrays[name].index_select(0, torch.from_numpy(positions)).to(self._device, non_blocking=True)
        return found.contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found


def _open(path: Path, dtype: str) -> torch.Tensor:
    stored = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    return stored.view(getattr(torch, dtype))
