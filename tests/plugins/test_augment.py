from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torchvision.transforms.v2 import functional

import icf
from icf_augment.colour import build_brightness_contrast
from icf_augment.draws import draw_integers
from icf_augment.erasing import build_erasing
from icf_augment.geometry import build_horizontal_flip, build_random_crop, build_vertical_flip
from icf_augment.plugin import (
    BrightnessContrastParams,
    ErasingParams,
    FlipParams,
    RandomCropParams,
    icf_transforms,
)

Build = Callable[..., icf.BatchTransform]

CASES: list[tuple[Build, icf.Params]] = [
    (build_horizontal_flip, FlipParams()),
    (build_vertical_flip, FlipParams()),
    (build_random_crop, RandomCropParams(padding=3)),
    (build_random_crop, RandomCropParams(padding=3, mode="zero", p=0.5)),
    (build_erasing, ErasingParams()),
    (build_erasing, ErasingParams(size=5, fill="noise")),
    (build_brightness_contrast, BrightnessContrastParams(p=0.7)),
]


def draw_images(count: int = 16, channels: int = 3, height: int = 12, width: int = 10) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (count, height, width, channels), generator=generator, dtype=torch.uint8)
    return pixels.permute(0, 3, 1, 2)


def context(images: torch.Tensor) -> icf.TransformContext:
    height, width = images.shape[-2:]
    return icf.TransformContext(image_size=(height, width), channels=images.shape[1])


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("build", "params"), CASES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_transforms_keep_the_contract(build: Build, params: icf.Params, channels: int) -> None:
    images = draw_images(channels=channels)
    original = images.clone()
    transform = build(params, context(images))
    assert transform.any_device
    state = torch.get_rng_state()
    changed = transform(images, seeded())
    assert changed.dtype == torch.uint8
    assert changed.shape == images.shape
    assert changed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(changed, transform(images, seeded()))
    assert not torch.equal(changed, original)
    assert torch.equal(images, original)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(transform(images.contiguous(), seeded()), changed)


@pytest.mark.parametrize(("build", "params"), CASES)
def test_probability_zero_changes_nothing(build: Build, params: icf.Params) -> None:
    images = draw_images()
    transform = build(params.model_copy(update={"p": 0.0}), context(images))
    assert torch.equal(transform(images, seeded()), images)


@pytest.mark.parametrize(("build", "params"), CASES)
def test_probability_holds_for_each_image(build: Build, params: icf.Params) -> None:
    images = draw_images(2000, height=6, width=6)
    params = params.model_copy(update={"p": 0.25})
    changed = (build(params, context(images))(images, seeded()) != images).flatten(1).any(1)
    share = float(changed.double().mean())
    assert 0.18 < share < 0.29


@pytest.mark.parametrize(
    ("build", "reference"),
    [(build_horizontal_flip, functional.horizontal_flip), (build_vertical_flip, functional.vertical_flip)],
)
def test_flips_are_those_of_torchvision(build: Build, reference: Callable[[torch.Tensor], torch.Tensor]) -> None:
    images = draw_images()
    assert torch.equal(build(FlipParams(p=1.0), context(images))(images, seeded()), reference(images))


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(5, 12),
    width=st.integers(5, 12),
    padding=st.integers(0, 4),
    target=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    mode=st.sampled_from(["reflect", "zero"]),
    seed=st.integers(0, 1000),
)
def test_each_crop_is_a_window_of_the_padded_image(
    height: int, width: int, padding: int, target: tuple[int, int], mode: Any, seed: int
) -> None:
    target = (min(target[0], height + 2 * padding), min(target[1], width + 2 * padding))
    images = draw_images(4, height=height, width=width)
    transform = build_random_crop(RandomCropParams(padding=padding, mode=mode), icf.TransformContext(image_size=target))
    crops = transform(images, seeded(seed)).numpy()
    sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    padded = np.pad(images.numpy(), sides, mode="reflect" if mode == "reflect" else "constant")
    windows = np.lib.stride_tricks.sliding_window_view(padded, target, axis=(2, 3))
    for index, crop in enumerate(crops):
        assert (windows[index] == crop[:, None, None]).all(axis=(0, 3, 4)).any()


