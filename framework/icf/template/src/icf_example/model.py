"""A model: images float32 [N, C, H, W] -> logits [N, K]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import icf
from torch import nn

if TYPE_CHECKING:
    from icf_example.plugin import MlpParams


def build_mlp(params: MlpParams, ctx: icf.ModelContext) -> nn.Module:
    """Build a network with one hidden layer."""
    height, width = ctx.image_size
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(ctx.channels * height * width, params.hidden),
        nn.ReLU(),
        nn.Linear(params.hidden, ctx.num_classes),
    )
