"""Losses: logits float [N, K] and targets int64 [N] -> mean loss, float32 scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

import icf

if TYPE_CHECKING:
    from icf_poly.plugin import PolyParams


class Poly(nn.Module):
    """Poly-1: ``-log(p) + epsilon * (1 - p)`` of the target's softmax probability ``p``, averaged over rows.

    Leng et al. 2022, "PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions",
    equation 6. Computed in float32, whatever the logits are.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]."""
        cross_entropy = functional.cross_entropy(logits.float(), targets, reduction="none")
        return (cross_entropy + self.epsilon * (1 - torch.exp(-cross_entropy))).mean()


def poly(params: PolyParams, ctx: icf.LossContext) -> nn.Module:
    """Build the loss."""
    del ctx  # it knows the number of classes, their counts and the seed; this loss needs none of them
    return Poly(params.epsilon)
