"""The one description of how an image becomes network input: training, evaluation and inference share it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from icf.components import BatchTransform, IntArray, ModelInfo, PixelArray, TransformContext
from icf.errors import IcfError
from icf.pipeline.pixels.boxes import cut_box
from icf.pipeline.pixels.decode import decode_image
from icf.pipeline.pixels.resize import choose_reduction, fit
from icf.pipeline.results.products import build_transform
from icf.plan import Choice, Plan


class Preprocessing(BaseModel):
    """A crop to the row's box, shared transforms, resizing, normalisation, in this order; stored with the weights.

    ``boxes`` tells whether images are cropped to boxes, which belong to the rows. ``image_size`` is (height, width) in
    pixels; ``mean`` and ``std`` are per channel on the 0-1 scale, and None until they are known from the data.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: tuple[int, int]
    channels: int
    resize: Literal["stretch", "pad", "crop"]
    shared: tuple[Choice, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    boxes: bool = False

    def enlarge(self, scale: float) -> Preprocessing:
        """Return the same for images whose sides are so many times as long."""
        height, width = (round(side * scale) for side in self.image_size)
        return self.model_copy(update={"image_size": (height, width)})

    def context(self) -> TransformContext:
        """Return what transforms may know."""
        return TransformContext(image_size=self.image_size, channels=self.channels)


def describe_preprocessing(
    plan: Plan, info: ModelInfo, data_size: tuple[int, int] | None, boxes: bool = False
) -> Preprocessing:
    """Resolve sizes and statistics: the recipe's, else the model's, else the data's."""
    section = plan.recipe.transforms
    size = section.image_size or info.image_size or data_size or (224, 224)
    mean, std = section.mean or info.mean, section.std or info.std
    return Preprocessing(
        image_size=size,
        channels=section.channels,
        resize=section.resize,
        shared=plan.shared_transforms,
        mean=_fit_channels(mean, section.channels, "transforms.mean"),
        std=_fit_channels(std, section.channels, "transforms.std"),
        boxes=boxes,
    )


def _fit_channels(
    values: tuple[float, ...] | list[float] | None, channels: int, where: str
) -> tuple[float, ...] | None:
    if values is None or len(values) == channels:
        return None if values is None else tuple(values)
    if channels == 1:
        return (float(np.mean(values)),)
    raise IcfError(f"{where}: {len(values)} values for {channels} channels; give one value per channel")


class Preprocessor:
    """Applies the geometric part of a Preprocessing: uint8 [H, W, C] of any size -> uint8 [h, w, C]."""

    def __init__(self, spec: Preprocessing) -> None:
        self._spec = spec
        self._shared: list[BatchTransform] = [build_transform(c, spec.context()) for c in spec.shared]

    def __call__(self, pixels: PixelArray, extent: tuple[float, float] | None = None) -> PixelArray:
        """Return the preprocessed image; ``extent`` is its height and width in pixels where it does not fill them.

        Raises:
            PluginError: a shared transform failed, or returned something else than one image of uint8.
        """
        for transform in self._shared:
            pixels, extent = _apply_shared(transform, pixels), None
        return fit(pixels, self._spec.image_size, self._spec.resize, extent)

    def read(self, path: Path, box: IntArray | None = None) -> tuple[PixelArray, str]:
        """Return a file's preprocessed image, cropped to a box (left, top, right, bottom) first, and its true format.

        Raises:
            UnreadableImageError: the file holds no image that can be decoded, or nothing in its box.
            PluginError: a shared transform failed.
        """
        if box is not None:  # its pixels are those of the whole image at full size
            decoded = decode_image(path, self._spec.channels)
            return self(cut_box(decoded.pixels, box)), decoded.format
        image = decode_image(path, self._spec.channels, self._choose_reduction)
        return self(image.pixels, image.extent), image.format

    def _choose_reduction(self, given: tuple[int, int]) -> int:
        """Shared transforms see every pixel of the file."""
        return 1 if self._shared else choose_reduction(given, self._spec.image_size, self._spec.resize)


def _apply_shared(transform: BatchTransform, pixels: PixelArray) -> PixelArray:
    # A copy: pixels may belong to the data set, and transforms may work in place.
    batch = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    result = transform(batch, torch.Generator().manual_seed(0))
    return result[0].permute(1, 2, 0).numpy()


def measure_statistics(
    gather: Callable[[IntArray], torch.Tensor], rows: IntArray, most: int = 4096
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, 0-1 scale, over all pixels of ``most`` evenly spaced ``rows``.

    ``gather`` returns uint8 [B, H, W, C] for rows.
    The deviation is that of pixels, not of image means (a mistake that half of all teams made).
    """
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]
    levels = np.arange(256) / 255
    counts = np.zeros((gather(rows[:1]).shape[3], 256))
    for chosen in np.array_split(rows, -(-len(rows) // 32)):
        pixels = gather(chosen).numpy()
        for channel in range(len(counts)):
            counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
    share = counts / counts.sum(axis=1, keepdims=True)
    mean = share @ levels
    std = np.sqrt(np.maximum(share @ levels**2 - mean**2, 1e-6))
    return tuple(mean.round(4).tolist()), tuple(std.round(4).tolist())
