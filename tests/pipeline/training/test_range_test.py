from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icf.errors import FoldError
from icf.pipeline.training.fit import train_epoch
from icf.pipeline.training.range_test import list_rates, run_range_test, smooth, suggest_rates
from icf.pipeline.training.team import Team
from icf.pipeline.training.trainer import Trainer, build_trainer
from training import make_jobs, make_plan

pytestmark = pytest.mark.usefixtures("cache_of_file")


def make_trainer(runs: Path, *overrides: str) -> Trainer:
    torch.set_num_threads(1)
    return build_trainer(make_jobs(make_plan(*overrides), runs)[0], Team())


def test_rates_are_a_geometric_series() -> None:
    np.testing.assert_allclose(list_rates(1e-6, 10.0, 57), np.geomspace(1e-6, 10.0, 57), rtol=1e-12)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 0.9, 0.98]))
def test_the_smoothed_loss_is_a_weighted_mean_of_those_before(losses: list[float], beta: float) -> None:
    """As weights that fall by beta for each step back and add up to 1, which is what the correction of bias is for."""
    for count, found in enumerate(smooth(losses, beta), start=1):
        weights = np.array([beta ** (count - 1 - index) for index in range(count)])
        assert found == pytest.approx(np.average(losses[:count], weights=weights), abs=1e-6)


def test_the_steepest_descent_and_a_tenth_of_the_minimum_are_found() -> None:
    rates = np.geomspace(1e-6, 10.0, 400)
    x = np.log10(rates)
    # Falls fastest at 1e-3, is lowest where the falling and the rising part have opposite slopes.
    losses = 2 - np.tanh(2 * (x + 3)) + np.exp(4 * (x - 0.2))
    found = suggest_rates(list(rates), list(losses))
    assert found.steepest == pytest.approx(1e-3, rel=0.05)
    fine = np.linspace(-6, 1, 200_001)
    lowest = fine[np.argmin(2 - np.tanh(2 * (fine + 3)) + np.exp(4 * (fine - 0.2)))]
    assert found.tenth == pytest.approx(10**lowest / 10, rel=0.05)


@pytest.mark.parametrize("losses", [np.linspace(1, 2, 100), np.ones(100), np.array([2.0, 1.0, 3.0])])
def test_a_loss_that_does_not_fall_gives_no_suggestion(losses: np.ndarray) -> None:
    with pytest.raises(FoldError, match="did not fall at any learning rate"):
        suggest_rates(list(np.geomspace(1e-6, 1, 100)), list(losses))


def test_at_one_rate_the_steps_are_those_of_training(tmp_path: Path) -> None:
    settings = ('scheduler="scheduler/constant"', "optimizer.lr=0.003", "train.batch_size=64")
    trained, tested = make_trainer(tmp_path / "a", *settings), make_trainer(tmp_path / "b", *settings)
    expected = [train_epoch(trained)[0]]
    trained.state.epoch += 1
    expected.append(train_epoch(trained)[0])
    told: list[int] = []
    losses = run_range_test(tested, [0.003] * 2 * tested.steps, told.append)
    assert told == list(range(1, 2 * tested.steps + 1))
    sizes = [len(part) for part in np.array_split(np.arange(len(tested.data.train_rows)), tested.steps)]
    for epoch in range(2):
        part = losses[epoch * tested.steps : (epoch + 1) * tested.steps]
        assert np.average(part, weights=sizes) == pytest.approx(expected[epoch], abs=1e-9)
    for one, other in zip(trained.model.parameters(), tested.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_rates_reach_the_optimizer_and_a_diverging_loss_ends_the_test(tmp_path: Path) -> None:
    sgd = 'optimizer={use="optimizer/sgd", lr=0.5, momentum=0.0, weight_decay=0.0, nesterov=false}'
    trainer = make_trainer(tmp_path, sgd, "model.layer_decay=0.5")
    rates, seen = list_rates(1e-4, 1e5, 100), []

    def note(_done: int) -> None:
        seen.append([group["lr"] for group in trainer.optimizer.param_groups])

    losses = run_range_test(trainer, rates, note)
    assert len(losses) <= len(seen) < 100
    for rate, found in zip(rates, seen, strict=False):
        scales = [group["lr_scale"] for group in trainer.optimizer.param_groups]
        assert found == pytest.approx([rate * scale for scale in scales])
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] > 4 * min(smooth(losses)) or len(losses) < len(seen)
