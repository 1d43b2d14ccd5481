"""Several heads as one output: their losses in a sum, and classes from the probabilities of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from icf.components import FloatArray, IntArray
from icf.pipeline.training.heads import AnyHead, BinnedHead, Head
from icf.pipeline.training.output import Output
from icf.plan import Plan

SMALLEST = 1e-300
"""Probabilities below are taken for it, so that classes that are all impossible still have an order."""


class JointOutput(Output):
    """Heads of a network, or of one each. ``dependence`` is added to the logarithm of each class's product."""

    kind: Literal["heads"] = "heads"
    heads: tuple[AnyHead, ...]
    decoding: Literal["product", "joint"]
    experts: bool
    dependence: tuple[float, ...] | None = None

    @property
    def units(self) -> int:
        """The outputs of all heads."""
        return sum(head.units for head in self.heads)

    @property
    def networks(self) -> tuple[int, ...]:
        """Those of each head, where each has a network of its own."""
        return tuple(head.units for head in self.heads) if self.experts else (self.units,)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Attributes of which bins are learned."""
        return tuple(head.attribute for head in self.heads if isinstance(head, BinnedHead))

    def learn(self, class_counts: IntArray) -> JointOutput:
        """Return the same with the dependence of attributes, if it is to be decoded with the joint table."""
        if self.decoding == "product":
            return self
        return self.model_copy(update={"dependence": measure_dependence(self.heads, class_counts)})

    def build_criterion(self, plan: Plan, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the weighted sum of the heads' losses."""
        chosen = [choice or plan.loss for choice in plan.head_losses]
        losses = [
            head.build_criterion(loss, class_counts, seed + place)
            for place, (head, loss) in enumerate(zip(self.heads, chosen, strict=True))
        ]
        return JointLoss(self.heads, losses, self.numbers)

    def decode(self, logits: torch.Tensor) -> FloatArray:
        """Return the product of the values' probabilities for each class, scaled to a sum of 1."""
        parts = torch.split(logits.double(), [head.units for head in self.heads], dim=-1)
        total = torch.zeros(()) if self.dependence is None else torch.tensor(self.dependence, dtype=torch.float64)
        for head, part in zip(self.heads, parts, strict=True):
            total = total + head.decode(part).clamp(min=SMALLEST).log()[..., list(head.of_class)]
        values: FloatArray = torch.softmax(total, dim=-1).numpy()
        return values


def measure_dependence(heads: Sequence[Head], class_counts: IntArray) -> tuple[float, ...]:
    """Return for each class the logarithm of its frequency over the product of its values' frequencies.

    If what an image shows of the attributes is independent given their values, then by Bayes P(class | image) is
    proportional to the frequency of the class times the product over attributes of P(value | image) over the value's
    frequency. Frequencies are those of the training rows, with one row of each class added (Laplace).
    """
    frequency = (class_counts + 1) / (class_counts + 1).sum()
    expected = np.ones(len(frequency))
    for head in heads:
        of_class = np.asarray(head.of_class)
        expected *= np.bincount(of_class, weights=frequency, minlength=head.values)[of_class]
    return tuple(np.log(frequency / expected).tolist())


class JointLoss(nn.Module):
    """The weighted sum of the losses of several heads."""

    of_class: torch.Tensor

    def __init__(self, heads: Sequence[Head], losses: Sequence[nn.Module], numbers: Sequence[str]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.units = [head.units for head in heads]
        self.weights = [head.weight for head in heads]
        self.columns = [numbers.index(head.attribute) + 1 if head.attribute in numbers else None for head in heads]
        self.register_buffer("of_class", torch.tensor([head.of_class for head in heads]), persistent=False)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits [N, U] for classes int64 [N], or float64 [N, 1 + M] with numbers beside."""
        classes = targets if targets.ndim == 1 else targets[:, 0].long()
        terms = []
        parts = torch.split(logits, self.units, dim=1)
        for part, loss, weight, column, of_class in zip(
            parts, self.losses, self.weights, self.columns, self.of_class, strict=True
        ):
            terms.append(weight * loss(part, of_class[classes], None if column is None else targets[:, column]))
        total: torch.Tensor = sum(terms[1:], terms[0])
        return total
