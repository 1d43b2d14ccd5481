"""Where pixels come from: a cache that is mapped into memory, or image files that are decoded each time."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from icf.components import IntArray, PixelArray
from icf.errors import BadImagesError, Problem
from icf.pipeline.cache import count_cores
from icf.pipeline.pixels.decode import UnreadableImageError
from icf.pipeline.pixels.lease import use
from icf.pipeline.pixels.reader import ImageReader
from icf.pipeline.pixels.threads import map_in_threads


class PixelSource(ABC):
    """Preprocessed pixels of any rows of one part of the data; several threads may read at once."""

    @abstractmethod
    def gather(self, rows: IntArray) -> torch.Tensor:
        """Return uint8 [B, H, W, C], which belongs to the caller."""

    def gather_for_training(self, rows: IntArray) -> torch.Tensor:
        """Return the same images as the transforms of training get them, which may ask for larger ones."""
        return self.gather(rows)


class TwoSizes(PixelSource):
    """The same images in the network's size, and larger ones of which random crops are taken."""

    def __init__(self, plain: PixelSource, large: PixelSource) -> None:
        self._plain = plain
        self._large = large

    def gather(self, rows: IntArray) -> torch.Tensor:
        """Return uint8 [B, H, W, C] of the network's size."""
        return self._plain.gather(rows)

    def gather_for_training(self, rows: IntArray) -> torch.Tensor:
        """Return larger images, uint8 [B, H', W', C]."""
        return self._large.gather(rows)


class MappedPixels(PixelSource):
    """A complete cache; pages are shared between processes, and the file is kept while this object lives."""

    def __init__(self, path: Path) -> None:
        weakref.finalize(self, use(path).close)
        self._pixels = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))

    def gather(self, rows: IntArray) -> torch.Tensor:
        """Return uint8 [B, H, W, C]."""
        # index_select is several times faster than fancy indexing.
        return self._pixels.index_select(0, torch.from_numpy(rows))


class DecodedPixels(PixelSource):
    """Images that are decoded whenever they are asked for, by the same code that fills caches."""

    def __init__(self, reader: ImageReader, unreadable: Collection[int] = ()) -> None:
        self._reader = reader
        self._unreadable = unreadable

    def gather(self, rows: IntArray) -> torch.Tensor:
        """Return uint8 [B, H, W, C]; images that were unreadable from the start are zero, as they are in a cache.

        Raises:
            BadImagesError: a file has become unreadable.
            PluginError: a shared transform failed.
        """
        pixels = np.zeros((len(rows), *self._reader.shape[1:]), np.uint8)
        for place, image in enumerate(map_in_threads(self._read, rows.tolist(), count_cores())):
            pixels[place] = image
        return torch.from_numpy(pixels)

    def _read(self, row: int) -> PixelArray | int:
        if row in self._unreadable:
            return 0
        try:
            return self._reader.read(row)[0]
        except UnreadableImageError as error:
            title = "an image could be read when the run began, and can't be read any more"
            raise BadImagesError(title, [Problem(str(self._reader.images[row]), str(error))]) from error
