"""Crops that every image of a data set gets alike."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

import icf
from icf_images.plugin import CentreCropParams


@dataclass(frozen=True)
class CentreCrop:
    """Keeps the middle of images; a side that is shorter than asked for stays as it is."""

    params: CentreCropParams
    geometric = True

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:  # noqa: ARG002
        """Return uint8 [N, C, H', W'], a part of the memory of ``images``."""
        top, bottom = self._choose(images.shape[2], 0)
        left, right = self._choose(images.shape[3], 1)
        return images[:, :, top:bottom, left:right]

    def _choose(self, side: int, axis: int) -> tuple[int, int]:
        """Return the first position that is kept, and the one after the last."""
        size, share = self.params.size, self.params.share
        kept = side if size is None else min(side, size[axis])
        kept = kept if share is None else max(1, round(side * share))
        first = round((side - kept) / 2)
        return first, first + kept


def build_centre_crop(params: CentreCropParams, _ctx: icf.TransformContext) -> CentreCrop:
    """Build the transform."""
    return CentreCrop(params)
