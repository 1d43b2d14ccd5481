"""Checks of metrics."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from icf.components import FloatArray, IntArray, Metric, MetricContext, MetricFunction
from icf.errors import PluginError
from icf.plugins import load_object
from icf.testing.case import Case, CheckSkipped, expect

CLASSES = 4
ROWS = 60

CHOICES: dict[str, tuple[str | None, ...]] = {
    "average": ("macro", "micro", "weighted"),
    "multi_class": ("ovr", "ovo"),
    "weights": (None, "linear", "quadratic"),
}
"""Arguments that functions of scikit-learn need for more than two classes, and weights of their confusions."""


def build_metric(case: Case) -> MetricFunction:
    """Build the metric for CLASSES classes."""
    metric: MetricFunction = case.build(MetricContext(num_classes=CLASSES))
    return metric


def draw_rows(classes: int = CLASSES, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Return probabilities [ROWS, CLASSES], better than chance, and targets of the first ``classes`` classes."""
    rng = np.random.default_rng(seed)
    targets = np.arange(ROWS, dtype=np.int64) % classes
    logits = rng.normal(size=(ROWS, CLASSES)) + np.eye(CLASSES)[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probabilities, targets


def descriptor_of(case: Case) -> Metric:
    """Return the descriptor, which is a metric's."""
    assert isinstance(case.descriptor, Metric)  # noqa: S101
    return case.descriptor


def check_range(case: Case) -> None:
    """The score is one number within the metric's bounds, also if a class is absent and if all is right or wrong."""
    metric, (low, high) = build_metric(case), descriptor_of(case).bounds
    _, targets = draw_rows()
    situations = {
        "ordinary rows": draw_rows(),
        "rows without the last class": draw_rows(classes=CLASSES - 1),
        "rows that are all right": (np.eye(CLASSES)[targets], targets),
        "rows that are all wrong": (np.eye(CLASSES)[(targets + 1) % CLASSES], targets),
    }
    for name, (probabilities, labels) in situations.items():
        score = metric(probabilities, labels)
        expect(isinstance(score, int | float), f"{name}: the score is {type(score).__name__}, not a number")
        expect(low <= score <= high, f"{name}: {score:g} is outside {low:g} to {high:g}")


def check_row_order(case: Case) -> None:
    """The order of the rows does not matter, so parts can be joined in any order."""
    metric, (probabilities, targets) = build_metric(case), draw_rows()
    score = metric(probabilities, targets)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(ROWS)
        other = metric(probabilities[order], targets[order])
        expect(math.isclose(score, other, rel_tol=1e-9, abs_tol=1e-12), f"{score!r}, but {other!r} in another order")


def check_direction(case: Case) -> None:
    """``maximize`` says which scores are better: all right is at least as good as all wrong."""
    metric, (_, targets), maximize = build_metric(case), draw_rows(), descriptor_of(case).maximize
    right = metric(np.eye(CLASSES)[targets], targets)
    wrong = metric(np.eye(CLASSES)[(targets + 1) % CLASSES], targets)
    better = right > wrong if maximize else right < wrong
    expect(better, f"maximize is {maximize}, but all right scores {right:g} and all wrong {wrong:g}")


def check_reference(case: Case) -> None:
    """A metric that names a function of scikit-learn agrees with it."""
    reference = descriptor_of(case).reference or ""
    if not reference.startswith("sklearn.metrics."):
        no_function = f"its reference, {reference}, is no function of sklearn.metrics"
        raise CheckSkipped(no_function if reference else "it names no reference")
    try:
        function = load_object(":".join(reference.rsplit(".", 1)))
    except PluginError as error:
        raise CheckSkipped(str(error)) from None
    probabilities, targets = draw_rows()
    score = build_metric(case)(probabilities, targets)
    references = list(_call(function, probabilities, targets))
    if not references:
        raise CheckSkipped(f"{reference} can't be called with targets and classes or probabilities alone")
    shown = " or ".join(f"{value:g}" for value in references)
    expect(any(math.isclose(score, value, rel_tol=1e-6) for value in references), f"{score:g}; {reference}: {shown}")


def _call(function: Callable[..., Any], probabilities: FloatArray, targets: IntArray) -> Iterator[float]:
    """Call the reference in each way that may be meant: with classes or probabilities, targets in columns, CHOICES."""
    takes = inspect.signature(function).parameters
    choices = [[(name, value) for value in values] for name, values in CHOICES.items() if name in takes]
    columns = np.eye(probabilities.shape[1])[targets]
    rows = ((targets, probabilities.argmax(axis=1)), (targets, probabilities), (columns, probabilities))
    for (truth, predictions), *chosen in itertools.product(rows, *choices):
        try:
            yield float(function(truth, predictions, **dict(chosen)))
        except (TypeError, ValueError):
            continue


METRIC_CHECKS = (check_range, check_row_order, check_direction, check_reference)
