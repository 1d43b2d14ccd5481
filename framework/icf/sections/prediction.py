"""Sections of how predictions are made, and what is measured on them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from icf.sections.base import ComponentSection, Count, Section, fill_use


class MetricSection(ComponentSection):
    """A metric."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")] | None = Field(
        default=None,
        description="What the score is called in tables and files, such as 'top-3'; needed where a metric is listed"
        " twice with other parameters; left out: the component's name",
    )
    attribute: str | None = Field(
        default=None,
        description="Attribute of the data set whose values are scored in place of the classes, such as 'age'",
    )


class Metrics(Section):
    """What is measured on validation rows. A metric that is listed twice needs a ``name``, such as "top-3"."""

    select: Annotated[MetricSection, BeforeValidator(fill_use("metric/macro-f1"))] = Field(
        default=MetricSection(use="metric/macro-f1"),
        description="The metric that chooses the best epoch; metric/macro-f1 if left out",
    )
    report: tuple[MetricSection, ...] = Field(
        default=(MetricSection(use="metric/accuracy"), MetricSection(use="metric/log-loss")),
        description="Further metrics, which are only reported",
    )


class Inference(Section):
    """How predictions are made."""

    batch_size: Literal["auto"] | Count = Field(
        default="auto", description="Images per forward pass; auto: measured before a long training, else 256"
    )
    fuse: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether predictions after training have batch normalisation made part of the convolutions before"
        " it: where it was measured to pay ('auto'), wherever it can be done, or never; it changes last digits",
    )
    tta: tuple[Literal["horizontal-flip", "vertical-flip"], ...] = Field(
        default=(), description="Views whose predictions are averaged with those of the plain image"
    )
