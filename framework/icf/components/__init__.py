"""Descriptors of components, the contexts that factories get, and what factories return.

Nothing here imports torch: a descriptor names its factory as a string, which is imported on first use.
"""

from __future__ import annotations

from typing import Literal

from icf.components.base import BoolArray, Component, FloatArray, IntArray, PixelArray, TargetKind
from icf.components.datasets import Attribute, Dataset, DatasetContent, DatasetContext, Samples, SubmissionFormat
from icf.components.evaluation import Combiner, Ensembler, EnsemblerContext, Metric, MetricContext, MetricFunction
from icf.components.models import Model, ModelContext, ModelInfo
from icf.components.training import (
    BatchMixer,
    BatchTransform,
    Loss,
    LossContext,
    Mixed,
    Mixer,
    MixerContext,
    Optimizer,
    OptimizerContext,
    Sampler,
    SamplerContext,
    Sampling,
    Schedule,
    Scheduler,
    SchedulerContext,
    Transform,
    TransformContext,
)

__all__ = [
    "KINDS",
    "Attribute",
    "BatchMixer",
    "BatchTransform",
    "BoolArray",
    "Combiner",
    "Component",
    "Dataset",
    "DatasetContent",
    "DatasetContext",
    "Ensembler",
    "EnsemblerContext",
    "FloatArray",
    "IntArray",
    "Kind",
    "Loss",
    "LossContext",
    "Metric",
    "MetricContext",
    "MetricFunction",
    "Mixed",
    "Mixer",
    "MixerContext",
    "Model",
    "ModelContext",
    "ModelInfo",
    "Optimizer",
    "OptimizerContext",
    "PixelArray",
    "Sampler",
    "SamplerContext",
    "Samples",
    "Sampling",
    "Schedule",
    "Scheduler",
    "SchedulerContext",
    "SubmissionFormat",
    "TargetKind",
    "Transform",
    "TransformContext",
]

Kind = Literal[
    "dataset", "model", "loss", "scheduler", "metric", "ensembler", "transform", "mixer", "optimizer", "sampler"
]

KINDS: dict[str, type[Component]] = {
    cls.kind: cls for cls in (Dataset, Model, Loss, Scheduler, Metric, Ensembler, Transform, Mixer, Optimizer, Sampler)
}
"""Kind -> descriptor class; the hook of a kind is ``icf_<kind>s``."""
