from __future__ import annotations

import importlib
import time
import tracemalloc
import warnings
from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

import icf
from icf_metric import metrics, plugin, ranking, scoring

Builder: TypeAlias = Callable[[icf.Params, icf.MetricContext], icf.MetricFunction]
Rows: TypeAlias = tuple[icf.FloatArray, icf.IntArray]

BUILDERS: list[Builder] = [metrics.accuracy, metrics.macro_f1, scoring.log_loss]


def score(build: Builder, probabilities: icf.FloatArray, targets: icf.IntArray) -> float:
    value = build(icf.Params(), icf.MetricContext(num_classes=probabilities.shape[1]))(probabilities, targets)
    assert type(value) is float
    return value


@st.composite
def rows(draw: st.DrawFn, max_rows: int = 60) -> Rows:
    classes, count = draw(st.integers(2, 18)), draw(st.integers(1, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Concentrations far from 1 give classes that are never predicted, and sure predictions.
    probabilities = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.1, 1.0, 50.0]))), count)
    targets = rng.integers(0, draw(st.integers(1, classes)), count)
    return probabilities, targets


@pytest.mark.parametrize("build", [scoring.log_loss, ranking.mean_reciprocal_rank])
def test_a_large_table_is_scored_in_parts(monkeypatch: pytest.MonkeyPatch, build: Builder) -> None:
    rng = np.random.default_rng(0)
    probabilities, targets = rng.dirichlet(np.ones(50), 1000), rng.integers(0, 50, 1000)
    whole = score(build, probabilities, targets)
    monkeypatch.setattr("icf_metric.rows.PART_CELLS", 1000)
    tracemalloc.start()
    try:
        assert score(build, probabilities, targets) == pytest.approx(whole, rel=1e-14)
        assert tracemalloc.get_traced_memory()[1] < probabilities.nbytes / 8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("build", [ranking.roc_auc, ranking.average_precision])
def test_columns_of_a_large_table_are_read_in_parts(monkeypatch: pytest.MonkeyPatch, build: Any) -> None:
    rng = np.random.default_rng(0)
    probabilities, targets = rng.dirichlet(np.ones(50), 1000), rng.integers(0, 50, 1000)
    function = build(plugin.RankedParams(), icf.MetricContext(num_classes=50))
    whole = function(probabilities, targets)
    monkeypatch.setattr("icf_metric.ranking.PART_CELLS", 3000)
    tracemalloc.start()
    try:
        assert function(probabilities, targets) == whole
        assert tracemalloc.get_traced_memory()[1] < probabilities.nbytes / 2
    finally:
        tracemalloc.stop()


@given(rows())
@settings(deadline=None)
def test_accuracy_is_scikit_learns(case: Rows) -> None:
    probabilities, targets = case
    expected = sk.accuracy_score(targets, probabilities.argmax(axis=1))
    assert score(metrics.accuracy, *case) == pytest.approx(expected)


@given(rows())
@settings(deadline=None)
def test_macro_f1_is_scikit_learns_over_all_classes(case: Rows) -> None:
    probabilities, targets = case
    expected = sk.f1_score(
        targets,
        probabilities.argmax(axis=1),
        labels=np.arange(probabilities.shape[1]),
        average="macro",
        zero_division=0,
    )
    assert score(metrics.macro_f1, *case) == pytest.approx(expected)


@given(rows())
@settings(deadline=None)
def test_log_loss_is_scikit_learns(case: Rows) -> None:
    probabilities, targets = case
    clipped = np.maximum(probabilities, 1e-15)
    clipped /= clipped.sum(axis=1, keepdims=True)
    expected = sk.log_loss(targets, clipped, labels=np.arange(probabilities.shape[1]))
    assert score(scoring.log_loss, *case) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_all_agree_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(360) % 18
    probabilities = rng.dirichlet(np.ones(18), 360) + 0.3 * np.eye(18)[targets]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    outputs, labels = torch.from_numpy(probabilities), torch.from_numpy(targets)
    accuracy = tm.multiclass_accuracy(outputs, labels, 18, average="micro")
    macro_f1 = tm.multiclass_f1_score(outputs, labels, 18, average="macro")
    assert score(metrics.accuracy, probabilities, targets) == pytest.approx(accuracy.item())
    assert score(metrics.macro_f1, probabilities, targets) == pytest.approx(macro_f1.item())
    log_loss = torch.nn.functional.nll_loss(outputs.log(), labels)
    assert score(scoring.log_loss, probabilities, targets) == pytest.approx(log_loss.item())


