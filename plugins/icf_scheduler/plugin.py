"""Hooks and parameters of the schedules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

import icf

Epoch: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]


class WarmupParams(icf.Params):
    """Parameters that every schedule has: its warm-up, and when the rate changes."""

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
    update: Literal["step", "epoch"] = Field(
        default="step",
        description="When the rate changes: with every optimizer step, or only at the start of an epoch, where all "
        "lengths are rounded to whole epochs",
    )


class StepParams(WarmupParams):
    """Parameters of the step schedule."""

    epochs: int = Field(default=10, ge=1, description="Length of a step, in epochs")
    gamma: float = Field(default=0.1, gt=0, le=1, description="Factor of the rate after each step")


class MultiStepParams(WarmupParams):
    """Parameters of the multi-step schedule."""

    milestones: tuple[Epoch, ...] = Field(
        min_length=1, description="When the rate is lowered, in epochs after the warm-up, ascending; may be fractions"
    )
    gamma: float = Field(default=0.1, gt=0, le=1, description="Factor of the rate at each milestone")

    @model_validator(mode="after")
    def _milestones_ascend(self) -> Self:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must ascend; found {list(self.milestones)}")
        return self


class CosineParams(WarmupParams):
    """Parameters of the cosine schedule."""

    final_factor: float = Field(
        default=0.0, ge=0, le=1, description="Rate at the end, as a fraction of the optimizer's rate"
    )


class CosineRestartsParams(CosineParams):
    """Parameters of the cosine schedule with restarts."""

    final_factor: float = Field(
        default=0.0, ge=0, le=1, description="Rate at the end of a cycle, as a fraction of the optimizer's rate"
    )
    cycle_epochs: float = Field(
        default=10.0, gt=0, le=1e6, description="Length of the first cycle, in epochs; may be a fraction"
    )
    cycle_factor: int = Field(
        default=1, ge=1, le=100, description="By which factor a cycle is longer than the one before"
    )


class PolynomialParams(CosineParams):
    """Parameters of the polynomial schedule."""

    power: float = Field(
        default=1.0, gt=0, le=100, description="Exponent of the share of steps that remain; 1 is a straight line"
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
        source="warm-up: Goyal et al. 2017, arXiv:1706.02677",
        reference="torch.optim.lr_scheduler.LinearLR",
    )
    yield icf.Scheduler(
        name="step",
        factory="icf_scheduler.schedules:step",
        params=StepParams,
        summary="Lower the rate by a factor every few epochs",
        source="torch.optim.lr_scheduler.StepLR",
        reference="torch.optim.lr_scheduler.StepLR",
    )
    yield icf.Scheduler(
        name="multi-step",
        factory="icf_scheduler.schedules:multi_step",
        params=MultiStepParams,
        summary="Lower the rate by a factor at given epochs",
        source="torch.optim.lr_scheduler.MultiStepLR",
        reference="torch.optim.lr_scheduler.MultiStepLR",
        examples=({"milestones": (5, 9)}, {"milestones": (2.5,), "update": "epoch"}),
    )
    yield icf.Scheduler(
        name="cosine",
        factory="icf_scheduler.schedules:cosine",
        params=CosineParams,
        summary="Half a cosine down to the end of training (Loshchilov and Hutter 2017, without restarts)",
        source="Loshchilov and Hutter 2017, arXiv:1608.03983",
        reference="torch.optim.lr_scheduler.CosineAnnealingLR",
    )
    yield icf.Scheduler(
        name="cosine-restarts",
        factory="icf_scheduler.schedules:cosine_restarts",
        params=CosineRestartsParams,
        summary="Half a cosine down, again and again (SGDR)",
        source="Loshchilov and Hutter 2017, arXiv:1608.03983",
        reference="torch.optim.lr_scheduler.CosineAnnealingWarmRestarts",
        examples=({}, {"cycle_epochs": 2.5, "cycle_factor": 2, "warmup_epochs": 1, "update": "epoch"}),
    )
    yield icf.Scheduler(
        name="polynomial",
        factory="icf_scheduler.schedules:polynomial",
        params=PolynomialParams,
        summary="Down to the end of training, as a power of the steps that remain",
        source="Chen et al. 2017, arXiv:1606.00915",
        reference="torch.optim.lr_scheduler.PolynomialLR",
        examples=({}, {"power": 2.0, "final_factor": 0.1}),
    )
    yield icf.Scheduler(
        name="plateau",
        factory="icf_scheduler.schedules:plateau",
        params=PlateauParams,
        summary="Lower the rate by a factor when the score stops improving",
        source="torch.optim.lr_scheduler.ReduceLROnPlateau",
        reference="torch.optim.lr_scheduler.ReduceLROnPlateau",
    )
    yield icf.Scheduler(
        name="one-cycle",
        factory="icf_scheduler.schedules:one_cycle",
        params=OneCycleParams,
        summary="Up and down once, to a very low rate (Smith and Topin 2018)",
        source="Smith and Topin 2018, arXiv:1708.07120",
        reference="torch.optim.lr_scheduler.OneCycleLR",
    )
