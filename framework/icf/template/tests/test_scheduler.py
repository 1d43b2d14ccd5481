from __future__ import annotations

import icf
import numpy as np
import pytest

from icf_example.plugin import LinearParams
from icf_example.scheduler import build_linear


@pytest.mark.parametrize("final", [0.0, 0.25, 1.0])
def test_the_factors_are_a_straight_line(final: float) -> None:
    schedule = build_linear(LinearParams(final=final), icf.SchedulerContext(steps_per_epoch=5, epochs=4))
    found = [schedule.factor(step) for step in range(21)]
    assert found == pytest.approx(np.linspace(1, final, 21))
    assert schedule.factor(100) == pytest.approx(final)
