"""A learning-rate schedule: a factor for each optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import icf

if TYPE_CHECKING:
    from icf_example.plugin import LinearParams


class Linear:
    """Falls from 1 at step 0 to ``final`` at step ``steps``, in equal parts."""

    def __init__(self, steps: int, final: float) -> None:
        self.steps = steps
        self.final = final

    def factor(self, step: int) -> float:
        """Return the factor of optimizer step ``step``."""
        return 1 - (1 - self.final) * min(step / self.steps, 1.0)

    def observe(self, score: float) -> None:
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the step says it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore nothing."""


def build_linear(params: LinearParams, ctx: icf.SchedulerContext) -> Linear:
    """Build the schedule for the whole training."""
    return Linear(ctx.steps_per_epoch * ctx.epochs, params.final)
