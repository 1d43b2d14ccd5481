"""Hooks and parameters of the plugin ``baseline``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue

import icf

ModuleName: TypeAlias = Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")]
Deviation: TypeAlias = Annotated[float, Field(gt=0, le=255)]


class ModelParams(icf.Params):
    """What a user may choose for ``baseline/model``."""

    name: str = Field(min_length=1, description="Class of the folder's model.py, such as MyModel")
    args: dict[str, JsonValue] = Field(
        default_factory=dict, description="Arguments of the class beside num_classes, which icf gives it"
    )
    module: ModuleName = Field(
        default="model", description="File of the class, without .py; models.resnet is models/resnet.py"
    )


class LossParams(icf.Params):
    """What a user may choose for ``baseline/loss``."""

    name: str = Field(min_length=1, description="Name that create_criterion of the folder's loss.py knows")
    args: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Arguments of the loss, such as smoothing; where it takes the number of classes, icf gives it",
    )
    module: ModuleName = Field(default="loss", description="File of create_criterion, without .py")


class TransformParams(icf.Params):
    """What a user may choose for ``baseline/transform``."""

    name: str = Field(min_length=1, description="Class of the folder's dataset.py, such as CustomAugmentation")
    args: dict[str, JsonValue] = Field(
        default_factory=dict, description="Arguments of the class beside resize, mean and std, which icf gives it"
    )
    without: tuple[str, ...] = Field(
        default=(), description="Steps of the class's Compose that are left out, such as CenterCrop"
    )
    call: Literal["torchvision", "albumentations"] = Field(
        default="torchvision",
        description="How the object is called: with a PIL image, or as image=array, uint8 [H, W, 3]",
    )
    mean: tuple[float, float, float] = Field(
        default=(0.0, 0.0, 0.0),
        description="Mean that the class is told to normalise with, 0-1 scale; undone afterwards",
    )
    std: tuple[Deviation, Deviation, Deviation] = Field(
        default=(1.0, 1.0, 1.0),
        description="Standard deviation that the class is told to normalise with, 0-1 scale; undone afterwards",
    )
    module: ModuleName = Field(default="dataset", description="File of the class, without .py")


@icf.hookimpl
def icf_models() -> Iterable[icf.Model]:
    """Offer the classes of a folder's model.py."""
    yield icf.Model(
        name="model",
        factory="icf_baseline.models:build_model",
        inspect="icf_baseline.models:inspect_model",
        params=ModelParams,
        local_code=True,
        summary="A class of model.py in the folder named with --plugin, called with num_classes",
        source="the folder's own code",
        reference="the class itself, called by hand",
    )


@icf.hookimpl
def icf_losses() -> Iterable[icf.Loss]:
    """Offer the losses of a folder's loss.py."""
    yield icf.Loss(
        name="loss",
        factory="icf_baseline.losses:build_loss",
        params=LossParams,
        local_code=True,
        summary="What create_criterion of loss.py makes, in the folder named with --plugin",
        source="the folder's own code",
        reference="create_criterion itself, called by hand",
    )


@icf.hookimpl
def icf_transforms() -> Iterable[icf.Transform]:
    """Offer the augmentations of a folder's dataset.py."""
    yield icf.Transform(
        name="transform",
        factory="icf_baseline.transforms:build_transform",
        params=TransformParams,
        local_code=True,
        summary="An augmentation class of dataset.py in the folder named with --plugin",
        source="the folder's own code",
        reference="the class itself, called by hand",
    )
