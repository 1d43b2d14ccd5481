"""Metrics against scikit-learn and torchmetrics, on rows in which classes may be absent and probabilities equal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from torchmetrics.functional.retrieval import retrieval_average_precision

import icf
from icf.plugins import load_object, load_plugins
from icf_metric import plugin

Rows = tuple[icf.FloatArray, icf.IntArray]


def score(name: str, probabilities: icf.FloatArray, targets: icf.IntArray, **params: Any) -> float:
    [entry] = [entry for entry in load_plugins(only=["metric"]).entries("metric") if entry.descriptor.name == name]
    build = load_object(entry.descriptor.factory)
    function = build(entry.descriptor.params(**params), icf.MetricContext(num_classes=probabilities.shape[1]))
    value = function(probabilities, targets)
    assert type(value) is float
    return value


@st.composite
def rows(draw: st.DrawFn, max_rows: int = 60, ties: bool = True) -> Rows:
    classes, count = draw(st.integers(2, 9)), draw(st.integers(1, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    probabilities = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.1, 1.0, 50.0]))), count)
    if ties and draw(st.booleans()):
        probabilities = np.round(probabilities, 1)
    return probabilities, rng.integers(0, draw(st.integers(1, classes)), count)


def quiet(function: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*args, **kwargs))


@given(rows())
@settings(deadline=None)
def test_balanced_accuracy_is_scikit_learns(case: Rows) -> None:
    expected = quiet(sk.balanced_accuracy_score, case[1], case[0].argmax(axis=1))
    assert score("balanced-accuracy", *case) == pytest.approx(expected)


SCORES = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("name", SCORES)
@given(case=rows())
@settings(deadline=None, max_examples=30)
def test_averages_are_scikit_learns(name: str, average: str, case: Rows) -> None:
    labels = np.arange(case[0].shape[1])
    function = SCORES[name]
    expected = function(case[1], case[0].argmax(axis=1), labels=labels, average=average, zero_division=0)
    assert score(name, *case, average=average) == pytest.approx(expected)


@pytest.mark.parametrize("name", SCORES)
@given(case=rows())
@settings(deadline=None, max_examples=30)
def test_scores_of_one_class_are_scikit_learns(name: str, case: Rows) -> None:
    labels = np.arange(case[0].shape[1])
    function = SCORES[name]
    expected = function(case[1], case[0].argmax(axis=1), labels=labels, average=None, zero_division=0)
    assert [score(name, *case, of_class=label) for label in labels.tolist()] == pytest.approx(expected)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@given(case=rows())
@settings(deadline=None, max_examples=40)
def test_cohens_kappa_is_scikit_learns(weights: str, case: Rows) -> None:
    labels, chosen = np.arange(case[0].shape[1]), None if weights == "none" else weights
    predictions = case[0].argmax(axis=1)
    expected = quiet(sk.cohen_kappa_score, case[1], predictions, labels=labels, weights=chosen)
    # Where all rows and predictions are of one class, scikit-learn divides 0 by 0.
    expected = 1.0 if np.isnan(expected) else expected
    assert score("cohen-kappa", *case, weights=weights) == pytest.approx(expected, abs=1e-12)


@given(rows())
@settings(deadline=None)
def test_matthews_is_scikit_learns(case: Rows) -> None:
    expected = quiet(sk.matthews_corrcoef, case[1], case[0].argmax(axis=1))
    assert score("matthews", *case) == pytest.approx(expected, abs=1e-12)


def one_against_rest(function: Callable[..., Any], case: Rows, average: str, least_others: int) -> float | None:
    """Return scikit-learn's score of each class that has one, averaged."""
    probabilities, targets = case
    counts = np.bincount(targets, minlength=probabilities.shape[1])
    present = np.flatnonzero((counts > 0) & (len(targets) - counts >= least_others))
    scores = [function(targets == label, probabilities[:, label]) for label in present]
    return float(np.average(scores, weights=counts[present] if average == "weighted" else None)) if scores else None


