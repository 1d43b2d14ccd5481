"""One image, from its file or the data set's array to what the network's size asks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from icf.components import IntArray, PixelArray
from icf.pipeline.data.preprocess import Preprocessing, Preprocessor
from icf.pipeline.pixels.boxes import cut_box
from icf.pipeline.pixels.decode import to_pixels

Images: TypeAlias = "Sequence[Path] | PixelArray"
"""Files, or uint8 [N, H, W] or [N, H, W, C]."""


class ImageReader:
    """Reads preprocessed images; several threads may use it at once."""

    def __init__(self, images: Images, spec: Preprocessing, boxes: IntArray | None = None) -> None:
        self.images = images
        self.boxes = boxes
        self.shape = (len(images), *spec.image_size, spec.channels)
        self._spec = spec

    @cached_property
    def _preprocess(self) -> Preprocessor:
        return Preprocessor(self._spec)  # imports what the shared transforms need, for which a full cache has no use

    def read(self, row: int) -> tuple[PixelArray, str]:
        """Return uint8 [H, W, C], and the format of the file, "" for an array's.

        Raises:
            UnreadableImageError: the file holds no image that can be decoded, or nothing in its box.
            PluginError: a shared transform failed.
        """
        image = self.images[row]
        box = None if self.boxes is None else self.boxes[row]
        if isinstance(image, Path):
            return self._preprocess.read(image, box)
        pixels = _fit_channels(image, self._spec.channels)
        return self._preprocess(pixels if box is None else cut_box(pixels, box)), ""


def _fit_channels(image: PixelArray, channels: int) -> PixelArray:
    if image.shape[2:] == (channels,):
        return np.array(image)
    return to_pixels(Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image), channels)
