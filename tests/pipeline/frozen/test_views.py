from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from icf.pipeline.frozen.views import FROZEN_VIEWS, ViewBatches, choose_views, count_views
from icf.pipeline.pixels.cache import fill_cache
from samples import make_preprocessing
from training import make_plan

FLIP = 'transforms.train=["augment/horizontal-flip"]'


def noise(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return batch + torch.randint(0, 9, batch.shape, generator=generator).to(torch.uint8)


def open_views(folder: Path, views: int = 3, seed: int = 0) -> ViewBatches:
    images = np.random.default_rng(0).integers(0, 200, (10, 6, 8, 3)).astype(np.uint8)
    spec = make_preprocessing((6, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.1))
    cache = fill_cache(images, spec, folder, lambda done, total: None)
    return ViewBatches(cache.source, spec, torch.device("cpu"), [noise], views=views, seed=seed)


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ((), 1),
        (("model.views=6",), 1),  # without transforms, all would be equal
        ((FLIP,), None),
        ((FLIP, "model.views=6"), 6),
        ((FLIP, 'model.freeze="backbone"'), FROZEN_VIEWS),
        ((FLIP, 'model.freeze="backbone"', "model.views=6"), 6),
        (('model.freeze="backbone"',), 1),
        ((FLIP, 'model.freeze="backbone"', 'compute.embeddings="off"'), FROZEN_VIEWS),
    ],
)
def test_how_many_views_there_are(settings: tuple[str, ...], views: int | None) -> None:
    assert count_views(make_plan(*settings)) == views


def test_a_view_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    images = open_views(tmp_path)
    together = images.draw(np.arange(10), np.full(10, 1))
    for row in (7, 2):
        assert torch.equal(images.draw(np.array([row]), np.array([1]))[0], together[row])
    np.testing.assert_array_equal(images.draw(np.array([4, 4]), np.array([1, 1]))[1], together[4])


def test_views_of_an_image_and_of_other_seeds_differ(tmp_path: Path) -> None:
    images, rows = open_views(tmp_path), np.arange(10)
    drawn = [images.draw(rows, np.full(10, view)) for view in range(3)]
    drawn.append(open_views(tmp_path, seed=1).draw(rows, np.full(10, 0)))
    for index, one in enumerate(drawn):
        for other in drawn[index + 1 :]:
            assert not torch.equal(one, other)


def test_augmented_images_are_views_that_the_seed_chooses(tmp_path: Path) -> None:
    images, rows = open_views(tmp_path), np.tile(np.arange(10), 6)
    batch = images.read_augmented(rows, seed=5)
    views = choose_views(len(rows), 3, seed=5)
    assert set(views.tolist()) == {0, 1, 2}
    expected = torch.stack([images.read_drawn(np.array([row]), view)[0] for row, view in zip(rows, views, strict=True)])
    torch.testing.assert_close(batch, expected)
    assert torch.equal(batch, images.read_augmented(rows, seed=5))
    assert not torch.equal(batch, images.read_augmented(rows, seed=6))