@pytest.mark.parametrize("average", ["macro", "weighted"])
@given(case=rows())
@settings(deadline=None, max_examples=40)
def test_roc_auc_is_scikit_learns(average: str, case: Rows) -> None:
    expected = one_against_rest(sk.roc_auc_score, case, average, least_others=1)
    assert score("roc-auc", *case, average=average) == pytest.approx(0.5 if expected is None else expected)


@pytest.mark.parametrize("average", ["macro", "weighted"])
@given(case=rows())
@settings(deadline=None, max_examples=40)
def test_average_precision_is_scikit_learns(average: str, case: Rows) -> None:
    expected = one_against_rest(sk.average_precision_score, case, average, least_others=0)
    assert score("average-precision", *case, average=average) == pytest.approx(expected)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_curves_are_torchmetrics(average: Any) -> None:
    rng = np.random.default_rng(1)
    probabilities, targets = rng.dirichlet(np.ones(5), 300), np.arange(300) % 4 + (np.arange(300) % 7 == 0)
    outputs, labels = torch.from_numpy(probabilities), torch.from_numpy(targets)
    auc = tm.multiclass_auroc(outputs, labels, 5, average=average)
    precision = tm.multiclass_average_precision(outputs, labels, 5, average=average)
    assert score("roc-auc", probabilities, targets, average=average) == pytest.approx(auc.item(), rel=1e-5)
    assert score("average-precision", probabilities, targets, average=average) == pytest.approx(
        precision.item(), rel=1e-5
    )


@given(case=rows(ties=False), data=st.data())
@settings(deadline=None)
def test_top_k_is_scikit_learns(case: Rows, data: st.DataObject) -> None:
    classes = case[0].shape[1]
    k = data.draw(st.integers(1, classes - 1))
    outputs = case[0][:, 1] if classes == 2 else case[0]
    expected = quiet(sk.top_k_accuracy_score, case[1], outputs, k=k, labels=np.arange(classes))
    assert score("top-k", *case, k=k) == pytest.approx(expected)


@given(case=rows(), k=st.integers(1, 6))
@settings(deadline=None)
def test_ranks_follow_the_formulas(case: Rows, k: int) -> None:
    probabilities, targets = case
    # A stable sort puts the first of equal classes first, as argmax does.
    orders = [np.argsort(-row, kind="stable").tolist() for row in probabilities]
    ranks = [order.index(target) + 1 for order, target in zip(orders, targets, strict=True)]
    assert score("mrr", *case) == pytest.approx(np.mean([1 / rank for rank in ranks]))
    assert score("map", *case, k=k) == pytest.approx(np.mean([1 / rank if rank <= k else 0 for rank in ranks]))
    gains = [1 / np.log2(1 + rank) if rank <= k else 0 for rank in ranks]
    assert score("ndcg", *case, k=k) == pytest.approx(np.mean(gains))


