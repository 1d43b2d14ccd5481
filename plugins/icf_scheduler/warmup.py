"""The warm-up that every schedule can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import icf

if TYPE_CHECKING:
    from icf_scheduler.plugin import WarmupParams


@dataclass(frozen=True)
class Warmup:
    """A straight line from ``start`` at step 0 to 1 at step ``steps``, and 1 from there on."""

    steps: int
    start: float

    def factor(self, step: int) -> float:
        """Return the factor of optimizer step ``step``."""
        if step >= self.steps:
            return 1.0
        return self.start + (1 - self.start) * step / self.steps


def warmup(params: WarmupParams, ctx: icf.SchedulerContext) -> Warmup:
    """Return the warm-up in whole steps. Raises PluginError if it leaves no step for the schedule."""
    steps = round(params.warmup_epochs * ctx.steps_per_epoch)
    if steps and steps >= ctx.epochs * ctx.steps_per_epoch:
        raise icf.PluginError(
            f"warmup_epochs: {params.warmup_epochs:g} epochs do not fit into a training of {ctx.epochs}; "
            "make the warm-up shorter or the training longer"
        )
    return Warmup(steps, params.warmup_start)
