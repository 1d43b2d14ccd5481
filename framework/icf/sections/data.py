"""Sections of the images: what they are, how they are divided, and what happens to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict

from icf.sections.base import ComponentSection, Number, Positive, Section, Side


class Problem(Section):
    """What is asked, in words."""

    question: str = Field(default="", description="What is to be found out")
    input: str = Field(default="", description="What an image shows")
    output: str = Field(default="", description="What is predicted for it")
    use: str = Field(default="", description="Where the result is used")
    domain: Literal["near", "far"] | None = Field(
        default=None,
        description="Whether images are like those of ImageNet, photographs of things, or far from them, as X-rays,"
        " drawings and letters are; for the advice of icf check, which else guesses",
    )


class DatasetSection(ComponentSection):
    """The data set."""

    on_bad_image: Literal["error", "skip"] = Field(
        default="error",
        description="Image files that can't be read: stop, or leave them out",
    )


class Split(Section):
    """How training rows are divided into folds."""

    method: Literal[
        "auto", "stratified-group-kfold", "stratified-kfold", "group-kfold", "group-holdout", "predefined"
    ] = Field(default="auto", description="How folds are made; 'auto' keeps groups together and stratifies")
    folds: Annotated[int, Strict(), Field(ge=2, le=100)] = Field(default=5, description="Number of folds")
    holdout: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Fraction of rows held out for validation by 'group-holdout'"
    )
    duplicates: Literal["together", "error", "allow"] = Field(
        default="together", description="Identical images: put into one group, stop, or do nothing"
    )


def _square(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if not isinstance(value, list | tuple | None) or (value is not None and len(value) != 2):
        raise ValueError("must be one whole number, or [height, width]")
    return value


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("allowed: 1, 3")
    return value


class Transforms(Section):
    """What happens to images before the network sees them."""

    image_size: Annotated[tuple[Side, Side] | None, BeforeValidator(_square)] = Field(
        default=None,
        description="Height and width in pixels, or one number for both; left out: the model's or the data's",
    )
    resize: Literal["stretch", "pad", "crop"] = Field(
        default="stretch", description="How an image of another shape is fitted"
    )
    channels: Annotated[Literal[1, 3], BeforeValidator(_no_truth_value)] = Field(
        default=3, description="Colour channels: 1 or 3"
    )
    mean: Annotated[tuple[Number, ...], Field(min_length=1, max_length=3)] | None = Field(
        default=None, description="Mean per channel, on the 0-1 scale"
    )
    std: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)] | None = Field(
        default=None, description="Standard deviation per channel, on the 0-1 scale"
    )
    shared: tuple[ComponentSection, ...] = Field(
        default=(), description="Deterministic transforms of every image, before it is resized"
    )
    train: tuple[ComponentSection, ...] = Field(default=(), description="Transforms of training images only")
    mix: tuple[ComponentSection, ...] = Field(
        default=(), description="Ways to mix the images of a training batch with each other; each batch draws one"
    )
    unmixed_epochs: Annotated[int, Strict(), Field(ge=0)] = Field(
        default=0, description="Epochs at the end of training in which nothing is mixed"
    )


class Cache(Section):
    """Where decoded images, and embeddings of them, are kept for all folds and later runs."""

    mode: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="'auto': decoded images are kept where there is room; 'on': they are, or the run stops;"
        " 'off': every epoch decodes them again",
    )
    max_gb: Positive = Field(
        default=50.0,
        description="Largest size of the decoded images and the embeddings of all runs, in GB; what was not used for"
        " longest makes way",
    )
