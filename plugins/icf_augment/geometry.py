"""Flips and random crops of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import icf
from icf_augment.draws import choose_images, draw_integers
from icf_augment.plugin import FlipParams, RandomCropParams

HEIGHT, WIDTH = -2, -1


@dataclass(frozen=True)
class Flip:
    """Mirrors some images along one axis."""

    axis: int
    p: float
    geometric = True
    any_device = True

    @property
    def deterministic(self) -> bool:
        """Tell whether all images are mirrored, or none."""
        return self.p in {0.0, 1.0}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 [N, C, H, W] with each image mirrored with probability p."""
        chosen = choose_images(len(images), self.p, generator).to(images.device)
        flipped = images.clone()
        flipped[chosen] = images[chosen].flip(self.axis)
        return flipped


def build_horizontal_flip(params: FlipParams, _ctx: icf.TransformContext) -> Flip:
    """Build the transform that mirrors left to right."""
    return Flip(WIDTH, params.p)


def build_vertical_flip(params: FlipParams, _ctx: icf.TransformContext) -> Flip:
    """Build the transform that mirrors top to bottom."""
    return Flip(HEIGHT, params.p)


@dataclass(frozen=True)
class RandomCrop:
    """Crops each padded image at its own random place, to one size (H, W)."""

    size: tuple[int, int]
    params: RandomCropParams
    geometric = True
    any_device = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 [N, C, *size]; raises PluginError for images that are too small."""
        self._check(images)
        count, channels, height, width = images.shape
        chosen = choose_images(count, self.params.p, generator)
        rows = self._draw_positions(height, self.size[0], chosen, generator).to(images.device)
        columns = self._draw_positions(width, self.size[1], chosen, generator).to(images.device)
        starts = torch.arange(count, device=images.device)[:, None] * height
        pixels = (starts + _reflect(rows, height))[:, :, None] * width + _reflect(columns, width)[:, None, :]
        # One gather over the pixels of all images; on channels_last memory the reshape copies nothing.
        flat = images.permute(0, 2, 3, 1).reshape(-1, channels)
        cropped = flat.index_select(0, pixels.flatten()).view(count, *self.size, channels)
        if self.params.mode == "zero":
            inside = _is_inside(rows, height)[:, :, None] & _is_inside(columns, width)[:, None, :]
            cropped *= inside[..., None]
        return cropped.permute(0, 3, 1, 2)

    def _draw_positions(self, side: int, target: int, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return the row (or column) of the image that each row of the crop shows, int64 [N, target]."""
        room = side + 2 * self.params.padding - target
        offsets = draw_integers(torch.full((len(chosen),), room), generator)
        offsets = torch.where(chosen, offsets, room // 2)
        return offsets[:, None] + torch.arange(target) - self.params.padding

    def _check(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        padding = self.params.padding
        if height + 2 * padding < self.size[0] or width + 2 * padding < self.size[1]:
            raise icf.PluginError(
                f"augment/random-crop: images of {height} x {width} pixels, padded by {padding}, are smaller than "
                f"the {self.size[0]} x {self.size[1]} that the network gets; raise padding or the size of the images"
            )
        if self.params.mode == "reflect" and padding >= min(height, width):
            raise icf.PluginError(
                f"augment/random-crop: padding = {padding} can't be mirrored from images of {height} x {width} "
                f'pixels; at most {min(height, width) - 1} is possible, or use mode = "zero"'
            )


def build_random_crop(params: RandomCropParams, ctx: icf.TransformContext) -> RandomCrop:
    """Build the crop to the size that the network gets."""
    return RandomCrop(ctx.image_size, params)


def _reflect(positions: Tensor, side: int) -> Tensor:
    """Mirror positions outside 0 to side - 1 at the edge pixel, which is not repeated."""
    last = side - 1
    return (last - (last - positions.abs()).abs()).clamp_(0, last)


def _is_inside(positions: Tensor, side: int) -> Tensor:
    return (positions >= 0) & (positions < side)
