"""Background, shading and camera: from drawn shapes to a photograph."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

import icf
from icf_mask.demo_canvas import Colour, Points, ellipse, mirror, planes
from icf_mask.demo_person import Person
from icf_mask.demo_photo import NORMAL, Photo

Pixels = npt.NDArray[np.float32]

_COARSE = 4
"""Light changes slowly over a face, so it is computed on an image this many times smaller."""


def draw_background(size: tuple[int, int], rng: np.random.Generator, accent: Colour) -> Pixels:
    """Return a blurred room behind the person, float32 [3, H, W], 0-255."""
    small = (max(8, size[0] // 8), max(8, size[1] // 8))
    top, bottom = _wall_colour(rng), _wall_colour(rng)
    ramp = np.linspace(0.0, 1.0, small[1])[:, None, None]
    wall = np.broadcast_to(top + (bottom - top) * ramp, (small[1], small[0], 3))
    picture = Image.fromarray(wall.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform(0, small[0]), rng.uniform(0, small[1])
        w, h = rng.uniform(3, small[0] / 2), rng.uniform(3, small[1] / 2)
        red, green, blue = (int(value) for value in _wall_colour(rng))
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        shape = draw.rectangle if rng.random() < 0.7 else draw.ellipse
        shape(box, fill=(red, green, blue) if rng.random() < 0.8 else accent)
    picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 2.0))))
    return planes(picture.resize(size, Image.Resampling.BILINEAR))


def _wall_colour(rng: np.random.Generator) -> icf.FloatArray:
    """Return a colour of indoor things: mostly dull, as saturated walls are rare."""
    grey = rng.uniform(50.0, 235.0)
    return np.clip(grey + rng.normal(0.0, 22.0, 3), 0.0, 255.0)


def shade(size: tuple[int, int], person: Person, photo: Photo) -> Pixels:
    """Return factors [H, W] that give the face volume: dark beside the nose and under the chin."""
    small = (max(8, size[0] // _COARSE), max(8, size[1] // _COARSE))
    layer = Image.new("L", small, 128)
    draw = ImageDraw.Draw(layer)

    def fill(points: Points, level: int) -> None:
        draw.polygon(photo.pose.project(points, small).ravel().tolist(), fill=level)

    chin, age = person.face_height, max(0.0, person.looks - 35) / 25
    fill(ellipse((0.0, chin + 0.22), (0.75, 0.3)), 96)
    for flip in (False, True):
        cheek = ellipse((0.86, 0.5), (0.16, 0.72), -0.18)
        socket = ellipse((person.eye_distance * 0.95, -0.22), (0.3, 0.14))
        hollow = ellipse((0.6, 0.62), (0.13, 0.3), -0.3)
        fill(mirror(cheek) if flip else cheek, 108)
        fill(mirror(socket) if flip else socket, round(119 - 5 * age))
        if photo.state == NORMAL:
            fill(mirror(hollow) if flip else hollow, round(126 - 8 * age))
        apple = ellipse((0.5, 0.25), (0.22, 0.17))
        fill(mirror(apple) if flip else apple, 134)
    fill(ellipse((0.0, -0.62), (0.48, 0.25)), 135)
    fill(ellipse((0.0, 0.1), (0.07, 0.3)), 139)
    layer = layer.filter(ImageFilter.GaussianBlur(small[0] * photo.pose.scale * 0.1))
    wide = layer.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(wide, np.float32) * np.float32(1 / 128)


def photograph(
    subject: Pixels, background: Pixels, shading: Pixels, photo: Photo, rng: np.random.Generator
) -> Image.Image:
    """Join subject (colours times coverage, and coverage, [4, H, W]) and background, and expose them."""
    light = _lighting(shading.shape, photo)
    grain = _grain(shading.shape, rng) * np.float32(photo.noise)
    uncovered = 1.0 - subject[3] * np.float32(1 / 255)
    tint = (1 + photo.warmth, 1.0, 1 - photo.warmth)
    channels = []
    for plane, behind, factor in zip(subject[:3], background, tint, strict=True):
        plane *= shading
        plane += behind * uncovered
        plane *= light
        plane *= np.float32(factor * photo.contrast)
        plane += grain
        plane += np.float32(118 * (1 - photo.contrast))
        channels.append(Image.fromarray(np.clip(plane, 0, 255, out=plane).astype(np.uint8)))
    image = Image.merge("RGB", channels)
    if photo.blur < 0.4:
        return image
    return image.filter(ImageFilter.BoxBlur(photo.blur * image.width / 384))


def _lighting(shape: tuple[int, ...], photo: Photo) -> Pixels:
    """Return factors [H, W]: brightness, and light that falls from one side."""
    y = np.linspace(-1.0, 1.0, shape[0], dtype=np.float32)[:, None] * np.float32(np.sin(photo.light_angle))
    x = np.linspace(-1.0, 1.0, shape[1], dtype=np.float32)[None, :] * np.float32(np.cos(photo.light_angle))
    return np.float32(photo.brightness) * (1 + np.float32(photo.light) * (x + y))


_SPARE = 256
"""Rows and columns by which the noise is larger than an image, so that images get different parts of it."""


@cache
def _noise(shape: tuple[int, ...]) -> Pixels:
    """Return normal noise to cut from, because drawing it anew for every image costs more than the face."""
    fresh = np.random.default_rng(0).standard_normal((shape[0] + _SPARE, shape[1] + _SPARE), np.float32)
    return (fresh + np.roll(fresh, 1, axis=1)) * np.float32(0.7)


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    top, left = (int(value) for value in rng.integers(0, _SPARE, 2))
    return _noise(shape)[top : top + shape[0], left : left + shape[1]]
