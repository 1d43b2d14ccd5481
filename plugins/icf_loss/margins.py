"""Losses that ask for a margin: logits float [N, K] and targets int64 [N] -> mean loss, float32 scalar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import icf
from icf_loss.weights import effective_weights

if TYPE_CHECKING:
    from icf_loss.plugin import ArcFaceParams, LDAMParams

TOLERANCE = 0.02
"""By how much rounding in bfloat16 may lift a cosine above 1."""


class LDAM(nn.Module):
    """Cross-entropy of logits that are lowered, for the target, by a margin that is larger for rare classes.

    Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", equations 12 and 13:
    margins are in proportion to ``n^(-1/4)`` of a class's n rows, the largest is ``max_margin``. ``scale`` is the
    factor of a cosine head's logits, by which the margin is multiplied, too. From the epoch ``first_weighted`` on
    (deferred re-weighting, section 3.3) rows weigh as in the class-balanced loss, in a weighted mean.
    """

    margins: torch.Tensor
    weight: torch.Tensor

    def __init__(self, margins: torch.Tensor, weight: torch.Tensor, first_weighted: int) -> None:
        super().__init__()
        self.first_weighted = first_weighted
        self.is_weighted = first_weighted == 0
        self.register_buffer("margins", margins, persistent=False)
        self.register_buffer("weight", weight, persistent=False)

    def start_epoch(self, epoch: int) -> None:
        """Weigh rows from the first weighted epoch on."""
        self.is_weighted = epoch >= self.first_weighted

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]."""
        wanted = functional.one_hot(targets, logits.shape[1])
        lowered = logits.float() - wanted * self.margins
        return functional.cross_entropy(lowered, targets, weight=self.weight if self.is_weighted else None)


class ArcFace(nn.Module):
    """Cross-entropy of scaled cosines, where the angle to the target's weights is enlarged by a margin.

    Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", equation 3:
    the target's logit ``s cos(a)`` becomes ``s cos(a + m)``. Where ``a + m`` exceeds pi, it is
    ``s (cos(a) - m sin(m))``, which goes on falling, as in the authors' program. Logits must be those of a cosine head
    (``model.head = "cosine"``), ``scale`` times a cosine. The loss of validation rows has the margin, too.
    """

    def __init__(self, scale: float, margin: float) -> None:
        super().__init__()
        self.scale = scale
        self.margin = margin
        self._is_checked = False

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]; PluginError if they are no scaled cosines."""
        cosines = logits.float() / self.scale
        self._check(cosines)
        own = cosines.gather(1, targets[:, None])
        # The slope of the sine at a cosine of 1 is infinite.
        sines = (1 - own.square()).clamp(min=1e-9).sqrt()
        moved = own * math.cos(self.margin) - sines * math.sin(self.margin)
        beyond = own - self.margin * math.sin(self.margin)
        moved = torch.where(own > -math.cos(self.margin), moved, beyond)
        return functional.cross_entropy(self.scale * cosines.scatter(1, targets[:, None], moved), targets)

    def _check(self, cosines: torch.Tensor) -> None:
        if self._is_checked:  # a look at every batch would make a GPU wait
            return
        largest = float(cosines.detach().abs().max())
        if largest > 1 + TOLERANCE:
            raise icf.PluginError(
                f"loss/arcface: a logit is {largest * self.scale:.3g}, no cosine times scale = {self.scale:g}; "
                f'it needs [model] head = "cosine" with head_scale = {self.scale:g}'
            )
        self._is_checked = True


def ldam(params: LDAMParams, ctx: icf.LossContext) -> nn.Module:
    """Build the LDAM loss."""
    rarity = np.maximum(ctx.class_counts, 1) ** -0.25
    margins = torch.from_numpy(params.scale * params.max_margin * rarity / rarity.max()).float()
    first = math.ceil(params.weighted_from * ctx.epochs)
    return LDAM(margins, effective_weights(ctx.class_counts, params.beta), first)


def arcface(params: ArcFaceParams, _ctx: icf.LossContext) -> nn.Module:
    """Build the ArcFace loss."""
    return ArcFace(params.scale, params.margin)
