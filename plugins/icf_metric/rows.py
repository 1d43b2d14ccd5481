"""What every metric expects of its rows, and tells where they are otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import icf

PART_CELLS = 10_000_000
"""Rows times classes that are copied at once, as float64 80 MB: a table may be larger than the memory."""


def checked(score: Callable[[icf.FloatArray, icf.IntArray], float], num_classes: int) -> icf.MetricFunction:
    """Return the metric that checks its rows before ``score`` sees them."""

    def function(probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
        check_rows(probabilities, targets, num_classes)
        return float(score(probabilities, targets))

    return function


def check_rows(probabilities: icf.FloatArray, targets: icf.IntArray, num_classes: int) -> None:
    """Raise DataError if there is no row, if shapes do not fit, or for a target or probability that can't be."""
    if len(targets) == 0:
        raise icf.DataError("a metric needs at least one row, and there is none")
    expected = (len(targets), num_classes)
    if probabilities.shape != expected:
        raise icf.DataError(f"probabilities have the shape {probabilities.shape}; {expected} is needed (rows, classes)")
    if targets.ndim == 2:
        if targets.shape != expected or ((targets != 0) & (targets != 1)).any():
            raise icf.DataError(f"labels must be 0 or 1, of the shape {expected} (rows, labels)")
    elif targets.min() < 0 or targets.max() >= num_classes:
        row = int(np.flatnonzero((targets < 0) | (targets >= num_classes))[0])
        raise icf.DataError(f"row {row}: target {targets[row]} is no class; allowed are 0 to {num_classes - 1}")
    # One sum is many times faster than a test of every number, and no finite probabilities overflow it.
    if not np.isfinite(probabilities.sum()):
        bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
        raise icf.DataError(
            f"probabilities of {len(bad)} of {len(targets)} rows (first: {bad[0]}) are no finite numbers; "
            "training has probably diverged: lower the learning rate"
        )


def map_parts(
    measure: Callable[[icf.FloatArray, icf.IntArray], np.ndarray], probabilities: icf.FloatArray, targets: icf.IntArray
) -> np.ndarray:
    """Return what ``measure`` says of each row, [N]; of a large table it gets some rows at a time."""
    rows = max(1, PART_CELLS // probabilities.shape[1])
    parts = [slice(start, start + rows) for start in range(0, len(targets), rows)]
    return np.concatenate([measure(probabilities[part], targets[part]) for part in parts])


def count_confusion(probabilities: icf.FloatArray, targets: icf.IntArray) -> icf.IntArray:
    """Return how often a target (row) was predicted as a class (column), int64 [K, K]."""
    classes = probabilities.shape[1]
    cells = targets * classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)
