"""Brightness and contrast of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import icf
from icf_augment.draws import choose_images, draw_uniform
from icf_augment.plugin import BrightnessContrastParams


@dataclass(frozen=True)
class BrightnessContrast:
    """Computes b * (m + c * (x - m)), with m the mean of the image and factors b and c drawn for each image."""

    params: BrightnessContrastParams
    any_device = True

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return uint8 [N, C, H, W], rounded and limited to 0-255."""
        count = len(images)
        chosen = choose_images(count, self.params.p, generator)
        brightness = self._draw_factors(self.params.brightness, chosen, generator).to(images.device)
        contrast = self._draw_factors(self.params.contrast, chosen, generator).to(images.device)
        pixels = images.float()
        mean = pixels.mean(dim=(1, 2, 3))
        scale = brightness * contrast
        shift = brightness * (1 - contrast) * mean
        changed = pixels.mul_(scale.view(-1, 1, 1, 1)).add_(shift.view(-1, 1, 1, 1))
        return changed.round_().clamp_(0, 255).to(torch.uint8)

    @staticmethod
    def _draw_factors(change: float, chosen: Tensor, generator: torch.Generator) -> Tensor:
        factors = draw_uniform(len(chosen), 1 - change, 1 + change, generator)
        return torch.where(chosen, factors, 1.0)


def build_brightness_contrast(params: BrightnessContrastParams, _ctx: icf.TransformContext) -> BrightnessContrast:
    """Build the transform."""
    return BrightnessContrast(params)
