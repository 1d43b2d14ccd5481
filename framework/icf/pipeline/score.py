"""Scores: on all rows at once, with an interval from resampled groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icf.components import FloatArray, IntArray, MetricContext, MetricFunction
from icf.plan import Plan

RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return plain data."""
        return {"value": self.value, "low": self.low, "high": self.high}


def build_metrics(plan: Plan, num_classes: int) -> dict[str, MetricFunction]:
    """Return the plan's metrics by name, the one that selects the best epoch first."""
    context = MetricContext(num_classes=num_classes)
    return {choice.ref: choice.build(context) for choice in plan.metrics}


def score_rows(
    functions: Mapping[str, MetricFunction], probabilities: FloatArray, targets: IntArray
) -> dict[str, float]:
    """Return each metric over all rows."""
    return {name: float(function(probabilities, targets)) for name, function in functions.items()}


def bootstrap(
    functions: Mapping[str, MetricFunction],
    probabilities: FloatArray,
    targets: IntArray,
    groups: Sequence[str] | None,
    seed: int,
) -> dict[str, Interval]:
    """Return each metric with its 95 % percentile interval, resampling groups with replacement.

    Rows of one group (a person) are not independent, so a resample takes or leaves them together
    (Davison and Hinkley 1997, section 3.8: the cluster bootstrap); without groups it takes single rows.
    """
    generator = np.random.default_rng(seed)
    rows_of = _list_rows(groups, len(targets))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(RESAMPLES):
        rows = _resample(rows_of, generator, len(targets))
        for name, score in score_rows(functions, probabilities[rows], targets[rows]).items():
            samples[name].append(score)
    values = score_rows(functions, probabilities, targets)
    bounds = {name: np.quantile(samples[name], [0.025, 0.975]) for name in functions}
    return {name: Interval(values[name], float(low), float(high)) for name, (low, high) in bounds.items()}


def _list_rows(groups: Sequence[str] | None, count: int) -> list[IntArray] | None:
    if groups is None or len(set(groups)) == count:
        return None
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.cumsum(np.bincount(inverse))[:-1])


def _resample(rows_of: list[IntArray] | None, generator: np.random.Generator, count: int) -> IntArray:
    if rows_of is None:
        return generator.integers(count, size=count)
    drawn = generator.integers(len(rows_of), size=len(rows_of))
    return np.concatenate([rows_of[index] for index in drawn])


def count_confusion(probabilities: FloatArray, targets: IntArray, num_classes: int) -> IntArray:
    """Return how often a target (row) was predicted as a class (column), int64 [K, K]."""
    cells = targets * num_classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
