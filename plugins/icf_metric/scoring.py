"""Metrics of the probabilities themselves, and of the distance of ordered classes.

Probabilities float64 [N, K] and targets int64 [N] -> score; rows are checked as the metrics of predicted classes do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import icf
from icf_metric.rows import checked, map_parts

if TYPE_CHECKING:
    from icf_metric.plugin import CalibrationParams, OrdinalParams

SMALLEST_PROBABILITY = 1e-15


def log_loss(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the log loss: the mean of ``-log(p)`` of the target's probability ``p``, in nats.

    Probabilities are raised to at least 1e-15 and each row is divided by its sum first, so that one
    confident mistake costs 34.5 and not infinity. Of labels it is the mean of the binary log loss of each.
    """
    return checked(_log_loss, ctx.num_classes)


def brier(_params: icf.Params, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the Brier score: the mean over rows of ``sum_k (p_k - y_k)^2``, 0 to 2 (Brier 1950)."""
    return checked(_brier, ctx.num_classes)


def calibration_error(params: CalibrationParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the expected calibration error: the mean over rows of their bin's ``|accuracy - confidence|``.

    Naeini et al. 2015; Guo et al. 2017, equation 3. Confidence is the largest probability of a row. Bins are equally
    wide, or hold equally many rows (Nguyen and O'Connor 2015); equal confidences share a bin.
    """
    return checked(lambda *rows: _calibration_error(params, *rows), ctx.num_classes)


def mean_absolute_error(params: OrdinalParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the mean of ``|predicted value - target's value|``. Raises PluginError if values do not fit the classes."""
    values = _choose_values(params, ctx)
    return checked(lambda *rows: float(np.mean(np.abs(_find_errors(params, values, *rows)))), ctx.num_classes)


def mean_squared_error(params: OrdinalParams, ctx: icf.MetricContext) -> icf.MetricFunction:
    """Build the mean of ``(predicted value - target's value)^2``; PluginError if values do not fit the classes."""
    values = _choose_values(params, ctx)
    return checked(lambda *rows: float(np.mean(_find_errors(params, values, *rows) ** 2)), ctx.num_classes)


def _log_loss(probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
    # Rounding can make a chosen probability of 1 exceed its row's sum by an ulp; a loss is not negative.
    find = _find_losses if targets.ndim == 1 else _find_label_losses
    return max(0.0, float(np.mean(map_parts(find, probabilities, targets))))


def _find_label_losses(probabilities: icf.FloatArray, targets: icf.IntArray) -> icf.FloatArray:
    right = np.where(targets == 1, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.maximum(right, SMALLEST_PROBABILITY)).mean(axis=1))


def _find_losses(probabilities: icf.FloatArray, targets: icf.IntArray) -> icf.FloatArray:
    clipped = np.maximum(probabilities, SMALLEST_PROBABILITY)
    sums = clipped @ np.ones(probabilities.shape[1])
    return np.asarray(np.log(sums) - np.log(clipped[np.arange(len(targets)), targets]))


def _brier(probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
    chosen = probabilities[np.arange(len(targets)), targets]
    squares = np.einsum("nk,nk->n", probabilities, probabilities)
    # (p - 1)^2 in place of p^2 for the target.
    return max(0.0, float(np.mean(squares + 1 - 2 * chosen)))


def _calibration_error(params: CalibrationParams, probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    shares = np.linspace(0, 1, params.bins + 1)
    inner = (np.quantile(confidence, shares) if params.binning == "mass" else shares)[1:-1]
    places = np.searchsorted(inner, confidence, "left")
    gaps = np.bincount(places, weights=right - confidence, minlength=params.bins)
    return float(np.abs(gaps).sum() / len(targets))


def _choose_values(params: OrdinalParams, ctx: icf.MetricContext) -> icf.FloatArray:
    if params.values is None:
        return np.arange(ctx.num_classes, dtype=np.float64)
    if len(params.values) != ctx.num_classes:
        raise icf.PluginError(
            f"values: {len(params.values)} are given, but the data set has {ctx.num_classes} classes; "
            "give one number per class, in the order of the classes"
        )
    return np.array(params.values, dtype=np.float64)


def _find_errors(
    params: OrdinalParams, values: icf.FloatArray, probabilities: icf.FloatArray, targets: icf.IntArray
) -> icf.FloatArray:
    if params.prediction == "mean":
        return np.asarray(probabilities @ values - values[targets])
    return np.asarray(values[probabilities.argmax(axis=1)] - values[targets])
