from __future__ import annotations

import inspect
import random
import subprocess
import sys
from typing import Any

import albumentations
import numpy as np
import pytest
import torch

import icf
from icf_albumentations.plugin import TransformParams, icf_transforms
from icf_albumentations.transforms import NESTING, NORMALISING, UNFIT, AlbumentationsTransform, build_transform


def build(op: str, p: float = 1.0, **args: Any) -> AlbumentationsTransform:
    params = TransformParams(op=op, p=p, args=args)
    return build_transform(params, icf.TransformContext(image_size=(24, 20)))


def draw_images(count: int = 16, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, 24, 20, channels), generator=generator, dtype=torch.uint8)
    return pixels.permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("CLAHE", {}),
        ("RandomBrightnessContrast", {}),
        ("GaussNoise", {"std_range": [0.1, 0.2]}),
        ("Affine", {"rotate": [-20, 20]}),
        ("CoarseDropout", {}),
        ("ElasticTransform", {}),
        ("RandomResizedCrop", {"size": [16, 16]}),
        ("ImageCompression", {"quality_range": [30, 60]}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_results_depend_on_the_generator_only(op: str, args: dict[str, Any], channels: int) -> None:
    transform, images = build(op, **args), draw_images(channels=channels)
    original = images.clone()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]
    first = transform(images, torch.Generator().manual_seed(1))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert np.array_equal(states[2], np.random.get_state()[1])  # type: ignore[index]
    torch.rand(3), random.random(), np.random.rand(3)
    same = build(op, **args)(images, torch.Generator().manual_seed(1))
    other = transform(images, torch.Generator().manual_seed(2))
    assert torch.equal(first, same)
    assert op == "CLAHE" or not torch.equal(first, other)
    assert torch.equal(images, original)
    assert first.dtype == torch.uint8
    assert first.shape[:2] == images.shape[:2]
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_deterministic_transform_equals_albumentations() -> None:
    images = draw_images()
    changed = build("InvertImg")(images, torch.Generator())
    assert torch.equal(changed, 255 - images)
    rows = images.permute(0, 2, 3, 1).numpy()
    resized = build("Resize", height=12, width=10)(images, torch.Generator()).permute(0, 2, 3, 1).numpy()
    expected = [albumentations.Resize(height=12, width=10, p=1.0)(image=row)["image"] for row in rows]
    assert np.array_equal(resized, np.stack(expected))


def test_each_image_gets_its_own_draw() -> None:
    images = draw_images(1).expand(64, -1, -1, -1)
    flipped = build("HorizontalFlip", p=0.5)(images, torch.Generator().manual_seed(0))
    changed = (flipped != images).flatten(1).any(1)
    assert 16 < int(changed.sum()) < 48
    assert torch.equal(flipped[changed][0], images[0].flip(-1))


def test_successive_batches_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    transform, images = build("GaussNoise"), draw_images()
    assert not torch.equal(transform(images, generator), transform(images, generator))


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        ("Clahee", {}, "no such class"),
        ("GaussNois", {}, "did you mean 'GaussNoise'"),
        ("GaussNoise", {"std_rnge": [0.1, 0.2]}, "did you mean 'std_range'"),
        ("GaussNoise", {"std_range": [5, 9]}, "std_range"),
        ("RandomCrop", {}, "height"),
        ("Normalize", {}, "icf converts and normalises"),
        ("ToFloat", {}, "icf converts and normalises"),
        ("ToTensorV2", {}, "icf converts and normalises"),
        ("OneOf", {}, "transforms"),
        ("OneOf", {"transforms": [{"op": "CLAHE", "q": 1}]}, r"args.transforms\[0\]\[q\]"),
        ("OneOf", {"transforms": [{"op": "GaussNois"}]}, "did you mean 'GaussNoise'"),
        ("Compose", {}, "use Sequential"),
        ("MaskDropout", {}, "masks of objects"),
        ("Lambda", {}, "no code"),
    ],
)
def test_unfit_transforms_are_refused(op: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(icf.PluginError, match=message):
        build(op, **args)


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        ("RandomScale", {"scale_limit": [-0.5, 0.5]}, "different sizes"),
        ("RandomCrop", {"height": 64, "width": 64}, "RandomCrop failed"),
    ],
)
def test_results_that_are_no_batch_are_refused(op: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(icf.PluginError, match=message):
        build(op, **args)(draw_images(), torch.Generator().manual_seed(0))


# -- everything that albumentations has --------------------------------------------------------------

SIZES = {"height": 12, "width": 12}
PARTS = {"transforms": [{"op": "GaussNoise"}, {"op": "InvertImg"}]}
NEEDED: dict[str, dict[str, Any]] = {
    "AtLeastOneBBoxRandomCrop": SIZES,
    "CenterCrop": SIZES,
    "Crop": {"x_max": 12, "y_max": 12},
    "CropAndPad": {"px": 2},
    "FrequencyMasking": {"freq_mask_param": 8},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 5},
    "LongestMaxSize": {"max_size": 12},
    "OneOf": PARTS,
    "OneOrOther": PARTS,
    "RandomCrop": SIZES,
    "RandomOrder": PARTS,
    "RandomResizedCrop": {"size": [12, 12]},
    "RandomSizedCrop": {"min_max_height": [8, 16], "size": [12, 12]},
    "Resize": SIZES,
    "SelectiveChannelTransform": {"transforms": [{"op": "InvertImg"}]},
    "Sequential": PARTS,
    "SmallestMaxSize": {"max_size": 12},
    "SomeOf": PARTS,
    "TimeMasking": {"time_mask_param": 8},
}
"""Arguments without a default that fits images of 20 x 20 pixels."""

