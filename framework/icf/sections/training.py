"""Sections of the network, and of how it is trained."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, Strict, field_validator, model_validator

from icf.sections.base import ComponentSection, Count, Number, Positive, Section


class ModelSection(ComponentSection):
    """The network."""

    freeze: Annotated[str, Field(min_length=1)] = Field(
        default="none",
        description="'backbone': only the classifier head is trained; the name of a module of the network, such as"
        " 'layer2': it and everything that runs before it is not",
    )
    unfreeze: tuple[Count, ...] = Field(
        default=(),
        description="Epochs that are done when one more layer is trained, beginning with the head alone; the last opens"
        " all that are left. Empty: all are trained from the start",
    )
    layer_decay: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=1.0, description="Learning rate of each layer as a share of that of the layer after it, up to the head"
    )
    head_dropout: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Share of features set to zero just before the classifier head, 0 to 1"
    )
    dropout_samples: Annotated[int, Strict(), Field(ge=1, le=64)] = Field(
        default=1, description="Times that the head sees an image in a step, each with other features set to zero"
    )
    head: Literal["own", "cosine"] = Field(
        default="own",
        description="'own': the head that the network has; 'cosine': logits are head_scale times the cosine of features"
        " and class weights, as loss/arcface needs",
    )
    head_scale: Positive = Field(default=30.0, description="With a cosine head: factor of the cosines")
    views: Count | None = Field(
        default=None,
        description="Augmented versions of a training image, of which every epoch takes one; left out: 4 with"
        " freeze = 'backbone' and without transforms.mix, else a new one every time",
    )

    @model_validator(mode="after")
    def _check_together(self) -> ModelSection:
        if self.unfreeze and self.freeze == "backbone":
            raise ValueError(
                'unfreeze begins with the head alone; freeze = "backbone" would leave it alone: remove one'
            )
        if any(later <= earlier for earlier, later in pairwise(self.unfreeze)):
            raise ValueError(f"unfreeze = {list(self.unfreeze)}: each number must be larger than the one before it")
        if self.dropout_samples > 1 and not self.head_dropout:
            raise ValueError("dropout_samples above 1 needs head_dropout above 0: the samples would be equal")
        return self


class ParameterGroup(Section):
    """Parameters of the network that are trained otherwise than the others."""

    match: Annotated[str, Field(min_length=1)] = Field(
        description="Regular expression that is searched in the names of the network's parameters, such as '^head'"
    )
    lr_factor: Positive = Field(default=1.0, description="Factor of the learning rate")
    weight_decay: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="Weight decay; left out: the optimizer's, and none for biases and norm layers"
    )

    @field_validator("match")
    @classmethod
    def _is_regular_expression(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return text


class OptimizerSection(ComponentSection):
    """How weights are changed."""

    groups: tuple[ParameterGroup, ...] = Field(
        default=(),
        description="Parameters with settings of their own, as tables of 'match', a regular expression that is searched"
        " in their names, 'lr_factor' and 'weight_decay'; the first that matches counts",
    )


class Train(Section):
    """How long and in which steps a fold is trained."""

    epochs: Count = Field(default=10, description="Passes over the training rows")
    batch_size: Count = Field(default=64, description="Images per optimizer step")
    accumulate: Count = Field(default=1, description="Parts that the batch of one optimizer step is cut into")
    clip_norm: Positive | None = Field(default=None, description="Largest norm of the gradient; left out: not clipped")
    early_stopping: Count | None = Field(
        default=None, description="Stop after this many epochs without improvement; left out: never"
    )
    average: Literal["none", "ema", "swa", "soup"] = Field(
        default="none",
        description="A mean of weights that is validated and kept in their place: 'ema', over all steps, newer ones"
        " counting more; 'swa', of the last epochs; 'soup', of the best epochs, as many as do not lower the score",
    )
    ema_decay: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.999, description="With 'ema': share of the mean that a step keeps; less in the first steps"
    )
    swa_start: Annotated[int, Strict(), Field(ge=0)] | None = Field(
        default=None, description="With 'swa': epochs before the first that counts; left out: three quarters of them"
    )
    soup_size: Annotated[int, Strict(), Field(ge=2, le=100)] = Field(
        default=5, description="With 'soup': best epochs that are tried"
    )
    seed: Annotated[int, Strict(), Field(ge=0, lt=2**32)] = Field(
        default=0, description="Seed of everything that is random"
    )
