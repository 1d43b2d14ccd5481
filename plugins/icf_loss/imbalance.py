"""Losses for classes of unequal size: logits float [N, K] and targets int64 [N] -> loss, float32 scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

import icf
from icf_loss.losses import focal_losses
from icf_loss.weights import effective_weights

if TYPE_CHECKING:
    from icf_loss.plugin import AsymmetricParams, ClassBalancedParams


class SoftF1(nn.Module):
    """One minus the macro F1 of a batch, with probabilities in place of counts.

    ``1 - mean_k 2 tp_k / (2 tp_k + fp_k + fn_k)``, where ``tp_k`` is the sum of the class's probabilities over its own
    rows, ``fp_k`` over other rows, and ``fn_k`` what its own rows lack; after Eban et al. 2017, "Scalable Learning of
    Non-Decomposable Objectives". The mean is over the classes that the batch has: another one has an F1 of 0, whatever
    the network does. It is a score of the batch as a whole, so the larger a batch (or a part of it, with
    ``train.accumulate``), the nearer is it to the F1 of all rows.
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits [N, K] for targets int64 [N]."""
        probabilities = functional.softmax(logits.float(), dim=1)
        wanted = functional.one_hot(targets, logits.shape[1]).to(probabilities.dtype)
        rows = wanted.sum(dim=0)
        hits = (probabilities * wanted).sum(dim=0)
        # 2 tp + fp + fn is the sum of what is predicted and what is wanted.
        f1 = 2 * hits / (probabilities.sum(dim=0) + rows)
        present = (rows > 0).to(f1.dtype)
        return 1 - (f1 * present).sum() / present.sum()


class ClassBalanced(nn.Module):
    """Focal loss or cross-entropy, weighted by the inverse effective number of rows of each class.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", equations 8 to 10: a row counts
    ``(1 - beta) / (1 - beta^n)`` of its class's n rows, where the weights of all classes sum to K. The result is the
    sum of weighted losses divided by the number of rows. ``gamma`` 0 is the softmax cross-entropy.
    """

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]."""
        return (self.weight[targets] * focal_losses(logits, targets, self.gamma)).mean()


class Asymmetric(nn.Module):
    """Binary cross-entropy of each class against the others, in which easy negatives count less.

    Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification", equations 2 to 7, with the sigmoid ``p`` of a
    logit: ``-(1 - p)^gamma_pos * log(p)`` where the class is wanted, and ``-p_m^gamma_neg * log(1 - p_m)`` with
    ``p_m = max(p - margin, 0)`` where it is not; summed over classes, the mean over rows. Computed in float32.
    """

    def __init__(self, gamma_pos: float, gamma_neg: float, margin: float) -> None:
        super().__init__()
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.margin = margin

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N], or [N, K] of 0 and 1 for several labels."""
        wanted = targets if targets.ndim == 2 else functional.one_hot(targets, logits.shape[1])
        return asymmetric_losses(
            logits, wanted, gamma_pos=self.gamma_pos, gamma_neg=self.gamma_neg, margin=self.margin
        ).mean()


def asymmetric_losses(
    logits: torch.Tensor, wanted: torch.Tensor, *, gamma_pos: float, gamma_neg: float, margin: float
) -> torch.Tensor:
    """Return the asymmetric loss of each row, float32 [N], of logits [N, K] and wanted [N, K] of 0 and 1."""
    logits = logits.float()
    tiny = torch.finfo(torch.float32).tiny
    missing = functional.sigmoid(-logits).clamp(min=tiny)
    positive = -(missing**gamma_pos) * functional.logsigmoid(logits)
    if margin:
        rest = (functional.sigmoid(-logits) + margin).clamp(max=1)
        negative = -((1 - rest).clamp(min=tiny) ** gamma_neg) * rest.log()
    else:
        negative = -(functional.sigmoid(logits).clamp(min=tiny) ** gamma_neg) * functional.logsigmoid(-logits)
    return torch.where(wanted > 0, positive, negative).sum(dim=1)


def soft_f1(_params: icf.Params, _ctx: icf.LossContext) -> nn.Module:
    """Build the soft macro-F1 loss."""
    return SoftF1()


def class_balanced(params: ClassBalancedParams, ctx: icf.LossContext) -> nn.Module:
    """Build the class-balanced loss."""
    return ClassBalanced(effective_weights(ctx.class_counts, params.beta), params.gamma)


def asymmetric(params: AsymmetricParams, _ctx: icf.LossContext) -> nn.Module:
    """Build the asymmetric loss."""
    return Asymmetric(params.gamma_pos, params.gamma_neg, params.margin)
