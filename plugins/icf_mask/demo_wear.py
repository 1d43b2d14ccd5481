"""Drawing what a person wears: clothes, glasses and the mask."""

from __future__ import annotations

import numpy as np

import icf
from icf_mask.demo_canvas import Canvas, darken, ellipse, lighten, mirror, smooth
from icf_mask.demo_face import EYE_LEVEL, half_width
from icf_mask.demo_person import Person
from icf_mask.demo_photo import NORMAL, WEAR, Photo

_SURGICAL, _BEAK, _CLOTH = range(3)
_NOSE_FREE, _CHIN, _FOREHEAD, _ONE_EAR = range(4)


def draw_clothes(canvas: Canvas, person: Person) -> None:
    """Draw shoulders and a collar."""
    top = 1.62
    half = person.shoulders
    shape = [(0.5, top - 0.1), (half * 0.62, top + 0.16), (half, top + 0.5), (half * 1.1, 4.2)]
    canvas.polygon([*mirror(shape[::-1]).tolist(), *shape], person.clothes)
    if person.collar == 0:
        canvas.polygon([(-0.42, top - 0.14), (0.42, top - 0.14), (0.0, top + 0.55)], darken(person.skin, 0.12))
    elif person.collar == 1:
        canvas.ellipse((0.0, top - 0.05), (0.58, 0.24), darken(person.skin, 0.12))
    for side in (-1, 1):
        edge = [(side * 0.56, top - 0.12), (0.0, top + (0.56 if person.collar == 0 else 0.22))]
        canvas.line(edge, 0.07, darken(person.clothes, 0.25))


def draw_glasses(canvas: Canvas, person: Person, *, dark: bool) -> None:
    """Draw glasses, or sunglasses if ``dark``."""
    colour = person.glasses or (26, 26, 30)
    width, height = person.eye_distance * 0.72, 0.2 if person.round_glasses else 0.165
    for side in (-1, 1):
        centre = (side * person.eye_distance, EYE_LEVEL + 0.02)
        rim = ellipse(centre, (width, height)) if person.round_glasses else _box(centre, width, height)
        if dark:
            canvas.polygon(rim, (22, 22, 28))
        canvas.line([*rim.tolist(), rim[0].tolist()], 0.028, colour)
        canvas.line([(centre[0] + side * width, EYE_LEVEL), (side * 1.0, EYE_LEVEL - 0.02)], 0.026, colour)
    bridge = person.eye_distance - width
    canvas.line([(-bridge, EYE_LEVEL - 0.02), (0.0, EYE_LEVEL - 0.05), (bridge, EYE_LEVEL - 0.02)], 0.026, colour)


def _box(centre: tuple[float, float], width: float, height: float) -> icf.FloatArray:
    right = [(0.8, -1.0), (1.0, -0.7), (0.92, 0.7), (0.72, 1.0)]
    return np.array([*right, *mirror(right[::-1]).tolist()]) * (width, height) + centre


def draw_mask(canvas: Canvas, person: Person, photo: Photo) -> None:
    """Draw the mask as the photograph's state says: worn, worn wrongly, or not at all."""
    if photo.state == NORMAL:
        return
    chin = person.face_height
    if photo.state == WEAR:
        _draw_cover(canvas, person, photo, (0.08 + photo.mask_shift, chin + 0.05), (0.0, 0.35))
    elif photo.misplaced == _NOSE_FREE:
        _draw_cover(canvas, person, photo, (0.6 + photo.mask_shift * 0.7, chin + 0.12), (0.1, 0.4))
    elif photo.misplaced == _CHIN:
        _draw_cover(canvas, person, photo, (0.98 + photo.mask_shift, chin + 0.32), (0.2, 0.45))
    elif photo.misplaced == _FOREHEAD:
        _draw_cover(canvas, person, photo, (-0.98 + photo.mask_shift, -0.42), (-0.3, -0.3))
    else:
        _draw_hanging(canvas, person, photo)


