from __future__ import annotations

import icf
import numpy as np
import pytest

from icf_example.metric import build_top_k
from icf_example.plugin import TopKParams


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_top_k_counts_rows_with_fewer_than_k_better_classes(k: int) -> None:
    rng = np.random.default_rng(k)
    probabilities, targets = rng.dirichlet(np.ones(5), size=200), rng.integers(0, 5, 200)
    better = (probabilities > probabilities[np.arange(200), targets][:, None]).sum(axis=1)
    found = build_top_k(TopKParams(k=k), icf.MetricContext(num_classes=5))(probabilities, targets)
    assert found == pytest.approx((better < k).mean())
