"""Checks of mixers."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from icf.components import BatchMixer, Mixed, MixerContext
from icf.errors import IcfError
from icf.testing.case import Case, expect

CLASSES = 4
SIZE = (24, 32)
SEEDS = 8
"""Batches of a check: a mixer may leave some as they are."""

LEVELS = (0, 200)
"""Grey levels of a batch of two colours."""

ROUNDING = 0.51
"""Grey levels by which the mean of an image may differ: pixels are whole numbers."""


def build_mixer(case: Case, channels: int = 3) -> BatchMixer:
    """Build the mixer."""
    mixer: BatchMixer = case.build(MixerContext(num_classes=CLASSES, image_size=SIZE, channels=channels))
    return mixer


def draw_batch(channels: int = 3) -> tuple[Tensor, Tensor]:
    """Return random images, uint8 [8, channels, *SIZE], and targets int64 [8] in which every class occurs twice."""
    generator = torch.Generator().manual_seed(4)
    images = torch.randint(0, 256, (2 * CLASSES, channels, *SIZE), dtype=torch.uint8, generator=generator)
    return images, torch.arange(2 * CLASSES) % CLASSES


def draw_colours() -> tuple[Tensor, Tensor]:
    """Return images of one grey level each, and targets; in every class there are both levels."""
    levels = torch.tensor(LEVELS, dtype=torch.uint8).repeat_interleave(CLASSES)
    return levels.view(-1, 1, 1, 1).repeat(1, 3, *SIZE), torch.arange(2 * CLASSES) % CLASSES


def mix(mixer: BatchMixer, images: Tensor, targets: Tensor, seed: int) -> Mixed:
    """Mix a copy of the batch, with a generator of its own."""
    return mixer(images.clone(), targets.clone(), torch.Generator().manual_seed(seed))


def check_mixed(case: Case) -> None:
    """A batch becomes an icf.Mixed: images of the same shape in uint8, their partners, and a weight from 0 to 1."""
    mixer = build_mixer(case)
    images, targets = draw_batch()
    for seed in range(SEEDS):
        _expect_mixed(mix(mixer, images, targets, seed), images)


def _expect_mixed(mixed: Mixed, images: Tensor) -> None:
    expect(isinstance(mixed, Mixed), f"the result is {type(mixed).__name__}, not icf.Mixed")
    _expect_tensor("the images are", mixed.images, torch.uint8, tuple(images.shape))
    _expect_tensor("the partners are", mixed.partners, torch.int64, (len(images),))
    outside = mixed.partners[(mixed.partners < 0) | (mixed.partners >= len(images))].tolist()
    expect(not outside, f"partner {outside[:1]} is outside 0 to {len(images) - 1}")
    number = isinstance(mixed.weight, int | float)
    expect(number, f"the weight is {type(mixed.weight).__name__}, not a number")
    expect(0 <= mixed.weight <= 1, f"the weight is {mixed.weight}, outside 0 to 1")


def _expect_tensor(what: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    expect(isinstance(value, Tensor), f"{what} {type(value).__name__}, not a tensor")
    expect(value.dtype == dtype, f"{what} {value.dtype}, not {dtype}")
    expect(tuple(value.shape) == shape, f"{what} of shape {tuple(value.shape)}, not {shape}")


def check_one_image(case: Case) -> None:
    """A batch of one image, perhaps a rank's share, is as good as any."""
    images, targets = (part[:1] for part in draw_batch())
    for seed in range(SEEDS):
        _expect_mixed(mix(build_mixer(case), images, targets, seed), images)


def check_grey(case: Case) -> None:
    """Images of one channel stay so, or the mixer says in words that it can't mix them."""
    images, targets = draw_batch(channels=1)
    try:
        results = [mix(build_mixer(case, channels=1), images, targets, seed) for seed in range(SEEDS)]
    except IcfError:
        return
    for mixed in results:
        _expect_mixed(mixed, images)


def check_weight(case: Case) -> None:
    """The weight is what the pixels say: an image's mean is ``weight * own + (1 - weight) * partner``."""
    images, targets = draw_colours()
    own = images[:, 0, 0, 0].double()
    for seed in range(SEEDS):
        mixed = mix(build_mixer(case), images, targets, seed)
        expected = mixed.weight * own + (1 - mixed.weight) * own[mixed.partners]
        found = mixed.images.double().mean(dim=(1, 2, 3))
        worst = int((found - expected).abs().argmax())
        text = (
            f"by its weight of {mixed.weight:.3f} and its partner, an image of grey level {own[worst]:.0f} has a mean"
        )
        right = bool((found - expected).abs().max() <= ROUNDING)
        expect(right, f"{text} of {expected[worst]:.1f}, but its pixels have {found[worst]:.1f}")


def check_input(case: Case) -> None:
    """The images and targets that the mixer is given stay as they are."""
    mixer = build_mixer(case)
    images, targets = draw_batch()
    for seed in range(SEEDS):
        given, labels = images.clone(), targets.clone()
        mixer(given, labels, torch.Generator().manual_seed(seed))
        expect(torch.equal(given, images), "the images that were given are changed")
        expect(torch.equal(labels, targets), "the targets that were given are changed")


def check_seed(case: Case) -> None:
    """All randomness comes from the generator: its seed decides, and no global one."""
    results = []
    for other_seed in (0, 1):
        torch.manual_seed(other_seed)
        np.random.seed(other_seed)
        random.seed(other_seed)
        results.append([mix(build_mixer(case), *draw_batch(), seed) for seed in range(SEEDS)])
    same = all(
        torch.equal(one.images, other.images)
        and torch.equal(one.partners, other.partners)
        and one.weight == other.weight
        for one, other in zip(*results, strict=True)
    )
    expect(same, "the same generator gives another result when torch's, numpy's or Python's own seed is another")


MIXER_CHECKS = (check_mixed, check_one_image, check_grey, check_weight, check_input, check_seed)
