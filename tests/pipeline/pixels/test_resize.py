from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from icf.pipeline.pixels.resize import SPARE, choose_reduction, fit
from samples import draw_photo

SIDE = st.integers(min_value=1, max_value=900)
TARGET = st.integers(min_value=1, max_value=300)
MODE = st.sampled_from(["stretch", "pad", "crop"])


@pytest.mark.parametrize("size", [(64, 64), (37, 90), (224, 150), (500, 400)])
@pytest.mark.parametrize("channels", [1, 3])
def test_stretching_agrees_with_pillow(size: tuple[int, int], channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 60, (211, 317, 3))
    pixels = np.clip(draw_photo(211, 317) + noise, 0, 255).astype(np.uint8)[:, :, :channels]
    image = Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])
    expected = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(*size, channels)
    assert np.abs(fit(pixels, size, "stretch").astype(int) - expected).max() <= 1


@given(given_size=st.tuples(SIDE, SIDE), size=st.tuples(TARGET, TARGET), mode=MODE)
def test_a_reduction_leaves_pixels_to_average(given_size: tuple[int, int], size: tuple[int, int], mode: str) -> None:
    reduction = choose_reduction(given_size, size, mode)
    assert reduction in (1, 2, 4, 8)
    ratios = [side / wanted for side, wanted in zip(given_size, size, strict=True)]
    # The scale at which the image is shown: padding fits the longer side, cropping the shorter one.
    spare = max(ratios) if mode == "pad" else min(ratios)
    if reduction > 1:
        assert spare / reduction >= SPARE
    if reduction < 8:
        assert spare / (2 * reduction) < SPARE


@given(
    shape=st.tuples(st.integers(30, 90), st.integers(30, 90)),
    size=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    left_out=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
)
def test_incomplete_last_pixels_are_left_out_as_by_pillow_s_box(
    shape: tuple[int, int], size: tuple[int, int], left_out: tuple[float, float]
) -> None:
    pixels = np.random.default_rng(shape[0] * 100 + shape[1]).integers(0, 256, (*shape, 3)).astype(np.uint8)
    extent = shape[0] - left_out[0], shape[1] - left_out[1]
    box = (0, 0, extent[1], extent[0])
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR, box=box))
    assert np.abs(fit(pixels, size, "stretch", extent).astype(int) - expected).max() <= 2


@given(shape=st.tuples(SIDE, SIDE), size=st.tuples(TARGET, TARGET), mode=MODE, channels=st.sampled_from([1, 3]))
def test_every_image_fits(shape: tuple[int, int], size: tuple[int, int], mode: str, channels: int) -> None:
    result = fit(np.full((*shape, channels), 77, np.uint8), size, mode)
    assert result.shape == (*size, channels)
    assert result.dtype == np.uint8
    inside = result if mode != "pad" else result[result > 0]
    assert (inside == 77).all()
