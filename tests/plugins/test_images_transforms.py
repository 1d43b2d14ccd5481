"""What is done to every image alike, against OpenCV, albumentations, torchvision and formulas in numpy."""

from __future__ import annotations

from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms.v2 import functional

import icf
from icf.choice import Choice
from icf.pipeline.data.preprocess import Preprocessing, Preprocessor
from icf_images.geometry import build_centre_crop
from icf_images.light import build_brightness_contrast, build_clahe, build_grey_world
from icf_images.plugin import BrightnessContrastParams, CentreCropParams, ClaheParams, GreyWorldParams
from samples import draw_photo

CTX = icf.TransformContext(image_size=(16, 16))
IMAGES = arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))


def change(transform: icf.BatchTransform, images: np.ndarray) -> np.ndarray:
    batch = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
    return transform(batch, torch.Generator()).permute(0, 2, 3, 1).numpy()


# -- centre crop ------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_the_centre_is_that_of_torchvision(height: int, width: int, size: tuple[int, int]) -> None:
    images = torch.arange(height * width).remainder(251).to(torch.uint8).view(1, 1, height, width)
    found = build_centre_crop(CentreCropParams(size=size), CTX)(images, torch.Generator())
    kept = [min(height, size[0]), min(width, size[1])]  # torchvision would pad with black
    assert torch.equal(found, functional.center_crop(images, kept))


def test_a_share_is_one_of_each_side() -> None:
    images = draw_photo(20, 31)[None]
    found = change(build_centre_crop(CentreCropParams(share=0.5), CTX), images)
    np.testing.assert_array_equal(found, images[:, 5:15, 8:24])


@pytest.mark.parametrize("values", [{}, {"size": [4, 4], "share": 0.5}])
def test_a_centre_crop_has_a_size_or_a_share(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="needs size or share, and not both"):
        CentreCropParams.model_validate(values)


# -- light ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clip_limit", "tiles"), [(2.0, (8, 8)), (4.0, (3, 5))])
def test_clahe_is_that_of_albumentations(clip_limit: float, tiles: tuple[int, int]) -> None:
    images = np.stack([draw_photo(50, 70, seed) for seed in range(3)])
    found = change(build_clahe(ClaheParams(clip_limit=clip_limit, tiles=tiles), CTX), images)
    theirs = albumentations.CLAHE(clip_limit=(clip_limit, clip_limit), tile_grid_size=tiles[::-1], p=1.0)
    np.testing.assert_array_equal(found, np.stack([theirs(image=image)["image"] for image in images]))
    assert (found != images).any()


def test_clahe_of_grey_images_is_that_of_opencv() -> None:
    images = draw_photo(48, 64)[None, :, :, :1]
    found = change(build_clahe(ClaheParams(tiles=(2, 4)), CTX), images)
    expected = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 2)).apply(images[0, :, :, 0])
    np.testing.assert_array_equal(found[0, :, :, 0], expected)


@settings(max_examples=60, deadline=None)
@given(images=IMAGES)
def test_grey_world_is_the_formula(images: np.ndarray) -> None:
    found = change(build_grey_world(GreyWorldParams(), CTX), images)
    for image, result in zip(images, found, strict=True):
        means = image.reshape(-1, image.shape[2]).mean(axis=0)
        scale = np.divide(means.mean(), means, out=np.ones_like(means), where=means > 0)
        assert np.abs(result - np.clip(image * scale, 0, 255)).max() <= 0.5 + 1e-9


def test_grey_world_takes_a_tint_out() -> None:
    photo = draw_photo(40, 40) // 3 + 40
    tinted = np.rint(photo * [1.2, 0.9, 0.7]).astype(np.uint8)
    found = change(build_grey_world(GreyWorldParams(), CTX), np.stack([photo, tinted]))
    assert np.ptp(found[1].mean(axis=(0, 1))) < 0.1
    assert np.abs(found[0].astype(float) * (found[1].mean() / found[0].mean()) - found[1]).max() < 2


@settings(max_examples=60, deadline=None)
@given(images=IMAGES, brightness=st.floats(0, 255), contrast=st.floats(1, 120))
def test_brightness_and_contrast_are_the_formula(images: np.ndarray, brightness: float, contrast: float) -> None:
    params = BrightnessContrastParams(brightness=brightness, contrast=contrast)
    found = change(build_brightness_contrast(params, CTX), images)
    for image, result in zip(images, found, strict=True):
        scale = contrast / image.std() if image.std() > 0 else 0.0
        expected = np.clip((image - image.mean()) * scale + brightness, 0, 255)
        assert np.abs(result - expected).max() <= 0.5 + 1e-6


def test_every_image_gets_the_same_brightness_and_contrast() -> None:
    photos = np.stack([draw_photo(40, 50, seed) // (seed + 2) + 11 * seed for seed in range(3)])
    params = BrightnessContrastParams(brightness=120, contrast=40)
    found = change(build_brightness_contrast(params, CTX), photos).astype(float)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 120, atol=1)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), 40, atol=1)


# -- in the pipeline --------------------------------------------------------------------------------


def choose(name: str, factory: str, params: icf.Params) -> Choice:
    return Choice(
        ref=f"images/{name}",
        kind="transform",
        factory=f"icf_images.{factory}",
        params_type=f"icf_images.plugin:{type(params).__name__}",
        params=params.model_dump(mode="json"),
        distribution="icf",
        version="0",
    )


CROP = choose("centre-crop", "geometry:build_centre_crop", CentreCropParams(size=(20, 20)))
CLAHE = choose("clahe", "light:build_clahe", ClaheParams(tiles=(2, 2)))


def test_shared_transforms_are_applied_in_their_order(tmp_path: Path) -> None:
    photo = draw_photo(40, 60)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    results = []
    for order in ((CROP, CLAHE), (CLAHE, CROP)):
        spec = Preprocessing(image_size=(20, 20), channels=3, resize="stretch", shared=order)
        results.append(Preprocessor(spec).read(tmp_path / "photo.png")[0])
    equalise = albumentations.CLAHE(clip_limit=(2.0, 2.0), tile_grid_size=(2, 2), p=1.0)
    middle = np.s_[10:30, 20:40]
    np.testing.assert_array_equal(results[0], equalise(image=np.ascontiguousarray(photo[middle]))["image"])
    np.testing.assert_array_equal(results[1], equalise(image=photo)["image"][middle])
    assert (results[0] != results[1]).any()
