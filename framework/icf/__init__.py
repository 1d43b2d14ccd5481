"""icf, an image classification framework: the names that a plugin may use.

Importing it is cheap: no torch, no ray, no discovery of plugins.
"""

from __future__ import annotations

from icf.components import (
    BatchTransform,
    Combiner,
    Component,
    Dataset,
    DatasetContent,
    DatasetContext,
    Ensembler,
    EnsemblerContext,
    FloatArray,
    IntArray,
    Loss,
    LossContext,
    Metric,
    MetricContext,
    MetricFunction,
    Model,
    ModelContext,
    ModelInfo,
    Optimizer,
    OptimizerContext,
    PixelArray,
    Sampler,
    SamplerContext,
    Samples,
    Sampling,
    Schedule,
    Scheduler,
    SchedulerContext,
    SubmissionFormat,
    Transform,
    TransformContext,
)
from icf.errors import BadImagesError, DataError, IcfError, PluginError, Problem, did_you_mean, suggest
from icf.events import EpochEnd, FoldEnd, FoldStart, RunEnd, RunStart
from icf.hookspecs import hookimpl
from icf.local import local_module
from icf.params import Params

__version__ = "0.1.0"

__all__ = [
    "BadImagesError",
    "BatchTransform",
    "Combiner",
    "Component",
    "DataError",
    "Dataset",
    "DatasetContent",
    "DatasetContext",
    "Ensembler",
    "EnsemblerContext",
    "EpochEnd",
    "FloatArray",
    "FoldEnd",
    "FoldStart",
    "IcfError",
    "IntArray",
    "Loss",
    "LossContext",
    "Metric",
    "MetricContext",
    "MetricFunction",
    "Model",
    "ModelContext",
    "ModelInfo",
    "Optimizer",
    "OptimizerContext",
    "Params",
    "PixelArray",
    "PluginError",
    "Problem",
    "RunEnd",
    "RunStart",
    "Sampler",
    "SamplerContext",
    "Samples",
    "Sampling",
    "Schedule",
    "Scheduler",
    "SchedulerContext",
    "SubmissionFormat",
    "Transform",
    "TransformContext",
    "did_you_mean",
    "hookimpl",
    "local_module",
    "suggest",
]
