from __future__ import annotations

import icf
import numpy as np
import torch

from icf_example.plugin import InvertParams
from icf_example.transform import Invert

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (400, 3, 4, 5), dtype=np.uint8))


def invert(p: float, seed: int = 0) -> torch.Tensor:
    transform = Invert(InvertParams(p=p), icf.TransformContext(image_size=(4, 5)))
    return transform(IMAGES, torch.Generator().manual_seed(seed))


def test_an_image_is_inverted_as_a_whole_or_left_as_it_is() -> None:
    found = invert(0.25)
    inverted = (found == ~IMAGES).flatten(1).all(dim=1)
    same = (found == IMAGES).flatten(1).all(dim=1)
    assert found.dtype == torch.uint8
    assert (inverted ^ same).all()
    assert 60 <= int(inverted.sum()) <= 140


def test_all_none_and_the_same_again() -> None:
    assert torch.equal(invert(0.0), IMAGES)
    assert torch.equal(invert(1.0), ~IMAGES)
    assert torch.equal(invert(0.5, seed=1), invert(0.5, seed=1))
    assert not torch.equal(invert(0.5, seed=1), invert(0.5, seed=2))
