"""What observers are told: plain, frozen data, sent by the process that a person started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run begins, or continues."""

    run_dir: Path
    """The run folder."""

    recipe: str
    """Name of the recipe file, without its ending."""

    folds: int
    """Number of folds."""

    epochs: int
    """Epochs of each fold."""

    classes: tuple[str, ...]
    """Class names, in the order of the targets."""

    notes: tuple[str, ...] = ()
    """The data set's notes."""


@dataclass(frozen=True, kw_only=True)
class FoldStart:
    """A fold has begun its first step in this process, or a worker has."""

    run_dir: Path
    """The run folder."""

    fold: int
    """Number of the fold, from 0."""


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """An epoch of a fold is over."""

    run_dir: Path
    """The run folder."""

    fold: int
    """Number of the fold, from 0."""

    epoch: int
    """Number of the epoch, from 0."""

    train_loss: float
    """Mean loss of the training rows during the epoch."""

    val_loss: float
    """Loss of the validation rows after it."""

    learning_rate: float
    """Rate of the first parameter group in the last step."""

    images_per_second: float
    """Training images per second."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the whole validation fold after it, by name."""


@dataclass(frozen=True, kw_only=True)
class FoldEnd:
    """A fold is finished."""

    run_dir: Path
    """The run folder."""

    fold: int
    """Number of the fold, from 0."""

    best_epoch: int
    """Epoch whose weights are kept, from 0."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of the validation rows with these weights, by name."""

    augmented: Path | None = None
    """A picture of the first training batch as the network saw it; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """The run is finished."""

    run_dir: Path
    """The run folder."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics of all out-of-fold rows, by name."""

    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts of out-of-fold rows, [target][prediction]."""

    classes: tuple[str, ...] = ()
    """Class names, in the order of the targets."""

    hyperparameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Components, their parameters, epochs, batch size and seed."""


Event = RunStart | FoldStart | EpochEnd | FoldEnd | RunEnd
