"""Hooks that tell an observer what happens in a run; what they raise costs the run nothing."""

from __future__ import annotations

from icf.events import EpochEnd, FoldEnd, FoldStart, RunEnd, RunStart
from icf.hookspecs.markers import hookspec


@hookspec
def icf_run_start(event: RunStart) -> None:
    """Called when a run begins or continues, for the observers that the recipe lists, in that order.

    Example::

        import icf

        @icf.hookimpl
        def icf_run_start(event):
            print(event.recipe, "writes to", event.run_dir)
    """


@hookspec
def icf_fold_start(event: FoldStart) -> None:
    """Called when a fold begins to train, for the observers that the recipe lists, in that order.

    Example::

        import icf

        @icf.hookimpl
        def icf_fold_start(event):
            print("fold", event.fold, "starts")
    """


@hookspec
def icf_epoch_end(event: EpochEnd) -> None:
    """Called when an epoch of a fold is over, for the observers that the recipe lists, in that order.

    Example::

        import icf

        @icf.hookimpl
        def icf_epoch_end(event):
            print("fold", event.fold, "epoch", event.epoch, "loss", event.val_loss)
    """


@hookspec
def icf_fold_end(event: FoldEnd) -> None:
    """Called when a fold is finished, for the observers that the recipe lists, in that order.

    Example::

        import icf

        @icf.hookimpl
        def icf_fold_end(event):
            print("fold", event.fold, "ends with", dict(event.metrics))
    """


@hookspec
def icf_run_end(event: RunEnd) -> None:
    """Called when the run is finished, for the observers that the recipe lists, in that order.

    Example::

        import icf

        @icf.hookimpl
        def icf_run_end(event):
            print("score", dict(event.metrics))
    """
