"""Hooks and parameters of the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

import icf

Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]

INFINITY = float("inf")


class AverageParams(icf.Params):
    """Parameters of precision, recall and F1."""

    average: Literal["macro", "micro", "weighted"] = Field(
        default="macro",
        description="'macro': mean of the classes; 'weighted': mean weighted by their rows; 'micro': of all rows' hits "
        "and misses together",
    )
    of_class: int | None = Field(
        default=None,
        ge=0,
        description="Position of a class, from 0, whose own score it is; left out: the average of all classes",
    )


class KappaParams(icf.Params):
    """Parameters of Cohen's kappa."""

    weights: Literal["none", "linear", "quadratic"] = Field(
        default="quadratic",
        description="What a confusion costs: 'none' 1; 'linear' and 'quadratic' the distance of the two classes in "
        "their order, or its square",
    )


class RankedParams(icf.Params):
    """Parameters of the metrics of one class against the others."""

    average: Literal["macro", "weighted"] = Field(
        default="macro", description="'macro': mean of the classes; 'weighted': mean weighted by their rows"
    )


class TopKParams(icf.Params):
    """Parameters of the top-k accuracy."""

    k: int = Field(default=5, ge=1, description="Most probable classes among which the target counts, a number")


class CutoffParams(icf.Params):
    """Parameters of ranking metrics that look at the first places."""

    k: int = Field(default=5, ge=1, description="Last rank that counts; a target behind it gains nothing")


class CalibrationParams(icf.Params):
    """Parameters of the calibration error."""

    bins: int = Field(default=15, ge=1, le=10_000, description="Number of bins")
    binning: Literal["width", "mass"] = Field(
        default="width", description="'width': bins of equal width from 0 to 1; 'mass': of equally many rows"
    )


class OrdinalParams(icf.Params):
    """Parameters of the errors of ordered classes."""

    values: tuple[Finite, ...] | None = Field(
        default=None,
        min_length=1,
        description="What each class stands for, such as years, in the order of the classes; left out: its position, "
        "from 0",
    )
    prediction: Literal["class", "mean"] = Field(
        default="class",
        description="'class': the value of the most probable class; 'mean': the mean value, by the probabilities",
    )


@icf.hookimpl
def icf_metrics() -> Iterable[icf.Metric]:
    """Yield the metrics."""
    yield from _of_classes()
    yield from _of_order()
    yield from _of_probabilities()


def _of_classes() -> Iterable[icf.Metric]:
    yield icf.Metric(
        name="accuracy",
        targets=("classes", "labels"),
        factory="icf_metric.metrics:accuracy",
        summary="Share of rows whose most probable class is the target",
        source="Sokolova and Lapalme 2009, A systematic analysis of performance measures",
        reference="sklearn.metrics.accuracy_score",
    )
    yield icf.Metric(
        name="balanced-accuracy",
        factory="icf_metric.metrics:balanced_accuracy",
        summary="Mean recall of the classes that rows have",
        source="Brodersen et al. 2010, The balanced accuracy and its posterior distribution",
        reference="sklearn.metrics.balanced_accuracy_score",
    )
    yield icf.Metric(
        name="macro-f1",
        targets=("classes", "labels"),
        factory="icf_metric.metrics:macro_f1",
        summary="Mean of the F1 scores of all classes; a class that is absent counts 0",
        source="van Rijsbergen 1979, Information Retrieval",
        reference="sklearn.metrics.f1_score",
    )
    for name, what in (
        ("precision", "Share of the rows predicted as a class that have it"),
        ("recall", "Share of the rows of a class that are predicted as it"),
        ("f1", "Harmonic mean of precision and recall"),
    ):
        yield icf.Metric(
            name=name,
            factory=f"icf_metric.metrics:{name}",
            targets=("classes", "labels"),
            params=AverageParams,
            summary=f"{what}: macro, micro, weighted, or of one class",
            source="van Rijsbergen 1979, Information Retrieval",
            reference=f"sklearn.metrics.{name}_score",
            examples=({}, {"average": "micro"}, {"average": "weighted"}),
        )
    yield icf.Metric(
        name="cohen-kappa",
        factory="icf_metric.metrics:cohen_kappa",
        params=KappaParams,
        summary="Agreement beyond chance, quadratic for ordered classes",
        bounds=(-1.0, 1.0),
        source="Cohen 1968, Weighted kappa",
        reference="sklearn.metrics.cohen_kappa_score",
        examples=({}, {"weights": "linear"}, {"weights": "none"}),
    )
    yield icf.Metric(
        name="matthews",
        factory="icf_metric.metrics:matthews",
        summary="Correlation of targets and predicted classes (Matthews)",
        bounds=(-1.0, 1.0),
        source="Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient",
        reference="sklearn.metrics.matthews_corrcoef",
    )


