"""Scores: on all rows at once, with an interval from resampled groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from icf.components import FloatArray, IntArray, MetricContext, MetricFunction
from icf.errors import Problem, RecipeError
from icf.pipeline.data.attributes import ClassAttribute, find_attribute
from icf.pipeline.results.products import build_metric
from icf.plan import Choice, Plan

RESAMPLES = 1000

MOST_CELLS = 10_000_000
"""Rows times classes of a resample, as float64 80 MB; of a larger table each resample takes only a part."""


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return plain data."""
        return {"value": self.value, "low": self.low, "high": self.high}


def build_metrics(plan: Plan, attributes: Sequence[ClassAttribute]) -> dict[str, MetricFunction]:
    """Return the plan's metrics by name, the one that selects the best epoch first.

    Raises RecipeError for a metric of an attribute that the data set has not.
    """
    return {choice.key: _build_metric(choice, attributes) for choice in plan.metrics}


def _build_metric(choice: Choice, attributes: Sequence[ClassAttribute]) -> MetricFunction:
    """Return a metric of classes; one of an attribute gets the sums of the classes of each of its values."""
    if choice.attribute is None:
        return build_metric(choice, MetricContext(num_classes=len(attributes[0].of_class)))
    found = find_attribute(attributes, choice.attribute, f"metric '{choice.key}'")
    if isinstance(found, Problem):
        raise RecipeError("[metrics] does not fit the data set", [found])
    of_class = np.asarray(found.of_class)
    function = build_metric(choice, MetricContext(num_classes=len(found.values)))
    membership = np.eye(len(found.values))[of_class]

    def score(probabilities: FloatArray, targets: IntArray) -> float:
        return function(probabilities @ membership, of_class[targets])

    return score


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

    Of a table with more than MOST_CELLS cells, a resample takes m of the n groups, and its deviations shrink by the
    square root of m/n (Bickel, Goetze and van Zwet 1997: the m out of n bootstrap, for scores whose error falls with
    the root of n): time and memory do not grow with the table.
    """
    generator = np.random.default_rng(seed)
    unit_of = _number_units(groups, len(targets))
    units = int(unit_of.max()) + 1
    drawn = max(1, round(units * min(1.0, MOST_CELLS / probabilities.size)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(RESAMPLES):
        rows = _resample(unit_of, units, drawn, generator)
        for name, score in score_rows(functions, probabilities.take(rows, axis=0), targets[rows]).items():
            samples[name].append(score)
    values = score_rows(functions, probabilities, targets)
    return {name: _find_interval(values[name], samples[name], drawn / units) for name in functions}


def _find_interval(value: float, samples: Sequence[float], share: float) -> Interval:
    low, high = np.quantile(samples, [0.025, 0.975])
    if share == 1:
        return Interval(value, float(low), float(high))
    # Small resamples can be biased (a class that is absent counts 0), so only their spread is used.
    centre, shrunk = float(np.median(samples)), share**0.5
    return Interval(value, value + float(low - centre) * shrunk, value + float(high - centre) * shrunk)


def _number_units(groups: Sequence[str] | None, count: int) -> IntArray:
    """Return the number of each row's group, int64 [N], by sorted names; without groups each row is one."""
    if groups is None:
        return np.arange(count)
    places = {name: place for place, name in enumerate(sorted(set(groups)))}
    return np.fromiter(map(places.__getitem__, groups), np.int64, count)


def _resample(unit_of: IntArray, units: int, drawn: int, generator: np.random.Generator) -> IntArray:
    """Draw units with replacement; return their rows in ascending order, which reads fastest."""
    times = np.bincount(generator.integers(units, size=drawn), minlength=units)
    return np.repeat(np.arange(len(unit_of)), times[unit_of])


def describe_bootstrap(rows: int, classes: int, *, grouped: bool) -> str:
    """Say how the intervals of a table of so many rows and classes are made."""
    unit = "groups" if grouped else "rows"
    share = MOST_CELLS / (rows * classes)
    part = f", each of {share:.2g} of them" if share < 1 else ""
    return f"95 % percentile bootstrap, {RESAMPLES} resamples of {unit}{part}"


def count_confusion(probabilities: FloatArray, targets: IntArray, num_classes: int) -> IntArray:
    """Return how often a target (row) was predicted as a class (column), int64 [K, K]."""
    cells = targets * num_classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
