"""Parts of images, enlarged, and images made larger or smaller: the same for every image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

import icf
from icf_augment.plugin import CropParams, ScaleParams


@dataclass(frozen=True)
class Crop:
    """Shows a part of each image; ``place`` is how much of what is left out lies above it, and left of it, 0 to 1."""

    place: tuple[float, float]
    share: float
    deterministic = True
    geometric = True
    any_device = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 [N, C, H, W]: a window of round(share * H) by round(share * W) pixels, as large as the image."""
        del generator
        height, width = images.shape[-2:]
        rows, columns = max(1, round(self.share * height)), max(1, round(self.share * width))
        top, left = int(self.place[0] * (height - rows)), int(self.place[1] * (width - columns))
        return _to_levels(_resize(images[:, :, top : top + rows, left : left + columns], height, width))


@dataclass(frozen=True)
class Shrinking:
    """Shows each image smaller, in the middle of what is added around it."""

    factor: float
    mode: str
    deterministic = True
    geometric = True
    any_device = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 [N, C, H, W] with the image at round(factor * H) by round(factor * W) pixels."""
        del generator
        height, width = images.shape[-2:]
        small = _resize(images, max(1, round(self.factor * height)), max(1, round(self.factor * width)))
        top, left = (height - small.shape[-2]) // 2, (width - small.shape[-1]) // 2
        sides = (left, width - small.shape[-1] - left, top, height - small.shape[-2] - top)
        return _to_levels(functional.pad(small, sides, mode="constant" if self.mode == "zero" else self.mode))


PLACES = {
    "centre": (0.5, 0.5),
    "top-left": (0.0, 0.0),
    "top-right": (0.0, 1.0),
    "bottom-left": (1.0, 0.0),
    "bottom-right": (1.0, 1.0),
}


def build_crop(params: CropParams, _ctx: icf.TransformContext) -> Crop:
    """Build the crop at one place."""
    return Crop(PLACES[params.place], params.share)


def build_scale(params: ScaleParams, _ctx: icf.TransformContext) -> Crop | Shrinking:
    """Build what enlarges, or shrinks, about the centre."""
    if params.factor >= 1:
        return Crop(PLACES["centre"], 1 / params.factor)
    return Shrinking(params.factor, params.mode)


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    """Return float [N, C, height, width], bilinear; an image that gets smaller is smoothed as Pillow does."""
    if images.shape[-2:] == (height, width):
        return images.float()
    return functional.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)


def _to_levels(values: Tensor) -> Tensor:
    levels = values.round_().clamp_(0, 255).to(torch.uint8)
    return levels.contiguous(memory_format=torch.channels_last)
