from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torchvision.transforms import v2

import icf
from icf_torchvision.plugin import (
    AugMixParams,
    AutoAugmentParams,
    PolicyParams,
    RandAugmentParams,
    TransformParams,
    icf_transforms,
)
from icf_torchvision.transforms import (
    NORMALISING,
    UNFIT,
    VisionTransform,
    build_aug_mix,
    build_auto_augment,
    build_rand_augment,
    build_transform,
    build_trivial_augment,
)


def build(op: str, **args: Any) -> VisionTransform:
    return build_transform(TransformParams(op=op, args=args), icf.TransformContext(image_size=(24, 24)))


def draw_images(count: int = 16, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, 24, 20, channels), generator=generator, dtype=torch.uint8)
    return pixels.permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("RandomHorizontalFlip", {}),
        ("ColorJitter", {"brightness": 0.4, "hue": 0.1}),
        ("RandomResizedCrop", {"size": [16, 16], "interpolation": "bilinear"}),
        ("RandAugment", {"interpolation": "nearest"}),
        ("AutoAugment", {"policy": "cifar10"}),
        ("TrivialAugmentWide", {}),
        ("AugMix", {}),
        ("RandomErasing", {"p": 0.5}),
        ("ElasticTransform", {"alpha": 5.0, "sigma": 1.0}),
        ("GaussianBlur", {"kernel_size": 3}),
        ("RandomCrop", {"size": [24, 20], "padding": 4}),
        ("CenterCrop", {"size": 16}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_results_depend_on_the_generator_only(op: str, args: dict[str, Any], channels: int) -> None:
    transform, images = build(op, **args), draw_images(channels=channels)
    original = images.clone()
    before = torch.get_rng_state()
    first = transform(images, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    same = transform(images, torch.Generator().manual_seed(1))
    assert torch.equal(first, same)
    assert torch.equal(images, original)
    assert first.dtype == torch.uint8
    assert first.shape[:2] == images.shape[:2]


def test_each_image_gets_its_own_draw() -> None:
    images = draw_images(1).expand(32, -1, -1, -1)
    flipped = build("RandomHorizontalFlip")(images, torch.Generator().manual_seed(0))
    changed = (flipped != images).flatten(1).any(1)
    assert 0 < int(changed.sum()) < 32
    assert torch.equal(flipped[changed][0], images[0].flip(-1))


def test_successive_batches_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    transform, images = build("ColorJitter", brightness=0.5), draw_images()
    assert not torch.equal(transform(images, generator), transform(images, generator))


def test_deterministic_transform_equals_torchvision_on_the_batch() -> None:
    images = draw_images()
    resized = build("Resize", size=[12, 10])(images, torch.Generator())
    assert torch.equal(resized, v2.Resize([12, 10])(images))


def test_channels_last_memory_is_kept() -> None:
    changed = build("RandomHorizontalFlip")(draw_images(), torch.Generator().manual_seed(0))
    assert changed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        ("ColourJitter", {}, "did you mean 'ColorJitter'"),
        ("ColorJitter", {"brigthness": 0.2}, "brigthness.*it takes: brightness"),
        ("RandomResizedCrop", {"size": 8, "interpolation": "fine"}, "fine"),
        ("Normalize", {"mean": [0.5], "std": [0.5]}, "icf converts and normalises"),
        ("ToTensor", {}, "icf converts and normalises"),
        ("ToDtype", {}, "icf converts and normalises"),
        ("Compose", {}, "transforms"),
        ("RandomOrder", {"transforms": [{"ops": "RGB"}]}, r"args.transforms\[0\]\[op\]: Field required"),
        ("RandomOrder", {"transforms": [{"op": "ColourJitter"}]}, "did you mean 'ColorJitter'"),
        ("MixUp", {"num_classes": 3}, "labels"),
        ("FiveCrop", {"size": 4}, "several images"),
    ],
)
def test_unfit_transforms_are_refused(op: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(icf.PluginError, match=message):
        build(op, **args)


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        ("ScaleJitter", {"target_size": [24, 24]}, "different sizes"),
        ("Grayscale", {"num_output_channels": 1}, r"keep uint8 and the number of channels \(3\)"),
        ("RandomCrop", {"size": 64}, "RandomCrop failed"),
    ],
)
def test_results_that_are_no_batch_are_refused(op: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(icf.PluginError, match=message):
        build(op, **args)(draw_images(), torch.Generator().manual_seed(0))


def test_plugin_offers_the_transform() -> None:
    names = [transform.name for transform in icf_transforms()]
    assert names == ["transform", "rand-augment", "trivial-augment", "auto-augment", "aug-mix"]


# -- everything that torchvision has ----------------------------------------------------------------

NEEDED: dict[str, dict[str, Any]] = {
    "CenterCrop": {"size": 24},
    "Compose": {"transforms": [{"op": "RandomInvert"}, {"op": "ColorJitter", "args": {"hue": 0.3}}]},
    "ElasticTransform": {"alpha": 5.0, "sigma": 1.0},
    "GaussianBlur": {"kernel_size": 3},
    "Grayscale": {"num_output_channels": 3},
    "JPEG": {"quality": 50},
    "Pad": {"padding": 2},
    "RandomAdjustSharpness": {"sharpness_factor": 2.0},
    "RandomAffine": {"degrees": 20},
    "RandomApply": {"transforms": [{"op": "RandomInvert"}]},
    "RandomChoice": {"transforms": [{"op": "RandomInvert"}, {"op": "RandomEqualize"}]},
    "RandomCrop": {"size": 24, "padding": 4},
    "RandomOrder": {"transforms": [{"op": "RandomInvert"}, {"op": "RandomSolarize", "args": {"threshold": 99}}]},
    "RandomPosterize": {"bits": 3},
    "RandomResizedCrop": {"size": 24},
    "RandomRotation": {"degrees": 20},
    "RandomShortestSize": {"min_size": 24},
    "RandomSolarize": {"threshold": 128},
    "Resize": {"size": 24},
}
"""Arguments without a default that fits small images."""

MANY_SIZES = {"RandomResize": {"min_size": 16, "max_size": 30}, "RandomZoomOut": {}, "ScaleJitter": {"target_size": 24}}
"""They change the size at random: a batch of one size needs another transform after them, in one Compose."""

ALL = sorted(name for name, item in vars(v2).items() if inspect.isclass(item) and issubclass(item, v2.Transform))


@pytest.mark.parametrize("op", [name for name in ALL if name not in UNFIT and name not in NORMALISING])
def test_every_transform_that_changes_images_runs(op: str) -> None:
    args = NEEDED.get(op, {})
    if op in MANY_SIZES:
        size = {"target_size": [24, 24]} if op == "ScaleJitter" else MANY_SIZES[op]
        args = {"transforms": [{"op": op, "args": size}, {"op": "Resize", "args": {"size": [24, 24]}}]}
    transform, images = build("Compose" if op in MANY_SIZES else op, **args), draw_images()
    changed = [transform(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(changed[0], changed[1])
    assert changed[0].dtype == torch.uint8
    assert changed[0].shape[:2] == images.shape[:2]


@pytest.mark.parametrize("op", sorted({*UNFIT, *NORMALISING}))
def test_what_is_refused_is_a_class_of_torchvision(op: str) -> None:
    assert op in ALL
    with pytest.raises(icf.PluginError, match=op):
        build(op)


@pytest.mark.parametrize(
    ("short", "params", "op", "args"),
    [
        (
            build_rand_augment,
            RandAugmentParams(operations=3, magnitude=12),
            "RandAugment",
            {"num_ops": 3, "magnitude": 12},
        ),
        (build_trivial_augment, PolicyParams(), "TrivialAugmentWide", {}),
        (build_auto_augment, AutoAugmentParams(policy="svhn"), "AutoAugment", {"policy": "svhn"}),
        (build_aug_mix, AugMixParams(severity=5, depth=2), "AugMix", {"severity": 5, "chain_depth": 2}),
    ],
)
def test_short_names_are_torchvisions_policies(short: Any, params: icf.Params, op: str, args: dict[str, Any]) -> None:
    images = draw_images()
    changed = short(params, icf.TransformContext(image_size=(24, 20)))(images, torch.Generator().manual_seed(3))
    assert torch.equal(changed, build(op, **args)(images, torch.Generator().manual_seed(3)))
    assert not torch.equal(changed, images)


def test_a_policy_may_leave_images_alone() -> None:
    images = draw_images(1).expand(64, -1, -1, -1)
    transform = build_rand_augment(RandAugmentParams(p=0.25, magnitude=20), icf.TransformContext(image_size=(24, 20)))
    same = (transform(images, torch.Generator().manual_seed(0)) == images).flatten(1).all(1)
    assert 32 < int(same.sum()) < 60


def test_transforms_in_a_list_are_those_of_torchvision() -> None:
    images = draw_images(1)
    parts = [{"op": "Resize", "args": {"size": [12, 10]}}, {"op": "RandomHorizontalFlip", "args": {"p": 1.0}}]
    nested = build("Compose", transforms=parts)(images, torch.Generator().manual_seed(0))
    assert torch.equal(nested, v2.Resize([12, 10])(images).flip(-1))


@pytest.mark.parametrize(
    ("op", "args", "geometric", "thread_safe"),
    [
        ("CenterCrop", {"size": 8}, True, True),
        ("RandomResizedCrop", {"size": 8}, True, False),
        ("ColorJitter", {}, False, False),
        ("Grayscale", {}, False, True),
    ],
)
def test_what_moves_pixels_and_what_draws_from_global_generators_is_known(op, args, geometric, thread_safe):
    transform = build(op, **args)
    assert (transform.geometric, transform.thread_safe) == (geometric, thread_safe)


def test_random_parts_are_taken_of_larger_images():
    assert build("RandomResizedCrop", size=8).input_scale == 1.15
    assert build("RandomCrop", size=8).input_scale == 1
