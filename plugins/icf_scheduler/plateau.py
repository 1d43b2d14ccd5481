"""The schedule that follows the score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icf_scheduler.plugin import PlateauParams
    from icf_scheduler.warmup import Warmup


class PlateauSchedule:
    """Lowers the rate after more than ``patience`` epochs in a row without a better score.

    A score is better if it exceeds ``best * (1 + threshold)``, or is below ``best * (1 - threshold)`` where
    lower is better; a score that is not a number is never better. This is
    torch.optim.lr_scheduler.ReduceLROnPlateau with threshold_mode "rel". Epochs that end within the
    warm-up can set the best score, but do not count as bad ones.
    """

    def __init__(self, params: PlateauParams, warmup: Warmup, *, maximize: bool) -> None:
        self.params = params
        self.warmup = warmup
        self.maximize = maximize
        self.current = 1.0
        self.best = -math.inf if maximize else math.inf
        self.bad_epochs = 0
        self.epochs = 0

    def factor(self, step: int) -> float:
        """Return the factor of optimizer step ``step``, by the scores observed so far."""
        return self.warmup.factor(step) * self.current

    def observe(self, score: float) -> None:
        """Take the validation score of the epoch that just ended."""
        self.epochs += 1
        if self._is_better(score):
            self.best = score
            self.bad_epochs = 0
        elif self.epochs > self.params.warmup_epochs:
            self.bad_epochs += 1
        if self.bad_epochs > self.params.patience:
            lowered = max(self.current * self.params.factor, self.params.min_factor)
            self.current = min(self.current, lowered)
            self.bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the current factor, the best score (absent before there is one) and the counts of epochs."""
        best = {"best": self.best} if math.isfinite(self.best) else {}
        return {"current": self.current, "bad_epochs": self.bad_epochs, "epochs": self.epochs, **best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what state_dict returned."""
        self.current = float(state["current"])
        self.bad_epochs = int(state["bad_epochs"])
        self.epochs = int(state["epochs"])
        self.best = float(state.get("best", -math.inf if self.maximize else math.inf))

    def _is_better(self, score: float) -> bool:
        if self.maximize:
            return score > self.best * (1 + self.params.threshold)
        return score < self.best * (1 - self.params.threshold)
