"""Optimizers of torch, over the parameter groups of the run.

A group's own ``weight_decay`` wins over the parameter of the same name: that is how biases and norm
layers stay free of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import icf
from icf_optimizer.memory_order import Adam, AdamW

if TYPE_CHECKING:
    from icf_optimizer.plugin import AdamParams, AdamWParams, SGDParams


class SGD(torch.optim.SGD):
    """torch.optim.SGD; every weight is treated by itself."""

    elementwise = True


class RAdam(torch.optim.RAdam):
    """torch.optim.RAdam (Liu et al. 2020, arXiv:1908.03265); every weight is treated by itself."""

    elementwise = True


def sgd(params: SGDParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.SGD. Raises PluginError if there is nothing to train."""
    groups = list_groups(ctx)
    return SGD(
        groups,
        lr=params.lr,
        momentum=params.momentum,
        nesterov=params.nesterov,
        weight_decay=params.weight_decay,
        fused=_can_be_fused(groups),
    )


def adam(params: AdamParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.Adam. Raises PluginError if there is nothing to train."""
    groups = list_groups(ctx)
    return Adam(
        groups,
        lr=params.lr,
        betas=params.betas,
        eps=params.eps,
        weight_decay=params.weight_decay,
        fused=_can_be_fused(groups),
    )


def adamw(params: AdamWParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.AdamW. Raises PluginError if there is nothing to train."""
    groups = list_groups(ctx)
    return AdamW(
        groups,
        lr=params.lr,
        betas=params.betas,
        eps=params.eps,
        weight_decay=params.weight_decay,
        fused=_can_be_fused(groups),
    )


def radam(params: AdamWParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.RAdam with decoupled weight decay. Raises PluginError if there is nothing to train."""
    return RAdam(
        list_groups(ctx),
        lr=params.lr,
        betas=params.betas,
        eps=params.eps,
        weight_decay=params.weight_decay,
        decoupled_weight_decay=True,
    )


def list_groups(ctx: icf.OptimizerContext) -> list[dict[str, Any]]:
    """Return the groups that have parameters, as copies: torch empties generators and changes dicts."""
    groups = [{**group, "params": list(group["params"])} for group in ctx.parameter_groups]
    trainable = [group for group in groups if group["params"]]
    if not trainable:
        raise icf.PluginError("the model has no trainable parameter: unfreeze some of it, or choose another model")
    return trainable


def _can_be_fused(groups: list[dict[str, Any]]) -> bool:
    """Tell whether torch's fused step, one pass over all memory, takes these parameters."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    return all(parameter.is_floating_point() and parameter.device.type in {"cpu", "cuda"} for parameter in parameters)
