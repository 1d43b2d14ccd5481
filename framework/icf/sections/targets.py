"""The section of what the network learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator

from icf.sections.base import ComponentSection, Number, Positive, Section


class HeadSection(Section):
    """What a part of the network's outputs learns; a name alone is an attribute with all defaults."""

    attribute: str = Field(description="Attribute of the data set, or 'class'")
    kind: Literal["classes", "ordinal", "binned"] = Field(
        default="classes",
        description="'classes': an output for each value; 'ordinal': one for each threshold between ordered values;"
        " 'binned': one for each bin of the number behind the values, such as the age in years",
    )
    loss: ComponentSection | None = Field(
        default=None, description="With 'classes': the loss; left out: that of the section loss"
    )
    weight: Positive = Field(default=1.0, description="Factor of its loss in the sum")
    sigma: Positive = Field(
        default=2.0, description="With 'binned': standard deviation of the bins that a number belongs to, in its unit"
    )
    bin_width: Positive = Field(default=1.0, description="With 'binned': width of a bin, in the unit of the number")

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_name(cls, value: Any) -> Any:
        return {"attribute": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_one_loss(self) -> HeadSection:
        if self.loss is not None and self.kind != "classes":
            raise ValueError(f"a head of kind '{self.kind}' has a loss of its own; leave out its loss")
        return self


class TrainOnly(Section):
    """Rows that are trained on as something else than they are scored as, or not at all. All conditions must hold."""

    attribute: str = Field(description="Attribute of the data set, or 'class'")
    at_least: Number | None = Field(default=None, description="Condition: its number is this or more")
    below: Number | None = Field(default=None, description="Condition: its number is less than this")
    equals: str | None = Field(default=None, description="Condition: this is its value")
    becomes: str | None = Field(default=None, description="The value that is trained on")
    drop: Annotated[bool, Strict()] = Field(default=False, description="Such rows are left out of training")

    @model_validator(mode="after")
    def _says_when_and_what(self) -> TrainOnly:
        if self.at_least is None and self.below is None and self.equals is None:
            raise ValueError("needs a condition: at_least, below or equals")
        if self.drop == (self.becomes is not None):
            raise ValueError("needs either becomes or drop = true")
        return self


class Targets(Section):
    """What the network learns, where it is not one of the classes as they are."""

    heads: tuple[HeadSection, ...] = Field(
        default=(), description="Attributes that are learned side by side, and joined to classes; none: the classes"
    )
    decode: Literal["product", "joint"] = Field(
        default="product",
        description="Probability of a class: 'product' of those of its values; 'joint': that times how much more often"
        " the values occur together in the training rows than if they were independent",
    )
    experts: Annotated[bool, Strict()] = Field(
        default=False, description="Every head has a network of its own, trained side by side"
    )
    overrides: Path | None = Field(
        default=None,
        description="CSV file of corrected labels, with the columns id, column ('class' or an attribute), value and"
        " reason: trained on, never scored",
    )
    train_only: tuple[TrainOnly, ...] = Field(
        default=(), description="Rules, one after the other, for rows that are trained on as something else"
    )
