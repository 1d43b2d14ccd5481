"""Drawing a face: its outline, eyes, nose, mouth and the marks of age."""

from __future__ import annotations

import numpy as np

import icf
from icf_mask.demo_canvas import Canvas, darken, ellipse, lighten, mirror, mix, smooth
from icf_mask.demo_person import Person
from icf_mask.demo_photo import Photo

EYE_LEVEL = -0.12


def outline(person: Person) -> icf.FloatArray:
    """Return the face's outline, [N, 2], from the temple over the chin and the forehead."""
    bottom, jowls = person.face_height, max(0.0, person.looks - 42) * 0.0022
    right = [
        (0.93, -0.62),
        (0.99, -0.2),
        (0.97, 0.2),
        (0.9 + jowls, 0.56),
        (person.jaw + jowls, 0.8),
        (person.chin + 0.16, bottom - 0.16),
        (person.chin * 0.62, bottom - 0.015),
    ]
    left = [(-x, y) for x, y in reversed(right)]
    return smooth([*right, (0.0, bottom), *left, (-0.68, -1.12), (0.0, -1.32), (0.68, -1.12)])


def half_width(person: Person, y: float) -> float:
    """Return how wide the face is at a height, from its middle."""
    points = outline(person)
    right = points[points[:, 0] >= 0]
    order = np.argsort(right[:, 1])
    return float(np.interp(y, right[order, 1], right[order, 0]))


def draw_head(canvas: Canvas, person: Person) -> None:
    """Draw neck, ears and the empty face."""
    skin, shadow = person.skin, darken(person.skin, 0.22)
    neck = person.jaw * 0.74
    canvas.polygon([(-neck, 0.6), (neck, 0.6), (neck * 1.12, 2.2), (-neck * 1.12, 2.2)], shadow)
    for side in (-1, 1):
        canvas.ellipse((side * 1.0, 0.04), (0.13, 0.25), darken(skin, 0.1), side * 0.12)
        canvas.ellipse((side * 1.02, 0.04), (0.06, 0.15), shadow, side * 0.12)
        if person.earrings:
            canvas.ellipse((side * 1.03, 0.32), (0.035, 0.045), (236, 220, 170))
    canvas.polygon(outline(person), skin)


def draw_features(canvas: Canvas, person: Person, photo: Photo) -> None:
    """Draw beard, nose, mouth, eyes, brows and marks."""
    _draw_beard(canvas, person)
    _draw_mouth(canvas, person, photo)
    _draw_nose(canvas, person)
    for side in (-1, 1):
        _draw_eye(canvas, person, photo, side)
        _draw_brow(canvas, person, side)
    for mole in person.moles:
        canvas.ellipse(mole, (0.018, 0.018), darken(person.skin, 0.5))


def _draw_beard(canvas: Canvas, person: Person) -> None:
    if not person.beard:
        return
    colour = mix(person.skin, person.hair, person.beard * 0.6)
    bottom = person.face_height
    right = [
        (0.9, 0.44),
        (person.jaw, 0.8),
        (person.chin + 0.14, bottom - 0.17),
        (person.chin * 0.6, bottom - 0.03),
    ]
    upper = [(-0.62, 0.66), (-0.3, 0.56), (0.3, 0.56), (0.62, 0.66)]
    canvas.polygon(smooth([*right, *mirror(right[::-1]).tolist(), *upper], steps=4), colour)


def _draw_mouth(canvas: Canvas, person: Person, photo: Photo) -> None:
    y, half, lips = 0.74, person.mouth_width * (1 + 0.12 * photo.smile), person.lips
    corner = y - 0.07 * photo.smile
    opening = photo.mouth_open
    upper = [
        (-half, corner),
        (-half * 0.4, y - lips * 0.62),
        (0.0, y - lips * 0.42),
        (half * 0.4, y - lips * 0.62),
        (half, corner),
    ]
    lower = [
        (half * 0.5, y + opening + lips * 0.75),
        (0.0, y + opening + lips),
        (-half * 0.5, y + opening + lips * 0.75),
    ]
    canvas.polygon(smooth([*upper, *lower], steps=5), person.lip_colour)
    line = smooth([(-half, corner), (0.0, y + 0.02), (half, corner)], closed=False)
    if opening > 0.03:
        canvas.ellipse((0.0, y + opening / 2), (half * 0.6, opening * 0.8), (92, 34, 38))
    canvas.line(line, 0.022, darken(person.lip_colour, 0.45))
    canvas.ellipse((0.0, y + opening + lips * 1.5), (half * 0.45, 0.022), darken(person.skin, 0.12))


