"""A sampler: epoch -> positions of training rows, int64, in the order in which they are used."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import icf
import numpy as np

if TYPE_CHECKING:
    from icf_example.plugin import PartParams


def build_part(params: PartParams, ctx: icf.SamplerContext) -> icf.Sampling:
    """Build the sampler; an epoch has at least one row."""
    rows = len(ctx.targets)
    return partial(draw_part, rows, max(1, round(params.share * rows)), ctx.seed)


def draw_part(rows: int, count: int, seed: int, epoch: int) -> icf.IntArray:
    """Return ``count`` different positions below ``rows``, which depend on the seed and the epoch alone."""
    drawn = np.random.default_rng([seed, epoch]).permutation(rows)[:count]
    return drawn.astype(np.int64)
