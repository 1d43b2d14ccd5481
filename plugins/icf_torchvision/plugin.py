"""Hooks and parameters of the plugin ``torchvision``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

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
    args: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Arguments of the class; for one that holds others, transforms is a list of tables with op, args",
    )


class PolicyParams(icf.Params):
    """What a user may choose for every policy, and all there is for ``torchvision/trivial-augment``."""

    p: float = Field(default=1.0, ge=0.0, le=1.0, description="Probability for each image")


class RandAugmentParams(PolicyParams):
    """What a user may choose for ``torchvision/rand-augment``."""

    operations: int = Field(default=2, ge=1, le=14, description="Operations that are applied to an image in turn")
    magnitude: int = Field(default=9, ge=0, le=30, description="Strength of all operations, 0 to 30")


class AutoAugmentParams(PolicyParams):
    """What a user may choose for ``torchvision/auto-augment``."""

    policy: Literal["imagenet", "cifar10", "svhn"] = Field(
        default="imagenet", description="Data on which the pairs of operations were found"
    )


class AugMixParams(PolicyParams):
    """What a user may choose for ``torchvision/aug-mix``."""

    severity: int = Field(default=3, ge=1, le=10, description="Greatest strength of an operation, 1 to 10")
    chains: int = Field(default=3, ge=1, le=10, description="Chains of operations whose results are averaged")
    depth: Literal[-1] | Annotated[int, Field(ge=1, le=10)] = Field(
        default=-1, description="Operations in a chain; -1 draws 1 to 3"
    )
    alpha: float = Field(default=1.0, gt=0.0, le=100.0, description="Parameter of the Beta and Dirichlet weights")
    all_operations: bool = Field(
        default=True, description="Change brightness, contrast, colour and sharpness, too, as corruptions do"
    )


@icf.hookimpl
def icf_models() -> Iterable[icf.Model]:
    """Offer torchvision's classification networks as one component."""
    yield icf.Model(
        name="model",
        factory="icf_torchvision.models:build_model",
        inspect="icf_torchvision.models:inspect_model",
        params=ModelParams,
        summary="Any classification network of torchvision, with random or pretrained weights",
        source="torchvision",
        reference="torchvision.models.get_model",
    )


@icf.hookimpl
def icf_datasets() -> Iterable[icf.Dataset]:
    """Offer Fashion-MNIST."""
    yield icf.Dataset(
        name="fashion-mnist",
        factory="icf_torchvision.fashion_mnist:load_fashion_mnist",
        params=FashionMnistParams,
        summary="Fashion-MNIST (Xiao et al. 2017): 70,000 grey 28x28 pictures of clothes, 10 classes",
        source="Xiao et al. 2017, arXiv:1708.07747",
        reference="torchvision.datasets.FashionMNIST",
    )


@icf.hookimpl
def icf_transforms() -> Iterable[icf.Transform]:
    """Offer torchvision's transforms as one component, and its policies by their own names."""
    yield icf.Transform(
        name="transform",
        factory="icf_torchvision.transforms:build_transform",
        params=TransformParams,
        summary="Any image transform of torchvision.transforms.v2",
        source="torchvision",
        reference="the class itself, for every class of torchvision.transforms.v2",
        examples=(
            {"op": "ColorJitter", "args": {"brightness": 0.3}},
            {"op": "RandomCrop", "args": {"size": 24}},
            {"op": "RandomChoice", "args": {"transforms": [{"op": "Grayscale", "args": {"num_output_channels": 3}}]}},
        ),
    )
    yield icf.Transform(
        name="rand-augment",
        factory="icf_torchvision.transforms:build_rand_augment",
        params=RandAugmentParams,
        summary="A few random operations of one strength (RandAugment, Cubuk et al. 2020)",
        source="Cubuk et al. 2020, arXiv:1909.13719",
        reference="torchvision.transforms.v2.RandAugment",
    )
    yield icf.Transform(
        name="trivial-augment",
        factory="icf_torchvision.transforms:build_trivial_augment",
        params=PolicyParams,
        summary="One random operation of random strength (TrivialAugment, Müller and Hutter 2021)",
        source="Müller and Hutter 2021, arXiv:2103.10158",
        reference="torchvision.transforms.v2.TrivialAugmentWide",
    )
    yield icf.Transform(
        name="auto-augment",
        factory="icf_torchvision.transforms:build_auto_augment",
        params=AutoAugmentParams,
        summary="A random one of the pairs of operations that were found by a search (AutoAugment, Cubuk et al. 2019)",
        source="Cubuk et al. 2019, arXiv:1805.09501",
        reference="torchvision.transforms.v2.AutoAugment",
    )
    yield icf.Transform(
        name="aug-mix",
        factory="icf_torchvision.transforms:build_aug_mix",
        params=AugMixParams,
        summary="Weighted mean of an image and of chains of random operations on it (AugMix, Hendrycks et al. 2020)",
        source="Hendrycks et al. 2020, arXiv:1912.02781",
        reference="torchvision.transforms.v2.AugMix",
    )
