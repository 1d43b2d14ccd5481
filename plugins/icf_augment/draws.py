"""Random draws for each image of a batch, on the CPU, from the generator that is passed in."""

from __future__ import annotations

import torch
from torch import Tensor


def choose_images(count: int, p: float, generator: torch.Generator) -> Tensor:
    """Return which images are changed: bool [N], each True with probability ``p``."""
    return torch.rand(count, generator=generator) < p


def draw_uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return float [N], each uniform from ``low`` to ``high``."""
    return low + (high - low) * torch.rand(count, generator=generator)


def draw_integers(greatest: Tensor, generator: torch.Generator) -> Tensor:
    """Return int64 [N], each uniform over 0 to ``greatest``, inclusive; ``greatest`` is int64 [N]."""
    fractions = torch.rand(len(greatest), generator=generator, dtype=torch.float64)
    return torch.minimum((fractions * (greatest + 1)).long(), greatest)
