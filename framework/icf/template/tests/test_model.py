from __future__ import annotations

import icf
import numpy as np
import pytest
import torch

from icf_example.model import build_mlp
from icf_example.plugin import MlpParams


def test_the_network_is_two_products_with_a_threshold_between() -> None:
    model = build_mlp(MlpParams(hidden=5), icf.ModelContext(num_classes=3, channels=2, image_size=(4, 6)))
    images = np.random.default_rng(0).normal(size=(7, 2, 4, 6)).astype(np.float32)
    w1, b1, w2, b2 = (weight.detach().numpy() for weight in model.parameters())
    expected = np.maximum(images.reshape(7, -1) @ w1.T + b1, 0) @ w2.T + b2
    found = model(torch.from_numpy(images)).detach().numpy()
    assert found == pytest.approx(expected, abs=1e-5)
