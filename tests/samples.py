"""Small pictures and rows that several tests of the pipeline need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from icf.pipeline.data.prepare import Rows
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.pixels.cache import PixelCache
from icf.pipeline.pixels.reader import ImageReader
from icf.pipeline.pixels.sources import DecodedPixels
from icf.plan import Choice


def draw_photo(height: int = 24, width: int = 40, seed: int = 0) -> np.ndarray:
    """Return smooth colours, uint8 [H, W, 3], that no rotation or flip leaves as they are."""
    y, x = np.mgrid[0:height, 0:width]
    phase = seed * 0.7
    channels = [
        255 * x / width,
        255 * y / height,
        127 + 120 * np.sin(phase + (x + 2 * y) / 9),
    ]
    return np.stack(channels, axis=2).astype(np.uint8)


def save_photo(path: Path, seed: int = 0, height: int = 24, width: int = 40) -> Path:
    """Write a photo in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_photo(height, width, seed)).save(path)
    return path


def make_preprocessing(size: tuple[int, int] = (16, 16), **changes: object) -> Preprocessing:
    """Return a Preprocessing for RGB that stretches."""
    return Preprocessing.model_validate({"image_size": size, "channels": 3, "resize": "stretch"} | changes)


def make_rows(
    targets: Sequence[int],
    groups: Sequence[str] | None = None,
    images: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    scored: Sequence[bool] | None = None,
) -> Rows:
    """Return rows; equal entries of ``images`` are identical images, and all differ without it."""
    ids = tuple(f"id{row}" for row in range(len(targets)))
    cache = PixelCache(
        key="none",
        path=None,
        digests=np.array(images or ids, dtype="S16"),
        errors={},
        formats=("",) * len(ids),
        source=DecodedPixels(ImageReader([], make_preprocessing())),
    )
    return Rows(
        ids=ids,
        targets=np.array(targets, dtype=np.int64),
        groups=None if groups is None else tuple(groups),
        folds=None if folds is None else np.array(folds, dtype=np.int64),
        pixel_rows=np.arange(len(ids)),
        cache=cache,
        sources=ids,
        trained=np.array(targets, dtype=np.int64),
        scored=np.ones(len(ids), np.bool_) if scored is None else np.array(scored),
    )


def choose_transform(function: str) -> Choice:
    """Return the choice of a transform whose factory is a function of this module."""
    return Choice(
        ref=f"samples/{function}",
        kind="transform",
        factory=f"samples:{function}",
        params_type="icf:Params",
        params={},
        distribution="samples",
        version="0",
    )


def upper_half(params, ctx):
    return lambda images, generator: images[:, :, : images.shape[2] // 2]


def invert_in_place(params, ctx):
    return lambda images, generator: images.bitwise_not_()


def take_corner(params, ctx):
    """A transform that takes the upper left corner of images that are half as large again."""

    class Corner:
        input_scale = 1.5

        def __call__(self, images, generator):
            return images[:, :, : ctx.image_size[0], : ctx.image_size[1]]

    return Corner()


def ask_for_too_much(params, ctx):
    transform = take_corner(params, ctx)
    transform.input_scale = 40
    return transform


def make_float(params, ctx):
    return lambda images, generator: images / 255


def lose_channels(params, ctx):
    return lambda images, generator: images[:, :1]


def crash(params, ctx):
    def transform(images, generator):
        raise KeyError("no such thing")

    return transform


def return_nothing(params, ctx):
    return None
