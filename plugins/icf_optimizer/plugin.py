"""Hooks and parameters of the optimizers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self, TypeAlias

from pydantic import Field, model_validator

import icf

Beta: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class SGDParams(icf.Params):
    """Parameters of SGD."""

    lr: float = Field(default=0.01, gt=0, le=100, description="Learning rate, per step; the scheduler multiplies it")
    momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Share of the last step's direction that is kept, a fraction"
    )
    nesterov: bool = Field(default=True, description="Look ahead along the momentum (Nesterov); needs momentum above 0")
    weight_decay: float = Field(
        default=1e-4, ge=0, le=1, description="L2 penalty; never applied to biases and norm layers"
    )

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; set nesterov = false or momentum = 0.9")
        return self


class AdamParams(icf.Params):
    """Parameters of Adam."""

    lr: float = Field(default=3e-4, gt=0, le=100, description="Learning rate, per step; the scheduler multiplies it")
    betas: tuple[Beta, Beta] = Field(
        default=(0.9, 0.999),
        description="Decay per step of the running means of the gradient and of its square, fractions",
    )
    eps: float = Field(default=1e-8, gt=0, le=1, description="Added to the denominator, so that it is never zero")
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="L2 penalty, added to the gradient; never applied to biases and norm layers",
    )


class AdamWParams(AdamParams):
    """Parameters of AdamW."""

    weight_decay: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Decay of the weights per step, times the learning rate; never applied to biases and norm layers",
    )


@icf.hookimpl
def icf_optimizers() -> Iterable[icf.Optimizer]:
    """Yield the optimizers."""
    yield icf.Optimizer(
        name="sgd",
        factory="icf_optimizer.optimizers:sgd",
        params=SGDParams,
        summary="Stochastic gradient descent with momentum",
    )
    yield icf.Optimizer(
        name="adam",
        factory="icf_optimizer.optimizers:adam",
        params=AdamParams,
        summary="Adam (Kingma and Ba 2015)",
    )
    yield icf.Optimizer(
        name="adamw",
        factory="icf_optimizer.optimizers:adamw",
        params=AdamWParams,
        summary="Adam with decoupled weight decay (Loshchilov and Hutter 2019)",
    )
