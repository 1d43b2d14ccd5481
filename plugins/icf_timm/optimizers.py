"""Optimizers of timm."""

from __future__ import annotations

from typing import Any

import timm.optim
import torch

import icf
from icf_timm.plugin import OptimizerParams

timm_optim: Any = timm.optim
"""timm does not mark as exported what its documentation names."""

SECOND_ORDER = ("adahessian",)
"""They need gradients of gradients, which a usual training step does not keep."""


def build_optimizer(params: OptimizerParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build the optimizer over the run's parameter groups.

    Raises PluginError for an unknown name, arguments that the optimizer does not take, and optimizers
    that need another package or second-order gradients.
    """
    _check_name(params.name)
    try:
        optimizer: torch.optim.Optimizer = timm_optim.create_optimizer_v2(
            list(ctx.parameter_groups),
            opt=params.name,
            lr=params.lr,
            weight_decay=params.weight_decay,
            momentum=params.momentum,
            **params.args,
        )
    except (TypeError, ValueError, RuntimeError, AssertionError, ImportError) as error:
        raise icf.PluginError(
            f"timm/optimizer: '{params.name}' can't be built with args = {params.args}: {error}"
        ) from error
    return optimizer


def _check_name(name: str) -> None:
    plain = name.lower().removeprefix("lookahead_")
    names: list[str] = timm_optim.list_optimizers()
    if plain not in names:
        raise icf.PluginError(f'timm/optimizer: name = "{name}": timm has no such optimizer{icf.suggest(plain, names)}')
    if plain in SECOND_ORDER:
        raise icf.PluginError(
            f"timm/optimizer: '{name}' needs second-order gradients, which icf does not compute; use 'adamw'"
        )
