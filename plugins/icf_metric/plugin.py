"""Hooks of the metrics; they have no parameters."""

from __future__ import annotations

from collections.abc import Iterable

import icf


@icf.hookimpl
def icf_metrics() -> Iterable[icf.Metric]:
    """Yield the metrics."""
    yield icf.Metric(
        name="accuracy",
        factory="icf_metric.metrics:accuracy",
        summary="Share of rows whose most probable class is the target",
        reference="sklearn.metrics.accuracy_score",
    )
    yield icf.Metric(
        name="macro-f1",
        factory="icf_metric.metrics:macro_f1",
        summary="Mean of the F1 scores of all classes; a class that is absent counts 0",
        reference="sklearn.metrics.f1_score",
    )
    yield icf.Metric(
        name="log-loss",
        factory="icf_metric.metrics:log_loss",
        summary="Mean negative logarithm of the target's probability, in nats",
        maximize=False,
        bounds=(0.0, float("inf")),
        reference="sklearn.metrics.log_loss",
    )
