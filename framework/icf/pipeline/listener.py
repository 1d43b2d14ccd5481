"""What a run tells the person who started it; the command line draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icf.events import EpochEnd
from icf.pipeline.jobs import Placement
from icf.plan import Plan


@dataclass(frozen=True)
class FoldStatus:
    """What a fold is doing: "waiting", "training", "predicting", "finished" or "failed"."""

    fold: int
    status: str = "waiting"
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    images_per_second: float | None = None
    last: EpochEnd | None = None
    best: float | None = None


@dataclass(frozen=True)
class RunResult:
    """The end of a run: ``metrics`` is the content of metrics.json."""

    run_dir: Path
    metrics: dict[str, Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: int = 0
    submission: Path | None = None
    report: Path | None = None
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)


class Listener:
    """Does nothing with what it hears; override what you want to show."""

    def run_opened(self, plan: Plan, run_dir: Path, *, continued: bool) -> None:
        """The run folder exists; ``continued`` when an interrupted run goes on in it."""

    def stage_started(self, name: str) -> None:
        """A stage begins."""

    def stage_progress(self, name: str, what: str, done: int, total: int) -> None:
        """A stage has done a part of its work."""

    def stage_ended(self, name: str, seconds: float, *, skipped: bool, detail: str = "") -> None:
        """A stage is over; ``skipped`` when its products were there already."""

    def data_ready(self, facts: dict[str, Any], notes: Sequence[str], warnings: Sequence[str]) -> None:
        """The data is checked and decoded."""

    def folds_placed(self, placement: Placement, folds: int, finished: Sequence[int]) -> None:
        """Folds are about to start; ``finished`` ones are taken from an earlier start."""

    def prefetch_chosen(self, fold: int, choice: str) -> None:
        """A fold has measured how many threads shall prepare its batches."""

    def folds_changed(self, folds: Sequence[FoldStatus]) -> None:
        """Called about twice a second while folds train."""

    def epoch_ended(self, event: EpochEnd, epochs: int) -> None:
        """An epoch of a fold is over."""

    def warn(self, text: str) -> None:
        """Something is worth knowing; it is in the report too."""

    def run_ended(self, result: RunResult) -> None:
        """The run is finished."""
