"""Learning-rate schedules: the factor of the optimizer's rate at each optimizer step.

Each is the product of a warm-up and a curve that begins where the warm-up ends and has the remaining steps
to itself. Every factory raises PluginError if the warm-up is not shorter than the training. With
``update = "epoch"`` a schedule is made as if an epoch were one step, and keeps its factor throughout the epoch.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import icf
from icf_scheduler.plateau import PlateauSchedule
from icf_scheduler.warmup import Warmup, warmup

if TYPE_CHECKING:
    from icf_scheduler.plugin import (
        CosineParams,
        CosineRestartsParams,
        MultiStepParams,
        OneCycleParams,
        PlateauParams,
        PolynomialParams,
        StepParams,
        WarmupParams,
    )

P = TypeVar("P", bound="WarmupParams")


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


class EpochSchedule:
    """A schedule whose steps are epochs: all ``steps`` of an epoch have one factor."""

    def __init__(self, schedule: icf.Schedule, steps: int) -> None:
        self.schedule = schedule
        self.steps = steps
        self.observe = schedule.observe
        self.state_dict = schedule.state_dict
        self.load_state_dict = schedule.load_state_dict

    def factor(self, step: int) -> float:
        """Return the factor of the epoch of optimizer step ``step``."""
        return self.schedule.factor(step // self.steps)


def in_epochs_or_steps(
    build: Callable[[P, icf.SchedulerContext], icf.Schedule],
) -> Callable[[P, icf.SchedulerContext], icf.Schedule]:
    """Let a factory follow ``params.update``."""

    @wraps(build)
    def factory(params: P, ctx: icf.SchedulerContext) -> icf.Schedule:
        if params.update == "step":
            return build(params, ctx)
        return EpochSchedule(build(params, replace(ctx, steps_per_epoch=1)), ctx.steps_per_epoch)

    return factory


def step_curve(step: int, *, length: int, gamma: float) -> float:
    """Return ``gamma`` to the number of whole lengths that have passed."""
    return float(gamma ** (step // length))


def multi_step_curve(step: int, *, milestones: Sequence[int], gamma: float) -> float:
    """Return ``gamma`` to the number of milestones that are reached."""
    return float(gamma ** bisect_right(milestones, step))


def cosine_curve(step: int, *, steps: int, final: float) -> float:
    """Return half a cosine from 1 at step 0 to ``final`` at step ``steps`` and after it.

    Loshchilov and Hutter 2017, "SGDR", equation 5; as torch.optim.lr_scheduler.CosineAnnealingLR.
    """
    return final + (1 - final) * _cosine_share(min(step / steps, 1.0))


def cosine_restarts_curve(step: int, *, length: int, factor: int, final: float) -> float:
    """Return half a cosine from 1 towards ``final`` in cycles, each ``factor`` times as long as the one before.

    Loshchilov and Hutter 2017, "SGDR", equation 5; as torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.
    """
    while step >= length and factor > 1:
        step, length = step - length, length * factor
    return final + (1 - final) * _cosine_share(step % length / length)


def polynomial_curve(step: int, *, steps: int, power: float, final: float) -> float:
    """Return the share of steps that remain to the power of ``power``, from 1 at step 0 to ``final`` at ``steps``.

    With ``final`` 0 it is torch.optim.lr_scheduler.PolynomialLR.
    """
    return float(final + (1 - final) * (1 - min(step / steps, 1.0)) ** power)


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


@in_epochs_or_steps
def constant(params: WarmupParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the schedule that leaves the optimizer's rate as it is."""
    return CurveSchedule(warmup(params, ctx), lambda _step: 1.0)


@in_epochs_or_steps
def step(params: StepParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the schedule that multiplies the rate by ``gamma`` every ``epochs`` epochs."""
    curve = partial(step_curve, length=params.epochs * ctx.steps_per_epoch, gamma=params.gamma)
    return CurveSchedule(warmup(params, ctx), curve)


@in_epochs_or_steps
def multi_step(params: MultiStepParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the schedule that multiplies the rate by ``gamma`` at each of the ``milestones``."""
    milestones = [round(epoch * ctx.steps_per_epoch) for epoch in params.milestones]
    return CurveSchedule(warmup(params, ctx), partial(multi_step_curve, milestones=milestones, gamma=params.gamma))


@in_epochs_or_steps
def cosine(params: CosineParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the cosine schedule."""
    line = warmup(params, ctx)
    curve = partial(cosine_curve, steps=_steps_after(line, ctx), final=params.final_factor)
    return CurveSchedule(line, curve)


@in_epochs_or_steps
def cosine_restarts(params: CosineRestartsParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the cosine schedule with restarts."""
    length = max(1, round(params.cycle_epochs * ctx.steps_per_epoch))
    curve = partial(cosine_restarts_curve, length=length, factor=params.cycle_factor, final=params.final_factor)
    return CurveSchedule(warmup(params, ctx), curve)


@in_epochs_or_steps
def polynomial(params: PolynomialParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the polynomial schedule."""
    line = warmup(params, ctx)
    steps = _steps_after(line, ctx)
    return CurveSchedule(line, partial(polynomial_curve, steps=steps, power=params.power, final=params.final_factor))


@in_epochs_or_steps
def plateau(params: PlateauParams, ctx: icf.SchedulerContext) -> icf.Schedule:
    """Build the schedule that follows the score; ``ctx.maximize`` says which scores are better."""
    return PlateauSchedule(params, warmup(params, ctx), maximize=ctx.maximize)


@in_epochs_or_steps
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
