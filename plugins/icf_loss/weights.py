"""Class weights, from what the user chose and the rows of the fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

import icf

if TYPE_CHECKING:
    from icf_loss.plugin import ClassWeights


def balanced_weights(class_counts: icf.IntArray) -> icf.FloatArray:
    """Return ``rows / (classes * rows of the class)``, float64 [K].

    This is what scikit-learn calls "balanced" (King and Zeng 2001, "Logistic Regression in Rare Events
    Data"). A class without a training row is weighted as if it had one: it has no target to weigh, but
    label smoothing gives it a share of every row, and an infinite weight would spoil all of them.
    """
    counts = np.maximum(class_counts, 1)
    return np.asarray(class_counts.sum() / (len(class_counts) * counts), dtype=np.float64)


def effective_weights(class_counts: icf.IntArray, beta: float) -> torch.Tensor:
    """Return ``(1 - beta) / (1 - beta^rows)`` of each class, scaled so that they sum to K: float32 [K].

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", equation 2 and section 4. A class
    without a training row is weighted as if it had one.
    """
    counts = np.maximum(class_counts, 1)
    # expm1 and log1p, because 1 - beta^n is all rounding error for a beta near 1.
    weights = 1 / -np.expm1(counts * np.log1p(beta - 1)) if beta > 0 else np.ones(len(counts))
    return torch.from_numpy(weights * len(counts) / weights.sum()).float()


def class_weights(choice: ClassWeights, ctx: icf.LossContext, field: str) -> torch.Tensor | None:
    """Return the weights as float32 [K], or None where all classes weigh the same.

    ``field`` is the recipe's name of the choice, for the message. Raises PluginError if the number of
    weights is not the number of classes, or if no training row is there to count.
    """
    if choice == "none":
        return None
    if choice == "balanced":
        if ctx.class_counts.sum() < 1:
            raise icf.PluginError(f"{field}: 'balanced' counts training rows, but there is none; use 'none' or a list")
        return torch.from_numpy(balanced_weights(ctx.class_counts)).float()
    return _listed_weights(choice, ctx.num_classes, field)


def _listed_weights(weights: Sequence[float], num_classes: int, field: str) -> torch.Tensor:
    if len(weights) != num_classes:
        raise icf.PluginError(
            f"{field}: {len(weights)} weights are given, but the data set has {num_classes} classes; "
            "give one number per class, in the order of the classes, or 'balanced' or 'none'"
        )
    return torch.tensor(weights, dtype=torch.float32)
