"""A transform: a batch uint8 [N, C, H, W] and a generator -> a batch uint8 [N, C, H, W]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import icf
import torch

if TYPE_CHECKING:
    from icf_example.plugin import InvertParams


class Invert:
    """Replaces each pixel by 255 minus it, in images that are chosen with probability ``p``."""

    def __init__(self, params: InvertParams, ctx: icf.TransformContext) -> None:
        self.p = params.p

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the changed batch; the generator is on the CPU, the images may be elsewhere."""
        chosen = torch.rand(len(images), generator=generator) < self.p
        return torch.where(chosen.to(images.device).view(-1, 1, 1, 1), 255 - images, images)
