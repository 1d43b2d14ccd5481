"""Kinds of heads: how the values of one attribute are learned from a network's outputs, and read from them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from icf.choice import Choice, Frozen
from icf.components import IntArray, LossContext
from icf.pipeline.results.products import blame, build, check_loss


class Head(Frozen):
    """Outputs for one attribute; ``of_class`` is the value of each class, by index."""

    attribute: str
    of_class: tuple[int, ...]
    values: int
    weight: float

    @property
    @abstractmethod
    def units(self) -> int:
        """How many outputs it has."""

    @abstractmethod
    def build_criterion(self, loss: Choice, class_counts: IntArray, seed: int) -> nn.Module:
        """Return a loss of logits float [N, units], values int64 [N] and numbers float64 [N], NaN where unknown."""

    @abstractmethod
    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the probability of each value, float64 [..., V], of logits float64 [..., units]."""


class ClassHead(Head):
    """An output for each value, learned with any loss of classes."""

    kind: Literal["classes"] = "classes"

    @property
    def units(self) -> int:
        """The number of values."""
        return self.values

    def build_criterion(self, loss: Choice, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the chosen loss, for which values are classes."""
        counts = np.bincount(self.of_class, weights=class_counts, minlength=self.values).astype(np.int64)
        return ValueLoss(loss, build(loss, LossContext(num_classes=self.values, class_counts=counts, seed=seed)))

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the softmax."""
        return torch.softmax(logits, dim=-1)


class ValueLoss(nn.Module):
    """A component's loss of an attribute's values; what fails is told with the component's name."""

    def __init__(self, choice: Choice, criterion: nn.Module) -> None:
        super().__init__()
        self.choice = choice
        self.criterion = criterion

    def forward(self, logits: torch.Tensor, values: torch.Tensor, numbers: torch.Tensor | None) -> torch.Tensor:
        """Return the mean loss of logits [N, V] for values int64 [N]."""
        del numbers
        with blame(self.choice, "on a head"):
            loss: torch.Tensor = self.criterion(logits, values)
        check_loss(self.choice, loss)
        return loss


class OrdinalHead(Head):
    """An output for each threshold between ordered values: the logit of being above it."""

    kind: Literal["ordinal"] = "ordinal"

    @property
    def units(self) -> int:
        """One less than the number of values."""
        return self.values - 1

    def build_criterion(self, loss: Choice, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the loss of the thresholds."""
        del loss, class_counts, seed
        return OrdinalLoss()

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return differences of P(value > k); where a threshold contradicts the one below, 0, and sums become 1."""
        above = torch.sigmoid(logits)
        ends = torch.ones_like(above[..., :1])
        differences = torch.cat([ends, above], -1) - torch.cat([above, torch.zeros_like(ends)], -1)
        clipped = differences.clamp(min=0)
        return clipped / clipped.sum(-1, keepdim=True)


class OrdinalLoss(nn.Module):
    """Cumulative binary cross-entropy, the mean over rows of the sum over thresholds k of that of "value > k".

    Li and Lin 2006, "Ordinal Regression by Extended Binary Classification"; for networks Niu et al. 2016, CVPR, and
    Cao et al. 2020, arXiv:1901.07884, equation 3 with all weights 1, whose thresholds also share a direction.
    """

    def forward(self, logits: torch.Tensor, values: torch.Tensor, numbers: torch.Tensor | None) -> torch.Tensor:
        """Return the mean loss of logits [N, V - 1] for values int64 [N]."""
        del numbers
        thresholds = torch.arange(logits.shape[1], device=logits.device)
        above = (values[:, None] > thresholds).float()
        return functional.binary_cross_entropy_with_logits(logits.float(), above, reduction="none").sum(1).mean()


class BinnedHead(Head):
    """An output for each bin of the number behind the values; ``bands`` is the value that a bin belongs to."""

    kind: Literal["binned"] = "binned"
    centres: tuple[float, ...]
    bands: tuple[int, ...]
    sigma: float

    @property
    def units(self) -> int:
        """The number of bins."""
        return len(self.centres)

    def build_criterion(self, loss: Choice, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the loss of the label distribution."""
        del loss, class_counts, seed
        return BinnedLoss(torch.tensor(self.centres), torch.tensor(self.bands), self.sigma)

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Return sums of the bins of each band."""
        bins = torch.softmax(logits, dim=-1)
        return torch.stack([bins[..., torch.tensor(self.bands) == value].sum(-1) for value in range(self.values)], -1)


class BinnedLoss(nn.Module):
    """Label distribution learning: cross-entropy with a Gaussian around the number, over all bins.

    Gao et al. 2017, arXiv:1611.01731, equations 1 and 3 (the divergence there differs by a constant). A row without a
    number has the negative logarithm of the probability of its band.
    """

    centres: torch.Tensor
    bands: torch.Tensor

    def __init__(self, centres: torch.Tensor, bands: torch.Tensor, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.register_buffer("centres", centres.double(), persistent=False)
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, logits: torch.Tensor, values: torch.Tensor, numbers: torch.Tensor | None) -> torch.Tensor:
        """Return the mean loss of logits [N, B] for values int64 [N] and numbers float64 [N]."""
        log_p = functional.log_softmax(logits.float(), dim=1)
        within = torch.where(self.bands == values[:, None], log_p, -torch.inf)
        of_band = -torch.logsumexp(within, dim=1)
        if numbers is None:
            return of_band.mean()
        known = ~torch.isnan(numbers)
        distance = torch.where(known, numbers, 0.0)[:, None] - self.centres
        wanted = torch.softmax(-(distance**2) / (2 * self.sigma**2), dim=1).float()
        return torch.where(known, -(wanted * log_p).sum(1), of_band).mean()


AnyHead = Annotated[ClassHead | OrdinalHead | BinnedHead, Field(discriminator="kind")]


def place_bins(numbers: torch.Tensor, starts: tuple[float, ...], width: float) -> tuple[float, ...]:
    """Return centres of bins, ``width`` apart, that hold all known numbers and at least one of every band.

    The start of the second band is a centre, so that with whole numbers and a width of 1 every number is one.
    """
    known = numbers[~torch.isnan(numbers)].tolist()
    low, high = min([*known, starts[0] - width]), max([*known, starts[-1]])
    first, last = np.floor((low - starts[0]) / width), np.ceil((high - starts[0]) / width)
    return tuple((starts[0] + width * np.arange(first, last + 1)).tolist())
