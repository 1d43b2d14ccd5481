"""Metrics of the order in which probabilities put classes, or rows: float64 [N, K] and targets int64 [N] -> score.

They check their rows as the metrics of predicted classes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

import icf
from icf_metric.rows import PART_CELLS, checked, map_parts

if TYPE_CHECKING:
    from icf_metric.plugin import CutoffParams, RankedParams, TopKParams


def top_k(params: TopKParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the share of rows whose target is among the ``k`` most probable classes.

    Raises PluginError if every class is among them.
    """
    if params.k >= ctx.num_classes:
        raise icf.PluginError(f"k: with k = {params.k} of {ctx.num_classes} classes every row counts; use a smaller k")
    return _build_ranked(lambda ranks: (ranks <= params.k).astype(np.float64), ctx)


def mean_reciprocal_rank(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the mean of ``1 / rank`` of the target (Voorhees 1999)."""
    return _build_ranked(lambda ranks: 1 / ranks, ctx)


def mean_average_precision(params: CutoffParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build MAP@k of one right class in each row, whose average precision is ``1 / rank``, and 0 after rank ``k``."""
    return _build_ranked(lambda ranks: (ranks <= params.k) / ranks, ctx)


def discounted_gain(params: CutoffParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build NDCG@k of one right class in each row: ``1 / log2(1 + rank)``, and 0 after rank ``k``.

    Jarvelin and Kekalainen 2002; the ideal gain is 1, so there is nothing to divide by.
    """
    return _build_ranked(lambda ranks: (ranks <= params.k) / np.log2(1 + ranks), ctx)


def roc_auc(params: RankedParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the area under the ROC curve of each class against the others, averaged.

    It is the chance that a row of the class has a higher probability of it than another row, where equal ones count
    half (Hanley and McNeil 1982). A class that no row has, or all rows have, has none and is left out; if that is
    every class, the score is 0.5.
    """
    return checked(lambda *rows: _average(_one_roc_auc, params.average == "weighted", *rows), ctx.num_classes)


def average_precision(params: RankedParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the average precision of each class against the others, averaged.

    It is the mean, over the rows of the class, of the precision at their probability as threshold: the area under the
    precision-recall curve in steps, as scikit-learn has it. A class that no row has is left out.
    """
    return checked(lambda *rows: _average(_one_average_precision, params.average == "weighted", *rows), ctx.num_classes)


def _build_ranked(gain: Callable[[icf.IntArray], icf.FloatArray], ctx: icf.MetricContext) -> icf.MetricFunction:
    return checked(lambda *rows: float(np.mean(gain(rank_targets(*rows)))), ctx.num_classes)


def rank_targets(probabilities: icf.FloatArray, targets: icf.IntArray) -> icf.IntArray:
    """Return the rank of each row's target, int64 [N] from 1; of equal probabilities the first class is before."""
    return map_parts(_rank_targets, probabilities, targets)


def _rank_targets(probabilities: icf.FloatArray, targets: icf.IntArray) -> icf.IntArray:
    own = probabilities[np.arange(len(targets)), targets][:, None]
    earlier = np.arange(probabilities.shape[1]) < targets[:, None]
    before = (probabilities > own) | ((probabilities == own) & earlier)
    return np.asarray(1 + np.count_nonzero(before, axis=1), dtype=np.int64)


def _average(
    score: Callable[[icf.FloatArray, icf.FloatArray], float | None],
    by_rows: bool,
    probabilities: icf.FloatArray,
    targets: icf.IntArray,
) -> float:
    scores, weights = [], []
    for label, column in enumerate(_read_columns(probabilities)):
        own = column[targets[:, label] == 1 if targets.ndim == 2 else targets == label]
        value = score(own, column)
        if value is not None:
            scores.append(value)
            weights.append(len(own) if by_rows else 1)
    return float(np.average(scores, weights=weights)) if scores else 0.5


def _read_columns(probabilities: icf.FloatArray) -> Iterator[icf.FloatArray]:
    """Yield the probabilities of each class, [N]; of a large table, some columns are copied at a time."""
    step = max(1, PART_CELLS // len(probabilities))
    for start in range(0, probabilities.shape[1], step):
        yield from np.ascontiguousarray(probabilities[:, start : start + step].T)


def _one_roc_auc(own: icf.FloatArray, everyone: icf.FloatArray) -> float | None:
    others = len(everyone) - len(own)
    if not len(own) or not others:
        return None
    ordered = np.sort(everyone)
    # Twice the mean rank of equal values, less one: whole numbers, whose sum is exact.
    places = np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right")
    rank_sum = (int(places.sum()) + len(own)) / 2
    return (rank_sum - len(own) * (len(own) + 1) / 2) / (len(own) * others)


def _one_average_precision(own: icf.FloatArray, everyone: icf.FloatArray) -> float | None:
    if not len(own):
        return None
    own = np.sort(own)
    found = len(own) - np.searchsorted(own, own, "left")
    predicted = len(everyone) - np.searchsorted(np.sort(everyone), own, "left")
    return float(np.mean(found / predicted))
