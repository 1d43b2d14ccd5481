"""Samplers: epoch -> positions of training rows, int64 [rows of the epoch].

The order depends on the run's seed and the epoch alone, so an epoch that is resumed sees the same rows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import icf

if TYPE_CHECKING:
    from icf_sampler.plugin import BalancedParams, OversampledParams, UndersampledParams, WeightedParams


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
    total = max(1, round(params.epoch_size * len(ctx.targets)))
    return partial(_balance, _group_rows(ctx, "balanced"), total, ctx.seed)


def weighted(params: WeightedParams, ctx: icf.SamplerContext) -> icf.Sampling:
    """Build the sampler that draws rows with replacement, each with a chance in proportion to its class's weight.

    An epoch has ``epoch_size`` times as many rows as the fold, at least one. Raises PluginError if the number of
    weights is not the number of classes, or if no training row has a weight above 0.
    """
    targets = np.asarray(ctx.targets)
    _group_rows(ctx, "weighted")
    weights = _choose_weights(params, ctx)[targets]
    if not weights.sum() > 0:
        raise icf.PluginError("class_weights: every class with training rows has the weight 0; raise one above it")
    total = max(1, round(params.epoch_size * len(targets)))
    return partial(_draw_weighted, np.cumsum(weights), total, ctx.seed)


def oversampled(params: OversampledParams, ctx: icf.SamplerContext) -> icf.Sampling:
    """Build the sampler of all rows, that repeats rows of classes with fewer than ``ratio`` times the most rows.

    Rows of a class are repeated equally often, but for one.
    """
    rows_of_classes = _group_rows(ctx, "over-sampled")
    least = round(params.ratio * max(map(len, rows_of_classes)))
    return partial(_draw_quotas, rows_of_classes, [max(len(rows), least) for rows in rows_of_classes], ctx.seed)


def undersampled(params: UndersampledParams, ctx: icf.SamplerContext) -> icf.Sampling:
    """Build the sampler that takes no more rows of a class than ``ratio`` times the fewest, others in each epoch."""
    rows_of_classes = _group_rows(ctx, "under-sampled")
    most = round(params.ratio * min(map(len, rows_of_classes)))
    return partial(_draw_quotas, rows_of_classes, [min(len(rows), most) for rows in rows_of_classes], ctx.seed)


def _group_rows(ctx: icf.SamplerContext, what: str) -> list[icf.IntArray]:
    """Return the positions of each class that has rows; raises DataError if none has."""
    targets = np.asarray(ctx.targets)
    rows_of_classes = [np.flatnonzero(targets == label) for label in np.unique(targets)]
    if not rows_of_classes:
        raise icf.DataError(f"{what} sampling needs at least one training row, and there is none")
    return rows_of_classes


def _choose_weights(params: WeightedParams, ctx: icf.SamplerContext) -> icf.FloatArray:
    """Return the weight of a row of each class, float64 [K]."""
    choice = params.class_weights
    if isinstance(choice, str):
        counts = np.bincount(ctx.targets, minlength=ctx.num_classes)
        return np.asarray(np.maximum(counts, 1) ** (-1.0 if choice == "balanced" else -0.5))
    if len(choice) != ctx.num_classes:
        raise icf.PluginError(
            f"class_weights: {len(choice)} weights are given, but the data set has {ctx.num_classes} classes; "
            "give one number per class, in the order of the classes, or 'balanced' or 'square-root'"
        )
    return np.array(choice, dtype=np.float64)


def _shuffle(rows: int, seed: int, epoch: int) -> icf.IntArray:
    return np.random.default_rng([seed, epoch]).permutation(rows).astype(np.int64, copy=False)


def _balance(rows_of_classes: list[icf.IntArray], total: int, seed: int, epoch: int) -> icf.IntArray:
    rng = np.random.default_rng([seed, epoch])
    share, rest = divmod(total, len(rows_of_classes))
    quotas = rng.permutation(np.arange(len(rows_of_classes)) < rest) + share
    return _join(rows_of_classes, quotas.tolist(), rng)


def _draw_quotas(rows_of_classes: list[icf.IntArray], quotas: list[int], seed: int, epoch: int) -> icf.IntArray:
    return _join(rows_of_classes, quotas, np.random.default_rng([seed, epoch]))


def _draw_weighted(cumulated: icf.FloatArray, total: int, seed: int, epoch: int) -> icf.IntArray:
    draws = np.random.default_rng([seed, epoch]).random(total) * cumulated[-1]
    return np.asarray(np.searchsorted(cumulated, draws, "right"), dtype=np.int64)


def _join(rows_of_classes: list[icf.IntArray], quotas: list[int], rng: np.random.Generator) -> icf.IntArray:
    drawn = [_draw(rows, quota, rng) for rows, quota in zip(rows_of_classes, quotas, strict=True)]
    return rng.permutation(np.concatenate(drawn)).astype(np.int64, copy=False)


def _draw(rows: icf.IntArray, quota: int, rng: np.random.Generator) -> icf.IntArray:
    """Return all rows as often as they fit into the quota, and a random part of them for what is left."""
    cycles, rest = divmod(quota, len(rows))
    return np.concatenate([np.tile(rows, cycles), rng.permutation(rows)[:rest]])
