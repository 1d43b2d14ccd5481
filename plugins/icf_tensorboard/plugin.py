"""Hooks of the observer ``tensorboard``: curves, pictures and hyperparameters for TensorBoard.

Read them with ``tensorboard --logdir runs``.
"""

from __future__ import annotations

import icf


@icf.hookimpl
def icf_run_start(event: icf.RunStart) -> None:
    """Note the recipe, the classes and the data set's notes."""
    from icf_tensorboard.writer import write_run_start

    write_run_start(event)


@icf.hookimpl
def icf_epoch_end(event: icf.EpochEnd) -> None:
    """Add a point to each curve of the fold."""
    from icf_tensorboard.writer import write_epoch

    write_epoch(event)


@icf.hookimpl
def icf_fold_end(event: icf.FoldEnd) -> None:
    """Add the picture of augmented images, and close the fold's file."""
    from icf_tensorboard.writer import write_fold_end

    write_fold_end(event)


@icf.hookimpl
def icf_run_end(event: icf.RunEnd) -> None:
    """Add the confusion matrix, the hyperparameters and the score, and close all files."""
    from icf_tensorboard.writer import write_run_end

    write_run_end(event)
