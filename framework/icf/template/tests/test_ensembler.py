from __future__ import annotations

import icf
import numpy as np
import pytest

from icf_example.ensembler import PowerMean
from icf_example.plugin import PowerMeanParams

MEMBERS = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 50))


def combine(power: float) -> icf.FloatArray:
    combiner = PowerMean(PowerMeanParams(power=power), icf.EnsemblerContext(num_classes=4))
    combiner.fit(MEMBERS, np.zeros(50, dtype=np.int64))
    return combiner.combine(MEMBERS)


def test_power_1_is_the_arithmetic_and_a_small_one_nearly_the_geometric_mean() -> None:
    assert combine(1.0) == pytest.approx(MEMBERS.mean(axis=0))
    geometric = np.exp(np.log(MEMBERS).mean(axis=0))
    assert combine(1e-6) == pytest.approx(geometric / geometric.sum(axis=1, keepdims=True), rel=1e-3)


@pytest.mark.parametrize("power", [0.5, 2.0, 10.0])
def test_rows_sum_to_one(power: float) -> None:
    assert combine(power).sum(axis=1) == pytest.approx(np.ones(50))
