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


class ClassBalancedParams(icf.Params):
    """Parameters of the class-balanced loss."""

    beta: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="How soon further rows of a class add less: 0 weighs all classes equally, near 1 by their inverse "
        "number of rows; a fraction",
    )
    gamma: float = Field(default=0.0, ge=0, le=20, description="Exponent of the focal loss; 0 is cross-entropy")


class LDAMParams(icf.Params):
    """Parameters of the LDAM loss."""

    max_margin: float = Field(default=0.5, ge=0, le=100, description="Margin of the rarest class, in logits or cosines")
    scale: float = Field(
        default=1.0, gt=0, le=1000, description="model.head_scale with a cosine head; 1 with a linear one"
    )
    weighted_from: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="When rows begin to weigh by the rarity of their class, as a fraction of all epochs; 1: never",
    )
    beta: float = Field(
        default=0.9999, ge=0, lt=1, description="As in loss/class-balanced, for these weights; a fraction"
    )


class SymmetricParams(icf.Params):
    """Parameters of the symmetric cross-entropy."""

    alpha: float = Field(default=0.1, ge=0, le=1000, description="Weight of the cross-entropy")
    beta: float = Field(default=1.0, ge=0, le=1000, description="Weight of the reverse cross-entropy")
    log_zero: float = Field(
        default=-4.0, ge=-1000, lt=0, description="What stands for the logarithm of 0 in the reverse cross-entropy"
    )


class BiTemperedParams(icf.Params):
    """Parameters of the bi-tempered logistic loss."""

    t1: float = Field(
        default=0.8, ge=0, le=1, description="Temperature of the logarithm; below 1 the loss of a row is bounded"
    )
    t2: float = Field(default=1.2, ge=1, le=4, description="Temperature of the softmax; above 1 its tail is heavy")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of each target that is spread evenly over all classes, a fraction"
    )


class AsymmetricParams(icf.Params):
    """Parameters of the asymmetric loss."""

    gamma_pos: float = Field(default=0.0, ge=0, le=20, description="Exponent of the focus on hard wanted classes")
    gamma_neg: float = Field(default=4.0, ge=0, le=20, description="Exponent of the focus on hard unwanted classes")
    margin: float = Field(
        default=0.05, ge=0, lt=1, description="Probability below which an unwanted class costs nothing"
    )


class ArcFaceParams(icf.Params):
    """Parameters of the ArcFace loss."""

    scale: float = Field(
        default=30.0, gt=0, le=1000, description="Factor of the cosines; must be that of the cosine head"
    )
    margin: float = Field(default=0.5, ge=0, lt=1.57, description="Margin of the angle, in radians")


class WeightedLoss(icf.NestedLoss):
    """A loss in a sum."""

    weight: float = Field(default=1.0, gt=0, le=1e6, description="Factor of the loss")


class SumParams(icf.Params):
    """Parameters of the sum of losses."""

    losses: tuple[WeightedLoss, ...] = Field(
        min_length=1,
        description="The losses, each a table with 'use', its parameters, and 'weight', its factor (1 if left out)",
    )


@icf.hookimpl
def icf_losses() -> Iterable[icf.Loss]:
    """Yield the losses."""
    yield icf.Loss(
        name="cross-entropy",
        factory="icf_loss.losses:cross_entropy",
        params=CrossEntropyParams,
        summary="Cross-entropy, with label smoothing and class weights",
        source="label smoothing: Szegedy et al. 2016, arXiv:1512.00567",
        reference="torch.nn.CrossEntropyLoss",
    )
    yield icf.Loss(
        name="binary-cross-entropy",
        factory="icf_loss.labels:binary_cross_entropy",
        params=BinaryParams,
        targets=("classes", "labels"),
        summary="Binary cross-entropy of each label, where an image can have any number; or of each class",
        source="Good 1952, Rational decisions",
        reference="torch.nn.BCEWithLogitsLoss",
    )
    yield icf.Loss(
        name="focal",
        factory="icf_loss.losses:focal",
        params=FocalParams,
        summary="Focal loss for many classes (Lin et al. 2017)",
        source="Lin et al. 2017, arXiv:1708.02002",
        reference="the paper's formula in numpy",
    )
    yield from _for_imbalance()
    yield from _for_wrong_labels()
    yield icf.Loss(
        name="arcface",
        factory="icf_loss.margins:arcface",
        params=ArcFaceParams,
        summary="Additive angular margin, for a model with a cosine head",
        source="Deng et al. 2019, arXiv:1801.07698",
        reference="the paper's formula in numpy",
    )
    yield icf.Loss(
        name="sum",
        factory="icf_loss.sums:weighted_sum",
        params=SumParams,
        targets=("classes", "labels"),
        summary="Weighted sum of other losses",
        source="by definition",
        reference="the sum of the single losses",
        examples=(
            {
                "losses": (
                    {"use": "loss/cross-entropy", "label_smoothing": 0.1, "weight": 0.7},
                    {"use": "loss/soft-f1", "weight": 0.3},
                )
            },
        ),
    )


def _for_imbalance() -> Iterable[icf.Loss]:
    yield icf.Loss(
        name="soft-f1",
        factory="icf_loss.imbalance:soft_f1",
        summary="One minus the macro F1 of a batch, with probabilities in place of counts",
        source="Eban et al. 2017, arXiv:1608.04802",
        reference="sklearn.metrics.f1_score of sure predictions, and the formula in numpy",
    )
    yield icf.Loss(
        name="class-balanced",
        factory="icf_loss.imbalance:class_balanced",
        params=ClassBalancedParams,
        summary="Cross-entropy or focal loss, weighted by the effective number of rows of a class",
        source="Cui et al. 2019, arXiv:1901.05555",
        reference="the paper's formula in numpy",
        examples=({}, {"gamma": 1.0}),
    )
    yield icf.Loss(
        name="ldam",
        factory="icf_loss.margins:ldam",
        params=LDAMParams,
        summary="Cross-entropy with larger margins for rare classes, and deferred re-weighting",
        source="Cao et al. 2019, arXiv:1906.07413",
        reference="the paper's formula in numpy",
        examples=({}, {"weighted_from": 0.0}),
    )
    yield icf.Loss(
        name="asymmetric",
        targets=("classes", "labels"),
        factory="icf_loss.imbalance:asymmetric",
        params=AsymmetricParams,
        summary="Each class against the others, easy negatives counting less; also for several labels",
        source="Ridnik et al. 2021, arXiv:2009.14119",
        reference="timm.loss.AsymmetricLossMultiLabel",
        examples=({}, {"gamma_pos": 1.0, "gamma_neg": 2.0, "margin": 0.0}),
    )


def _for_wrong_labels() -> Iterable[icf.Loss]:
    yield icf.Loss(
        name="symmetric-cross-entropy",
        factory="icf_loss.robust:symmetric",
        params=SymmetricParams,
        summary="Cross-entropy, and the same with target and prediction exchanged",
        source="Wang et al. 2019, arXiv:1908.06112",
        reference="the paper's formula in numpy",
    )
    yield icf.Loss(
        name="bi-tempered",
        factory="icf_loss.robust:bi_tempered",
        params=BiTemperedParams,
        summary="Bounded logistic loss with heavy-tailed probabilities",
        source="Amid et al. 2019, arXiv:1906.03361",
        reference="the paper's formula with scipy.optimize.brentq",
        examples=({}, {"t1": 0.5, "t2": 2.0, "label_smoothing": 0.1}, {"t1": 1.0, "t2": 1.0}),
    )
