"""Light and colour that every image of a data set gets alike: what the camera and the lamp did is taken out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

import icf
from icf_images.plugin import BrightnessContrastParams, ClaheParams

PIXELS = (1, 2, 3)
"""Dimensions of one image in a batch."""


@dataclass(frozen=True)
class Clahe:
    """Equalises histograms tile by tile, with a limit to contrast (CLAHE: Zuiderveld 1994, Graphics Gems IV).

    Of colour images, the lightness of CIE L*a*b* is changed, so that hues stay. OpenCV computes it.
    """

    params: ClaheParams

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return the changed batch, uint8 [N, C, H, W]."""
        rows = images.permute(0, 2, 3, 1).cpu().numpy()
        changed = np.stack([self._equalise(np.ascontiguousarray(row)) for row in rows])
        return torch.from_numpy(changed).permute(0, 3, 1, 2).to(images.device)

    def _equalise(self, image: icf.PixelArray) -> icf.PixelArray:
        rows, columns = self.params.tiles
        # Made anew: it keeps buffers, and threads share this transform.
        clahe = cv2.createCLAHE(clipLimit=self.params.clip_limit, tileGridSize=(columns, rows))
        if image.shape[2] == 1:
            return clahe.apply(image[:, :, 0])[:, :, None].astype(np.uint8)
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        lab[:, :, 0] = clahe.apply(lab[:, :, 0])
        return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).astype(np.uint8)


class GreyWorld:
    """Scales each channel so that all have the mean of their means (Buchsbaum 1980, J. Franklin Institute 310).

    What a scene reflects is taken to be grey on average, so that a tint of the mean is that of the light. A channel
    that is black everywhere stays so.
    """

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return the changed batch, uint8 [N, C, H, W], rounded and limited to 0-255."""
        pixels = images.double()
        means = pixels.mean(dim=(2, 3), keepdim=True)
        grey = means.mean(dim=1, keepdim=True)
        scale = torch.where(means > 0, grey / means, 1.0)
        return _to_levels(pixels.mul_(scale))


@dataclass(frozen=True)
class BrightnessContrast:
    """Computes c * (x - m) / s + b, with m the mean and s the standard deviation of all values of an image.

    An image of one level everywhere gets the level b.
    """

    params: BrightnessContrastParams

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Return the changed batch, uint8 [N, C, H, W], rounded and limited to 0-255."""
        pixels = images.double()
        mean = pixels.mean(dim=PIXELS, keepdim=True)
        deviation = pixels.std(dim=PIXELS, keepdim=True, correction=0)
        scale = torch.where(deviation > 0, self.params.contrast / deviation, 0.0)
        return _to_levels(pixels.sub_(mean).mul_(scale).add_(self.params.brightness))


def _to_levels(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)


def build_clahe(params: ClaheParams, _ctx: icf.TransformContext) -> Clahe:
    """Build the transform."""
    return Clahe(params)


def build_grey_world(_params: icf.Params, _ctx: icf.TransformContext) -> GreyWorld:
    """Build the transform."""
    return GreyWorld()


def build_brightness_contrast(params: BrightnessContrastParams, _ctx: icf.TransformContext) -> BrightnessContrast:
    """Build the transform."""
    return BrightnessContrast(params)
