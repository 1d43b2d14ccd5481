from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import icf
from icf_sampler.plugin import BalancedParams
from icf_sampler.samplers import balanced, shuffled

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
    "build", [lambda ctx: shuffled(icf.Params(), ctx), lambda ctx: balanced(BalancedParams(), ctx)]
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
