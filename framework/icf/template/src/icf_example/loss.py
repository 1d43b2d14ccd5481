"""A loss: logits float [N, K] and targets int64 [N] -> mean loss, float32 scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import icf
import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from icf_example.plugin import PolyParams


class Poly(nn.Module):
    """Poly-1: ``-log(p) + epsilon * (1 - p)`` of the target's probability ``p``, averaged over rows.

    Leng et al. 2022, "PolyLoss", equation 6.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss."""
        cross_entropy = functional.cross_entropy(logits.float(), targets, reduction="none")
        return (cross_entropy + self.epsilon * (1 - torch.exp(-cross_entropy))).mean()


def build_poly(params: PolyParams, _ctx: icf.LossContext) -> nn.Module:
    """Build the loss."""
    return Poly(params.epsilon)
