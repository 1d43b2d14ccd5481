from __future__ import annotations

import icf
import numpy as np

from icf_example.dataset import draw_stripes
from icf_example.plugin import StripesParams


def test_a_stripe_runs_as_its_class_says() -> None:
    content = draw_stripes(StripesParams(rows=20, side=16), icf.DatasetContext(seed=3))
    images, targets = np.asarray(content.train.images), content.train.targets
    assert targets is not None
    assert images.shape == (20, 16, 16)
    bright = images >= 100
    assert (bright.sum(axis=(1, 2)) == 16).all()
    for image, target in zip(bright, targets, strict=True):
        assert image.all(axis=0).any() == (content.classes[target] == "upright")
        assert image.all(axis=1).any() == (content.classes[target] == "flat")


def test_the_seed_decides_everything() -> None:
    first, again, other = (
        np.asarray(draw_stripes(StripesParams(), icf.DatasetContext(seed=seed)).train.images) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()
