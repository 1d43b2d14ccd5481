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


class AdamPParams(AdamWParams):
    """Parameters of AdamP."""

    delta: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Cosine of weights and gradient, times the root of their number, below which weights count as free "
        "in scale, so that only the part of a step across them is kept",
    )
    decay_ratio: float = Field(
        default=0.1, ge=0, le=1, description="Share of the weight decay that weights free in scale get, a fraction"
    )
    nesterov: bool = Field(default=False, description="Look ahead along the momentum (Nesterov)")


class LionParams(icf.Params):
    """Parameters of Lion."""

    lr: float = Field(
        default=1e-4, gt=0, le=100, description="Learning rate, per step: 3 to 10 times smaller than AdamW's"
    )
    betas: tuple[Beta, Beta] = Field(
        default=(0.9, 0.99),
        description="Share of the momentum in a step, and decay per step of the momentum, fractions",
    )
    weight_decay: float = Field(
        default=0.1,
        ge=0,
        le=10,
        description="Decay of the weights per step, times the learning rate: 3 to 10 times larger than AdamW's; never "
        "applied to biases and norm layers",
    )


class MuonParams(icf.Params):
    """Parameters of Muon."""

    lr: float = Field(default=1e-3, gt=0, le=100, description="Learning rate, per step; as large as AdamW's")
    momentum: float = Field(
        default=0.95, ge=0, lt=1, description="Share of the last step's direction that is kept, a fraction"
    )
    nesterov: bool = Field(default=True, description="Look ahead along the momentum (Nesterov)")
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Decay of the weights per step, times the learning rate; never applied to biases and norm layers",
    )


class SAMParams(icf.Params):
    """Parameters of SAM."""

    base: icf.NestedOptimizer = Field(
        default=icf.NestedOptimizer(use="optimizer/sgd"),
        description="The optimizer that does the steps: its name, or a table of 'use' and its parameters",
    )
    rho: float = Field(
        default=0.05,
        gt=0,
        le=100,
        description="How far away the loss is looked at: the length of the move of all weights",
    )
    adaptive: bool = Field(
        default=False, description="Measure that in proportion to each weight (ASAM); rho is then about 10 times larger"
    )


@icf.hookimpl
def icf_optimizers() -> Iterable[icf.Optimizer]:
    """Yield the optimizers."""
    yield icf.Optimizer(
        name="sgd",
        factory="icf_optimizer.optimizers:sgd",
        params=SGDParams,
        summary="Stochastic gradient descent with momentum",
        source="Sutskever et al. 2013, On the importance of initialization and momentum in deep learning",
        reference="torch.optim.SGD",
    )
    yield icf.Optimizer(
        name="adam",
        factory="icf_optimizer.optimizers:adam",
        params=AdamParams,
        summary="Adam (Kingma and Ba 2015)",
        source="Kingma and Ba 2015, arXiv:1412.6980",
        reference="torch.optim.Adam",
    )
    yield icf.Optimizer(
        name="adamw",
        factory="icf_optimizer.optimizers:adamw",
        params=AdamWParams,
        summary="Adam with decoupled weight decay (Loshchilov and Hutter 2019)",
        source="Loshchilov and Hutter 2019, arXiv:1711.05101",
        reference="torch.optim.AdamW",
    )
    yield icf.Optimizer(
        name="radam",
        factory="icf_optimizer.optimizers:radam",
        params=AdamWParams,
        summary="Adam with a rectified rate in the first steps, and decoupled weight decay",
        source="Liu et al. 2020, arXiv:1908.03265",
        reference="the paper's formula in numpy",
    )
    yield icf.Optimizer(
        name="adamp",
        factory="icf_optimizer.timm_optimizers:adamp",
        params=AdamPParams,
        summary="Adam without the part of a step that only makes weights longer",
        source="Heo et al. 2021, arXiv:2006.08217",
        reference="the paper's formula in numpy",
    )
    yield icf.Optimizer(
        name="lion",
        factory="icf_optimizer.timm_optimizers:lion",
        params=LionParams,
        summary="Steps of one size, by the sign of the momentum",
        source="Chen et al. 2023, arXiv:2302.06675",
        reference="the paper's formula in numpy",
    )
    yield icf.Optimizer(
        name="muon",
        factory="icf_optimizer.timm_optimizers:muon",
        params=MuonParams,
        summary="Orthogonalised steps of matrices and kernels, AdamW for the others",
        source="Jordan et al. 2024, Muon; Liu et al. 2025, arXiv:2502.16982",
        reference="torch.optim.Muon and torch.optim.AdamW",
    )
    yield icf.Optimizer(
        name="sam",
        factory="icf_optimizer.sam:sam",
        params=SAMParams,
        summary="Sharpness-aware minimisation around any optimizer, in twice its time",
        source="Foret et al. 2021, arXiv:2010.01412; adaptive: Kwon et al. 2021, arXiv:2102.11600",
        reference="the papers' formulas in numpy",
        examples=({}, {"base": {"use": "optimizer/adamw", "lr": 0.001}, "rho": 0.5, "adaptive": True}),
    )
