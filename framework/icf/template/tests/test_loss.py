from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import icf
import numpy as np
import pytest
import torch
from icf.cli.main import main

from icf_example.loss import build_poly
from icf_example.plugin import PolyParams

pytest_plugins = ["icf.testing.fixtures"]


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, 1.0, 3.5])
def test_poly_is_the_formula_of_the_paper(epsilon: float) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(6, 4)), np.array([0, 1, 2, 3, 3, 0])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = probabilities[np.arange(6), targets]
    expected = (-np.log(p) + epsilon * (1 - p)).mean()

    loss = build_poly(PolyParams(epsilon=epsilon), icf.LossContext(num_classes=4, class_counts=np.bincount(targets)))
    found = loss(torch.from_numpy(logits), torch.from_numpy(targets))

    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_recipe_with_poly_trains(icf_recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe = icf_recipe(loss={"use": "example/poly", "epsilon": 2.0})
    assert main(["run", str(recipe), "--runs", str(tmp_path / "runs"), "--quiet"]) == 0
