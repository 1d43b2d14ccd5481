"""Random numbers as a pure function of (seed, fold, epoch, step): what is resumed draws what it would have drawn."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a seed is for; two purposes never share a stream."""

    MODEL = 1
    SAMPLER = 2
    LOSS = 3
    OPTIMIZER = 4
    AUGMENT = 5
    STEP = 6
    BOOTSTRAP = 7
    ENSEMBLE = 8
    VIEW = 9
    MIX = 10
    TTA = 11


def derive_seed(seed: int, purpose: Purpose, *position: int) -> int:
    """Return a 63-bit seed for one purpose at one position (fold, epoch, step, rank)."""
    words = np.random.SeedSequence([seed, purpose, *position]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])
