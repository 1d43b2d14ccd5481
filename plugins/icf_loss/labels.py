"""Losses of labels, of which an image can have any number: logits float [N, K], targets int64 [N, K] -> mean loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

import icf

if TYPE_CHECKING:
    from icf_loss.plugin import BinaryParams


class BinaryCrossEntropy(nn.Module):
    """Binary cross-entropy of each label, the mean over rows and labels, as torch defines it.

    With label smoothing ``s`` a target of 0 or 1 becomes ``s / 2`` or ``1 - s / 2``. Classes, int64 [N], are each
    against all others (Wightman et al. 2021, arXiv:2110.00476, section 2.2). Computed in float32.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for labels int64 [N, K], or classes int64 [N]."""
        wanted = targets if targets.ndim == 2 else functional.one_hot(targets, logits.shape[1])
        smooth = wanted.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits.float(), smooth)


def binary_cross_entropy(params: BinaryParams, _ctx: icf.LossContext) -> nn.Module:
    """Build the binary cross-entropy."""
    return BinaryCrossEntropy(params.label_smoothing)
