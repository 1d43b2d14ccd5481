"""Fits an image to a size: stretched, padded or cropped, by bilinear interpolation that averages what it shrinks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from icf.components import PixelArray

Mode = Literal["stretch", "pad", "crop"]

SPARE = 1.5
"""Source pixels per result pixel that decoding must leave: averaging is done here, not by the decoder."""


def fit(pixels: PixelArray, size: tuple[int, int], mode: Mode, extent: tuple[float, float] | None = None) -> PixelArray:
    """Return uint8 [*size, C] from uint8 [H, W, C].

    ``extent`` is the image's height and width in pixels, at most one less than H and W, where its last pixels are
    incomplete; taken as whole ones, they would stretch a small image by tenths.
    """
    extent = extent or pixels.shape[:2]
    return pixels if extent == size else _FIT[mode](pixels, extent, size)


def choose_reduction(given: tuple[int, int], size: tuple[int, int], mode: Mode) -> int:
    """Return by which power of two, 1 to 8, an image of (height, width) may be smaller before it is fitted."""
    ratios = given[0] / size[0], given[1] / size[1]
    spare = (max(ratios) if mode == "pad" else min(ratios)) / SPARE
    return max((reduction for reduction in (2, 4, 8) if reduction <= spare), default=1)


def _stretch(pixels: PixelArray, extent: tuple[float, float], size: tuple[int, int]) -> PixelArray:
    # The view is channels-last, for which torch has a kernel that works in bytes.
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    # What functional.interpolate calls: only here can both the size and the scale be given.
    scales = size[0] / extent[0], size[1] / extent[1]
    resized = torch.ops.aten._upsample_bilinear2d_aa(images, list(size), False, *scales)
    result: PixelArray = resized[0].permute(1, 2, 0).numpy()
    return result


def _pad(pixels: PixelArray, extent: tuple[float, float], size: tuple[int, int]) -> PixelArray:
    scale = min(size[0] / extent[0], size[1] / extent[1])
    height, width = (max(1, round(side * scale)) for side in extent)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas = np.zeros((*size, pixels.shape[2]), np.uint8)
    canvas[top : top + height, left : left + width] = _stretch(pixels, extent, (height, width))
    return canvas


def _crop(pixels: PixelArray, extent: tuple[float, float], size: tuple[int, int]) -> PixelArray:
    scale = max(size[0] / extent[0], size[1] / extent[1])
    box = size[0] / scale, size[1] / scale
    top, left = round((extent[0] - box[0]) / 2), round((extent[1] - box[1]) / 2)
    part = pixels[top : top + math.ceil(box[0]), left : left + math.ceil(box[1])]
    return _stretch(part, box, size)


_Fit = Callable[[PixelArray, tuple[float, float], tuple[int, int]], PixelArray]
_FIT: dict[str, _Fit] = {"stretch": _stretch, "pad": _pad, "crop": _crop}
