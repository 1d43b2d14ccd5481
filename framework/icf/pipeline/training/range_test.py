"""The learning-rate range test: a short training at a rate that grows step by step (Smith 2015, arXiv:1506.01186)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from icf.errors import FoldError
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.fit import train_step
from icf.pipeline.training.network import set_training_mode
from icf.pipeline.training.trainer import Trainer, cut_batch

BETA = 0.98
"""Share of the smoothed loss that a step keeps, as in fastai."""

DIVERGED = 4.0
"""Times its lowest value at which the smoothed loss has diverged, as in fastai."""


def list_rates(start: float, end: float, steps: int) -> list[float]:
    """Return rates from ``start`` to ``end``, each the same factor above the one before it."""
    return [start * (end / start) ** (step / (steps - 1)) for step in range(steps)]


def smooth(losses: Sequence[float], beta: float = BETA) -> list[float]:
    """Return the exponential moving average of losses, without the bias towards its start at zero.

    As fastai's Recorder does: m_i = beta m_(i-1) + (1 - beta) loss_i, divided by 1 - beta^i, with i from 1.
    """
    smoothed, mean = [], 0.0
    for count, loss in enumerate(losses, start=1):
        mean = beta * mean + (1 - beta) * loss
        smoothed.append(mean / (1 - beta**count))
    return smoothed


@dataclass(frozen=True)
class Suggestion:
    """Learning rates to begin with: where the loss falls fastest, and a tenth of that where it is lowest."""

    steepest: float
    tenth: float


def suggest_rates(rates: Sequence[float], smoothed: Sequence[float]) -> Suggestion:
    """Return what a range test suggests.

    The first tenth of the steps, whose mean is of few losses, does not count. The slope is that over the logarithm of
    the rate.

    Raises:
        FoldError: the loss has not fallen.
    """
    skipped, lowest = len(smoothed) // 10, int(np.argmin(smoothed))
    if len(smoothed) < 10 or lowest <= skipped:
        raise FoldError(
            "the loss did not fall at any learning rate; begin with a lower --start, take more --steps, or look at the"
            " data with icf check"
        )
    slopes = np.gradient(np.asarray(smoothed), np.log(rates[: len(smoothed)]))
    steepest = skipped + int(np.argmin(slopes[skipped : lowest + 1]))
    return Suggestion(rates[steepest], rates[lowest] / 10)


class Ramp:
    """A schedule whose factors make the highest rate of all groups the next of a list."""

    def __init__(self, rates: Sequence[float], base: float) -> None:
        self._factors = [rate / base for rate in rates]

    def factor(self, step: int) -> float:
        """Return the factor of a step."""
        return self._factors[step]

    def observe(self, score: float) -> None:
        """Ignore the score."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore nothing."""


def run_range_test(trainer: Trainer, rates: Sequence[float], progress: Callable[[int], None]) -> list[float]:
    """Train one step at each rate, with the fold's own batches; return the losses, fewer if they diverge.

    The groups of an optimizer keep the ratios of their rates. ``progress`` is told how many steps are done.
    """
    trainer.schedule = Ramp(rates, max(trainer.base_rates))
    trainer.average = None
    set_training_mode(trainer.network)
    losses: list[float] = []
    best = math.inf
    for loss in _train(trainer, len(rates)):
        losses.append(loss)
        progress(len(losses))
        smoothed = smooth(losses)[-1]
        best = min(best, smoothed)
        if not smoothed <= DIVERGED * best:  # also for NaN
            break
    return [loss for loss in losses if math.isfinite(loss)]


def _train(trainer: Trainer, steps: int) -> Iterator[float]:
    """Yield the loss of each of ``steps`` optimizer steps, over as many epochs as that takes."""
    state, seed = trainer.state, trainer.job.plan.recipe.train.seed
    for first in range(0, steps, trainer.steps):
        rows = trainer.data.train_rows[trainer.order(state.epoch)]
        batches = np.array_split(rows, trainer.steps)[: steps - first]
        pieces = [cut_batch(trainer, batch, step) for step, batch in enumerate(batches)]
        requests = [(piece.rows, piece.seed) for parts in pieces for piece in parts]
        levels = trainer.mixing.is_active(state.epoch)
        with closing(trainer.loader.load(requests, levels=levels)) as images:
            for step, parts in enumerate(pieces):
                torch.manual_seed(derive_seed(seed, Purpose.STEP, trainer.job.fold, state.epoch, step, 0))
                yield float(train_step(trainer, parts, step, images))
        state.epoch += 1
