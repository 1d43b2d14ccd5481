"""Metrics of predicted classes: probabilities float64 [N, K] and targets int64 [N], all rows at once -> score.

Some also take labels, of which a row can have any number: targets int64 [N, K] of 0 and 1.

Each factory returns a function that takes both and returns the score. It raises DataError if there is
no row, if the shapes do not fit, if a target is no class, or if a probability is not a number. Of equal
probabilities in a row the first class counts as predicted, as numpy.argmax has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

import icf
from icf_metric.rows import checked, count_confusion

if TYPE_CHECKING:
    from icf_metric.plugin import AverageParams, KappaParams

THRESHOLD = 0.5
"""Probability from which on a label counts as predicted, where an image can have any number of them."""

Counts = tuple[icf.IntArray, icf.IntArray, icf.IntArray]
"""Of each class [K]: rows that are found, rows that have it, rows that are predicted as it."""


def accuracy(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the accuracy: the share of rows whose most probable class is the target; of labels, whose are all right."""
    return checked(_accuracy, ctx.num_classes)


def balanced_accuracy(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the mean recall of the classes that rows have (Brodersen et al. 2010)."""
    return checked(_balanced_accuracy, ctx.num_classes)


def macro_f1(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the macro F1: the unweighted mean over all K classes of ``2 tp / (2 tp + fp + fn)``.

    A class that is in neither the targets nor the predictions counts 0 and is still divided by, as
    scikit-learn has it with ``labels=range(K), zero_division=0``.
    """
    return checked(_macro_f1, ctx.num_classes)


def precision(params: AverageParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the precision ``tp / (tp + fp)``; PluginError for a class that there is not."""
    return _build_averaged("precision", params, ctx)


def recall(params: AverageParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the recall ``tp / (tp + fn)``; PluginError for a class that there is not."""
    return _build_averaged("recall", params, ctx)


def f1(params: AverageParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build F1, ``2 tp / (2 tp + fp + fn)``; PluginError for a class that there is not."""
    return _build_averaged("f1", params, ctx)


def cohen_kappa(params: KappaParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build Cohen's kappa: 1 minus the disagreement, divided by that of independent labels with the same counts.

    Cohen 1960, and 1968 for weights: classes i and j disagree by 1, ``|i - j|`` or ``(i - j)^2``. Where all rows
    have one class, which is predicted for all of them, it is 1.
    """
    places = np.arange(ctx.num_classes)
    distances = np.abs(places[:, None] - places).astype(np.float64)
    powers = {"none": (distances > 0).astype(np.float64), "linear": distances, "quadratic": distances**2}
    return checked(lambda *rows: _kappa(count_confusion(*rows), powers[params.weights]), ctx.num_classes)


def matthews(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the correlation of targets and predictions (Matthews 1975; of many classes, Gorodkin 2004, equation 8).

    It is 0 where all targets, or all predictions, are of one class.
    """
    return checked(lambda *rows: _matthews(count_confusion(*rows)), ctx.num_classes)


def _accuracy(probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
    if targets.ndim == 2:
        return float(((probabilities >= THRESHOLD) == targets).all(axis=1).mean())
    return np.count_nonzero(probabilities.argmax(axis=1) == targets) / len(targets)


def _balanced_accuracy(probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
    hits, rows, _ = _count(probabilities, targets)
    present = rows > 0
    return float(np.mean(hits[present] / rows[present]))


def _macro_f1(probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
    hits, rows, predicted = _count(probabilities, targets)
    # Where no row has the class, hits is 0 too, so any denominator makes its score 0.
    return float(np.mean(2 * hits / np.maximum(rows + predicted, 1)))


def _count(probabilities: icf.FloatArray, targets: icf.IntArray) -> Counts:
    if targets.ndim == 2:
        there = (probabilities >= THRESHOLD).astype(np.int64)
        return (there & targets).sum(axis=0), targets.sum(axis=0), there.sum(axis=0)
    classes = probabilities.shape[1]
    predictions = probabilities.argmax(axis=1)
    hits = np.bincount(targets[predictions == targets], minlength=classes)
    return hits, np.bincount(targets, minlength=classes), np.bincount(predictions, minlength=classes)


def _build_averaged(
    name: Literal["precision", "recall", "f1"], params: AverageParams, ctx: icf.MetricContext
) -> icf.MetricFunction:
    if params.of_class is not None and params.of_class >= ctx.num_classes:
        raise icf.PluginError(
            f"of_class: there is no class {params.of_class}; the data set's classes are 0 to {ctx.num_classes - 1}"
        )

    def score(probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
        counts = _count(probabilities, targets)
        if params.of_class is not None:
            return float(_divide(name, *counts)[params.of_class])
        if params.average == "micro":
            return float(_divide(name, *(count.sum(keepdims=True) for count in counts))[0])
        weights = counts[1] if params.average == "weighted" else None
        return float(np.average(_divide(name, *counts), weights=weights))

    return checked(score, ctx.num_classes)


def _divide(name: str, hits: icf.IntArray, rows: icf.IntArray, predicted: icf.IntArray) -> icf.FloatArray:
    """Return the score of each class, float64 [K]; 0 where that divides by 0, as zero_division=0 has it."""
    denominators = {"precision": predicted, "recall": rows, "f1": (rows + predicted) / 2}
    return np.asarray(hits / np.maximum(denominators[name], 0.5))


def _kappa(confusion: icf.IntArray, weights: icf.FloatArray) -> float:
    expected = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / confusion.sum()
    chance = float((weights * expected).sum())
    return 1 - float((weights * confusion).sum()) / chance if chance else 1.0


def _matthews(confusion: icf.IntArray) -> float:
    rows, predicted = confusion.sum(axis=1).astype(np.float64), confusion.sum(axis=0).astype(np.float64)
    total = confusion.sum()
    variances = (total**2 - predicted @ predicted) * (total**2 - rows @ rows)
    covariance = np.trace(confusion) * total - rows @ predicted
    return float(np.clip(covariance / np.sqrt(variances), -1, 1)) if variances > 0 else 0.0
