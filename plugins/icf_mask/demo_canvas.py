"""Drawing in face coordinates: x = 1 is the cheek, y = 0 is just below the eyes, and y points down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

import icf

Colour = tuple[int, int, int]
Points = npt.NDArray[np.float64] | Sequence[tuple[float, float]]

OVERSAMPLING = 2
"""Shapes are drawn this many times larger than the image and averaged, which smooths their edges."""


@dataclass(frozen=True)
class Pose:
    """How the head stands in the image.

    ``centre`` is in shares of the image's width and height, ``scale`` the half width of the face in shares
    of the image's width, ``roll`` in radians; ``yaw`` and ``pitch`` move the middle of the face, in half
    widths of the face; ``shear`` and ``stretch`` are the camera's.
    """

    centre: tuple[float, float] = (0.5, 0.5)
    scale: float = 0.25
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    shear: float = 0.0
    stretch: float = 1.0

    def project(self, points: Points, size: tuple[int, int]) -> icf.FloatArray:
        """Return pixel coordinates [N, 2] in an image of ``size`` (width, height)."""
        places = np.asarray(points, np.float64)
        x, y = places[:, 0], places[:, 1]
        depth = np.sqrt(np.maximum(1.0 - x * x - y * y * (1 / 2.25), 0.0))
        x, y = x + self.yaw * depth, (y + self.pitch * depth) * self.stretch
        unit = self.scale * size[0]
        sine, cosine = unit * math.sin(self.roll), unit * math.cos(self.roll)
        pixels = np.empty_like(places)
        pixels[:, 0] = self.centre[0] * size[0] + cosine * x - (sine - unit * self.shear) * y
        pixels[:, 1] = self.centre[1] * size[1] + sine * x + cosine * y
        return pixels


class Canvas:
    """A picture that shapes are drawn on, empty at first.

    The fourth channel is the coverage. The mode is RGBX, not RGBA, so that averaging leaves the colours
    multiplied by it, which is what joining with a background needs.
    """

    def __init__(self, size: tuple[int, int], pose: Pose) -> None:
        self.pose = pose
        self.size = (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING)
        self.picture = Image.new("RGBX", self.size, (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.picture)

    def polygon(self, points: Points, colour: Colour) -> None:
        """Fill a closed shape."""
        self._draw.polygon(self._pixels(points), fill=(*colour, 255))

    def ellipse(
        self, centre: tuple[float, float], radii: tuple[float, float], colour: Colour, angle: float = 0.0
    ) -> None:
        """Fill an ellipse, turned by ``angle`` radians."""
        self.polygon(ellipse(centre, radii, angle), colour)

    def line(self, points: Points, width: float, colour: Colour) -> None:
        """Draw a line of a ``width`` in face coordinates."""
        pixels = max(1, round(width * self.pose.scale * self.size[0]))
        self._draw.line(self._pixels(points), fill=(*colour, 255), width=pixels, joint="curve")

    def finish(self) -> npt.NDArray[np.float32]:
        """Return [4, H, W] float32, 0-255: colours multiplied by coverage, and the coverage."""
        return planes(self.picture.reduce(OVERSAMPLING))

    def _pixels(self, points: Points) -> list[float]:
        flat: list[float] = self.pose.project(points, self.size).ravel().tolist()
        return flat


def planes(picture: Image.Image) -> npt.NDArray[np.float32]:
    """Return an image's channels one after the other, [C, H, W] float32, 0-255."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1), np.float32)


def smooth(points: Points, *, closed: bool = True, steps: int = 6) -> icf.FloatArray:
    """Return a Catmull-Rom curve through the points, [N * steps, 2]."""
    knots = np.asarray(points, np.float64)
    padded = (
        np.concatenate([knots[-1:], knots, knots[:2]]) if closed else np.concatenate([knots[:1], knots, knots[-1:]])
    )
    windows = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]], axis=1)
    curve = _catmull_rom(steps) @ windows
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


@cache
def _catmull_rom(steps: int) -> icf.FloatArray:
    """Return the weights of four neighbouring points at ``steps`` places between the middle two, [steps, 4].

    E. Catmull and R. Rom, A class of local interpolating splines, 1974, with tension 1/2.
    """
    t = np.linspace(0.0, 1.0, steps, endpoint=False)
    powers = np.stack([np.ones_like(t), t, t**2, t**3], axis=1)
    basis = np.array([[0.0, 2.0, 0.0, 0.0], [-1.0, 0.0, 1.0, 0.0], [2.0, -5.0, 4.0, -1.0], [-1.0, 3.0, -3.0, 1.0]])
    weights: icf.FloatArray = powers @ basis * 0.5
    return weights


_ANGLES = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], angle: float = 0.0) -> icf.FloatArray:
    """Return 24 points on an ellipse."""
    x, y = (_CIRCLE * radii).T
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.stack([centre[0] + cosine * x - sine * y, centre[1] + sine * x + cosine * y], axis=1)


def mirror(points: Points) -> icf.FloatArray:
    """Return the points on the other side of the face."""
    return np.asarray(points, np.float64) * (-1.0, 1.0)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two; a ``share`` of 1 gives the second."""
    share = min(max(share, 0.0), 1.0)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darken(colour: Colour, share: float) -> Colour:
    """Return a colour nearer to black by ``share``."""
    return mix(colour, (0, 0, 0), share)


def lighten(colour: Colour, share: float) -> Colour:
    """Return a colour nearer to white by ``share``."""
    return mix(colour, (255, 255, 255), share)
