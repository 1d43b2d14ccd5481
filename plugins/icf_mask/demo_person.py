"""What one invented person looks like, in every photograph of them.

All numbers are invented so that gender and age show as in photographs: by many weak signs with
overlapping distributions. They describe drawings, and no real people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icf_mask.demo_canvas import Colour, lighten, mix

MALE, FEMALE = 0, 1

_SKIN = ((246, 219, 198), (232, 193, 163), (205, 157, 122), (150, 104, 74), (104, 70, 50))
_HAIR = ((22, 18, 18), (42, 28, 22), (70, 45, 30), (112, 72, 42), (176, 132, 80))
_IRIS = ((48, 30, 20), (74, 48, 28), (96, 72, 40), (70, 104, 92), (92, 124, 156))
_CLOTHES = (
    (36, 40, 52),
    (226, 226, 222),
    (120, 30, 40),
    (52, 84, 130),
    (74, 96, 70),
    (196, 170, 130),
    (128, 128, 134),
    (222, 160, 170),
)


@dataclass(frozen=True)
class Person:
    """Shapes are in face coordinates (see demo_canvas); shares are 0 to 1."""

    gender: int
    age: int
    looks: float
    """Age in years that the signs of age are drawn for: the true age with an error."""
    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    face_height: float
    jaw: float
    chin: float
    eye_distance: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lips: float
    lip_colour: Colour
    hair_length: float
    """0 is short, 1 reaches over the shoulders."""
    hair_volume: float
    hairline: float
    fringe: float
    parting: float
    beard: float
    wrinkles: float
    eye_bags: float
    blotches: float
    glasses: Colour | None
    round_glasses: bool
    earrings: bool
    collar: int
    shoulders: float
    moles: tuple[tuple[float, float], ...]


def invent_person(gender: int, age: int, rng: np.random.Generator) -> Person:
    """Draw a person's looks; the same generator state gives the same person."""
    female = float(gender == FEMALE)
    looks = age + rng.normal(0.0, 3.5)
    skin = _skin(rng)
    grey = _grey_share(looks, female, rng)
    hair = mix(_pick(_HAIR, rng, (0.42, 0.26, 0.16, 0.1, 0.06)), (206, 204, 200), grey)
    lipstick = rng.random() < 0.08 + 0.5 * female
    return Person(
        gender=gender,
        age=age,
        looks=looks,
        skin=skin,
        hair=hair,
        iris=_pick(_IRIS, rng, (0.4, 0.28, 0.14, 0.08, 0.1)),
        clothes=_pick(_CLOTHES, rng),
        face_height=rng.normal(1.34 - 0.03 * female, 0.05),
        jaw=rng.normal(0.87 - 0.09 * female, 0.045) + 0.0012 * (looks - 40),
        chin=rng.normal(0.46 - 0.1 * female, 0.05),
        eye_distance=rng.normal(0.42, 0.022),
        eye_width=rng.normal(0.185 + 0.012 * female, 0.012),
        eye_height=max(0.045, rng.normal(0.085 + 0.012 * female - 0.0006 * (looks - 30), 0.011)),
        eye_tilt=rng.normal(0.03, 0.07),
        brow_height=rng.normal(0.2 + 0.035 * female, 0.022),
        brow_thickness=max(0.02, rng.normal(0.075 - 0.028 * female, 0.014)),
        brow_arch=rng.normal(0.02 + 0.025 * female, 0.015),
        nose_width=rng.normal(0.2 - 0.025 * female, 0.02) + 0.0006 * (looks - 30),
        nose_length=rng.normal(0.42, 0.03),
        mouth_width=rng.normal(0.36 - 0.02 * female, 0.03),
        lips=max(0.03, rng.normal(0.085 + 0.025 * female - 0.0007 * (looks - 30), 0.014)),
        lip_colour=mix(skin, (190, 50, 66) if lipstick else (170, 88, 84), rng.uniform(0.4, 0.75)),
        hair_length=_hair_length(female, looks, rng),
        hair_volume=rng.uniform(0.08, 0.26),
        hairline=rng.normal(-0.78, 0.05) - (1 - 0.75 * female) * max(0.0, looks - 34) * 0.0075,
        fringe=rng.uniform(0.25, 0.75) if rng.random() < 0.22 + 0.2 * female else 0.0,
        parting=rng.uniform(-0.6, 0.6),
        beard=rng.uniform(0.12, 0.6) if rng.random() < 0.45 * (1 - female) else 0.0,
        wrinkles=max(0.0, (looks - 27) / 32 * rng.normal(1.0, 0.14)),
        eye_bags=max(0.0, (looks - 24) / 36 + rng.normal(0.0, 0.16)),
        blotches=max(0.0, (looks - 30) / 30 + rng.normal(0.0, 0.2)),
        glasses=_pick(((24, 24, 28), (90, 60, 40), (150, 150, 158)), rng)
        if rng.random() < 0.16 + 0.003 * looks
        else None,
        round_glasses=bool(rng.random() < 0.5),
        earrings=bool(rng.random() < 0.04 + 0.34 * female),
        collar=int(rng.integers(3)),
        shoulders=rng.normal(2.15 - 0.25 * female, 0.13),
        moles=tuple((rng.uniform(-0.7, 0.7), rng.uniform(-0.6, 1.0)) for _ in range(rng.integers(4))),
    )


def _pick(colours: tuple[Colour, ...], rng: np.random.Generator, chances: tuple[float, ...] | None = None) -> Colour:
    return colours[int(rng.choice(len(colours), p=chances))]


def _skin(rng: np.random.Generator) -> Colour:
    place = min(rng.gamma(1.6, 0.75), len(_SKIN) - 1.001)
    tone = mix(_SKIN[int(place)], _SKIN[int(place) + 1], place % 1)
    return lighten(mix(tone, (224, 150, 120), rng.uniform(0.0, 0.18)), rng.uniform(0.0, 0.08))


def _grey_share(looks: float, female: float, rng: np.random.Generator) -> float:
    if rng.random() < 0.12 + 0.16 * female:  # dyed
        return 0.0
    return float(0.92 / (1 + np.exp(-(looks - 53 + rng.normal(0.0, 3.0)) / 4.5)))


def _hair_length(female: float, looks: float, rng: np.random.Generator) -> float:
    if rng.random() < 0.1 + 0.72 * female - 0.005 * female * max(0.0, looks - 30):
        return float(rng.uniform(0.35, 1.0))
    return float(rng.uniform(0.0, 0.2))
