from __future__ import annotations

import icf
import numpy as np
import pytest

from icf_example.plugin import PartParams
from icf_example.sampler import build_part


def build(share: float, seed: int = 0, rows: int = 40) -> icf.Sampling:
    context = icf.SamplerContext(targets=np.zeros(rows, dtype=np.int64), num_classes=2, seed=seed)
    return build_part(PartParams(share=share), context)


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.25, 10), (1.0, 40)])
def test_an_epoch_has_its_share_of_different_rows(share: float, count: int) -> None:
    found = build(share)(0)
    assert found.dtype == np.int64
    assert len(found) == len(set(found.tolist())) == count
    assert set(found.tolist()) <= set(range(40))


def test_an_epoch_is_the_same_again_and_another_is_not() -> None:
    assert (build(0.5)(3) == build(0.5)(3)).all()
    assert (build(0.5)(3) != build(0.5)(4)).any()
    assert (build(0.5, seed=0)(3) != build(0.5, seed=1)(3)).any()


def test_in_many_epochs_every_row_has_its_turn() -> None:
    sampling = build(0.5)
    assert len({row for epoch in range(30) for row in sampling(epoch).tolist()}) == 40
