"""Hooks and parameters of the schedules."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

import icf


class WarmupParams(icf.Params):
    """Parameters of the warm-up, which every schedule can have."""

    warmup_epochs: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Length of the linear warm-up, in epochs; may be a fraction; the schedule follows on it",
    )
    warmup_start: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Rate at the first step of the warm-up, as a fraction of the rate at its end",
    )


class StepParams(WarmupParams):
    """Parameters of the step schedule."""

    epochs: int = Field(default=10, ge=1, description="Length of a step, in epochs")
    gamma: float = Field(default=0.1, gt=0, le=1, description="Factor of the rate after each step")


class CosineParams(WarmupParams):
    """Parameters of the cosine schedule."""

    final_factor: float = Field(
        default=0.0, ge=0, le=1, description="Rate at the end, as a fraction of the optimizer's rate"
    )


class PlateauParams(WarmupParams):
    """Parameters of the plateau schedule."""

    factor: float = Field(default=0.1, gt=0, lt=1, description="Factor of the rate after a plateau")
    patience: int = Field(
        default=3, ge=0, description="Epochs without a better score that are borne before the rate is lowered"
    )
    threshold: float = Field(
        default=1e-4,
        ge=0,
        lt=1,
        description="By how much a score must be better to count, as a fraction of the best so far",
    )
    min_factor: float = Field(default=0.0, ge=0, le=1, description="Lowest rate, as a fraction of the optimizer's rate")


class OneCycleParams(WarmupParams):
    """Parameters of the one-cycle schedule; the optimizer's rate is the highest of the cycle."""

    pct_start: float = Field(
        default=0.3, gt=0, lt=1, description="Part of the training in which the rate rises, a fraction"
    )
    div_factor: float = Field(default=25.0, ge=1, le=1e9, description="Highest rate divided by the rate at the start")
    final_div_factor: float = Field(
        default=1e4, ge=1, le=1e12, description="Rate at the start divided by the rate at the end"
    )


@icf.hookimpl
def icf_schedulers() -> Iterable[icf.Scheduler]:
    """Yield the schedules."""
    yield icf.Scheduler(
        name="constant",
        factory="icf_scheduler.schedules:constant",
        params=WarmupParams,
        summary="The optimizer's rate throughout",
    )
    yield icf.Scheduler(
        name="step",
        factory="icf_scheduler.schedules:step",
        params=StepParams,
        summary="Lower the rate by a factor every few epochs",
    )
    yield icf.Scheduler(
        name="cosine",
        factory="icf_scheduler.schedules:cosine",
        params=CosineParams,
        summary="Half a cosine down to the end of training (Loshchilov and Hutter 2017, without restarts)",
    )
    yield icf.Scheduler(
        name="plateau",
        factory="icf_scheduler.schedules:plateau",
        params=PlateauParams,
        summary="Lower the rate by a factor when the score stops improving",
    )
    yield icf.Scheduler(
        name="one-cycle",
        factory="icf_scheduler.schedules:one_cycle",
        params=OneCycleParams,
        summary="Up and down once, to a very low rate (Smith and Topin 2018)",
    )