def test_crops_reach_every_place_equally_often() -> None:
    columns = torch.arange(6, dtype=torch.uint8).expand(6000, 1, 4, 6)
    transform = build_random_crop(RandomCropParams(padding=1, mode="zero"), icf.TransformContext(image_size=(4, 4)))
    middle = transform(columns, seeded())[:, 0, 1, 1].long()
    counts = torch.bincount(middle, minlength=5)
    assert counts.tolist() == pytest.approx([1200] * 5, rel=0.12)


def test_crops_of_images_that_are_too_small_are_refused() -> None:
    images = draw_images(height=6, width=6)
    with pytest.raises(icf.PluginError, match="smaller than the 20 x 20"):
        build_random_crop(RandomCropParams(), icf.TransformContext(image_size=(20, 20)))(images, seeded())
    with pytest.raises(icf.PluginError, match="at most 5"):
        build_random_crop(RandomCropParams(padding=6), icf.TransformContext(image_size=(6, 6)))(images, seeded())


def find_boxes(erased: torch.Tensor) -> list[tuple[int, int]]:
    boxes = []
    for mask in erased:
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        box = (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
        assert int(mask.sum()) == box[0] * box[1]
        boxes.append(box)
    return boxes


def test_erased_rectangles_have_the_area_and_ratio_that_were_asked_for() -> None:
    images = torch.zeros(500, 1, 100, 80, dtype=torch.uint8)
    params = ErasingParams(p=1.0, area=(0.1, 0.2), ratio=(0.5, 2.0))
    boxes = find_boxes(build_erasing(params, context(images))(images, seeded())[:, 0] == 128)
    areas = np.array([height * width / 8000 for height, width in boxes])
    ratios = np.array([height / width for height, width in boxes])
    assert 0.095 < areas.min() < 0.105
    assert 0.195 < areas.max() < 0.205
    assert areas.mean() == pytest.approx(0.15, abs=0.005)
    assert 0.47 < ratios.min() < 0.55
    assert 1.85 < ratios.max() < 2.1
    assert np.median(ratios) == pytest.approx(1.0, abs=0.12)


def test_cutout_is_a_square_that_may_reach_over_the_edge() -> None:
    images = torch.zeros(500, 1, 20, 20, dtype=torch.uint8)
    boxes = find_boxes(build_erasing(ErasingParams(p=1.0, size=8), context(images))(images, seeded())[:, 0] == 128)
    assert max(boxes) == (8, 8)
    assert min(min(box) for box in boxes) == 4
    assert 0.3 < np.mean([box == (8, 8) for box in boxes]) < 0.6


def test_noise_differs_between_pixels_channels_and_images() -> None:
    images = torch.zeros(8, 3, 30, 30, dtype=torch.uint8)
    noisy = build_erasing(ErasingParams(p=1.0, size=200, fill="noise"), context(images))(images, seeded())
    values = noisy.double()
    assert values.mean() == pytest.approx(127.5, abs=2)
    assert values.std() == pytest.approx(73.9, abs=2)
    assert not torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0, 0], noisy[0, 1])


@pytest.mark.parametrize("name", ["area", "ratio"])
def test_ranges_in_the_wrong_order_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        ErasingParams.model_validate({name: (0.9, 0.5)})


def test_brightness_and_contrast_follow_the_formula() -> None:
    images = draw_images()
    params = BrightnessContrastParams(brightness=0.5, contrast=0.4)
    changed = build_brightness_contrast(params, context(images))(images, seeded()).numpy()
    generator = seeded()
    torch.rand(16, generator=generator)
    b = (0.5 + torch.rand(16, generator=generator)).double().numpy().reshape(-1, 1, 1, 1)
    c = (0.6 + 0.8 * torch.rand(16, generator=generator)).double().numpy().reshape(-1, 1, 1, 1)
    pixels = images.numpy().astype(np.float64)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
    expected = np.clip(b * (mean + c * (pixels - mean)), 0, 255)
    assert np.abs(changed - expected).max() < 0.51


def test_whole_numbers_are_drawn_equally_often_up_to_the_greatest() -> None:
    drawn = draw_integers(torch.full((7000,), 6), seeded())
    assert torch.bincount(drawn).tolist() == pytest.approx([1000] * 7, rel=0.15)
    assert draw_integers(torch.zeros(5, dtype=torch.int64), seeded()).tolist() == [0] * 5


def test_plugin_offers_the_transforms() -> None:
    names = [transform.name for transform in icf_transforms()]
    assert names == [
        "horizontal-flip",
        "vertical-flip",
        "random-crop",
        "crop",
        "scale",
        "erasing",
        "brightness-contrast",
    ]
