from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms.v2 import functional

import icf
from icf_augment.framing import build_crop, build_scale
from icf_augment.geometry import build_horizontal_flip
from icf_augment.plugin import CropParams, FlipParams, ScaleParams

CONTEXT = icf.TransformContext(image_size=(40, 30))
PLACES = ("centre", "top-left", "top-right", "bottom-left", "bottom-right")


def draw_images(count: int = 5, channels: int = 3, height: int = 40, width: int = 30) -> torch.Tensor:
    """Random images with things in them: noise, smoothed over 4 pixels."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, channels, height // 4, width // 4, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


def crop(images: torch.Tensor, **params: Any) -> torch.Tensor:
    return build_crop(CropParams(**params), CONTEXT)(images, torch.Generator())


def scale(images: torch.Tensor, **params: Any) -> torch.Tensor:
    return build_scale(ScaleParams(**params), CONTEXT)(images, torch.Generator())


def resize_with_pillow(images: torch.Tensor, height: int, width: int) -> np.ndarray:
    pictures = [Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR) for image in to_numpy(images)]
    return np.stack([np.asarray(picture) for picture in pictures])


def to_numpy(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def find_difference(images: torch.Tensor, expected: np.ndarray) -> int:
    return int(np.abs(to_numpy(images).astype(int) - expected).max())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_crop_is_the_window_at_its_place(place: str, share: float) -> None:
    images = draw_images()
    rows, columns = round(share * 40), round(share * 30)
    top = {"centre": (40 - rows) // 2, "top": 0, "bottom": 40 - rows}[place.partition("-")[0]]
    left = {"": (30 - columns) // 2, "left": 0, "right": 30 - columns}[place.partition("-")[2]]
    found = crop(images, place=place, share=share)
    assert torch.equal(
        found, functional.resized_crop(images.float(), top, left, rows, columns, [40, 30]).round().byte()
    )
    window = images[:, :, top : top + rows, left : left + columns]
    assert find_difference(found, resize_with_pillow(window, 40, 30)) <= 1
    assert not torch.equal(found, images)


def test_the_whole_image_stays_as_it_is() -> None:
    images = draw_images()
    for same in (crop(images, share=1.0), scale(images, factor=1.0)):
        assert torch.equal(same, images)


@pytest.mark.parametrize("factor", [1.1, 1.5, 2.0])
def test_a_larger_image_is_its_centre(factor: float) -> None:
    images = draw_images()
    assert torch.equal(scale(images, factor=factor), crop(images, share=1 / factor))


@pytest.mark.parametrize(("mode", "padding"), [("reflect", "reflect"), ("zero", "constant")])
@pytest.mark.parametrize("factor", [0.5, 0.65, 0.8, 0.95])
def test_a_smaller_image_lies_in_the_middle_of_its_border(mode: str, padding: str, factor: float) -> None:
    images = draw_images()
    rows, columns = round(factor * 40), round(factor * 30)
    top, left = (40 - rows) // 2, (30 - columns) // 2
    sides = [left, top, 30 - columns - left, 40 - rows - top]
    found = scale(images, factor=factor, mode=mode)
    small = functional.resize(images.float(), [rows, columns], antialias=True)
    assert torch.equal(found, functional.pad(small, sides, padding_mode=padding).round().byte())
    inner = found[:, :, top : top + rows, left : left + columns]
    assert find_difference(inner, resize_with_pillow(images, rows, columns)) <= 1


@pytest.mark.parametrize("change", [crop, lambda images: scale(images, factor=0.8)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_what_they_were(change: Any, channels: int) -> None:
    images = draw_images(channels=channels)
    before = images.clone()
    found = change(images.contiguous(memory_format=torch.channels_last))
    assert (found.dtype, found.shape) == (torch.uint8, images.shape)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


@pytest.mark.parametrize(("p", "deterministic"), [(0.0, True), (0.5, False), (1.0, True)])
def test_a_flip_says_whether_it_is_random(p: float, deterministic: bool) -> None:
    assert build_horizontal_flip(FlipParams(p=p), CONTEXT).deterministic is deterministic


@pytest.mark.parametrize(("params", "values"), [(CropParams, {"place": "top"}), (ScaleParams, {"factor": 2.5})])
def test_what_is_out_of_bounds_is_refused(params: type[icf.Params], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        params.model_validate(values)
