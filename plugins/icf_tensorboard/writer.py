"""Event files in the run folder: ``tensorboard/fold-<k>`` for each fold and ``tensorboard/run``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

import icf
from icf_tensorboard.confusion import draw_confusion

_writers: dict[Path, SummaryWriter] = {}
"""Open event files by folder: opening one for each epoch would leave as many files."""


def write_run_start(event: icf.RunStart) -> None:
    """Write what the run is about as text."""
    lines = [
        f"Recipe: {event.recipe}",
        f"Folds: {event.folds}, epochs: {event.epochs}",
        f"Classes: {', '.join(event.classes)}",
        *(f"Note: {note}" for note in event.notes),
    ]
    _open_writer(event.run_dir, "run").add_text("run", "\n\n".join(lines))


def write_epoch(event: icf.EpochEnd) -> None:
    """Write losses, metrics, learning rate and speed (images per second) of one epoch of a fold."""
    writer = _open_writer(event.run_dir, f"fold-{event.fold}")
    scalars = {
        "train_loss": event.train_loss,
        "val_loss": event.val_loss,
        "learning_rate": event.learning_rate,
        "images_per_second": event.images_per_second,
        **event.metrics,
    }
    for name, value in scalars.items():
        writer.add_scalar(name, value, event.epoch)
    writer.flush()


def write_fold_end(event: icf.FoldEnd) -> None:
    """Write the picture of augmented training images, where there is one, and close the fold's file."""
    writer = _open_writer(event.run_dir, f"fold-{event.fold}")
    pixels = _read_picture(event.augmented)
    if pixels is not None:
        writer.add_image("augmented", pixels, event.best_epoch, dataformats="HWC")
    _close_writer(event.run_dir, f"fold-{event.fold}")


def write_run_end(event: icf.RunEnd) -> None:
    """Write the confusion matrix, hyperparameters and scores, and close all files of the run."""
    writer = _open_writer(event.run_dir, "run")
    if event.confusion:
        pixels = draw_confusion(np.asarray(event.confusion, dtype=np.int64), event.classes)
        writer.add_image("confusion", pixels, dataformats="HWC")
    scores = {f"score/{name}": score for name, score in event.metrics.items()}
    # SummaryWriter.add_hparams would write into another, time-stamped folder.
    for summary in hparams(dict(event.hyperparameters), scores):  # type: ignore[no-untyped-call]
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for name, score in scores.items():
        writer.add_scalar(name, score)
    for folder in [folder for folder in _writers if folder.parent == _find_root(event.run_dir)]:
        _writers.pop(folder).close()


def _find_root(run_dir: Path) -> Path:
    return run_dir.resolve() / "tensorboard"


def _open_writer(run_dir: Path, name: str) -> SummaryWriter:
    folder = _find_root(run_dir) / name
    if folder not in _writers:
        _writers[folder] = SummaryWriter(str(folder))
    return _writers[folder]


def _close_writer(run_dir: Path, name: str) -> None:
    writer = _writers.pop(_find_root(run_dir) / name, None)
    if writer is not None:
        writer.close()


def _read_picture(file: Path | None) -> icf.PixelArray | None:
    """Read a picture as uint8 [H, W, 3]; None where there is none, for it is not worth failing a run."""
    if file is None:
        return None
    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    except (OSError, UnidentifiedImageError):
        return None
