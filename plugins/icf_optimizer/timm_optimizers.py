"""Optimizers of timm, whose import takes too long for those of torch, over the parameter groups of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm.optim
import torch

import icf
from icf_optimizer.optimizers import list_groups

if TYPE_CHECKING:
    from icf_optimizer.plugin import AdamPParams, LionParams, MuonParams

timm_optim: Any = timm.optim
"""timm does not mark as exported what its documentation names."""


def adamp(params: AdamPParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build timm's AdamP. Raises PluginError if there is nothing to train."""
    optimizer: torch.optim.Optimizer = timm_optim.AdamP(
        list_groups(ctx),
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
        list_groups(ctx), lr=params.lr, betas=params.betas, weight_decay=params.weight_decay
    )
    return optimizer


def muon(params: MuonParams, ctx: icf.OptimizerContext) -> torch.optim.Optimizer:
    """Build timm's Muon: orthogonalised steps for matrices and kernels, AdamW for biases and norm layers.

    With ``nesterov``, these have NAdamW.

    A convolution's kernel is a matrix of outputs by all else. Steps are as large as those of AdamW (Liu et al. 2025,
    arXiv:2502.16982, equation 4), so one learning rate serves both. Raises PluginError if there is nothing to train.
    """
    optimizer: torch.optim.Optimizer = timm_optim.Muon(
        list_groups(ctx),
        lr=params.lr,
        weight_decay=params.weight_decay,
        momentum=params.momentum,
        nesterov=params.nesterov,
        ns_coefficients="original",
        adjust_lr_fn="match_rms_adamw",
    )
    return optimizer
