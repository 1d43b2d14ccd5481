"""Losses against the formulas of their papers in numpy, and against timm and scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import brentq
from sklearn.metrics import f1_score
from timm.loss import AsymmetricLossMultiLabel
from torch.nn import functional

import icf
from icf.errors import RecipeError
from icf.pipeline.data.labels import check_kind
from icf.plan import load_plan
from icf_loss import imbalance, margins, plugin, robust
from icf_loss.losses import cross_entropy, focal
from icf_loss.plugin import CrossEntropyParams, FocalParams
from icf_loss.weights import effective_weights

COUNTS = np.array([500, 40, 7])
CONTEXT = icf.LossContext(num_classes=3, class_counts=COUNTS, epochs=10)
ROWS = 16

seeds = st.integers(0, 1000)
Batch = tuple[torch.Tensor, torch.Tensor]


def batch(seed: int = 0, classes: int = 3, scale: float = 3.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(ROWS, classes, generator=generator)
    return logits, torch.randint(classes, (ROWS,), generator=generator)


def softmax(logits: Any) -> icf.FloatArray:
    exponentials = np.exp(np.asarray(logits, dtype=np.float64))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@given(seeds, st.integers(2, 8))
@settings(deadline=None, max_examples=30)
def test_soft_f1_follows_the_formula(seed: int, classes: int) -> None:
    logits, targets = batch(seed, classes)
    probabilities, labels = softmax(logits), targets.numpy()
    scores = []
    for label in np.unique(labels):
        hits = probabilities[labels == label, label].sum()
        false_positives = probabilities[labels != label, label].sum()
        false_negatives = (1 - probabilities[labels == label, label]).sum()
        scores.append(2 * hits / (2 * hits + false_positives + false_negatives))
    assert imbalance.SoftF1()(logits, targets).item() == pytest.approx(1 - np.mean(scores), abs=1e-5)


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_soft_f1_of_sure_predictions_is_scikit_learns(seed: int) -> None:
    logits, targets = batch(seed, classes=5, scale=1e8)
    labels = np.unique(targets)
    expected = f1_score(targets, logits.argmax(dim=1), labels=labels, average="macro", zero_division=0)
    assert 1 - imbalance.SoftF1()(logits, targets).item() == pytest.approx(expected, abs=1e-5)


@given(seeds, st.sampled_from([0.0, 0.9, 0.999, 0.9999]), st.sampled_from([0.0, 0.5, 2.0]))
@settings(deadline=None, max_examples=30)
def test_class_balanced_follows_the_paper(seed: int, beta: float, gamma: float) -> None:
    logits, targets = batch(seed)
    weights = (1 - beta) / (1 - beta**COUNTS)
    weights *= 3 / weights.sum()
    own = softmax(logits)[np.arange(ROWS), targets]
    expected = np.mean(weights[targets] * (1 - own) ** gamma * -np.log(own))
    loss = imbalance.class_balanced(plugin.ClassBalancedParams(beta=beta, gamma=gamma), CONTEXT)
    assert loss(logits, targets).item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_effective_weights_lie_between_equal_ones_and_the_inverse_counts() -> None:
    np.testing.assert_allclose(effective_weights(COUNTS, 0.0), 1)
    near = effective_weights(COUNTS, 1 - 1e-12).numpy()
    np.testing.assert_allclose(near, 3 / COUNTS / (1 / COUNTS).sum(), rtol=1e-5)
    assert effective_weights(np.array([3, 0]), 0.9).isfinite().all()


def ldam_of_paper(logits: torch.Tensor, targets: torch.Tensor, scale: float, margin: float) -> icf.FloatArray:
    margins_of_classes = margin * (COUNTS / COUNTS.min()) ** -0.25
    lowered = logits.double().numpy()
    lowered[np.arange(ROWS), targets] -= scale * margins_of_classes[targets]
    return np.asarray(-np.log(softmax(lowered)[np.arange(ROWS), targets]))


@given(seeds, st.floats(0.1, 2), st.sampled_from([1.0, 30.0]))
@settings(deadline=None, max_examples=30)
def test_ldam_follows_the_paper(seed: int, margin: float, scale: float) -> None:
    logits, targets = batch(seed)
    loss = margins.ldam(plugin.LDAMParams(max_margin=margin, scale=scale), CONTEXT)
    expected = ldam_of_paper(logits, targets, scale, margin).mean()
    assert loss(logits, targets).item() == pytest.approx(expected, rel=1e-4)


def test_ldam_weighs_rows_from_an_epoch_on() -> None:
    logits, targets = batch()
    loss: Any = margins.ldam(plugin.LDAMParams(weighted_from=0.75, beta=0.99), CONTEXT)
    losses = ldam_of_paper(logits, targets, 1.0, 0.5)
    weights = ((1 - 0.99) / (1 - 0.99**COUNTS))[targets]
    found = []
    for epoch in range(10):
        loss.start_epoch(epoch)
        found.append(loss(logits, targets).item())
    plain, weighted = losses.mean(), (weights * losses).sum() / weights.sum()
    assert found == pytest.approx([plain] * 8 + [weighted] * 2, rel=1e-4)
    assert abs(plain - weighted) > 0.01


@given(seeds, st.floats(0, 1), st.floats(0, 2), st.floats(-10, -0.1))
@settings(deadline=None, max_examples=30)
def test_symmetric_cross_entropy_follows_the_paper(seed: int, alpha: float, beta: float, log_zero: float) -> None:
    logits, targets = batch(seed)
    p, q = softmax(logits), np.eye(3)[targets]
    log_q = np.where(q > 0, 0, log_zero)
    expected = np.mean(alpha * -(q * np.log(p)).sum(axis=1) + beta * -(p * log_q).sum(axis=1))
    loss = robust.symmetric(plugin.SymmetricParams(alpha=alpha, beta=beta, log_zero=log_zero), CONTEXT)
    assert loss(logits, targets).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def exp_t(values: icf.FloatArray, t: float) -> icf.FloatArray:
    return np.exp(values) if t == 1 else np.maximum(1 + (1 - t) * values, 0) ** (1 / (1 - t))


def log_t(values: icf.FloatArray, t: float) -> icf.FloatArray:
    with np.errstate(divide="ignore"):
        return np.log(values) if t == 1 else (values ** (1 - t) - 1) / (1 - t)


def tempered_softmax(row: icf.FloatArray, t: float) -> icf.FloatArray:
    top = row.max()
    largest = top - log_t(np.array(1 / len(row)), t)
    norm = brentq(lambda norm: exp_t(row - norm, t).sum() - 1, top, float(largest) + 1e-9, xtol=1e-13)
    return exp_t(row - norm, t)


@given(seeds, st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.sampled_from([1.0, 1.01, 1.2, 2.0, 4.0]), st.integers(2, 40))
@settings(deadline=None, max_examples=60)
def test_bi_tempered_follows_the_paper(seed: int, t1: float, t2: float, classes: int) -> None:
    logits, targets = batch(seed, classes, scale=8)
    smoothing = 0.1
    wanted = np.eye(classes)[targets] * (1 - smoothing) + smoothing / classes
    p = np.stack([tempered_softmax(row, t2) for row in logits.double().numpy()])
    terms = wanted * (log_t(wanted, t1) - log_t(p, t1)) - (wanted ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
    loss = robust.bi_tempered(plugin.BiTemperedParams(t1=t1, t2=t2, label_smoothing=smoothing), CONTEXT)
    assert loss(logits, targets).item() == pytest.approx(terms.sum(axis=1).mean(), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("t", [1.01, 1.2, 2.0, 4.0])
@pytest.mark.parametrize("classes", [2, 18, 1000])
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0, 1e4])
def test_tempered_probabilities_sum_to_one(t: float, classes: int, scale: float) -> None:
    logits, _ = batch(3, classes, scale)
    assert robust.tempered_log_softmax(logits, t).exp().sum(dim=1).numpy() == pytest.approx(1, abs=1e-4)


def test_bi_tempered_without_temperatures_is_the_cross_entropy() -> None:
    logits, targets = batch()
    loss = robust.bi_tempered(plugin.BiTemperedParams(t1=1, t2=1), CONTEXT)
    torch.testing.assert_close(loss(logits, targets), functional.cross_entropy(logits, targets))


def test_the_loss_of_a_wrong_label_is_bounded_below_t1_of_one() -> None:
    loss = robust.bi_tempered(plugin.BiTemperedParams(t1=0.5, t2=1), CONTEXT)
    wrong = [loss(torch.tensor([[0.0, size]]), torch.tensor([0])).item() for size in (50.0, 5000.0)]
    # log_t(1) - log_t(0) = 1 / (1 - t1), less (1 - 1) / (2 - t1).
    assert wrong == pytest.approx([2.0, 2.0], abs=1e-4)


@given(seeds, st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([0.0, 2.0, 4.0]), st.sampled_from([0.0, 0.05, 0.2]))
@settings(deadline=None, max_examples=40)
def test_asymmetric_is_timms(seed: int, gamma_pos: float, gamma_neg: float, margin: float) -> None:
    logits, targets = batch(seed, classes=5)
    several = (torch.rand(ROWS, 5, generator=torch.Generator().manual_seed(seed)) < 0.4).long()
    ours = imbalance.Asymmetric(gamma_pos, gamma_neg, margin)
    theirs = AsymmetricLossMultiLabel(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=margin, eps=1e-30)
    for labels, wanted in ((several, several), (targets, functional.one_hot(targets, 5))):
        expected = theirs(logits.double(), wanted)
        assert ours(logits, labels).item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-6)


@given(seeds, st.floats(0, 1.5), st.floats(1, 64))
@settings(deadline=None, max_examples=40)
def test_arcface_follows_the_paper(seed: int, margin: float, scale: float) -> None:
    logits, targets = batch(seed, classes=5)
    cosines = torch.tanh(logits)
    angles = np.arccos(np.clip(cosines.double().numpy(), -1, 1))
    moved = np.cos(angles)
    rows = np.arange(ROWS)
    own = angles[rows, targets]
    moved[rows, targets] = np.where(own + margin < np.pi, np.cos(own + margin), np.cos(own) - margin * np.sin(margin))
    expected = -np.log(softmax(scale * moved)[rows, targets]).mean()
    loss = margins.arcface(plugin.ArcFaceParams(scale=scale, margin=margin), CONTEXT)
    assert loss(scale * cosines, targets).item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_arcface_without_a_margin_is_the_cross_entropy() -> None:
    logits, targets = batch()
    cosines = torch.tanh(logits)
    loss = margins.arcface(plugin.ArcFaceParams(margin=0), CONTEXT)
    torch.testing.assert_close(loss(30 * cosines, targets), functional.cross_entropy(30 * cosines, targets))


def test_arcface_refuses_logits_of_a_linear_head() -> None:
    logits, targets = batch(scale=40)
    with pytest.raises(icf.PluginError, match=r'no cosine times scale = 30; it needs \[model\] head = "cosine"'):
        margins.arcface(plugin.ArcFaceParams(), CONTEXT)(logits, targets)


SUM = """
[dataset]
use = "sklearn/digits"
[model]
use = "nn/sequential-cnn"
[loss]
use = "loss/sum"
losses = [
  { use = "loss/cross-entropy", label_smoothing = 0.1, weight = 0.7 },
  { use = "loss/focal", gamma = 1.5, weight = 0.3 },
  "loss/soft-f1",
]
"""


def read(folder: Path, *overrides: str) -> icf.Component | Any:
    path = folder / "sum.toml"
    path.write_text(SUM)
    return load_plan(path, overrides)


def test_a_sum_is_the_weighted_sum_of_its_losses(tmp_path: Path) -> None:
    plan = read(tmp_path)
    assert list(plan.loss.nested) == ["losses[0]", "losses[1]", "losses[2]"]
    assert {choice.ref for choice in plan.choices()} >= {"loss/sum", "loss/cross-entropy", "loss/focal", "loss/soft-f1"}
    logits, targets = batch()
    expected = (
        0.7 * cross_entropy(CrossEntropyParams(label_smoothing=0.1), CONTEXT)(logits, targets)
        + 0.3 * focal(FocalParams(gamma=1.5), CONTEXT)(logits, targets)
        + imbalance.SoftF1()(logits, targets)
    )
    torch.testing.assert_close(plan.loss.build(CONTEXT)(logits, targets), expected)


def test_a_sum_for_labels_is_one_of_losses_for_labels(tmp_path: Path) -> None:
    terms = '["loss/binary-cross-entropy", {use="loss/asymmetric", weight=0.5}]'
    plan = read(tmp_path, f"loss.losses={terms}", "metrics.select=metric/log-loss", "metrics.report=[]")
    check_kind(plan, "labels")
    logits = batch()[0]
    labels = (logits > 0).long()
    expected = functional.binary_cross_entropy_with_logits(logits, labels.float())
    expected = expected + 0.5 * imbalance.asymmetric(plugin.AsymmetricParams(), CONTEXT)(logits, labels)
    torch.testing.assert_close(plan.loss.build(CONTEXT)(logits, labels), expected)
    with pytest.raises(RecipeError, match="'loss/focal' takes one class of each image, and this data set has any"):
        check_kind(read(tmp_path, "metrics.select=metric/log-loss", "metrics.report=[]"), "labels")


def test_mistakes_in_a_sum_are_told_where_they_are(tmp_path: Path) -> None:
    terms = '[{use="loss/focal", gama=2}, {use="loss/focal", gamma=-1, weight=0}, "loss/foca", "metric/accuracy"]'
    with pytest.raises(RecipeError) as found:
        read(tmp_path, f"loss.losses={terms}")
    assert [problem.where for problem in found.value.problems] == ["loss.losses[1].weight"]
    terms = terms.replace(", weight=0", "")
    with pytest.raises(RecipeError) as found:
        read(tmp_path, f"loss.losses={terms}")
    problems = {problem.where: problem.message for problem in found.value.problems}
    assert list(problems) == ["loss.losses[0].gama", "loss.losses[1].gamma", "loss.losses[2]", "loss.losses[3]"]
    assert "did you mean 'gamma'?" in problems["loss.losses[0].gama"]
    assert "did you mean 'loss/focal'?" in problems["loss.losses[2]"]
    assert "is of kind metric, not loss" in problems["loss.losses[3]"]


def test_a_sum_needs_losses() -> None:
    with pytest.raises(ValidationError):
        plugin.SumParams(losses=())


def test_a_nested_loss_that_was_not_looked_up_says_so() -> None:
    with pytest.raises(icf.PluginError, match="'loss/focal' was not looked up"):
        icf.NestedLoss(use="loss/focal").build(CONTEXT)
