"""Learning-rate schedules: the factor of the optimizer's rate at each optimizer step.

Each is the product of a warm-up and a curve that begins where the warm-up ends and has the remaining steps
to itself. Every factory raises PluginError if the warm-up is not shorter than the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import icf
from icf_scheduler.plateau import PlateauSchedule
from icf_scheduler.warmup import Warmup, warmup

if TYPE_CHECKING:
    from icf_scheduler.plugin import CosineParams, OneCycleParams, PlateauParams, StepParams, WarmupParams


class CurveSchedule:
    """A schedule that depends on the step alone: ``curve`` maps steps after the warm-up to factors."""

    def __init__(self, warmup: Warmup, curve: Callable[[int], float]) -> None:
        self.warmup = warmup
        self.curve = curve

    def factor(self, step: int) -> float:
        """Return the factor of optimizer step ``step``."""
        return self.warmup.factor(step) * self.curve(max(step - self.warmup.steps, 0))

    def observe(self, score: float) -> None:
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the step says it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore nothing."""


def step_curve(step: int, *, length: int, gamma: float) -> float:
    """Return ``gamma`` to the number of whole lengths that have passed."""
    return float(gamma ** (step // length))


def cosine_curve(step: int, *, steps: int, final: float) -> float:
    """Return half a cosine from 1 at step 0 to ``final`` at step ``steps`` and after it.

    Loshchilov and Hutter 2017, "SGDR", equation 5; as torch.optim.lr_scheduler.CosineAnnealingLR.
    """
    return final + (1 - final) * _cosine_share(min(step / steps, 1.0))


def one_cycle_curve(step: int, *, steps: int, pct_start: float, initial: float, final: float) -> float:
    """Return half a cosine up from ``initial`` to 1, and one down to ``final`` at the last of ``steps``.

    Smith and Topin 2018, "Super-Convergence"; as torch.optim.lr_scheduler.OneCycleLR, whose rise ends at
    step ``pct_start * steps - 1``. Where that is not above 0 there is no step to rise in.
    """
    peak = pct_start * steps - 1
    if step <= peak and peak > 0:
        return 1 + (initial - 1) * _cosine_share(step / peak)
    fall = min((step - peak) / (steps - 1 - peak), 1.0)
    return final + (1 - final) * _cosine_share(fall)


def _cosine_share(progress: float) -> float:
    """Return half a cosine from 1 at progress 0 to 0 at progress 1."""
    return (1 + math.cos(math.pi * progress)) / 2


def constant(params: WarmupParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the schedule that leaves the optimizer's rate as it is."""
    return CurveSchedule(warmup(params, ctx), lambda _step: 1.0)


def step(params: StepParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the schedule that multiplies the rate by ``gamma`` every ``epochs`` epochs."""
    curve = partial(step_curve, length=params.epochs * ctx.steps_per_epoch, gamma=params.gamma)
    return CurveSchedule(warmup(params, ctx), curve)


def cosine(params: CosineParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the cosine schedule."""
    line = warmup(params, ctx)
    curve = partial(cosine_curve, steps=_steps_after(line, ctx), final=params.final_factor)
    return CurveSchedule(line, curve)


def plateau(params: PlateauParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the schedule that follows the score; ``ctx.maximize`` says which scores are better."""
    return PlateauSchedule(params, warmup(params, ctx), maximize=ctx.maximize)


def one_cycle(params: OneCycleParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the one-cycle schedule. A warm-up, if there is one, leads to the cycle's own start."""
    line = warmup(params, ctx)
    initial = 1 / params.div_factor
    curve = partial(
        one_cycle_curve,
        steps=_steps_after(line, ctx),
        pct_start=params.pct_start,
        initial=initial,
        final=initial / params.final_div_factor,
    )
    return CurveSchedule(line, curve)


def _steps_after(line: Warmup, ctx: icf.SchedulerContext) -> int:
    return ctx.epochs * ctx.steps_per_epoch - line.steps
