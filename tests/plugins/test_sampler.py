from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare

import icf
from icf_sampler.plugin import BalancedParams, OversampledParams, UndersampledParams, WeightedParams
from icf_sampler.samplers import balanced, oversampled, shuffled, undersampled, weighted

target_lists = st.lists(st.integers(0, 17), min_size=1, max_size=200)
seeds = st.integers(0, 2**31)
epochs = st.integers(0, 500)


def context(targets: list[int] | icf.IntArray, seed: int = 0) -> icf.SamplerContext:
    return icf.SamplerContext(targets=np.asarray(targets, dtype=np.int64), num_classes=18, seed=seed)


@given(target_lists, seeds, epochs)
@settings(deadline=None)
def test_shuffled_visits_each_row_once(targets: list[int], seed: int, epoch: int) -> None:
    order = shuffled(icf.Params(), context(targets, seed))(epoch)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(len(targets)))


@given(target_lists, seeds, epochs, st.floats(0.01, 5))
@settings(deadline=None)
def test_balanced_shares_the_epoch_evenly(targets: list[int], seed: int, epoch: int, epoch_size: float) -> None:
    order = balanced(BalancedParams(epoch_size=epoch_size), context(targets, seed))(epoch)
    assert order.dtype == np.int64
    assert len(order) == max(1, round(epoch_size * len(targets)))
    visits = np.bincount(order, minlength=len(targets))
    assert len(visits) == len(targets)
    labels = np.asarray(targets)
    of_classes = [visits[labels == label] for label in np.unique(labels)]
    totals = [int(counts.sum()) for counts in of_classes]
    assert max(totals) - min(totals) <= 1
    assert all(counts.max() - counts.min() <= 1 for counts in of_classes)


@pytest.mark.parametrize(
    "build",
    [
        lambda ctx: shuffled(icf.Params(), ctx),
        lambda ctx: balanced(BalancedParams(), ctx),
        lambda ctx: weighted(WeightedParams(), ctx),
        lambda ctx: oversampled(OversampledParams(), ctx),
        lambda ctx: undersampled(UndersampledParams(), ctx),
    ],
)
def test_order_depends_on_seed_and_epoch_alone(build: Callable[[icf.SamplerContext], icf.Sampling]) -> None:
    targets = np.repeat([0, 1, 2], [60, 30, 10])
    sampling = build(context(targets, seed=1))
    later = sampling(7)
    np.testing.assert_array_equal(build(context(targets, seed=1))(7), later)
    orders = [sampling(epoch).tobytes() for epoch in range(20)]
    assert len(set(orders)) == 20
    assert build(context(targets, seed=2))(7).tobytes() != later.tobytes()
    np.random.seed(0)
    np.testing.assert_array_equal(sampling(7), later)


def test_an_equal_share_of_a_large_class_covers_it_over_the_epochs() -> None:
    targets = np.repeat([0, 1], [90, 10])
    sampling = balanced(BalancedParams(), context(targets))
    seen = np.unique(np.concatenate([sampling(epoch) for epoch in range(30)]))
    assert len(seen) == 100


def test_rows_of_a_rare_class_are_mixed_into_the_epoch() -> None:
    targets = np.repeat([0, 1], [500, 20])
    order = balanced(BalancedParams(), context(targets))(0)
    halves = np.split(targets[order], 2)
    assert all(0.4 < half.mean() < 0.6 for half in halves)


def test_the_odd_row_goes_to_another_class_in_another_epoch() -> None:
    sampling = balanced(BalancedParams(), context([0, 1, 2, 2]))
    labels = np.array([0, 1, 2, 2])
    favoured = {int(np.bincount(labels[sampling(epoch)]).argmax()) for epoch in range(30)}
    assert favoured == {0, 1, 2}


def test_no_rows() -> None:
    assert len(shuffled(icf.Params(), context([]))(0)) == 0
    with pytest.raises(icf.DataError, match="at least one training row"):
        balanced(BalancedParams(), context([]))


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_epoch_size_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        BalancedParams(epoch_size=value)


