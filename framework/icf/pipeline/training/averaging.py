"""Means of a network's weights over a training, which are validated, kept and predicted with in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from icf.sections import Train


class WeightAverage:
    """A mean of tensors of a network; ``count`` is how often it was updated, and before the first time it is unused."""

    def __init__(self, model: nn.Module, tensors: list[torch.Tensor]) -> None:
        self._all = [*model.parameters(), *model.buffers()]
        self._tensors = [tensor for tensor in tensors if tensor.is_floating_point()]
        self._mean: list[torch.Tensor] = []
        self.count = 0

    def after_step(self) -> None:
        """Take note of an optimizer step."""

    def after_epoch(self, epoch: int) -> None:
        """Take note of the end of an epoch, counted from 0."""

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the mean in the place of the weights; at the end of the block they are, bit for bit, what they were."""
        if not self.count:
            yield
            return
        own = [tensor.detach().clone() for tensor in self._all]
        _copy(self._mean, self._tensors)
        try:
            yield
        finally:
            _copy(own, self._all)

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive a restart."""
        return {"count": self.count, "mean": self._mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what state_dict returned."""
        self.count = state["count"]
        pairs = zip(state["mean"], self._tensors, strict=False)  # there is no mean before the first update
        self._mean = [mean.to(tensor.device) for mean, tensor in pairs]

    def _begin(self) -> None:
        if not self._mean:
            self._mean = [tensor.detach().clone() for tensor in self._tensors]


def _copy(sources: list[torch.Tensor], targets: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for source, target in zip(sources, targets, strict=True):
            target.copy_(source)


class ExponentialAverage(WeightAverage):
    """Exponential moving average over optimizer steps, of parameters and running statistics (Polyak and Juditsky 1992).

    In update t, counted from 1, the mean keeps ``min(decay, (1 + t) / (10 + t))`` of itself, as TensorFlow's
    ExponentialMovingAverage does: a short training would else be dominated by its random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, [*model.parameters(), *model.buffers()])
        self._decay = decay

    def after_step(self) -> None:
        """Move the mean towards the present weights."""
        self._begin()
        self.count += 1
        kept = min(self._decay, (1 + self.count) / (10 + self.count))
        update = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
        update(self._mean, self._tensors, self.count)


class EpochAverage(WeightAverage):
    """Equal mean of the weights after each epoch from ``start`` on, stochastic weight averaging (Izmailov et al. 2018).

    Statistics of batch normalisation are no part of it: they must be computed anew for the mean.
    """

    def __init__(self, model: nn.Module, start: int) -> None:
        super().__init__(model, list(model.parameters()))
        self._start = start

    def after_epoch(self, epoch: int) -> None:
        """Add the present weights, if the epoch counts."""
        if epoch >= self._start:
            self._begin()
            update = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]
            update(self._mean, self._tensors, self.count)
            self.count += 1


def build_average(section: Train, model: nn.Module) -> WeightAverage | None:
    """Return the mean that a recipe asks for, if it is made while the training goes on."""
    if section.average == "ema":
        return ExponentialAverage(model, section.ema_decay)
    if section.average == "swa":
        start = section.epochs * 3 // 4 if section.swa_start is None else section.swa_start
        return EpochAverage(model, start)
    return None
