"""Drawing the marks of age: lines, bags under the eyes and spots."""

from __future__ import annotations

import numpy as np

import icf
from icf_mask.demo_canvas import Canvas, Points, darken, mirror, mix, smooth
from icf_mask.demo_face import EYE_LEVEL, half_width
from icf_mask.demo_person import Person


def draw_age(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Draw what the person's apparent age has left; ``rng`` belongs to the person, not to the photograph."""
    _draw_spots(canvas, person, rng)
    _draw_eye_bags(canvas, person)
    depth = min(1.4, person.wrinkles)
    if depth <= 0.05:
        return
    for start, points in _lines(person, rng):
        strength = (depth - start) * 0.42
        if strength > 0.02:
            colour = darken(person.skin, min(0.42, strength))
            canvas.line(smooth(points, closed=False, steps=5), 0.011 + 0.014 * depth, colour)


def _lines(person: Person, rng: np.random.Generator) -> list[tuple[float, Points]]:
    """Return lines with the depth of wrinkles from which each is seen."""
    lines: list[tuple[float, Points]] = []
    for level, start in enumerate((0.3, 0.12, 0.5, 0.75)):
        y = EYE_LEVEL - 0.36 - 0.12 * level + rng.normal(0.0, 0.012)
        half = 0.52 + rng.normal(0.0, 0.05)
        bend = rng.normal(0.0, 0.02)
        lines.append((start, [(-half, y + 0.03), (-0.2, y + bend), (0.2, y - bend), (half, y + 0.03)]))
    for foot in range(4):
        x, y = person.eye_distance + person.eye_width * 1.15, EYE_LEVEL + 0.02
        angle = (foot - 1.4) * 0.38 + rng.normal(0.0, 0.08)
        end = (x + 0.2 * np.cos(angle), y + 0.2 * np.sin(angle))
        lines += _both(0.18 + 0.16 * foot, [(x, y + (foot - 1.5) * 0.02), end])
    fold = [(person.nose_width + 0.05, 0.42), (0.38, 0.6), (person.mouth_width + 0.1, 0.82)]
    lines += _both(-0.1, fold)
    lines += _both(0.5, [(person.mouth_width + 0.04, 0.82), (person.mouth_width + 0.08, 1.02)])
    lines += _both(0.45, [(0.055, EYE_LEVEL - 0.28), (0.05, EYE_LEVEL - 0.1)])
    return lines


def _both(start: float, points: Points) -> list[tuple[float, Points]]:
    return [(start, points), (start, mirror(points))]


def _draw_eye_bags(canvas: Canvas, person: Person) -> None:
    strength = min(0.24, person.eye_bags * 0.16)
    if strength < 0.02:
        return
    x, y = person.eye_distance, EYE_LEVEL + person.eye_height
    bag = [(x - 0.2, y - 0.02), (x, y + 0.1 + 0.04 * person.eye_bags), (x + 0.2, y - 0.02), (x, y + 0.02)]
    rim: icf.FloatArray = smooth([(x - 0.19, y + 0.02), (x, y + 0.13), (x + 0.18, y + 0.03)], closed=False)
    tint = mix(darken(person.skin, strength), (110, 70, 90), strength * 0.6)
    for points, line in ((np.asarray(bag), rim), (mirror(bag), mirror(rim))):
        canvas.polygon(smooth(points, steps=4), tint)
        if person.eye_bags > 0.5:
            canvas.line(line, 0.013, darken(person.skin, strength * 1.4))


def _draw_spots(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    count = int(min(26, person.blotches * 16))
    for y, side, size in zip(
        rng.uniform(-0.9, 1.1, count),
        rng.uniform(-0.85, 0.85, count),
        rng.uniform(0.012, 0.04, count),
        strict=True,
    ):
        x = float(side) * half_width(person, float(y))
        canvas.ellipse(
            (x, float(y)),
            (float(size), float(size) * 0.8),
            darken(person.skin, 0.09 + 0.06 * person.blotches),
        )
