"""Optimizers of torch and timm, over the parameter groups of the run.

A group's own ``weight_decay`` wins over the parameter of the same name: that is how biases and norm
layers stay free of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm.optim
import torch

import icf

if TYPE_CHECKING:
    from icf_optimizer.plugin import AdamParams, AdamPParams, AdamWParams, LionParams, MuonParams, SGDParams

timm_optim: Any = timm.optim
"""timm does not mark as exported what its documentation names."""


def sgd(params: SGDParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.SGD. Raises PluginError if there is nothing to train."""
    groups = _parameter_groups(ctx)
    return torch.optim.SGD(
        groups,
        lr=params.lr,
        momentum=params.momentum,
        nesterov=params.nesterov,
        weight_decay=params.weight_decay,
        fused=_can_be_fused(groups),
    )


def adam(params: AdamParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.Adam. Raises PluginError if there is nothing to train."""
    groups = _parameter_groups(ctx)
    return torch.optim.Adam(
        groups,
        lr=params.lr,
        betas=params.betas,
        eps=params.eps,
        weight_decay=params.weight_decay,
        fused=_can_be_fused(groups),
    )


def adamw(params: AdamWParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.AdamW. Raises PluginError if there is nothing to train."""
    groups = _parameter_groups(ctx)
    return torch.optim.AdamW(
        groups,
        lr=params.lr,
        betas=params.betas,
        eps=params.eps,
        weight_decay=params.weight_decay,
        fused=_can_be_fused(groups),
    )


def radam(params: AdamWParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build torch.optim.RAdam with decoupled weight decay. Raises PluginError if there is nothing to train."""
    return torch.optim.RAdam(
        _parameter_groups(ctx),
        lr=params.lr,
        betas=params.betas,
        eps=params.eps,
        weight_decay=params.weight_decay,
        decoupled_weight_decay=True,
    )


def adamp(params: AdamPParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build timm's AdamP. Raises PluginError if there is nothing to train."""
    optimizer: torch.optim.Optimizer = timm_optim.AdamP(
        _parameter_groups(ctx),
        lr=params.lr,
        betas=params.betas,
        eps=params.eps,
        weight_decay=params.weight_decay,
        delta=params.delta,
        wd_ratio=params.decay_ratio,
        nesterov=params.nesterov,
    )
    return optimizer


def lion(params: LionParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build timm's Lion. Raises PluginError if there is nothing to train."""
    optimizer: torch.optim.Optimizer = timm_optim.Lion(
        _parameter_groups(ctx), lr=params.lr, betas=params.betas, weight_decay=params.weight_decay
    )
    return optimizer


def muon(params: MuonParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build timm's Muon: orthogonalised steps for matrices and kernels, AdamW for biases and norm layers.

    A convolution's kernel is a matrix of outputs by all else. Steps are as large as those of AdamW (Liu et al. 2025,
    arXiv:2502.16982, equation 4), so one learning rate serves both. Raises PluginError if there is nothing to train.
    """
    optimizer: torch.optim.Optimizer = timm_optim.Muon(
        _parameter_groups(ctx),
        lr=params.lr,
        weight_decay=params.weight_decay,
        momentum=params.momentum,
        nesterov=params.nesterov,
        ns_coefficients="original",
        adjust_lr_fn="match_rms_adamw",
    )
    return optimizer


def _parameter_groups(ctx: icf.OptimizerContext) -> list[dict[str, Any]]:
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
