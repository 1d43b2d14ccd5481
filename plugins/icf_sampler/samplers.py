"""Samplers: epoch -> positions of training rows, int64 [rows of the epoch].

The order depends on the run's seed and the epoch alone, so an epoch that is resumed sees the same rows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import icf

if TYPE_CHECKING:
    from icf_sampler.plugin import BalancedParams


def shuffled(_params: icf.Params, ctx: icf.SamplerContext) -> icf.Sampling:
    """Build the sampler that visits each row once per epoch, in a new order each time."""
    return partial(_shuffle, len(ctx.targets), ctx.seed)


def balanced(params: BalancedParams, ctx: icf.SamplerContext) -> icf.Sampling:
    """Build the sampler that visits each class equally often.

    An epoch has ``epoch_size`` times as many rows as the fold, at least one. They are shared evenly by the
    classes that have rows; what can't be shared goes to classes chosen at random, one row each. Within a
    class no row is visited twice before each was visited once, so the visits of two rows of a class
    differ by at most one.
    """
    targets = np.asarray(ctx.targets)
    rows_of_classes = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    if not rows_of_classes:
        raise icf.DataError("balanced sampling needs at least one training row, and there is none")
    return partial(_balance, rows_of_classes, max(1, round(params.epoch_size * len(targets))), ctx.seed)


def _shuffle(rows: int, seed: int, epoch: int) -> icf.IntArray:
    return np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int64, copy=False)


def _balance(rows_of_classes: list[icf.IntArray], total: int, seed: int, epoch: int) -> icf.IntArray:
    rng = np.random.default_rng([seed, epoch])
    share, rest = divmod(total, len(rows_of_classes))
    quotas = rng.permutation(np.arange(len(rows_of_classes)) < rest) + share
    drawn = [_draw(rows, quota, rng) for rows, quota in zip(rows_of_classes, quotas.tolist(), strict=True)]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64, copy=False)


def _draw(rows: icf.IntArray, quota: int, rng: np.random.Generator) -> icf.IntArray:
    """Return all rows as often as they fit into the quota, and a random part of them for what is left."""
    cycles, rest = divmod(quota, len(rows))
    return np.concatenate([np.tile(rows, cycles), rng.permutation(rows)[:rest]])
