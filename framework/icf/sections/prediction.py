"""Sections of how predictions are made, and what is measured on them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

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


Flip: TypeAlias = Literal["horizontal-flip", "vertical-flip"]
"""Steps of a view that need no component."""

FLIPS: tuple[str, ...] = get_args(Flip)

ViewStep: TypeAlias = Flip | ComponentSection


def _refuse_other_views(value: Any) -> Any:
    steps = value if isinstance(value, list | tuple) else [value]
    if not steps:
        raise ValueError("an empty array is the plain image, which is always among the views: leave it out")
    wrong = [step for step in steps if not _is_step(step)]
    if wrong:
        named = "" if wrong[0] is value else f"{wrong[0]!r}: "
        raise ValueError(
            f"{named}must be {', '.join(map(repr, FLIPS))}, a transform such as {{ use = 'augment/crop', place ="
            " 'top-left' }, or an array of these, done one after the other"
        )
    return value


def _is_step(value: Any) -> bool:
    """Tell whether a value is a flip, or names a component; which one is found out later."""
    if isinstance(value, str):
        return value in FLIPS or "/" in value
    return isinstance(value, ComponentSection) or (isinstance(value, dict) and isinstance(value.get("use"), str))


class Inference(Section):
    """How predictions are made."""

    batch_size: Literal["auto"] | Count = Field(
        default="auto", description="Images per forward pass; auto: measured before a long training, else 256"
    )
    fuse: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether predictions after training have batch normalisation made part of the convolutions before"
        " it: where it was measured to pay ('auto'), wherever it can be done, or never; it changes last digits. Frozen"
        " layers that run beforehand: in float32, wherever it can be done, or never",
    )
    tta: tuple[
        Annotated[
            ViewStep | tuple[ViewStep, ...], Field(union_mode="left_to_right"), BeforeValidator(_refuse_other_views)
        ],
        ...,
    ] = Field(
        default=(),
        description="Views whose predictions are averaged with those of the plain image: flips, transforms, or arrays"
        " of these, done one after the other",
    )
    average: Literal["probabilities", "logits"] = Field(
        default="probabilities",
        description="What is averaged over the views of an image: probabilities, or what a network puts out before"
        " softmax or sigmoid",
    )

    @property
    def views(self) -> tuple[tuple[ViewStep, ...], ...]:
        """The steps of each view in ``tta``."""
        return tuple(view if isinstance(view, tuple) else (view,) for view in self.tta)
