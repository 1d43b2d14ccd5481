"""Drawing hair, in two parts: what hangs behind the head, and what grows over it."""

from __future__ import annotations

import numpy as np

from icf_mask.demo_canvas import Canvas, Colour, darken, lighten, mirror, smooth
from icf_mask.demo_person import Person


def draw_hair_behind(canvas: Canvas, person: Person) -> None:
    """Draw the hair behind neck and ears; short hair has none."""
    if person.hair_length < 0.3:
        return
    width = 1.06 + person.hair_volume
    bottom = 0.4 + 1.7 * person.hair_length
    right = [
        (0.6, -1.4 - person.hair_volume * 0.6),
        (width, -0.6),
        (width + 0.06, 0.3),
        (width + 0.1 * person.hair_length, bottom - 0.2),
        (0.75, bottom),
    ]
    canvas.polygon(smooth([*right, *mirror(right[::-1]).tolist()]), darken(person.hair, 0.25))


def draw_hair_over(canvas: Canvas, person: Person, forehead: float, rng: np.random.Generator) -> None:
    """Draw the hair on the skull, locks beside the face, and what falls over the forehead."""
    volume, line = person.hair_volume, person.hairline
    side = 0.55 if person.hair_length > 0.3 else -0.18
    outer = [
        (1.0 + volume * 0.25, -0.2),
        (1.02 + volume * 0.5, -0.62),
        (0.72, -1.26 - volume),
        (0.0, -1.42 - volume),
    ]
    inner = [(0.93, -0.3), (0.84, -0.62 + (line + 0.78) * 0.6), (0.5, line - 0.05)]
    crown = [
        *mirror(outer).tolist(),
        *outer[-2::-1],
        *inner,
        (person.parting * 0.5, line - 0.07),
        *mirror(inner[::-1]).tolist(),
    ]
    canvas.polygon(smooth(crown, steps=4), person.hair)
    if side > 0:
        lock = [
            (0.86, -0.75),
            (1.02 + volume * 0.6, -0.6),
            (1.06 + volume * 0.6, 0.2),
            (1.0, side),
            (0.93, 0.0),
        ]
        for points in (np.asarray(lock), mirror(lock)):
            canvas.polygon(smooth(points, steps=4), person.hair)
    _draw_fringe(canvas, person, max(person.fringe, forehead))
    _draw_strands(canvas, person, rng)


def _draw_fringe(canvas: Canvas, person: Person, amount: float) -> None:
    if not amount:
        return
    bottom = person.hairline + amount * 0.55
    split = person.parting
    left = [
        (-0.9, -0.5),
        (-0.84, -0.98),
        (-0.3, -1.22),
        (split, -1.18),
        (split, bottom - 0.08),
        (-0.35, bottom),
    ]
    right = [
        (0.9, -0.5),
        (0.84, -0.98),
        (0.3, -1.22),
        (split, -1.18),
        (split + 0.05, bottom - 0.1),
        (0.45, bottom),
    ]
    for points in (left, right):
        canvas.polygon(smooth(points, steps=4), person.hair)


def _draw_strands(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    volume = person.hair_volume
    for start in rng.uniform(-0.8, 0.8, 12):
        shade = float(rng.uniform(-0.2, 0.2))
        colour = darken(person.hair, -shade) if shade < 0 else lighten(person.hair, shade)
        x = float(start)
        height = -1.36 - volume * 0.8 + 0.35 * x * x
        points = [(person.parting * 0.4 + x * 0.3, height), (x, height + 0.14), (x * 1.18, height + 0.36)]
        canvas.line(smooth(points, closed=False, steps=4), 0.016, colour)


def draw_hat(canvas: Canvas, person: Person, colour: Colour) -> None:
    """Draw a cap that hides hair and forehead."""
    width = 1.08 + person.hair_volume * 0.5
    cap = [
        (width, -0.6),
        (width * 0.94, -1.1),
        (0.5, -1.62),
        (0.0, -1.7),
        (-0.5, -1.62),
        (-width * 0.94, -1.1),
        (-width, -0.6),
    ]
    canvas.polygon(smooth(cap, steps=5), colour)
    brim = [
        (-width - 0.02, -0.7),
        (0.0, -0.86),
        (width + 0.02, -0.7),
        (width * 0.9, -0.5),
        (0.0, -0.6),
        (-width * 0.9, -0.5),
    ]
    canvas.polygon(smooth(brim, steps=5), darken(colour, 0.3))