@given(case=rows(ties=False), k=st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_ranking_metrics_are_those_of_libraries(case: Rows, k: int) -> None:
    probabilities, targets = case
    truth = np.eye(probabilities.shape[1])[targets]
    assert score("mrr", *case) == pytest.approx(sk.label_ranking_average_precision_score(truth, probabilities))
    assert score("ndcg", *case, k=k) == pytest.approx(sk.ndcg_score(truth, probabilities, k=k))
    outputs, labels = torch.from_numpy(probabilities), torch.from_numpy(truth).long()
    precisions = [
        retrieval_average_precision(row, label, top_k=k).item() for row, label in zip(outputs, labels, strict=True)
    ]
    assert score("map", *case, k=k) == pytest.approx(np.mean(precisions), rel=1e-5)


@given(rows(ties=False))
@settings(deadline=None)
def test_brier_is_scikit_learns(case: Rows) -> None:
    labels = np.arange(case[0].shape[1])
    outputs = case[0][:, 1] if len(labels) == 2 else case[0]
    expected = sk.brier_score_loss(case[1], outputs, labels=labels, scale_by_half=False)
    assert score("brier", *case) == pytest.approx(expected)


@given(case=rows(ties=False), bins=st.integers(1, 20))
@settings(deadline=None, max_examples=40)
def test_calibration_error_of_equal_widths_is_torchmetrics(case: Rows, bins: int) -> None:
    probabilities, targets = case
    outputs, labels = torch.from_numpy(probabilities), torch.from_numpy(targets)
    expected = tm.multiclass_calibration_error(outputs, labels, probabilities.shape[1], n_bins=bins, norm="l1")
    assert score("calibration-error", *case, bins=bins) == pytest.approx(expected.item(), abs=1e-5)


@given(case=rows(), bins=st.integers(1, 20))
@settings(deadline=None, max_examples=40)
def test_calibration_error_of_equal_masses_is_that_of_scikit_learns_bins(case: Rows, bins: int) -> None:
    probabilities, targets = case
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    edges = np.percentile(confidence, np.linspace(0, 1, bins + 1) * 100)
    places = np.searchsorted(edges[1:-1], confidence)
    # Where an edge is a row's own confidence, rounding decides on which side of it the row is.
    assume(
        np.array_equal(places, np.searchsorted(np.quantile(confidence, np.linspace(0, 1, bins + 1))[1:-1], confidence))
    )
    counts = np.bincount(places, minlength=bins)
    found, stated = calibration_curve(
        right, np.clip(confidence, 0, 1), n_bins=bins, strategy="quantile", pos_label=True
    )
    expected = np.sum(np.abs(found - stated) * counts[counts > 0]) / len(targets)
    assert score("calibration-error", *case, bins=bins, binning="mass") == pytest.approx(expected, abs=1e-9)


def test_a_calibrated_network_has_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 200_000)
    targets = (rng.random((200_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=2)
    for binning in ("width", "mass"):
        assert score("calibration-error", probabilities, targets, binning=binning) < 0.01
        assert score("calibration-error", probabilities**3, targets, binning=binning) > 0.1


@pytest.mark.parametrize("name", ["mae", "mse"])
@given(case=rows(ties=False))
@settings(deadline=None, max_examples=40)
def test_errors_of_ordered_classes_are_scikit_learns(name: str, case: Rows) -> None:
    probabilities, targets = case
    function = sk.mean_absolute_error if name == "mae" else sk.mean_squared_error
    values = np.linspace(-3, 80, probabilities.shape[1])
    assert score(name, *case) == pytest.approx(function(targets, probabilities.argmax(axis=1)))
    means = score(name, *case, values=tuple(values), prediction="mean")
    assert means == pytest.approx(function(values[targets], probabilities @ values), rel=1e-6)


NAMES = [metric.name for metric in plugin.icf_metrics()]


@pytest.mark.parametrize("name", NAMES)
@given(case=rows(max_rows=20))
@settings(deadline=None, max_examples=25)
def test_scores_stay_in_bounds(name: str, case: Rows) -> None:
    [descriptor] = [metric for metric in plugin.icf_metrics() if metric.name == name]
    params = {"k": 1} if name == "top-k" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = score(name, case[0] / case[0].sum(axis=1, keepdims=True), case[1], **params)
    assert descriptor.bounds[0] <= value <= descriptor.bounds[1]


@pytest.mark.parametrize("name", NAMES)
def test_bad_rows_are_named(name: str) -> None:
    params = {"k": 1} if name == "top-k" else {}
    with pytest.raises(icf.DataError, match="at least one row"):
        score(name, np.ones((0, 2)), np.zeros(0, np.int64), **params)
    with pytest.raises(icf.DataError, match="row 1: target 2 is no class"):
        score(name, np.full((2, 2), 0.5), np.array([0, 2]), **params)


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("f1", {"of_class": 3}, "there is no class 3; the data set's classes are 0 to 2"),
        ("top-k", {"k": 3}, "with k = 3 of 3 classes every row counts"),
        ("mae", {"values": (1.0, 2.0)}, "2 are given, but the data set has 3 classes"),
    ],
)
def test_parameters_that_do_not_fit_the_classes_are_told(name: str, params: dict[str, Any], words: str) -> None:
    with pytest.raises(icf.PluginError, match=words):
        score(name, np.full((2, 3), 1 / 3), np.array([0, 1]), **params)