def _draw_cover(
    canvas: Canvas, person: Person, photo: Photo, span: tuple[float, float], ears: tuple[float, float]
) -> None:
    """Draw a mask from ``span[0]`` to ``span[1]``, held by straps to the heights ``ears``."""
    top, bottom = span
    height = bottom - top
    upper, lower = top + height * 0.16, min(top + height * 0.7, person.face_height - 0.25)
    if lower < upper:  # hangs under the chin
        lower = upper + 0.1
    wide, narrow = half_width(person, upper) * 0.94, half_width(person, lower) * 0.97
    strap = lighten(photo.mask_colour, 0.25)
    for side in (-1, 1):
        canvas.line([(side * 1.01, ears[0]), (side * wide * 0.97, upper + 0.03)], 0.03, strap)
        canvas.line([(side * 1.01, ears[1]), (side * narrow * 0.97, lower - 0.03)], 0.03, strap)
    shape = _cover_shape(photo.mask_style, (top, upper, lower, bottom), wide, narrow)
    canvas.polygon(shape, photo.mask_colour)
    canvas.line([*shape.tolist(), shape[0].tolist()], 0.018, darken(photo.mask_colour, 0.2))
    _draw_folds(canvas, photo, (top, bottom), min(wide, narrow))


def _cover_shape(style: int, levels: tuple[float, float, float, float], wide: float, narrow: float) -> icf.FloatArray:
    top, upper, lower, bottom = levels
    nose = {_SURGICAL: 0.3, _BEAK: 0.14, _CLOTH: 0.22}[style]
    chin = {_SURGICAL: 0.45, _BEAK: 0.22, _CLOTH: 0.34}[style]
    right = [(nose, top + 0.03), (wide, upper), (narrow, lower), (chin, bottom - 0.03)]
    corners = [(0.0, top), *right, (0.0, bottom), *mirror(right[::-1]).tolist()]
    return smooth(corners, steps=5)


def _draw_folds(canvas: Canvas, photo: Photo, span: tuple[float, float], width: float) -> None:
    top, bottom = span
    middle, fold = (top + bottom) / 2, darken(photo.mask_colour, 0.13)
    if photo.mask_style == _SURGICAL:
        for level in (0.3, 0.48, 0.66):
            y = top + level * (bottom - top)
            points = [(-width * 0.9, y), (0.0, y + 0.05), (width * 0.9, y)]
            canvas.line(smooth(points, closed=False), 0.022, fold)
        canvas.line([(-0.2, top + 0.07), (0.0, top + 0.04), (0.2, top + 0.07)], 0.03, lighten(fold, 0.2))
    elif photo.mask_style == _BEAK:
        for y, bend in ((middle - 0.16, -0.12), (middle + 0.14, 0.12)):
            points = [(-width * 0.96, middle - bend), (0.0, y), (width * 0.96, middle - bend)]
            canvas.line(smooth(points, closed=False), 0.024, fold)
    else:
        canvas.line([(0.0, top + 0.02), (0.0, bottom - 0.02)], 0.02, fold)


def _draw_hanging(canvas: Canvas, person: Person, photo: Photo) -> None:
    """Draw the mask on one ear, beside the cheek."""
    side = 1 if photo.mask_shift > 0 else -1
    canvas.line([(side * 1.02, -0.1), (side * 1.0, 0.35)], 0.03, lighten(photo.mask_colour, 0.25))
    edge = half_width(person, 0.6)
    shape = [(side * 0.82, 0.3), (side * (edge + 0.2), 0.34), (side * (edge + 0.16), 1.2), (side * 0.7, 1.12)]
    canvas.polygon(smooth(shape, steps=4), photo.mask_colour)
    for share in (0.3, 0.6):
        x = side * (0.8 + share * (edge - 0.6))
        canvas.line([(x, 0.36), (x - side * 0.06, 1.12)], 0.02, darken(photo.mask_colour, 0.14))
