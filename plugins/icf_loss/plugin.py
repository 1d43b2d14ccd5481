"""Hooks and parameters of the losses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

import icf

Weight: TypeAlias = Annotated[float, Field(gt=0, le=1e6)]
ClassWeights: TypeAlias = Literal["none", "balanced"] | tuple[Weight, ...]


class CrossEntropyParams(icf.Params):
    """Parameters of the cross-entropy."""

    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each target that is spread evenly over all classes, a fraction",
    )
    class_weights: ClassWeights = Field(
        default="none",
        description=(
            "Weight of each class in the mean: 'none' (all 1), 'balanced' (rows / (classes * rows of the "
            "class), from the fold's training rows) or a list of one number above 0 per class, in their order"
        ),
    )


class BinaryParams(icf.Params):
    """Parameters of the binary cross-entropy."""

    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="How far targets of 0 and 1 move towards each other, a fraction"
    )


class FocalParams(icf.Params):
    """Parameters of the focal loss."""

    gamma: float = Field(
        default=2.0,
        ge=0,
        le=20,
        description="Exponent of (1 - probability of the target): the higher, the less do rows count that "
        "are right already; 0 is cross-entropy",
    )
    alpha: ClassWeights = Field(
        default="none",
        description=(
            "Weight of each class in the mean: 'none' (all 1), 'balanced' (rows / (classes * rows of the "
            "class), from the fold's training rows) or a list of one number above 0 per class, in their order"
        ),
    )


@icf.hookimpl
def icf_losses() -> Iterable[icf.Loss]:
    """Yield the losses."""
    yield icf.Loss(
        name="cross-entropy",
        factory="icf_loss.losses:cross_entropy",
        params=CrossEntropyParams,
        summary="Cross-entropy, with label smoothing and class weights",
    )
    yield icf.Loss(
        name="binary-cross-entropy",
        factory="icf_loss.labels:binary_cross_entropy",
        params=BinaryParams,
        targets=("classes", "labels"),
        summary="Binary cross-entropy of each label, where an image can have any number; or of each class",
    )
    yield icf.Loss(
        name="focal",
        factory="icf_loss.losses:focal",
        params=FocalParams,
        summary="Focal loss for many classes (Lin et al. 2017)",
    )
