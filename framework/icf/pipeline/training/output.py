"""What the outputs of a network mean: how many there are, what they are compared with, and how they become
probabilities."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from pydantic import TypeAdapter
from torch import nn

from icf.choice import Frozen
from icf.components import FloatArray, IntArray, LossContext
from icf.pipeline.results.products import build
from icf.plan import Plan


class Output(Frozen):
    """The meaning of a network's outputs; plain data, stored with the weights."""

    @property
    @abstractmethod
    def units(self) -> int:
        """How many outputs the network has for an image, U."""

    @abstractmethod
    def build_criterion(self, plan: Plan, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the loss of a batch, of logits float [N, U] and targets.

        ``class_counts`` are the training rows of each class, int64 [K]. Raises PluginError for a loss that fails.
        """

    @abstractmethod
    def decode(self, logits: torch.Tensor) -> FloatArray:
        """Return probabilities, float64 [..., K], of logits [..., U] on the CPU."""


class Softmax(Output):
    """An output for each class, of which one is right."""

    kind: Literal["softmax"] = "softmax"
    classes: int

    @property
    def units(self) -> int:
        """The number of classes."""
        return self.classes

    def build_criterion(self, plan: Plan, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the plan's loss."""
        criterion: nn.Module = build(
            plan.loss, LossContext(num_classes=self.classes, class_counts=class_counts, seed=seed)
        )
        return criterion

    def decode(self, logits: torch.Tensor) -> FloatArray:
        """Return the softmax of the logits."""
        values: FloatArray = torch.softmax(logits.double(), dim=-1).numpy()
        return values


_ADAPTER: TypeAdapter[Softmax] = TypeAdapter(Softmax)


def read_output(described: Any) -> Output:
    """Return the output that ``model_dump`` described."""
    return _ADAPTER.validate_python(described)
