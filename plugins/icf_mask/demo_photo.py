"""What changes from one photograph of a person to the next: pose, light, camera, background and mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icf_mask.demo_canvas import Colour, Pose

WEAR, INCORRECT, NORMAL = 0, 1, 2

_MASKS = (
    (236, 238, 240),
    (150, 196, 222),
    (32, 32, 36),
    (120, 124, 130),
    (232, 186, 194),
    (58, 74, 110),
    (196, 178, 150),
    (116, 150, 120),
)
_MASK_CHANCES = (0.3, 0.22, 0.22, 0.06, 0.06, 0.05, 0.05, 0.04)


@dataclass(frozen=True)
class Photo:
    """The settings of one photograph; shares are 0 to 1."""

    state: int
    pose: Pose
    smile: float
    mouth_open: float
    gaze: float
    eyelids: float
    mask_colour: Colour
    mask_style: int
    misplaced: int
    mask_shift: float
    hat: Colour | None
    sunglasses: bool
    hair_over_forehead: float
    light_angle: float
    light: float
    brightness: float
    contrast: float
    warmth: float
    blur: float
    noise: float
    quality: int


def take_photo(state: int, rng: np.random.Generator) -> Photo:
    """Draw the settings of a photograph of a mask state (WEAR, INCORRECT or NORMAL)."""
    return Photo(
        state=state,
        pose=_pose(rng),
        smile=rng.normal(0.25, 0.35),
        mouth_open=max(0.0, rng.normal(0.0, 0.05)),
        gaze=rng.normal(0.0, 0.3),
        eyelids=rng.uniform(0.78, 1.12),
        mask_colour=_MASKS[int(rng.choice(len(_MASKS), p=_MASK_CHANCES))],
        mask_style=int(rng.integers(3)),
        misplaced=int(rng.choice(4, p=(0.5, 0.3, 0.1, 0.1))),
        mask_shift=rng.normal(0.0, 0.04),
        hat=_hat(rng),
        sunglasses=bool(rng.random() < 0.012),
        hair_over_forehead=rng.uniform(0.2, 0.8) if rng.random() < 0.1 else 0.0,
        light_angle=rng.uniform(0.0, 2 * np.pi),
        light=abs(rng.normal(0.0, 0.16)),
        brightness=rng.normal(1.0, 0.12),
        contrast=rng.normal(1.0, 0.1),
        warmth=rng.normal(0.0, 0.05),
        blur=max(0.0, rng.normal(0.35, 0.45)),
        noise=abs(rng.normal(0.0, 4.0)),
        quality=int(rng.integers(84, 93)),
    )


def _pose(rng: np.random.Generator) -> Pose:
    return Pose(
        centre=(0.5 + rng.normal(0.0, 0.03), 0.5 + rng.normal(0.0, 0.025)),
        scale=float(np.clip(rng.normal(0.265, 0.025), 0.19, 0.34)),
        roll=rng.normal(0.0, 0.06),
        yaw=float(np.clip(rng.normal(0.0, 0.09), -0.24, 0.24)),
        pitch=rng.normal(0.0, 0.035),
        shear=rng.normal(0.0, 0.02),
        stretch=rng.normal(1.0, 0.025),
    )


def _hat(rng: np.random.Generator) -> Colour | None:
    if rng.random() >= 0.045:
        return None
    red, green, blue = (int(value) for value in rng.integers(20, 220, size=3))
    return red, green, blue
