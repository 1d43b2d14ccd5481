"""Losses that bear wrong labels: logits float [N, K] and targets int64 [N] -> mean loss, float32 scalar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

import icf

if TYPE_CHECKING:
    from icf_loss.plugin import BiTemperedParams, SymmetricParams

NEWTON_STEPS = 12
"""Far more than any logits need: without the largest, the equation of the normalisation is nearly linear."""


class SymmetricCrossEntropy(nn.Module):
    """Cross-entropy, and cross-entropy with target and prediction exchanged.

    Wang et al. 2019, "Symmetric Cross Entropy for Robust Learning with Noisy Labels", equation 7:
    ``alpha * -log(p) + beta * -log_zero * (1 - p)`` of the target's probability ``p``, where ``log_zero``, below 0,
    stands for the logarithm of the zeros in a target.
    """

    def __init__(self, alpha: float, beta: float, log_zero: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.log_zero = log_zero

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]."""
        log_p = functional.log_softmax(logits.float(), dim=1).gather(1, targets[:, None])
        return (self.alpha * -log_p + self.beta * self.log_zero * torch.expm1(log_p)).mean()


class BiTempered(nn.Module):
    """Bi-tempered logistic loss: bounded for ``t1`` below 1, with heavy-tailed probabilities for ``t2`` above 1.

    Amid et al. 2019, "Robust Bi-Tempered Logistic Loss Based on Bregman Divergences", equations 2, 4 and 5:
    ``sum_k y_k (log_t1 y_k - log_t1 p_k) - (y_k^(2 - t1) - p_k^(2 - t1)) / (2 - t1)`` with the tempered softmax p.
    With ``t1`` and ``t2`` 1 it is the cross-entropy. Computed in float32.
    """

    def __init__(self, t1: float, t2: float, label_smoothing: float) -> None:
        super().__init__()
        self.t1 = t1
        self.t2 = t2
        self.label_smoothing = label_smoothing

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits [N, K] for targets int64 [N]."""
        classes = logits.shape[1]
        wanted = functional.one_hot(targets, classes) * (1 - self.label_smoothing) + self.label_smoothing / classes
        log_p = tempered_log_softmax(logits.float(), self.t2)
        # In logarithms, so that no probability is rounded to zero before its power is taken.
        divergence = wanted * (log_t(wanted, self.t1) - log_t_of_exp(log_p, self.t1))
        powers = wanted ** (2 - self.t1) - torch.exp((2 - self.t1) * log_p)
        return (divergence - powers / (2 - self.t1)).sum(dim=1).mean()


def log_t(values: torch.Tensor, t: float) -> torch.Tensor:
    """Return the tempered logarithm ``(x^(1 - t) - 1) / (1 - t)``; the logarithm for t = 1. Zeros count as tiny."""
    return log_t_of_exp(values.clamp(min=torch.finfo(torch.float32).tiny).log(), t)


def log_t_of_exp(logarithms: torch.Tensor, t: float) -> torch.Tensor:
    """Return the tempered logarithm of what has these logarithms."""
    return logarithms if t == 1 else torch.expm1((1 - t) * logarithms) / (1 - t)


def log_exp_t(values: torch.Tensor, t: float) -> torch.Tensor:
    """Return the logarithm of the tempered exponential ``(1 + (1 - t) x)^(1 / (1 - t))``, for t > 1 and x <= 0."""
    return torch.log1p((1 - t) * values) / (1 - t)


def tempered_log_softmax(logits: torch.Tensor, t: float) -> torch.Tensor:
    """Return the logarithms of probabilities ``exp_t(logit - normalisation)``, float32 [N, K], t from 1.

    The normalisation, which makes them sum to 1, has no formula. Newton's method finds it, for ``S^(1 - t) = 1`` with
    the sum S: that is linear where all logits are equal. A last step keeps the gradient, which is then exact.
    """
    if t == 1:
        return functional.log_softmax(logits, dim=1)
    # Relative to the largest, so that rounding is that of differences, not of logits.
    logits = logits - logits.detach().max(dim=1, keepdim=True).values
    with torch.no_grad():
        norm = torch.zeros_like(logits[:, :1])
        for _ in range(NEWTON_STEPS):
            total, slope = _sums(logits - norm, t)
            norm = norm + (total**t - total) / ((t - 1) * slope)
    total, slope = _sums(logits - norm, t)
    return log_exp_t(logits - (norm + (total - 1) / slope.detach()), t)


def _sums(shifted: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of tempered exponentials, and of their powers of t, by which it falls with the normalisation."""
    # Rounding must not lift the largest above its normalisation.
    logarithms = log_exp_t(shifted.clamp(max=0), t)
    return logarithms.exp().sum(dim=1, keepdim=True), (t * logarithms).exp().sum(dim=1, keepdim=True)


def symmetric(params: SymmetricParams, _ctx: icf.LossContext) -> nn.Module:
    """Build the symmetric cross-entropy."""
    return SymmetricCrossEntropy(params.alpha, params.beta, params.log_zero)


def bi_tempered(params: BiTemperedParams, _ctx: icf.LossContext) -> nn.Module:
    """Build the bi-tempered logistic loss."""
    return BiTempered(params.t1, params.t2, params.label_smoothing)
