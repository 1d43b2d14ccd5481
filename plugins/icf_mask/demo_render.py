"""Rendering one demo photograph."""

from __future__ import annotations

import numpy as np
from PIL import Image

from icf_mask.demo_age import draw_age
from icf_mask.demo_canvas import Canvas
from icf_mask.demo_face import draw_features, draw_head
from icf_mask.demo_hair import draw_hair_behind, draw_hair_over, draw_hat
from icf_mask.demo_light import draw_background, photograph, shade
from icf_mask.demo_person import Person, invent_person
from icf_mask.demo_photo import take_photo
from icf_mask.demo_wear import draw_clothes, draw_glasses, draw_mask

STATES = (0, 0, 0, 0, 0, 1, 2)
"""Mask state of each of a person's photographs."""


def render_person(gender: int, age: int, key: tuple[int, ...], size: tuple[int, int]) -> list[tuple[Image.Image, int]]:
    """Return a person's seven photographs of ``size`` (width, height), each with its JPEG quality.

    ``key`` is the seed: the same key gives the same pictures, whatever else is rendered.
    """
    person = invent_person(gender, age, np.random.default_rng((*key, 0)))
    return [render_photo(person, state, number, key, size) for number, state in enumerate(STATES, start=1)]


def render_photo(
    person: Person, state: int, number: int, key: tuple[int, ...], size: tuple[int, int]
) -> tuple[Image.Image, int]:
    """Return photograph ``number`` of a person, and its JPEG quality."""
    rng = np.random.default_rng((*key, number))
    photo = take_photo(state, rng)
    marks = np.random.default_rng((*key, 100))
    canvas = Canvas(size, photo.pose)
    draw_hair_behind(canvas, person)
    draw_head(canvas, person)
    draw_clothes(canvas, person)
    draw_age(canvas, person, marks)
    draw_features(canvas, person, photo)
    draw_hair_over(canvas, person, photo.hair_over_forehead, marks)
    if photo.hat:
        draw_hat(canvas, person, photo.hat)
    draw_mask(canvas, person, photo)
    if person.glasses or photo.sunglasses:
        draw_glasses(canvas, person, dark=photo.sunglasses)
    place = np.random.default_rng((*key, 200)) if number % 3 else rng
    background = draw_background(size, place, person.clothes)
    return photograph(canvas.finish(), background, shade(size, person, photo), photo, rng), photo.quality
