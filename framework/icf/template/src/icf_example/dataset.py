"""A data set: images uint8 [N, H, W] that are drawn, with targets int64 [N]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import icf
import numpy as np

if TYPE_CHECKING:
    from icf_example.plugin import StripesParams


def draw_stripes(params: StripesParams, ctx: icf.DatasetContext) -> icf.DatasetContent:
    """Draw noise from 0 to 99, to which a stripe adds 100: a column for class 1, a row for class 0."""
    rng = np.random.default_rng(ctx.seed)
    targets = np.arange(params.rows, dtype=np.int64) % 2
    images = rng.integers(0, 100, (params.rows, params.side, params.side), dtype=np.uint8)
    for image, target, place in zip(images, targets, rng.integers(0, params.side, params.rows), strict=True):
        stripe = image[:, place] if target else image[place]
        stripe += 100
    ids = [f"{row:06d}" for row in range(params.rows)]
    samples = icf.Samples(ids=ids, images=images, targets=targets)
    return icf.DatasetContent(classes=("flat", "upright"), train=samples, notes=("drawn images",))
