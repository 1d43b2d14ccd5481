from __future__ import annotations

import icf
import numpy as np
import pytest
import torch

from icf_example.mixer import Interleave
from icf_example.plugin import InterleaveParams

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 3, 9, 5), dtype=np.uint8))
TARGETS = torch.arange(20) % 4


def interleave(period: int, seed: int = 0) -> icf.Mixed:
    mixer = Interleave(InterleaveParams(period=period), icf.MixerContext(num_classes=4, image_size=(9, 5)))
    return mixer(IMAGES, TARGETS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("period", "kept"), [(2, 4), (3, 6), (16, 8)])
def test_every_row_is_an_image_s_own_or_its_partner_s(period: int, kept: int) -> None:
    mixed = interleave(period)
    for row in range(9):
        source = IMAGES[mixed.partners] if row % period == 0 else IMAGES
        assert torch.equal(mixed.images[:, :, row], source[:, :, row])
    assert mixed.weight == pytest.approx(kept / 9)


def test_partners_are_the_whole_batch_in_another_order() -> None:
    assert sorted(interleave(2).partners.tolist()) == list(range(20))
    assert torch.equal(interleave(2, seed=1).partners, interleave(2, seed=1).partners)
    assert not torch.equal(interleave(2, seed=1).partners, interleave(2, seed=2).partners)
