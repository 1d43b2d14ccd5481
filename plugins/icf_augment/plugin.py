"""Hooks and parameters of the plugin ``augment``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

import icf

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
AspectRatio = Annotated[float, Field(gt=0.0, le=100.0)]
Label = Annotated[int, Field(ge=0)] | str


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


class CropParams(icf.Params):
    """What a user may choose for ``augment/crop``."""

    share: float = Field(
        default=0.875, ge=0.1, le=1.0, description="Height and width of the part, as a share of the image's"
    )
    place: Literal["centre", "top-left", "top-right", "bottom-left", "bottom-right"] = Field(
        default="centre", description="Where the part is"
    )


class ScaleParams(icf.Params):
    """What a user may choose for ``augment/scale``."""

    factor: float = Field(
        ge=0.5,
        le=2.0,
        description="How many times as large things are shown; above 1, the edge is cut off",
    )
    mode: Literal["reflect", "zero"] = Field(
        default="reflect", description="With a factor below 1, what is around: the image mirrored at its edge, or black"
    )


class MixParams(icf.Params):
    """What a user may choose for ``augment/mixup``."""

    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="Probability that a batch is mixed")
    alpha: float = Field(
        default=0.2,
        gt=0.0,
        le=100.0,
        description="The weight of a batch is drawn from Beta(alpha, alpha): below 1 mostly near 0 or 1, with 1 any",
    )
    partners: Literal["any", "same-label", "other-label", "within"] = Field(
        default="any",
        description="With which images of the batch one is mixed: any, those of its class, those of other classes, or "
        "those of its group",
    )
    groups: tuple[tuple[Label, ...], ...] = Field(
        default=(),
        description='With partners = "within": lists of classes, as names or as numbers from 0, whose images are '
        "mixed with each other; images of all other classes stay as they are",
    )

    @model_validator(mode="after")
    def check_groups(self) -> Self:
        """Refuse groups that are missing, not asked for, or share a class."""
        if self.partners == "within" and not self.groups:
            raise ValueError('partners = "within" needs groups, such as [[0, 1], [2, 3]]')
        if self.partners != "within" and self.groups:
            raise ValueError(f'groups need partners = "within", but partners is "{self.partners}"')
        labels = [label for group in self.groups for label in group]
        repeated = [label for label in labels if labels.count(label) > 1]
        if repeated:
            raise ValueError(f"groups: class {repeated[0]} is named twice, but a class can be in one group only")
        return self


class CutMixParams(MixParams):
    """What a user may choose for ``augment/cutmix``."""

    alpha: float = Field(
        default=1.0,
        gt=0.0,
        le=100.0,
        description="The share of the image that stays is drawn from Beta(alpha, alpha): with 1 any, above mostly half",
    )
    share: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Share of the image that is replaced; by default drawn with alpha",
    )
    direction: Literal["box", "vertical", "horizontal"] = Field(
        default="box",
        description="What is replaced: a box anywhere, cut off at the edges; the left or the right part of the image "
        "(vertical; with share = 0.5, half a face); or the upper or the lower part (horizontal)",
    )


@icf.hookimpl
def icf_transforms() -> Iterable[icf.Transform]:
    """Offer the transforms that change a whole batch at once."""
    yield icf.Transform(
        name="horizontal-flip",
        factory="icf_augment.geometry:build_horizontal_flip",
        params=FlipParams,
        summary="Mirrors images left to right",
        source="Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks",
        reference="torchvision.transforms.v2.functional.horizontal_flip",
    )
    yield icf.Transform(
        name="vertical-flip",
        factory="icf_augment.geometry:build_vertical_flip",
        params=FlipParams,
        summary="Mirrors images top to bottom",
        source="torchvision.transforms.v2.RandomVerticalFlip",
        reference="torchvision.transforms.v2.functional.vertical_flip",
    )
    yield icf.Transform(
        name="random-crop",
        factory="icf_augment.geometry:build_random_crop",
        params=RandomCropParams,
        summary="Shifts images by cropping them to the network's size at a random place, after padding",
        source="He et al. 2016, arXiv:1512.03385",
        reference="numpy.pad and slices",
    )
    yield icf.Transform(
        name="crop",
        factory="icf_augment.framing:build_crop",
        params=CropParams,
        summary="Shows the same part of every image, such as a corner, as large as the image; for inference.tta",
        source="torchvision.transforms.v2.FiveCrop",
        reference="torchvision.transforms.v2.functional.resized_crop, and Pillow",
        examples=({}, {"place": "bottom-right", "share": 0.6}),
    )
    yield icf.Transform(
        name="scale",
        factory="icf_augment.framing:build_scale",
        params=ScaleParams,
        summary="Shows every image larger, or smaller within a border; for inference.tta",
        source="Simonyan and Zisserman 2015, arXiv:1409.1556",
        reference="torchvision.transforms.v2.functional.resize and pad, and Pillow",
        examples=({"factor": 1.25}, {"factor": 0.8}, {"factor": 0.8, "mode": "zero"}),
    )
    yield icf.Transform(
        name="erasing",
        factory="icf_augment.erasing:build_erasing",
        params=ErasingParams,
        summary="Erases a square (cutout) or a random rectangle (random erasing)",
        source="DeVries and Taylor 2017, arXiv:1708.04552; Zhong et al. 2017, arXiv:1708.04896",
        reference="counts of pixels",
    )
    yield icf.Transform(
        name="brightness-contrast",
        factory="icf_augment.colour:build_brightness_contrast",
        params=BrightnessContrastParams,
        summary="Changes brightness and contrast",
        source="Howard 2013, arXiv:1312.5402",
        reference="the formula in numpy",
    )


@icf.hookimpl
def icf_mixers() -> Iterable[icf.Mixer]:
    """Offer the ways to mix images of a batch."""
    yield icf.Mixer(
        name="mixup",
        targets=("classes", "labels"),
        factory="icf_augment.mixing:build_mixup",
        params=MixParams,
        summary="Weighted mean of each image and another one (MixUp, Zhang et al. 2018)",
        source="Zhang et al. 2018, arXiv:1710.09412",
        reference="timm.data.mixup, and the Beta distribution of scipy",
        examples=({"probability": 1.0}, {"probability": 1.0, "partners": "same-label"}),
    )
    yield icf.Mixer(
        name="cutmix",
        targets=("classes", "labels"),
        factory="icf_augment.mixing:build_cutmix",
        params=CutMixParams,
        summary="Replaces a place of each image by that of another one (CutMix, Yun et al. 2019)",
        source="Yun et al. 2019, arXiv:1905.04899",
        reference="timm.data.mixup.rand_bbox, and counts of pixels",
        examples=(
            {"probability": 1.0},
            {"probability": 1.0, "direction": "vertical", "share": 0.5},
            {"probability": 1.0, "direction": "horizontal", "partners": "within", "groups": ((0, 1),)},
            {"probability": 1.0, "partners": "other-label"},
        ),
    )
