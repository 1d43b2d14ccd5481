"""A mixer: a batch uint8 [N, C, H, W], its targets and a generator -> the mixed batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import icf
import torch

if TYPE_CHECKING:
    from icf_example.plugin import InterleaveParams


class Interleave:
    """Replaces every ``period``-th row of pixels by that of another image."""

    def __init__(self, params: InterleaveParams, ctx: icf.MixerContext) -> None:
        self.period = params.period

    def __call__(self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator) -> icf.Mixed:
        """Return the mixed batch; the weight is the share of rows that an image keeps."""
        partners = torch.randperm(len(images), generator=generator)
        mixed = images.clone()
        mixed[:, :, :: self.period] = images[partners.to(images.device)][:, :, :: self.period]
        height = images.shape[2]
        replaced = len(range(0, height, self.period))
        return icf.Mixed(images=mixed, partners=partners, weight=1 - replaced / height)
