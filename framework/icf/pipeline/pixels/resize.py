"""Fits an image to a size: stretched, padded or cropped, by bilinear interpolation that averages what it shrinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import interpolate

from icf.components import PixelArray

Mode = Literal["stretch", "pad", "crop"]

SPARE = 1.5
"""Source pixels per result pixel that decoding must leave: averaging is done here, not by the decoder."""


def fit(pixels: PixelArray, size: tuple[int, int], mode: Mode) -> PixelArray:
    """Return uint8 [*size, C] from uint8 [H, W, C]."""
    return pixels if pixels.shape[:2] == size else _FIT[mode](pixels, *size)


def choose_reduction(given: tuple[int, int], size: tuple[int, int], mode: Mode) -> int:
    """Return by which power of two, 1 to 8, an image of (height, width) may be smaller before it is fitted."""
    ratios = given[0] / size[0], given[1] / size[1]
    spare = (max(ratios) if mode == "pad" else min(ratios)) / SPARE
    return max((reduction for reduction in (2, 4, 8) if reduction <= spare), default=1)


def _stretch(pixels: PixelArray, height: int, width: int) -> PixelArray:
    # The view is channels-last, for which torch has a kernel that works in bytes.
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = interpolate(images, (height, width), mode="bilinear", antialias=True)
    result: PixelArray = resized[0].permute(1, 2, 0).numpy()
    return result


def _pad(pixels: PixelArray, height: int, width: int) -> PixelArray:
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    inner_height, inner_width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    canvas = np.zeros((height, width, pixels.shape[2]), np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = _stretch(pixels, inner_height, inner_width)
    return canvas


def _crop(pixels: PixelArray, height: int, width: int) -> PixelArray:
    scale = max(height / pixels.shape[0], width / pixels.shape[1])
    box_height, box_width = (max(1, round(side / scale)) for side in (height, width))
    top, left = (pixels.shape[0] - box_height) // 2, (pixels.shape[1] - box_width) // 2
    return _stretch(pixels[top : top + box_height, left : left + box_width], height, width)


_FIT: dict[str, Callable[[PixelArray, int, int], PixelArray]] = {"stretch": _stretch, "pad": _pad, "crop": _crop}
