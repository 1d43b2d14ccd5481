"""The sections of a recipe: which keys there are, what they may hold, and what they are if left out."""

from __future__ import annotations

from icf.sections.base import ComponentSection, Section
from icf.sections.compute import Compute
from icf.sections.data import Cache, DatasetSection, Problem, Split, Transforms
from icf.sections.prediction import Inference, Metrics, MetricSection
from icf.sections.recipe import Recipe
from icf.sections.targets import HeadSection, Targets, TrainOnly
from icf.sections.training import ModelSection, OptimizerSection, ParameterGroup, Train

__all__ = [
    "Cache",
    "ComponentSection",
    "Compute",
    "DatasetSection",
    "HeadSection",
    "Inference",
    "MetricSection",
    "Metrics",
    "ModelSection",
    "OptimizerSection",
    "ParameterGroup",
    "Problem",
    "Recipe",
    "Section",
    "Split",
    "Targets",
    "Train",
    "TrainOnly",
    "Transforms",
]
