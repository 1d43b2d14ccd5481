"""Hooks and parameters of the plugin ``torchvision``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

import icf


class ModelParams(icf.Params):
    """What a user may choose for ``torchvision/model``."""

    arch: str = Field(default="resnet18", min_length=1, description="Architecture as torchvision names it")
    pretrained: bool = Field(default=False, description="Start from pretrained weights")
    weights: Literal["auto"] | Path = Field(
        default="auto",
        description="Where pretrained weights come from: a file (safetensors, or a state dict of torch), or "
        "auto, torchvision's default weights from its server or cache",
    )
    args: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further arguments of the architecture, such as dropout"
    )


class FashionMnistParams(icf.Params):
    """What a user may choose for ``torchvision/fashion-mnist``."""

    root: Path | None = Field(
        default=None,
        description="Folder of the four IDX files, packed (.gz) or not; by default that of Debian's package "
        "dataset-fashion-mnist, else they are downloaded",
    )
    limit: int | None = Field(
        default=None,
        ge=10,
        description="Use only so many rows, the first, of the training and of the test set",
    )


class TransformParams(icf.Params):
    """What a user may choose for ``torchvision/transform``."""

    op: str = Field(min_length=1, description="Class of torchvision.transforms.v2, such as ColorJitter")
    args: dict[str, JsonValue] = Field(default_factory=dict, description="Arguments of the class")


@icf.hookimpl
def icf_models() -> Iterable[icf.Model]:
    """Offer torchvision's classification networks as one component."""
    yield icf.Model(
        name="model",
        factory="icf_torchvision.models:build_model",
        inspect="icf_torchvision.models:inspect_model",
        params=ModelParams,
        summary="Any classification network of torchvision, with random or pretrained weights",
    )


@icf.hookimpl
def icf_datasets() -> Iterable[icf.Dataset]:
    """Offer Fashion-MNIST."""
    yield icf.Dataset(
        name="fashion-mnist",
        factory="icf_torchvision.fashion_mnist:load_fashion_mnist",
        params=FashionMnistParams,
        summary="Fashion-MNIST (Xiao et al. 2017): 70,000 grey 28x28 pictures of clothes, 10 classes",
    )


@icf.hookimpl
def icf_transforms() -> Iterable[icf.Transform]:
    """Offer torchvision's transforms as one component."""
    yield icf.Transform(
        name="transform",
        factory="icf_torchvision.transforms:build_transform",
        params=TransformParams,
        summary="Any image transform of torchvision.transforms.v2",
        examples=({"op": "ColorJitter", "args": {"brightness": 0.3}}, {"op": "RandomCrop", "args": {"size": 24}}),
    )
