from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from icf.components import ModelInfo
from icf.errors import IcfError, PluginError
from icf.pipeline.data.preprocess import Preprocessor, describe_preprocessing, measure_statistics
from icf.plan import Plan, make_plan
from icf.plugins import load_plugins
from samples import choose_transform, draw_photo, make_preprocessing

SIZES = [(24, 40), (40, 24), (30, 30), (7, 90), (90, 7), (1, 1), (200, 150)]
TARGETS = [(16, 16), (10, 20), (33, 17)]


def resize(pixels: np.ndarray, mode: str, size: tuple[int, int]) -> np.ndarray:
    spec = make_preprocessing(size, resize=mode, channels=pixels.shape[2])
    result = Preprocessor(spec)(pixels)
    assert result.dtype == np.uint8
    assert result.shape == (*size, pixels.shape[2])
    return result


def antialias(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """torchvision's own resize, which differs from Pillow's by rounding."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    return functional.resize(image, list(size), antialias=True).permute(1, 2, 0).numpy()


def assert_close(left: np.ndarray, right: np.ndarray) -> None:
    assert np.abs(left.astype(int) - right).max() <= 2


@pytest.mark.parametrize("size", TARGETS)
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_stretch_is_a_plain_resize(shape, size, channels):
    pixels = draw_photo(*shape)[:, :, :channels]
    assert_close(resize(pixels, "stretch", size), antialias(pixels, size))


@pytest.mark.parametrize("size", TARGETS)
@pytest.mark.parametrize("shape", SIZES)
def test_pad_keeps_the_aspect_and_centres(shape, size):
    pixels = np.maximum(draw_photo(*shape), 1)
    result = resize(pixels, "pad", size)
    scale = min(size[0] / shape[0], size[1] / shape[1])
    inner = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    filled = (result > 0).any(axis=2)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    assert (len(rows), len(columns)) == inner
    assert inner[0] == size[0] or inner[1] == size[1]
    before, after = (rows[0], columns[0]), (size[0] - 1 - rows[-1], size[1] - 1 - columns[-1])
    assert all(end - start in (0, 1) for start, end in zip(before, after, strict=True))
    content = result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert_close(content, antialias(pixels, inner))
    assert not result[~filled].any()


@pytest.mark.parametrize("size", TARGETS)
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("wide", [True, False])
def test_crop_takes_the_middle(size, factor, wide):
    height, width = size[0] * factor, size[1] * factor
    margin = 4
    photo = draw_photo(height, width + 2 * margin) if wide else draw_photo(height + 2 * margin, width)
    middle = photo[:, margin:-margin] if wide else photo[margin:-margin]
    assert_close(resize(photo, "crop", size)[1:-1, 1:-1], antialias(middle, size)[1:-1, 1:-1])


def test_crop_keeps_the_aspect():
    y, x = np.mgrid[0:60, 0:100]
    disc = (((y - 29.5) ** 2 + (x - 49.5) ** 2 < 20**2) * 255).astype(np.uint8)[:, :, None]
    result = resize(disc, "crop", (30, 30))[:, :, 0] > 127
    assert result.any(axis=0).sum() == result.any(axis=1).sum() == 20


@pytest.mark.parametrize("mode", ["stretch", "pad", "crop"])
def test_the_right_size_is_left_alone(mode):
    photo = draw_photo(16, 16)
    np.testing.assert_array_equal(resize(photo, mode, (16, 16)), photo)


def test_large_images_are_averaged_not_sampled():
    checks = (np.indices((200, 200)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None]
    assert np.abs(resize(checks, "stretch", (20, 20)).astype(int) - 127).max() <= 2


def read_from(pixels: np.ndarray):
    return lambda rows: torch.from_numpy(pixels[rows])


def test_statistics_equal_numpy():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 6, 3)).astype(np.uint8)
    mean, std = measure_statistics(read_from(pixels), np.arange(50))
    np.testing.assert_allclose(mean, (pixels / 255).mean(axis=(0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(std, (pixels / 255).std(axis=(0, 1, 2)), atol=1e-4)


def test_deviation_is_that_of_pixels_not_of_image_means():
    generator = np.random.default_rng(1)
    pixels = np.clip(generator.normal(140, 66, (200, 16, 16, 1)), 0, 255).astype(np.uint8)
    _, std = measure_statistics(read_from(pixels), np.arange(200))
    of_means = (pixels / 255).mean(axis=(1, 2, 3)).std()
    assert std[0] == pytest.approx((pixels / 255).std(), abs=1e-4)
    assert std[0] > 5 * of_means


def test_statistics_take_only_the_given_rows():
    pixels = np.zeros((10, 4, 4, 1), dtype=np.uint8)
    pixels[::2] = 200
    mean, std = measure_statistics(read_from(pixels), np.arange(0, 10, 2))
    assert mean == pytest.approx((200 / 255,), abs=1e-4)
    assert std == (0.001,)


def test_statistics_of_many_images_come_from_evenly_spaced_ones():
    pixels = np.repeat(np.arange(100, dtype=np.uint8), 4).reshape(100, 2, 2, 1)
    mean, _ = measure_statistics(read_from(pixels), np.arange(100), most=10)
    assert mean[0] == pytest.approx(49.5 / 255, abs=0.5 / 255)


def make(tmp_path, **transforms) -> Plan:
    raw = {
        "dataset": {"use": "images/folder", "root": str(tmp_path)},
        "model": {"use": "nn/sequential-cnn"},
        "transforms": transforms,
    }
    names = ["images", "nn", "loss", "optimizer", "scheduler", "sampler", "metric", "ensemble"]
    return make_plan(raw, load_plugins(only=names), "test")


INFO = ModelInfo(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), image_size=(48, 40))


@pytest.mark.parametrize(
    ("transforms", "info", "data_size", "expected"),
    [
        ({"image_size": [20, 30]}, INFO, (28, 28), (20, 30)),
        ({}, INFO, (28, 28), (48, 40)),
        ({}, ModelInfo(), (28, 28), (28, 28)),
        ({}, ModelInfo(), None, (224, 224)),
    ],
)
def test_the_size_is_the_recipe_s_else_the_model_s_else_the_data_s(tmp_path, transforms, info, data_size, expected):
    assert describe_preprocessing(make(tmp_path, **transforms), info, data_size).image_size == expected


def test_statistics_are_the_recipe_s_else_the_model_s(tmp_path):
    own = describe_preprocessing(make(tmp_path, mean=[0.5, 0.5, 0.5]), INFO, None)
    assert (own.mean, own.std) == ((0.5, 0.5, 0.5), (0.4, 0.5, 0.6))
    unknown = describe_preprocessing(make(tmp_path), ModelInfo(), None)
    assert (unknown.mean, unknown.std) == (None, None)


def test_statistics_of_colour_are_averaged_for_grey(tmp_path):
    grey = describe_preprocessing(make(tmp_path, channels=1), INFO, None)
    assert grey.mean == pytest.approx((0.2,))


def test_too_few_statistics_are_an_error(tmp_path):
    with pytest.raises(IcfError, match=r"transforms\.mean: 2 values for 3 channels"):
        describe_preprocessing(make(tmp_path, mean=[0.1, 0.2]), INFO, None)


def test_shared_transforms_come_before_resizing_in_their_order():
    spec = make_preprocessing(
        (6, 8),
        shared=[choose_transform("upper_half"), choose_transform("upper_half"), choose_transform("invert_in_place")],
    )
    photo = draw_photo(24, 40)
    kept = photo.copy()
    expected = np.asarray(Image.fromarray(255 - photo[:6]).resize((8, 6), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(Preprocessor(spec)(photo), expected)
    np.testing.assert_array_equal(photo, kept)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("crash", r"failed on \[1, 3, 24, 40\]: KeyError: 'no such thing'"),
        ("make_float", r": the changed images are a tensor of float32 \[1, 3, 24, 40\], but must be a tensor of uint8"),
        ("lose_channels", r": the changed images are a tensor of uint8 \[1, 1, 24, 40\], but .* \[1, 3, H, W\]"),
    ],
)
def test_a_bad_shared_transform_is_named(function, message):
    with pytest.raises(PluginError, match=rf"^transform 'samples/{function}' \(samples 0\).*{message}"):
        Preprocessor(make_preprocessing(shared=[choose_transform(function)]))(draw_photo())