def _of_order() -> Iterable[icf.Metric]:
    yield icf.Metric(
        name="top-k",
        factory="icf_metric.ranking:top_k",
        params=TopKParams,
        summary="Share of rows whose target is among the k most probable classes",
        source="Russakovsky et al. 2015, arXiv:1409.0575",
        reference="sklearn.metrics.top_k_accuracy_score",
        examples=({"k": 2},),
    )
    yield icf.Metric(
        name="roc-auc",
        targets=("classes", "labels"),
        factory="icf_metric.ranking:roc_auc",
        params=RankedParams,
        summary="Area under the ROC curve of each class against the others",
        source="Hanley and McNeil 1982, The meaning and use of the area under a ROC curve",
        reference="sklearn.metrics.roc_auc_score",
        examples=({}, {"average": "weighted"}),
    )
    yield icf.Metric(
        name="average-precision",
        targets=("classes", "labels"),
        factory="icf_metric.ranking:average_precision",
        params=RankedParams,
        summary="Average precision of each class against the others",
        source="Davis and Goadrich 2006, The relationship between precision-recall and ROC curves",
        reference="sklearn.metrics.average_precision_score",
        examples=({}, {"average": "weighted"}),
    )
    yield icf.Metric(
        name="mrr",
        factory="icf_metric.ranking:mean_reciprocal_rank",
        summary="Mean of 1 / rank of the target",
        source="Voorhees 1999, The TREC-8 question answering track report",
        reference="sklearn.metrics.label_ranking_average_precision_score",
    )
    yield icf.Metric(
        name="map",
        factory="icf_metric.ranking:mean_average_precision",
        params=CutoffParams,
        summary="Mean average precision of the first k classes, MAP@k",
        source="Manning et al. 2008, Introduction to information retrieval",
        reference="sklearn.metrics.label_ranking_average_precision_score",
    )
    yield icf.Metric(
        name="ndcg",
        factory="icf_metric.ranking:discounted_gain",
        params=CutoffParams,
        summary="Normalised discounted cumulative gain of the first k classes, NDCG@k",
        source="Jarvelin and Kekalainen 2002, Cumulated gain-based evaluation of IR techniques",
        reference="sklearn.metrics.ndcg_score",
    )


def _of_probabilities() -> Iterable[icf.Metric]:
    yield icf.Metric(
        name="log-loss",
        targets=("classes", "labels"),
        factory="icf_metric.scoring:log_loss",
        summary="Mean negative logarithm of the target's probability, in nats",
        maximize=False,
        bounds=(0.0, INFINITY),
        source="Good 1952, Rational decisions",
        reference="sklearn.metrics.log_loss",
    )
    yield icf.Metric(
        name="brier",
        factory="icf_metric.scoring:brier",
        summary="Mean squared distance of probabilities and target, 0 to 2 (Brier score)",
        maximize=False,
        bounds=(0.0, 2.0),
        source="Brier 1950, Verification of forecasts expressed in terms of probability",
        reference="sklearn.metrics.brier_score_loss",
    )
    yield icf.Metric(
        name="calibration-error",
        factory="icf_metric.scoring:calibration_error",
        params=CalibrationParams,
        summary="Mean distance of confidence and accuracy, in bins (ECE)",
        maximize=False,
        source="Guo et al. 2017, arXiv:1706.04599",
        reference="torchmetrics.functional.classification.multiclass_calibration_error",
        examples=({}, {"binning": "mass"}),
    )
    for name, what in (("mae", "absolute"), ("mse", "squared")):
        yield icf.Metric(
            name=name,
            factory=f"icf_metric.scoring:mean_{what}_error",
            params=OrdinalParams,
            summary=f"Mean {what} error of ordered classes, or of what they stand for",
            source="Baccianella et al. 2009, Evaluation measures for ordinal regression",
            maximize=False,
            bounds=(0.0, INFINITY),
            reference=f"sklearn.metrics.mean_{what}_error",
        )
