"""A recipe is its sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from icf.sections.base import ComponentSection, Section, fill_use
from icf.sections.compute import Compute
from icf.sections.data import Cache, DatasetSection, Problem, Split, Transforms
from icf.sections.prediction import Inference, Metrics
from icf.sections.targets import Targets
from icf.sections.training import ModelSection, OptimizerSection, Train


def _component(ref: str, description: str) -> Any:
    return Field(default=ComponentSection(use=ref), description=f"{description}; {ref} if left out")


class Recipe(Section):
    """A whole recipe, with everything that was left out filled in."""

    problem: Problem = Field(default=Problem(), description="What is asked, in words")
    dataset: DatasetSection = Field(description='a [dataset] table with use = "plugin/component" is needed')
    split: Split = Field(default=Split(), description="How training rows are divided into folds")
    transforms: Transforms = Field(default=Transforms(), description="What happens to images")
    cache: Cache = Field(default=Cache(), description="Where decoded images are kept")
    model: ModelSection = Field(description='a [model] table with use = "plugin/component" is needed')
    targets: Targets = Field(default=Targets(), description="What the network learns")
    loss: Annotated[ComponentSection, BeforeValidator(fill_use("loss/cross-entropy"))] = _component(
        "loss/cross-entropy", "What training minimises"
    )
    optimizer: Annotated[OptimizerSection, BeforeValidator(fill_use("optimizer/adamw"))] = Field(
        default=OptimizerSection(use="optimizer/adamw"),
        description="How weights are changed; optimizer/adamw if left out",
    )
    scheduler: Annotated[ComponentSection, BeforeValidator(fill_use("scheduler/cosine"))] = _component(
        "scheduler/cosine", "How the learning rate changes"
    )
    sampler: Annotated[ComponentSection, BeforeValidator(fill_use("sampler/shuffled"))] = _component(
        "sampler/shuffled", "Order and frequency of training rows"
    )
    train: Train = Field(default=Train(), description="How long and in which steps a fold is trained")
    metrics: Metrics = Field(default=Metrics(), description="What is measured on validation rows")
    inference: Inference = Field(default=Inference(), description="How predictions are made")
    ensemble: Annotated[ComponentSection, BeforeValidator(fill_use("ensemble/soft-vote"))] = _component(
        "ensemble/soft-vote", "How the folds' predictions are joined"
    )
    compute: Compute = Field(default=Compute(), description="Where and how fast folds run")
    observers: tuple[str, ...] = Field(default=(), description="Plugins that are told what happens, in order")
