"""Hooks and parameters of the plugin ``augment``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

import icf

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
AspectRatio = Annotated[float, Field(gt=0.0, le=100.0)]


class FlipParams(icf.Params):
    """What a user may choose for ``augment/horizontal-flip`` and ``augment/vertical-flip``."""

    p: float = Field(default=0.5, ge=0.0, le=1.0, description="Probability for each image")


class RandomCropParams(icf.Params):
    """What a user may choose for ``augment/random-crop``."""

    p: float = Field(
        default=1.0, ge=0.0, le=1.0, description="Probability for each image; the others are cropped at the centre"
    )
    padding: int = Field(default=4, ge=0, le=512, description="Pixels added at every side before the crop")
    mode: Literal["reflect", "zero"] = Field(
        default="reflect", description="What is added: the image mirrored at its edge, or black"
    )


class ErasingParams(icf.Params):
    """What a user may choose for ``augment/erasing``."""

    p: float = Field(default=0.5, ge=0.0, le=1.0, description="Probability for each image")
    size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Side of a square in pixels (cutout); by default a rectangle drawn from area and ratio",
    )
    area: tuple[Fraction, Fraction] = Field(
        default=(0.02, 0.33), description="Least and greatest area of the rectangle, as a share of the image"
    )
    ratio: tuple[AspectRatio, AspectRatio] = Field(
        default=(0.3, 3.3), description="Least and greatest ratio of the rectangle's height to its width"
    )
    fill: Literal["grey", "noise"] = Field(
        default="grey", description="What stands in the erased place: grey level 128, or noise per pixel"
    )

    @model_validator(mode="after")
    def check_order(self) -> ErasingParams:
        """Refuse ranges whose first value is the greater one."""
        for name, (low, high) in (("area", self.area), ("ratio", self.ratio)):
            if low > high:
                raise ValueError(f"{name}: the first value ({low}) must not exceed the second ({high})")
        return self


class BrightnessContrastParams(icf.Params):
    """What a user may choose for ``augment/brightness-contrast``."""

    p: float = Field(default=1.0, ge=0.0, le=1.0, description="Probability for each image")
    brightness: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Greatest change of brightness: 0.2 draws a factor of 0.8 to 1.2"
    )
    contrast: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Greatest change of contrast: 0.2 draws a factor of 0.8 to 1.2"
    )


@icf.hookimpl
def icf_transforms() -> Iterable[icf.Transform]:
    """Offer the transforms that change a whole batch at once."""
    yield icf.Transform(
        name="horizontal-flip",
        factory="icf_augment.geometry:build_horizontal_flip",
        params=FlipParams,
        summary="Mirrors images left to right",
    )
    yield icf.Transform(
        name="vertical-flip",
        factory="icf_augment.geometry:build_vertical_flip",
        params=FlipParams,
        summary="Mirrors images top to bottom",
    )
    yield icf.Transform(
        name="random-crop",
        factory="icf_augment.geometry:build_random_crop",
        params=RandomCropParams,
        summary="Shifts images by cropping them to the network's size at a random place, after padding",
    )
    yield icf.Transform(
        name="erasing",
        factory="icf_augment.erasing:build_erasing",
        params=ErasingParams,
        summary="Erases a square (cutout) or a random rectangle (random erasing)",
    )
    yield icf.Transform(
        name="brightness-contrast",
        factory="icf_augment.colour:build_brightness_contrast",
        params=BrightnessContrastParams,
        summary="Changes brightness and contrast",
    )
