"""Cutout and random erasing of a batch of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import icf
from icf_augment.draws import choose_images, draw_integers, draw_uniform
from icf_augment.plugin import ErasingParams

GREY = 128


@dataclass(frozen=True)
class Erasing:
    """Erases one place of some images.

    With ``size``, a square whose centre is any pixel, so that it may reach over the edge: cutout
    (DeVries and Taylor 2017, arXiv:1708.04552). Else a rectangle within the image: random erasing (Zhong et
    al. 2017, arXiv:1708.04896), its ratio drawn on a log scale; a side that would not fit is shortened.
    """

    params: ErasingParams
    any_device = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 [N, C, H, W] with one place of each chosen image erased."""
        count, channels, height, width = images.shape
        chosen = choose_images(count, self.params.p, generator)
        top, bottom, left, right = self._draw_boxes(count, height, width, generator)
        rows, columns = _cover(top, bottom, height), _cover(left, right, width)
        erased = (chosen[:, None, None] & rows[:, :, None] & columns[:, None, :]).to(images.device)
        if self.params.fill == "grey":
            return images.clone().masked_fill_(erased[:, None], GREY)
        changed = images.clone()
        noise = torch.randint(0, 256, (int(erased.sum()), channels), dtype=torch.uint8, generator=generator)
        changed.permute(0, 2, 3, 1)[erased] = noise.to(images.device)
        return changed

    def _draw_boxes(
        self, count: int, height: int, width: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return top, bottom, left and right of each image's box, int64 [N]; bottom and right are outside it."""
        size = self.params.size
        if size is not None:
            top = draw_integers(torch.full((count,), height - 1), generator) - size // 2
            left = draw_integers(torch.full((count,), width - 1), generator) - size // 2
            return top, top + size, left, left + size
        area = draw_uniform(count, *self.params.area, generator) * height * width
        low, high = self.params.ratio
        ratio = draw_uniform(count, math.log(low), math.log(high), generator).exp()
        heights = (area * ratio).sqrt().round().long().clamp(1, height)
        widths = (area / ratio).sqrt().round().long().clamp(1, width)
        top = draw_integers(height - heights, generator)
        left = draw_integers(width - widths, generator)
        return top, top + heights, left, left + widths


def build_erasing(params: ErasingParams, _ctx: icf.TransformContext) -> Erasing:
    """Build the transform."""
    return Erasing(params)


def _cover(first: Tensor, end: Tensor, side: int) -> Tensor:
    """Return which of ``side`` positions lie from ``first`` to before ``end``: bool [N, side]."""
    positions = torch.arange(side)
    return (positions >= first[:, None]) & (positions < end[:, None])
