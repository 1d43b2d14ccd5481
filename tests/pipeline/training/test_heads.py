from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from icf.errors import RecipeError
from icf.pipeline.data.attributes import ClassAttribute
from icf.pipeline.training.heads import BinnedHead, BinnedLoss, OrdinalHead, OrdinalLoss, place_bins
from icf.pipeline.training.joint import JointOutput
from icf.pipeline.training.output import Softmax
from icf.pipeline.training.output_choice import choose_output, read_output
from icf.sections import Targets
from training import make_plan

STATES = ("wear", "incorrect", "normal")
AGES = ("<30", "30-59", ">=60")


def make_attribute(name: str, values: tuple[str, ...], of_class: list[int], **more: object) -> ClassAttribute:
    found = {"ordered": True, "starts": None} | more
    return ClassAttribute.model_validate({"name": name, "values": values, "of_class": of_class} | found)


MASK = make_attribute("mask", STATES, [k // 6 for k in range(18)], ordered=False)
GENDER = make_attribute("gender", ("male", "female"), [k // 3 % 2 for k in range(18)], ordered=False)
AGE = make_attribute("age", AGES, [k % 3 for k in range(18)], starts=(30.0, 60.0))
CLASS = make_attribute("class", tuple(map(str, range(18))), list(range(18)))
ALL = (MASK, GENDER, AGE, CLASS)
YEARS = {"age": np.array([18.0, 59.0, np.nan, 60.0])}
KINDS = [{"attribute": "mask"}, {"attribute": "gender"}, {"attribute": "age", "kind": "binned"}]


def choose(*heads: object, **more: object) -> JointOutput:
    output = choose_output(Targets.model_validate({"heads": heads} | more), ALL, YEARS)
    assert isinstance(output, JointOutput)
    return output


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_without_heads_it_is_the_softmax_of_the_classes() -> None:
    output = choose_output(Targets(), ALL, None)
    assert output == Softmax(classes=18)
    logits = np.random.default_rng(0).normal(size=(4, 18))
    np.testing.assert_allclose(output.decode(torch.from_numpy(logits)), softmax(logits))


def test_a_class_has_the_product_of_its_values_probabilities() -> None:
    output = choose("mask", "gender", "age")
    assert (output.units, output.networks) == (8, (8,))
    logits = np.random.default_rng(0).normal(size=(5, 8)) * 3
    mask, gender, age = (softmax(part) for part in np.split(logits, [3, 5], axis=1))
    expected = np.einsum("nm,ng,na->nmga", mask, gender, age).reshape(5, 18)
    np.testing.assert_allclose(output.decode(torch.from_numpy(logits)), expected, rtol=1e-12)
    assert choose("mask", "gender", "age", experts=True).networks == (3, 2, 3)


def test_the_joint_table_restores_the_posterior_where_features_are_independent_given_the_attributes() -> None:
    """Bayes by hand: a prior with dependent attributes, and likelihoods that are products."""
    random = np.random.default_rng(1)
    counts = random.integers(0, 50, 18)
    prior = (counts + 1) / (counts + 1).sum()
    table = prior.reshape(3, 2, 3)
    marginals = [table.sum(axis=(1, 2)), table.sum(axis=(0, 2)), table.sum(axis=(0, 1))]
    likelihoods = [random.random(len(marginal)) for marginal in marginals]
    logits = np.concatenate([np.log(lik * marg) for lik, marg in zip(likelihoods, marginals, strict=True)])
    posterior = (table * np.einsum("m,g,a->mga", *likelihoods)).ravel()
    output = choose("mask", "gender", "age", decode="joint").learn(counts)
    np.testing.assert_allclose(output.decode(torch.from_numpy(logits)), posterior / posterior.sum(), rtol=1e-9)
    assert read_output(output.model_dump(mode="json")) == output


def test_classes_that_are_not_a_full_product_share_the_whole_probability() -> None:
    parts = [make_attribute("a", ("x", "y"), [0, 0, 1]), make_attribute("b", ("x", "y"), [0, 1, 0])]
    output = choose_output(Targets.model_validate({"heads": ["a", "b"]}), parts, None)
    logits = np.array([[0.3, -0.2, 1.0, 0.5], [-900, 900, -900, 900]])
    a, b = softmax(logits[0, :2]), softmax(logits[0, 2:])
    expected = np.array([a[0] * b[0], a[0] * b[1], a[1] * b[0]])
    found = output.decode(torch.from_numpy(logits))
    np.testing.assert_allclose(found[0], expected / expected.sum())
    assert np.isfinite(found[1]).all()
    assert found[1].sum() == pytest.approx(1)


@given(arrays(np.float64, (3, 4), elements=st.floats(-50, 50)))
def test_ordinal_probabilities_are_clipped_differences(logits: np.ndarray) -> None:
    head = OrdinalHead(attribute="a", of_class=(0, 1, 2, 3, 4), values=5, weight=1.0)
    above = sigmoid(logits)
    rows = [
        [max(0.0, one - other) for one, other in zip([1.0, *row], [*row, 0.0], strict=True)] for row in above.tolist()
    ]
    expected = np.array([[value / sum(row) for value in row] for row in rows])
    np.testing.assert_allclose(head.decode(torch.from_numpy(logits)).numpy(), expected, atol=1e-12)


def test_ordinal_loss_is_the_likelihood_of_every_threshold() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    values = [0, 1, 2, 3, 1, 0]
    total = 0.0
    for row, value in zip(sigmoid(logits.astype(float)), values, strict=True):
        total -= sum(math.log(p if value > k else 1 - p) for k, p in enumerate(row))
    found = OrdinalLoss()(torch.from_numpy(logits), torch.tensor(values), None)
    assert found.item() == pytest.approx(total / 6, rel=1e-5)


def test_bins_hold_all_numbers_and_every_band() -> None:
    assert place_bins(torch.tensor([18.0, 59.0, math.nan]), (30.0, 60.0), 1.0) == tuple(map(float, range(18, 61)))
    assert place_bins(torch.tensor([math.nan]), (30.0, 60.0), 10.0) == (20.0, 30.0, 40.0, 50.0, 60.0)
    assert place_bins(torch.tensor([24.0]), (30.0, 60.0), 20.0) == (10.0, 30.0, 50.0, 70.0)


def test_bins_of_a_band_add_up_to_it() -> None:
    head = choose(*KINDS).heads[2]
    assert isinstance(head, BinnedHead)
    assert head.centres == tuple(map(float, range(18, 61)))
    logits = np.random.default_rng(0).normal(size=(4, 43))
    bins = softmax(logits)
    expected = np.stack([bins[:, :12].sum(1), bins[:, 12:42].sum(1), bins[:, 42]], axis=1)
    np.testing.assert_allclose(head.decode(torch.from_numpy(logits)).numpy(), expected, rtol=1e-12)


def test_the_binned_loss_is_the_cross_entropy_with_a_gaussian_or_that_of_the_band() -> None:
    centres, bands = np.arange(20.0, 26), np.array([0, 0, 1, 1, 1, 2])
    logits = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    p = softmax(logits.astype(float))
    gauss = np.exp(-((22.0 - centres) ** 2) / (2 * 1.5**2))
    edge = np.exp(-((25.0 - centres) ** 2) / (2 * 1.5**2))
    losses = [
        -(gauss / gauss.sum() * np.log(p[0])).sum(),
        -(edge / edge.sum() * np.log(p[1])).sum(),
        -np.log(p[2, 2:5].sum()),
    ]
    loss = BinnedLoss(torch.tensor(centres), torch.tensor(bands), 1.5)
    numbers = torch.tensor([22.0, 25.0, math.nan], dtype=torch.float64)
    values = torch.from_numpy(logits).requires_grad_()
    found = loss(values, torch.tensor([1, 2, 1]), numbers)
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)
    found.backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_the_joint_loss_is_the_weighted_sum_of_losses_of_values() -> None:
    overrides = (
        'targets.heads=["mask", {attribute="gender", loss="loss/focal", weight=0.5}, {attribute="age", kind="ordinal"}]'
    )
    plan = make_plan(overrides)
    output = choose_output(plan.recipe.targets, ALL, YEARS)
    counts = np.arange(18)
    criterion = output.build_criterion(plan, counts, seed=0)
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)).requires_grad_()
    classes = np.array([0, 17, 10, 5])
    mask, gender = (softmax(logits.detach().double().numpy()[:, part]) for part in (slice(3), slice(3, 5)))
    rows = np.arange(4)
    p = gender[rows, classes // 3 % 2]
    ordinal = OrdinalLoss()(logits[:, 5:], torch.from_numpy(classes % 3), None).item()
    expected = -np.log(mask[rows, classes // 6]).mean() + 0.5 * (-((1 - p) ** 2) * np.log(p)).mean() + ordinal
    assert criterion(logits, output.expect(classes, {})).item() == pytest.approx(expected, rel=1e-5)


def test_numbers_travel_beside_the_classes() -> None:
    output = choose(*KINDS)
    expected = output.expect(np.array([17, 0]), {"age": np.array([60.0, np.nan])})
    assert expected.dtype == torch.float64
    np.testing.assert_array_equal(expected.numpy(), [[17, 60], [0, np.nan]])


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (
            ["mask", "gendre"],
            "targets.heads[1].attribute: the data set has no attribute 'gendre'; did you mean",
        ),
        (["mask", "gender"], "classes number 0 and 1 can't be told apart; add a head for one of: 'age', 'class'"),
        (["mask", "class", "class"], "an attribute has two heads"),
        ([{"attribute": "gender", "kind": "ordinal"}], "'ordinal' needs values that ascend"),
        ([{"attribute": "class", "kind": "binned"}], "'binned' needs a number of each row, and 'class' has none"),
    ],
)
def test_heads_that_do_not_fit_are_refused(heads: list[object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        choose(*heads)
    assert message in str(error.value)
