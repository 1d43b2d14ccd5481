"""Metrics of probabilities float64 [N, K] and targets int64 [N], all rows at once.

Each factory returns a function that takes both and returns the score. It raises DataError if there is
no row, if the shapes do not fit, if a target is no class, or if a probability is not a number. Of equal
probabilities in a row the first class counts as predicted, as numpy.argmax has it.
"""

from __future__ import annotations

from functools import partial

import numpy as np

import icf

SMALLEST_PROBABILITY = 1e-15

PART_CELLS = 10_000_000
"""Rows times classes that are copied at once, as float64 80 MB; a table may be larger than the memory."""


def accuracy(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the accuracy: the share of rows whose most probable class is the target."""
    return partial(_accuracy, num_classes=ctx.num_classes)


def macro_f1(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the macro F1: the unweighted mean over all K classes of ``2 tp / (2 tp + fp + fn)``.

    A class that is in neither the targets nor the predictions counts 0 and is still divided by, as
    scikit-learn has it with ``labels=range(K), zero_division=0``.
    """
    return partial(_macro_f1, num_classes=ctx.num_classes)


def log_loss(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the log loss: the mean of ``-log(p)`` of the target's probability ``p``, in nats.

    Probabilities are raised to at least 1e-15 and each row is divided by its sum first, so that one
    confident mistake costs 34.5 and not infinity.
    """
    return partial(_log_loss, num_classes=ctx.num_classes)


def _accuracy(probabilities: icf.FloatArray, targets: icf.IntArray, *, num_classes: int) -> float:
    _check(probabilities, targets, num_classes)
    return float(np.count_nonzero(probabilities.argmax(axis=1) == targets) / len(targets))


def _macro_f1(probabilities: icf.FloatArray, targets: icf.IntArray, *, num_classes: int) -> float:
    _check(probabilities, targets, num_classes)
    predictions = probabilities.argmax(axis=1)
    hits = np.bincount(targets[predictions == targets], minlength=num_classes)
    rows = np.bincount(targets, minlength=num_classes) + np.bincount(predictions, minlength=num_classes)
    # Where no row has the class, hits is 0 too, so any denominator makes its score 0.
    return float(np.mean(2 * hits / np.maximum(rows, 1)))


def _log_loss(probabilities: icf.FloatArray, targets: icf.IntArray, *, num_classes: int) -> float:
    _check(probabilities, targets, num_classes)
    losses, rows = np.empty(len(targets)), max(1, PART_CELLS // num_classes)
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)
        clipped = np.maximum(probabilities[part], SMALLEST_PROBABILITY)
        sums = clipped @ np.ones(num_classes)
        losses[part] = np.log(sums) - np.log(clipped[np.arange(len(clipped)), targets[part]])
    # Rounding can make a chosen probability of 1 exceed its row's sum by an ulp; a loss is not negative.
    return max(0.0, float(np.mean(losses)))


def _check(probabilities: icf.FloatArray, targets: icf.IntArray, num_classes: int) -> None:
    if len(targets) == 0:
        raise icf.DataError("a metric needs at least one row, and there is none")
    expected = (len(targets), num_classes)
    if probabilities.shape != expected:
        raise icf.DataError(f"probabilities have the shape {probabilities.shape}; {expected} is needed (rows, classes)")
    if targets.min() < 0 or targets.max() >= num_classes:
        row = int(np.flatnonzero((targets < 0) | (targets >= num_classes))[0])
        raise icf.DataError(f"row {row}: target {targets[row]} is no class; allowed are 0 to {num_classes - 1}")
    # One sum is many times faster than a test of every number, and no finite probabilities overflow it.
    if not np.isfinite(probabilities.sum()):
        bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
        raise icf.DataError(
            f"probabilities of {len(bad)} of {len(targets)} rows (first: {bad[0]}) are no finite numbers; "
            "training has probably diverged: lower the learning rate"
        )
