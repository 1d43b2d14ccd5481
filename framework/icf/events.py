"""What observers are told: plain, frozen data, sent by the process that a person started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run begins, or continues."""

    run_dir: Path
    recipe: str
    folds: int
    epochs: int
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FoldStart:
    """A fold has begun its first step in this process, or a worker has."""

    run_dir: Path
    fold: int


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """An epoch of a fold is over. ``metrics`` are those of the whole validation fold."""

    run_dir: Path
    fold: int
    epoch: int
    train_loss: float
    val_loss: float
    learning_rate: float
    images_per_second: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FoldEnd:
    """A fold is finished. ``augmented`` is a picture of its first training batch as the network saw it."""

    run_dir: Path
    fold: int
    best_epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    augmented: Path | None = None


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """The run is finished. ``confusion`` counts out-of-fold rows, [target][prediction]."""

    run_dir: Path
    metrics: Mapping[str, float] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: tuple[str, ...] = ()
    hyperparameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)


Event = RunStart | FoldStart | EpochEnd | FoldEnd | RunEnd