def test_an_absent_class_counts_zero_and_is_divided_by() -> None:
    perfect = np.eye(4)[[0, 1, 0, 1]]
    assert score(metrics.macro_f1, perfect, np.array([0, 1, 0, 1])) == 0.5
    assert score(metrics.accuracy, perfect, np.array([0, 1, 0, 1])) == 1.0


def test_a_sure_mistake_costs_no_infinity_and_a_sure_hit_nothing() -> None:
    sure = np.array([[1.0, 0.0]])
    assert score(scoring.log_loss, sure, np.array([1])) == pytest.approx(-np.log(1e-15))
    assert 0 <= score(scoring.log_loss, sure, np.array([0])) < 1e-12


def test_log_loss_takes_rows_that_do_not_sum_to_one() -> None:
    assert score(scoring.log_loss, np.array([[2.0, 6.0]]), np.array([1])) == pytest.approx(-np.log(0.75))


@pytest.mark.parametrize("build", BUILDERS)
@given(rows(max_rows=20), st.randoms())
@settings(deadline=None, max_examples=25)
def test_scores_stay_in_bounds_and_do_not_depend_on_the_order(build: Builder, case: Rows, random: Random) -> None:
    probabilities, targets = case
    descriptor = next(m for m in plugin.icf_metrics() if m.factory.endswith(f":{build.__name__}"))
    value = score(build, probabilities, targets)
    assert descriptor.bounds[0] <= value <= descriptor.bounds[1]
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(targets))
    assert score(build, probabilities[order], targets[order]) == pytest.approx(value)


def test_errors_are_better_lower_and_scores_higher() -> None:
    lower = {m.name for m in plugin.icf_metrics() if not m.maximize}
    assert lower == {"log-loss", "brier", "calibration-error", "mae", "mse"}


@pytest.mark.parametrize("build", BUILDERS)
def test_bad_input_is_named(build: Builder) -> None:
    good = np.full((3, 2), 0.5)
    targets = np.array([0, 1, 1])
    with pytest.raises(icf.DataError, match="at least one row"):
        score(build, good[:0], targets[:0])
    with pytest.raises(icf.DataError, match=r"\(2, 2\); \(3, 2\) is needed"):
        score(build, good[:2], targets)
    for wrong in (2, -1):
        with pytest.raises(icf.DataError, match=f"row 1: target {wrong} is no class; allowed are 0 to 1"):
            score(build, good, np.array([0, wrong, 1]))
    for value in (np.nan, np.inf):
        broken = good.copy()
        broken[2, 0] = value
        with pytest.raises(icf.DataError, match=r"1 of 3 rows \(first: 2\) are no finite numbers"):
            score(build, broken, targets)


@pytest.mark.parametrize("build", BUILDERS)
def test_input_is_not_changed_and_nothing_is_warned_of(build: Builder) -> None:
    probabilities = np.eye(3)[[0, 1, 1, 2]]
    probabilities.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score(build, probabilities, np.array([0, 0, 1, 1]))


@pytest.mark.parametrize("build", BUILDERS)
def test_a_bootstrap_is_affordable(build: Builder) -> None:
    rng = np.random.default_rng(0)
    probabilities, targets = rng.dirichlet(np.ones(18), 20_000), rng.integers(0, 18, 20_000)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        score(build, probabilities, targets)
        times.append(time.perf_counter() - start)
    # About 0.001 s; the bound leaves room for a slow, busy machine and still refuses a loop over rows.
    assert min(times) < 0.01


@pytest.mark.parametrize("name", ["accuracy", "macro-f1", "precision", "recall", "f1", "roc-auc", "average-precision"])
def test_metrics_of_labels_are_those_of_scikit_learn(name: str) -> None:
    """A row can have any number of labels, none too."""
    [metric] = [found for found in plugin.icf_metrics() if found.name == name]
    assert metric.targets == ("classes", "labels")
    random = np.random.default_rng(3)
    y = random.integers(0, 2, (40, 4))
    p = np.clip(0.3 * y + 0.7 * random.random((40, 4)), 0, 1)
    module, function = metric.factory.split(":")
    build = getattr(importlib.import_module(module), function)
    found = build(metric.params(), icf.MetricContext(num_classes=4))(p, y)
    assert metric.reference is not None
    reference = getattr(sk, metric.reference.rpartition(".")[2])
    predicted = p if name in {"roc-auc", "average-precision"} else (p >= 0.5).astype(int)
    more = {} if name == "accuracy" else {"average": "macro"}
    assert found == pytest.approx(reference(y, predicted, **more))
