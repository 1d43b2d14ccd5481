"""Global random generators, which a team's code draws from: seeded for a while, then as they were."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_randomness() -> Iterator[Callable[[int], None]]:
    """Give a function that seeds torch, numpy and random; at the end, all three are as they were before."""
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield _seed_all
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
