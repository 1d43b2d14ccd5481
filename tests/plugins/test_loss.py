from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

import icf
from icf_loss.labels import BinaryCrossEntropy
from icf_loss.losses import Focal, cross_entropy, focal
from icf_loss.plugin import CrossEntropyParams, FocalParams
from icf_loss.weights import balanced_weights

CONTEXT = icf.LossContext(num_classes=3, class_counts=np.array([5, 3, 2]))


def batch(rows: int = 16, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, classes, generator=generator)
    return logits, torch.randint(classes, (rows,), generator=generator)


def softmax(logits: torch.Tensor) -> icf.FloatArray:
    exponentials = np.exp(logits.double().numpy())
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_with_smoothing_follows_the_formula(smoothing: float) -> None:
    logits, targets = batch()
    wanted = np.full((16, 3), smoothing / 3)
    wanted[np.arange(16), targets] += 1 - smoothing
    expected = -(wanted * np.log(softmax(logits))).sum(axis=1).mean()
    loss = cross_entropy(CrossEntropyParams(label_smoothing=smoothing), CONTEXT)(logits, targets)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_smoothing_changes_the_loss() -> None:
    logits, targets = batch()
    plain = cross_entropy(CrossEntropyParams(), CONTEXT)(logits, targets)
    smooth = cross_entropy(CrossEntropyParams(label_smoothing=0.1), CONTEXT)(logits, targets)
    assert abs(plain.item() - smooth.item()) > 0.01


def test_cross_entropy_with_a_list_is_the_weighted_mean_of_torch() -> None:
    logits, targets = batch()
    weights = (0.5, 2.0, 1.0)
    loss = cross_entropy(CrossEntropyParams(class_weights=weights, label_smoothing=0.1), CONTEXT)
    expected = torch.nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=0.1)(logits, targets)
    torch.testing.assert_close(loss(logits, targets), expected)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_balanced_weights_are_those_of_scikit_learn(counts: list[int]) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=targets)
    np.testing.assert_allclose(balanced_weights(np.array(counts)), expected)


def test_a_class_without_rows_weighs_as_if_it_had_one() -> None:
    np.testing.assert_allclose(balanced_weights(np.array([6, 3, 0])), [9 / 18, 9 / 9, 9 / 3])


@pytest.mark.parametrize("choice", ["none", "balanced", (0.2, 1.0, 3.0)])
def test_focal_with_gamma_zero_is_cross_entropy(choice: str | tuple[float, ...]) -> None:
    logits, targets = batch()
    flat = focal(FocalParams.model_validate({"gamma": 0, "alpha": choice}), CONTEXT)
    plain = cross_entropy(CrossEntropyParams.model_validate({"class_weights": choice}), CONTEXT)
    torch.testing.assert_close(flat(logits, targets), plain(logits, targets))


@given(gamma=st.floats(0, 10), seed=st.integers(0, 1000), classes=st.integers(2, 18))
@settings(deadline=None)
def test_focal_follows_the_paper(gamma: float, seed: int, classes: int) -> None:
    logits, targets = batch(classes=classes, seed=seed)
    alpha = np.linspace(0.5, 2, classes)
    p = softmax(logits)[np.arange(16), targets]
    losses = -((1 - p) ** gamma) * np.log(p)
    expected = (alpha[targets] * losses).sum() / alpha[targets].sum()
    module = Focal(gamma, torch.tensor(alpha, dtype=torch.float32))
    assert module(logits, targets).item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_focal_gradient_is_that_of_the_plain_formula() -> None:
    logits, targets = batch()
    ours, theirs = logits.clone().requires_grad_(), logits.double().requires_grad_()
    p = functional.softmax(theirs, dim=1)[torch.arange(16), targets]
    (expected,) = torch.autograd.grad((-((1 - p) ** 2) * p.log()).mean(), theirs)
    (gradient,) = torch.autograd.grad(Focal(2.0)(ours, targets), ours)
    torch.testing.assert_close(gradient, expected.float())


@given(
    logits=st.lists(st.lists(st.floats(-1e4, 1e4, width=16), min_size=3, max_size=3), min_size=1, max_size=8),
    target=st.integers(0, 2),
    gamma=st.sampled_from([0.0, 0.01, 0.5, 1.0, 2.0, 5.0]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
@settings(deadline=None)
def test_focal_is_finite_for_extreme_logits(
    logits: list[list[float]], target: int, gamma: float, dtype: torch.dtype
) -> None:
    values = torch.tensor(logits, dtype=dtype, requires_grad=True)
    targets = torch.full((len(logits),), target)
    with torch.autocast("cpu", torch.bfloat16):
        loss = Focal(gamma)(values, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_a_sure_right_row_counts_nothing_and_a_sure_wrong_row_in_full() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4]])
    assert Focal(2.0)(logits, torch.tensor([0])).item() == 0
    assert Focal(2.0)(logits, torch.tensor([2])).item() == pytest.approx(2e4)


@pytest.mark.parametrize(
    "module",
    [
        cross_entropy(CrossEntropyParams(class_weights="balanced", label_smoothing=0.1), CONTEXT),
        focal(FocalParams(alpha="balanced"), CONTEXT),
    ],
)
def test_losses_compute_in_float32(module: torch.nn.Module) -> None:
    logits, targets = batch()
    half = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module(half, targets)
    for loss in (mixed, module(half, targets)):
        torch.testing.assert_close(loss, module(half.float(), targets), rtol=0, atol=0)


def test_weights_move_with_the_module_and_stay_out_of_checkpoints() -> None:
    module = focal(FocalParams(alpha="balanced"), CONTEXT)
    assert module.to("meta").alpha.device.type == "meta"
    assert not module.state_dict()


def test_a_list_of_the_wrong_length_names_both_numbers() -> None:
    message = r"class_weights: 2 weights are given, but the data set has 3 classes"
    with pytest.raises(icf.PluginError, match=message):
        cross_entropy(CrossEntropyParams(class_weights=(1.0, 2.0)), CONTEXT)
    with pytest.raises(icf.PluginError, match="alpha: 4 weights"):
        focal(FocalParams(alpha=(1.0, 2.0, 3.0, 4.0)), CONTEXT)


def test_balanced_needs_a_row() -> None:
    with pytest.raises(icf.PluginError, match="there is none"):
        focal(FocalParams(alpha="balanced"), icf.LossContext(num_classes=2, class_counts=np.zeros(2, np.int64)))


@pytest.mark.parametrize(
    "values",
    [
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"class_weights": [0.0, 1.0]},
        {"class_weights": "even"},
    ],
)
def test_values_out_of_bounds_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CrossEntropyParams.model_validate(values)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_is_the_mean_over_rows_and_labels(smoothing: float) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 3))
    labels = np.array([[0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]])
    wanted = torch.from_numpy(labels * (1 - smoothing) + smoothing / 2)
    expected = torch.nn.BCEWithLogitsLoss()(torch.from_numpy(logits), wanted).item()
    loss = BinaryCrossEntropy(smoothing)
    assert loss(torch.from_numpy(logits), torch.from_numpy(labels)).item() == pytest.approx(expected, rel=1e-5)
    classes = torch.tensor([2, 0, 1, 1, 0])
    one_hot = torch.nn.functional.one_hot(classes, 3)
    assert loss(torch.from_numpy(logits), classes) == loss(torch.from_numpy(logits), one_hot)
