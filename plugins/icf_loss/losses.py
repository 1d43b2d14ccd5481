"""Losses for one label per image: logits float [N, K] and targets int64 [N] -> mean loss, float32 scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

import icf
from icf_loss.weights import class_weights

if TYPE_CHECKING:
    from icf_loss.plugin import CrossEntropyParams, FocalParams


class CrossEntropy(nn.Module):
    """Cross-entropy with label smoothing (Szegedy et al. 2016) and class weights, as torch defines them.

    With weights ``w`` it is the weighted mean ``sum(w[target] * loss) / sum(w[target])``, so that only the
    ratios of the weights matter. Computed in float32, whatever the logits are.
    """

    weight: torch.Tensor | None

    def __init__(self, weight: torch.Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]."""
        return functional.cross_entropy(
            logits.float(), targets, weight=self.weight, label_smoothing=self.label_smoothing
        )


class Focal(nn.Module):
    """Focal loss ``-(1 - p)^gamma * log(p)`` of the target's softmax probability ``p``.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equations 4 and 5, with the softmax in
    place of the sigmoid. Class weights ``alpha`` act as in CrossEntropy: the result is the weighted mean
    ``sum(alpha[target] * loss) / sum(alpha[target])``, so gamma 0 is exactly the weighted cross-entropy.
    (The paper divides by a number of anchors, which classification does not have.) Computed in float32
    from the log-softmax, so that it and its gradient stay finite for any finite logits.
    """

    alpha: torch.Tensor | None

    def __init__(self, gamma: float = 2.0, alpha: torch.Tensor | None = None) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("alpha", alpha, persistent=False)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]."""
        losses = focal_losses(logits, targets, self.gamma)
        if self.alpha is None:
            return losses.mean()
        weights = self.alpha[targets]
        return (weights * losses).sum() / weights.sum()


def focal_losses(logits: torch.Tensor, targets: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the focal loss of each row, float32 [N]."""
    log_p = functional.log_softmax(logits.float(), dim=1).gather(1, targets[:, None]).squeeze(1)
    # The slope of x^gamma at 0 is infinite for gamma < 1, and infinite times zero is not a number.
    miss = (-torch.expm1(log_p)).clamp(min=torch.finfo(torch.float32).tiny)
    return -(miss**gamma) * log_p


def cross_entropy(params: CrossEntropyParams, ctx: icf.LossContext) -> nn.Module:
    """Build the cross-entropy. Raises PluginError if a list of weights does not fit the classes."""
    return CrossEntropy(class_weights(params.class_weights, ctx, "class_weights"), params.label_smoothing)


def focal(params: FocalParams, ctx: icf.LossContext) -> nn.Module:
    """Build the focal loss. Raises PluginError if a list of weights does not fit the classes."""
    return Focal(params.gamma, class_weights(params.alpha, ctx, "alpha"))
