"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

import icf

if TYPE_CHECKING:
    from icf_loss.plugin import SumParams


class WeightedSum(nn.Module):
    """The sum of other losses, each times its weight."""

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(weights)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the sum of the losses of logits [N, K] for targets int64 [N], or [N, K] of 0 and 1 for labels."""
        parts = [weight * loss(logits, targets) for loss, weight in zip(self.losses, self.weights, strict=True)]
        return torch.stack(parts).sum()


def weighted_sum(params: SumParams, ctx: icf.LossContext) -> nn.Module:
    """Build the sum. Raises whatever one of its losses raises."""
    return WeightedSum([term.build(ctx) for term in params.losses], [term.weight for term in params.losses])
