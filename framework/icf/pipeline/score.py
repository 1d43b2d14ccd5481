"""Scores: on all rows at once, with an interval from resampled groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icf.components import FloatArray, IntArray, MetricContext, MetricFunction
from icf.pipeline.products import build_metric
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
    return {choice.ref: build_metric(choice, context) for choice in plan.metrics}


def score_rows(
    functions: Mapping[str, MetricFunction], probabilities: FloatArray, targets: IntArray
) -> dict[str, float]:
    """Return each metric over all rows."""
    return {name: function(probabilities, targets) for name, function in functions.items()}


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
    unit_of = _number_units(groups, len(targets))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(RESAMPLES):
        rows = _resample(unit_of, generator)
        for name, score in score_rows(functions, probabilities.take(rows, axis=0), targets[rows]).items():
            samples[name].append(score)
    values = score_rows(functions, probabilities, targets)
    bounds = {name: np.quantile(samples[name], [0.025, 0.975]) for name in functions}
    return {name: Interval(values[name], float(low), float(high)) for name, (low, high) in bounds.items()}


def _number_units(groups: Sequence[str] | None, count: int) -> IntArray:
    """Return the number of each row's group, int64 [N]; without groups each row is one."""
    if groups is None:
        return np.arange(count)
    return np.unique(np.asarray(groups), return_inverse=True)[1]


def _resample(unit_of: IntArray, generator: np.random.Generator) -> IntArray:
    """Draw as many units as there are, with replacement; return their rows in ascending order, which reads fastest."""
    units = int(unit_of.max()) + 1
    times = np.bincount(generator.integers(units, size=units), minlength=units)
    return np.repeat(np.arange(len(unit_of)), times[unit_of])


def count_confusion(probabilities: FloatArray, targets: IntArray, num_classes: int) -> IntArray:
    """Return how often a target (row) was predicted as a class (column), int64 [K, K]."""
    cells = targets * num_classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