MANY_SIZES = {"RandomCropFromBorders", "RandomScale"}
"""They change the size at random: a batch of one size needs another transform after them, in one Sequential."""

ALL = sorted(
    name
    for name, item in vars(albumentations).items()
    if inspect.isclass(item) and (issubclass(item, albumentations.BasicTransform) or name in NESTING)
)


@pytest.mark.parametrize("op", [name for name in ALL if name not in UNFIT and name not in NORMALISING])
def test_every_transform_that_changes_images_runs(op: str) -> None:
    args = NEEDED.get(op, {})
    if op in MANY_SIZES:
        args = {"transforms": [{"op": op, "p": 1.0}, {"op": "Resize", "args": SIZES, "p": 1.0}]}
    images = draw_images(6)[:, :, :20]  # square, for what turns by 90 degrees
    results = [
        build("Sequential" if op in MANY_SIZES else op, **args)(images, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(results[0], results[1])
    assert results[0].dtype == torch.uint8
    assert results[0].shape[:2] == images.shape[:2]


@pytest.mark.parametrize("op", sorted({*UNFIT, *NORMALISING}))
def test_what_is_refused_is_a_class_of_albumentations(op: str) -> None:
    assert op in ALL
    with pytest.raises(icf.PluginError, match=op):
        build(op)


def test_one_of_changes_each_image_by_one_of_them() -> None:
    parts = [{"op": "InvertImg", "p": 1.0}, {"op": "HorizontalFlip", "p": 1.0}]
    images = draw_images(40)
    changed = build("OneOf", transforms=parts)(images, torch.Generator().manual_seed(0))
    inverted = (changed == 255 - images).flatten(1).all(1)
    flipped = (changed == images.flip(-1)).flatten(1).all(1)
    assert bool((inverted ^ flipped).all())
    assert 8 < int(inverted.sum()) < 32


def test_no_question_for_a_newer_version_is_asked() -> None:
    code = (
        "import urllib.request as r, icf_albumentations.transforms as t;"
        "from icf_albumentations.plugin import TransformParams as P; import icf;"
        "r.OpenerDirector.open = lambda *a, **k: print('ASKED');"
        "t.build_transform(P(op='InvertImg'), icf.TransformContext(image_size=(8, 8)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert "ASKED" not in answer.stdout


def test_plugin_offers_the_transform() -> None:
    assert [transform.name for transform in icf_transforms()] == ["transform"]


@pytest.mark.parametrize(
    ("op", "args", "geometric"),
    [
        ("RandomCrop", {"height": 4, "width": 4}, True),
        ("Rotate", {}, True),
        ("HorizontalFlip", {}, True),
        ("CLAHE", {}, False),
        ("CoarseDropout", {}, False),
    ],
)
def test_what_moves_pixels_is_known(op, args, geometric):
    assert build(op, **args).geometric is geometric


def test_random_parts_are_taken_of_larger_images():
    assert build("RandomResizedCrop", size=[8, 8]).input_scale == 1.15
    assert build("RandomCrop", height=8, width=8).input_scale == 1