def _draw_nose(canvas: Canvas, person: Person) -> None:
    width, tip = person.nose_width, EYE_LEVEL + person.nose_length + 0.14
    shade = darken(person.skin, 0.14)
    side = smooth(
        [(-0.08, EYE_LEVEL), (-0.07, tip - 0.22), (-width, tip - 0.03), (-width * 0.75, tip + 0.05)],
        closed=False,
    )
    inner = [(-0.05, tip - 0.02), (-0.03, EYE_LEVEL)]
    canvas.polygon([*side.tolist(), *inner], shade)
    canvas.ellipse((0.0, tip - 0.05), (width * 0.62, 0.11), lighten(person.skin, 0.06))
    for sign in (-1, 1):
        canvas.ellipse((sign * width * 0.8, tip), (width * 0.3, 0.07), mix(person.skin, shade, 0.5))
        canvas.ellipse((sign * width * 0.48, tip + 0.045), (width * 0.24, 0.026), darken(person.skin, 0.55), sign * 0.3)
    canvas.line(smooth([(-width, tip + 0.02), (0.0, tip + 0.075), (width, tip + 0.02)], closed=False), 0.02, shade)


def _draw_eye(canvas: Canvas, person: Person, photo: Photo, side: int) -> None:
    x, width, height = side * person.eye_distance, person.eye_width, person.eye_height * photo.eyelids
    droop = max(0.0, person.looks - 40) * 0.0014
    tilt = side * (-person.eye_tilt + droop * 4)
    eye = np.array(
        [(-width, 0.01), (-width * 0.4, -height), (width * 0.4, -height), (width, 0.0), (0.0, height * 0.85)]
    )
    lids = smooth(_place(eye, tilt, (x, EYE_LEVEL)), steps=5)
    canvas.polygon(ellipse((x, EYE_LEVEL - 0.01), (width * 1.22, height * 1.9)), darken(person.skin, 0.08))
    canvas.polygon(lids, (228, 222, 216))
    pupil = (x + photo.gaze * 0.06, EYE_LEVEL - 0.005)
    radius = min(0.082, height * 0.98)
    canvas.ellipse(pupil, (radius, radius), person.iris)
    canvas.ellipse(pupil, (radius * 0.5, radius * 0.5), (14, 10, 10))
    canvas.ellipse((pupil[0] - 0.025, pupil[1] - 0.025), (0.016, 0.016), (250, 250, 250))
    lash = 0.026 if person.gender else 0.017
    canvas.line(lids[:16], lash, darken(person.skin, 0.78))
    fold = np.array([(-width * 0.9, -height * 0.9), (0.0, -height * 1.75), (width * 1.05, -height * 0.6)])
    crease = smooth(_place(fold, tilt, (x, EYE_LEVEL)), closed=False)
    canvas.line(crease, 0.014, darken(person.skin, 0.25 + min(0.2, droop * 8)))


def _draw_brow(canvas: Canvas, person: Person, side: int) -> None:
    y, half = EYE_LEVEL - person.brow_height, person.eye_width * 1.18
    thick, arch = person.brow_thickness, person.brow_arch
    inner, middle, outer = -half * side, half * 0.35 * side, half * 1.05 * side
    shape = np.array(
        [
            (inner, 0.02),
            (middle, -arch - thick * 0.5),
            (outer, 0.03),
            (middle, -arch + thick * 0.5),
            (inner, thick),
        ]
    )
    canvas.polygon(_place(shape, 0.0, (side * person.eye_distance, y)), mix(person.hair, person.skin, 0.18))


def _place(points: icf.FloatArray, angle: float, origin: tuple[float, float]) -> icf.FloatArray:
    """Return the points turned by ``angle`` radians and moved to ``origin``."""
    sine, cosine = np.sin(angle), np.cos(angle)
    turned: icf.FloatArray = points @ np.array([[cosine, sine], [-sine, cosine]])
    turned += origin
    return turned
