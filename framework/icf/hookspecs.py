"""The hooks of icf. A plugin is a module with some of these functions, marked with ``@icf.hookimpl``."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from icf.components import (
    Dataset,
    Ensembler,
    Loss,
    Metric,
    Model,
    Optimizer,
    Sampler,
    Scheduler,
    Transform,
)
from icf.events import EpochEnd, FoldEnd, FoldStart, RunEnd, RunStart

GROUP = "icf"
"""Name of the entry-point group and of the pluggy project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def icf_datasets() -> Iterable[Dataset]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the data sets that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_datasets():
            yield icf.Dataset(
                name="flowers",
                factory="my_plugin.flowers:load",
                params=FlowersParams,
                summary="Photographs of 102 flowers",
            )
    """


@hookspec
def icf_models() -> Iterable[Model]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the models that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_models():
            yield icf.Model(
                name="tiny",
                factory="my_plugin.tiny:build",
                params=TinyParams,
                summary="A network of two layers",
            )
    """


@hookspec
def icf_losses() -> Iterable[Loss]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the losses that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_losses():
            yield icf.Loss(
                name="poly",
                factory="my_plugin.poly:poly_loss",
                params=PolyParams,
                summary="PolyLoss (Leng et al. 2022)",
            )
    """


@hookspec
def icf_schedulers() -> Iterable[Scheduler]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the learning-rate schedules that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_schedulers():
            yield icf.Scheduler(
                name="linear",
                factory="my_plugin.linear:LinearSchedule",
                params=LinearParams,
                summary="A straight line to zero",
            )
    """


@hookspec
def icf_metrics() -> Iterable[Metric]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the metrics that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_metrics():
            yield icf.Metric(
                name="kappa",
                factory="my_plugin.kappa:cohen_kappa",
                summary="Cohen's kappa",
                bounds=(-1.0, 1.0),
            )
    """


@hookspec
def icf_ensemblers() -> Iterable[Ensembler]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the ensemblers that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_ensemblers():
            yield icf.Ensembler(
                name="median",
                factory="my_plugin.median:MedianVote",
                summary="Median of the members' probabilities",
            )
    """


@hookspec
def icf_transforms() -> Iterable[Transform]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the transforms that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_transforms():
            yield icf.Transform(
                name="invert",
                factory="my_plugin.invert:invert",
                params=InvertParams,
                summary="Inverts some images of a batch",
            )
    """


@hookspec
def icf_optimizers() -> Iterable[Optimizer]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the optimizers that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_optimizers():
            yield icf.Optimizer(
                name="lion",
                factory="my_plugin.lion:build",
                params=LionParams,
                summary="Lion (Chen et al. 2023)",
            )
    """


@hookspec
def icf_samplers() -> Iterable[Sampler]:  # type: ignore[empty-body]
    """Yield a descriptor for each of the samplers that the plugin offers.

    Example::

        import icf

        @icf.hookimpl
        def icf_samplers():
            yield icf.Sampler(
                name="half",
                factory="my_plugin.half:half_of_the_rows",
                summary="Another random half of the rows in each epoch",
            )
    """


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
            print(event.fold, event.epoch, event.val_loss)
    """


@hookspec
def icf_fold_end(event: FoldEnd) -> None:
    """Called when a fold is finished, for the observers that the recipe lists, in that order.

    Example::

        import icf

        @icf.hookimpl
        def icf_fold_end(event):
            print(event.fold, dict(event.metrics))
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