@given(target_lists, seeds, epochs, st.floats(0.01, 1))
@settings(deadline=None)
def test_oversampled_shows_every_row_and_enough_of_each_class(
    targets: list[int], seed: int, epoch: int, ratio: float
) -> None:
    order = oversampled(OversampledParams(ratio=ratio), context(targets, seed))(epoch)
    assert order.dtype == np.int64
    visits = np.bincount(order, minlength=len(targets))
    assert visits.min() >= 1
    labels, counts = np.asarray(targets), np.bincount(targets)
    found = np.bincount(labels[order], minlength=len(counts))
    np.testing.assert_array_equal(found[counts > 0], np.maximum(counts[counts > 0], round(ratio * counts.max())))
    assert all(np.ptp(visits[labels == label]) <= 1 for label in np.flatnonzero(counts))


@given(target_lists, seeds, epochs, st.floats(1, 5))
@settings(deadline=None)
def test_undersampled_shows_no_row_twice_and_not_too_many_of_a_class(
    targets: list[int], seed: int, epoch: int, ratio: float
) -> None:
    order = undersampled(UndersampledParams(ratio=ratio), context(targets, seed))(epoch)
    assert order.dtype == np.int64
    assert len(set(order.tolist())) == len(order)
    counts = np.bincount(targets)
    found = np.bincount(np.asarray(targets)[order], minlength=len(counts))
    np.testing.assert_array_equal(found, np.minimum(counts, round(ratio * counts[counts > 0].min())))


def test_undersampled_shows_other_rows_of_a_large_class_in_other_epochs() -> None:
    sampling = undersampled(UndersampledParams(), context(np.repeat([0, 1], [90, 10])))
    assert len(np.unique(np.concatenate([sampling(epoch) for epoch in range(60)]))) == 100


WEIGHTS = {
    "balanced": (1 / 700, 1 / 250, 1 / 50),
    "square-root": (700**-0.5, 250**-0.5, 50**-0.5),
    (3.0, 0.0, 1.0): (3.0, 0.0, 1.0),
}


@pytest.mark.parametrize("choice", WEIGHTS)
def test_weighted_draws_classes_as_often_as_torchs_sampler(choice: object) -> None:
    targets = np.repeat([0, 1, 2], [700, 250, 50])
    params = WeightedParams.model_validate({"class_weights": choice, "epoch_size": 20})
    ctx = icf.SamplerContext(targets=targets, num_classes=3, seed=4)
    weights = np.asarray(WEIGHTS[choice])[targets]  # type: ignore[index]
    found = np.bincount(targets[weighted(params, ctx)(0)], minlength=3)
    generator = torch.Generator().manual_seed(0)
    torchs = torch.utils.data.WeightedRandomSampler(weights.tolist(), 20_000, generator=generator)
    theirs = np.bincount(targets[list(torchs)], minlength=3)
    expected = np.bincount(targets, weights=weights) / weights.sum() * 20_000
    drawn = expected > 0
    np.testing.assert_array_equal(found[~drawn], theirs[~drawn])
    assert min(chisquare(counts[drawn], expected[drawn]).pvalue for counts in (found, theirs)) > 1e-3


@pytest.mark.parametrize("size", [0.001, 0.25, 2.0])
def test_weighted_takes_a_fraction_of_an_epoch(size: float) -> None:
    sampling = weighted(WeightedParams(epoch_size=size), context(np.repeat([0, 1], [90, 10])))
    assert len(sampling(0)) == max(1, round(size * 100))


def test_weights_that_do_not_fit_are_told() -> None:
    with pytest.raises(icf.PluginError, match="2 weights are given, but the data set has 18 classes"):
        weighted(WeightedParams(class_weights=(1.0, 2.0)), context([0, 1]))
    with pytest.raises(icf.PluginError, match="every class with training rows has the weight 0"):
        weighted(WeightedParams(class_weights=(0.0,) * 17 + (1.0,)), context([0, 1]))


@pytest.mark.parametrize("build", [weighted, oversampled, undersampled])
def test_no_rows_to_draw_from(build: Callable[..., icf.Sampling]) -> None:
    params = {weighted: WeightedParams, oversampled: OversampledParams, undersampled: UndersampledParams}[build]
    with pytest.raises(icf.DataError, match="at least one training row"):
        build(params(), context([]))
