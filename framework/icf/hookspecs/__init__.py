"""The hooks of icf. A plugin is a module with some of these functions, marked with ``@icf.hookimpl``.

The example of every hook is a whole plugin: the module ``my_plugin``, whose entry point is
``my-plugin = "my_plugin"``. A larger one keeps its factories in modules of their own.
"""

from __future__ import annotations

from icf.hookspecs.component_hooks import (
    icf_datasets,
    icf_ensemblers,
    icf_losses,
    icf_metrics,
    icf_mixers,
    icf_models,
    icf_optimizers,
    icf_samplers,
    icf_schedulers,
    icf_transforms,
)
from icf.hookspecs.event_hooks import icf_epoch_end, icf_fold_end, icf_fold_start, icf_run_end, icf_run_start
from icf.hookspecs.markers import GROUP, hookimpl, hookspec

__all__ = [
    "GROUP",
    "hookimpl",
    "hookspec",
    "icf_datasets",
    "icf_ensemblers",
    "icf_epoch_end",
    "icf_fold_end",
    "icf_fold_start",
    "icf_losses",
    "icf_metrics",
    "icf_mixers",
    "icf_models",
    "icf_optimizers",
    "icf_run_end",
    "icf_run_start",
    "icf_samplers",
    "icf_schedulers",
    "icf_transforms",
]
