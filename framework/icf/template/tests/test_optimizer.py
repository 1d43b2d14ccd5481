from __future__ import annotations

import icf
import numpy as np
import pytest
import torch

from icf_example.optimizer import build_sign_sgd
from icf_example.plugin import SignSgdParams


def test_each_weight_moves_by_the_learning_rate_against_its_gradient() -> None:
    weights, gradients = np.array([1.0, -2.0, 0.5, 3.0]), np.array([4.0, -0.01, 0.0, 1e9])
    weight, untouched = torch.nn.Parameter(torch.from_numpy(weights.copy())), torch.nn.Parameter(torch.ones(2))
    context = icf.OptimizerContext(parameter_groups=[{"params": [weight]}, {"params": [untouched]}])
    optimizer = build_sign_sgd(SignSgdParams(lr=0.1), context)
    for _ in range(3):
        weight.grad = torch.from_numpy(gradients.copy())
        optimizer.step()
    assert weight.detach().numpy() == pytest.approx(weights - 0.3 * np.sign(gradients))
    assert untouched.tolist() == [1.0, 1.0]
