"""What the outputs of a network mean: how many there are, what they are compared with, and how they become
probabilities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

from icf.choice import Frozen
from icf.components import FloatArray, IntArray, LossContext, TargetKind
from icf.pipeline.results.products import build
from icf.plan import Plan


class Output(Frozen):
    """The meaning of a network's outputs; plain data, stored with the weights."""

    @property
    @abstractmethod
    def units(self) -> int:
        """How many outputs there are for an image, U."""

    @property
    def targets(self) -> TargetKind:
        """What the outputs are of: one class of each image, or any number of labels."""
        return "classes"

    @property
    def networks(self) -> tuple[int, ...]:
        """How many of them each of several networks has, one after the other."""
        return (self.units,)

    @property
    def numbers(self) -> tuple[str, ...]:
        """Attributes whose numbers the loss wants beside the class."""
        return ()

    def learn(self, class_counts: IntArray) -> Output:
        """Return the same with what it takes from the training rows of each class, int64 [K]."""
        del class_counts
        return self

    def expect(self, classes: IntArray, numbers: Mapping[str, FloatArray]) -> torch.Tensor:
        """Return what outputs are compared with: targets int64 [N] or [N, K], or float64 [N, 1 + M].

        The latter are classes with M numbers beside, if the loss wants any.
        """
        if not self.numbers:
            return torch.from_numpy(classes)
        unknown = np.full(len(classes), np.nan)
        columns = [numbers.get(name, unknown) for name in self.numbers]
        return torch.from_numpy(np.column_stack([classes.astype(np.float64), *columns]))

    @abstractmethod
    def build_criterion(self, plan: Plan, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the loss of a batch: of logits float [N, U], and what ``expect`` gives.

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
        context = LossContext(
            num_classes=self.classes, class_counts=class_counts, seed=seed, epochs=plan.recipe.train.epochs
        )
        criterion: nn.Module = build(plan.loss, context)
        return criterion

    def decode(self, logits: torch.Tensor) -> FloatArray:
        """Return the softmax of the logits."""
        values: FloatArray = torch.softmax(logits.double(), dim=-1).numpy()
        return values


class Sigmoid(Output):
    """An output for each label, of which any number can be right: the logit of its being there."""

    kind: Literal["sigmoid"] = "sigmoid"
    labels: int

    @property
    def units(self) -> int:
        """The number of labels."""
        return self.labels

    @property
    def targets(self) -> TargetKind:
        """Labels."""
        return "labels"

    def build_criterion(self, plan: Plan, class_counts: IntArray, seed: int) -> nn.Module:
        """Return the plan's loss."""
        return Softmax(classes=self.labels).build_criterion(plan, class_counts, seed)

    def decode(self, logits: torch.Tensor) -> FloatArray:
        """Return the sigmoid of the logits."""
        values: FloatArray = torch.sigmoid(logits.double()).numpy()
        return values
