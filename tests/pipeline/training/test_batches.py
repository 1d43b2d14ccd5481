from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from icf.errors import PluginError
from icf.pipeline.pixels.cache import fill_cache
from icf.pipeline.training.batches import Batches, draw_grid
from samples import make_preprocessing

CPU = torch.device("cpu")
ROWS = np.array([4, 0, 4, 7])


def make_images(channels: int = 3, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, *size, channels)).astype(np.uint8)


def make_spec(channels: int = 3):
    return make_preprocessing(
        (6, 8), channels=channels, mean=(0.5, 0.4, 0.3)[:channels], std=(0.2, 0.3, 0.1)[:channels]
    )


@pytest.fixture(params=[1, 3])
def images(request) -> np.ndarray:
    return make_images(request.param)


def open_batches(images: np.ndarray, tmp_path, augment=()) -> Batches:
    spec = make_spec(images.shape[3])
    cache = fill_cache(images, spec, tmp_path, lambda done, total: None)
    return Batches(cache.source, spec, CPU, augment)


def test_a_batch_is_the_rows_normalised(images, tmp_path):
    spec = make_spec(images.shape[3])
    batch = open_batches(images, tmp_path).read(ROWS)
    scaled = functional.to_dtype(torch.from_numpy(images[ROWS]).permute(0, 3, 1, 2), torch.float32, scale=True)
    expected = functional.normalize(scaled, list(spec.mean), list(spec.std))
    torch.testing.assert_close(batch, expected, rtol=1e-5, atol=1e-5)
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_augmented_without_transforms_is_the_slice(images, tmp_path):
    batch = open_batches(images, tmp_path).augment(ROWS, seed=0)
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), images[ROWS])


def flip_some(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    chosen = torch.rand(len(batch), generator=generator) < 0.5
    return torch.where(chosen[:, None, None, None], batch.flip(3), batch)


def blank(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return batch.zero_()


def test_randomness_comes_from_the_seed_alone(images, tmp_path):
    batches = open_batches(images, tmp_path, [flip_some])
    rows = np.arange(10)
    first = batches.read_augmented(rows, seed=1)
    torch.rand(3)
    torch.testing.assert_close(batches.read_augmented(rows, seed=1), first, rtol=0, atol=0)
    assert not torch.equal(batches.read_augmented(rows, seed=2), first)
    plain = batches.read(rows)
    flipped = (first != plain).flatten(1).any(dim=1)
    assert 0 < flipped.sum() < 10
    torch.testing.assert_close(first[flipped], plain[flipped].flip(3), rtol=0, atol=0)


def test_a_transform_in_place_changes_neither_cache_nor_later_batches(images, tmp_path):
    batches = open_batches(images, tmp_path, [blank])
    assert not batches.augment(ROWS, seed=0).any()
    np.testing.assert_array_equal(open_batches(images, tmp_path).augment(ROWS, 0), images[ROWS].transpose(0, 3, 1, 2))
    assert batches.read(ROWS).std() > 0.1


class Roll:
    """Rolls each batch by a random step; ``log`` tells when."""

    def __init__(self, name: str, log: list[str], *, any_device: bool) -> None:
        self.any_device = any_device
        self._name, self._log = name, log

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self._log.append(self._name)
        return images.roll(int(torch.randint(5, (), generator=generator)), dims=3)


@pytest.mark.parametrize(
    ("able", "before"),
    [([], ""), ([True], ""), ([False], "a"), ([True, False, True, True], "ab"), ([False, True, False], "abc")],
)
@pytest.mark.parametrize("levels", [True, False])
def test_what_any_device_can_do_is_left_for_it_and_changes_no_bit(tmp_path, able, before, levels):
    log: list[str] = []
    images, spec = make_images(), make_spec()
    rolls = [Roll(name, log, any_device=can) for name, can in zip("abcd", able, strict=False)]
    source = fill_cache(images, spec, tmp_path, lambda done, total: None).source
    whole, divided = Batches(source, spec, CPU, rolls), Batches(source, spec, CPU, rolls, divided=True)
    expected = whole.read_levels(ROWS, 3) if levels else whole.read_augmented(ROWS, 3)
    names = "".join(log)
    assert names == "abcd"[: len(able)]
    log.clear()
    staged = divided.prepare_levels(ROWS, 3) if levels else divided.prepare(ROWS, 3)
    assert "".join(log) == before
    torch.rand(7)  # what the step draws in between does not matter
    found = divided.deliver_levels(staged) if levels else divided.deliver(staged)
    assert "".join(log) == names
    assert torch.equal(found, expected)
    assert torch.equal(divided.augment(ROWS, 3), whole.augment(ROWS, 3))


@pytest.mark.parametrize(
    ("transform", "found"),
    [
        (lambda batch, generator: batch[:, :, :5], r"uint8 \[4, 3, 5, 8\]"),
        (lambda batch, generator: batch / 255, r"float32 \[4, 3, 6, 8\]"),
        (lambda batch, generator: batch[:2], r"uint8 \[2, 3, 6, 8\]"),
    ],
)
def test_transforms_that_change_size_or_type_are_refused(tmp_path, transform, found):
    batches = open_batches(make_images(), tmp_path, [transform])
    with pytest.raises(PluginError, match=rf"transforms\.train gives torch\.{found}.*\[6, 8\]"):
        batches.read_augmented(ROWS, seed=0)


def test_a_smaller_size_may_be_undone_by_the_next_transform(tmp_path):
    transforms = [lambda batch, _: batch[:, :, 1:5], lambda batch, _: torch.nn.functional.pad(batch, (0, 0, 1, 1))]
    assert open_batches(make_images(), tmp_path, transforms).augment(ROWS, 0).shape == (4, 3, 6, 8)


def test_statistics_are_needed(tmp_path):
    spec = make_preprocessing((6, 8))
    cache = fill_cache(make_images(), spec, tmp_path, lambda done, total: None)
    with pytest.raises(ValueError, match="no statistics"):
        Batches(cache.source, spec, CPU)


@pytest.mark.parametrize(("count", "shape"), [(1, (10, 12)), (8, (10, 82)), (9, (18, 82)), (10, (18, 82))])
def test_a_grid_shows_every_image_in_its_place(images, count, shape):
    batch = torch.from_numpy(images[:count]).permute(0, 3, 1, 2)
    grid = draw_grid(batch)
    assert grid.shape == (*shape, 3)
    left = grid.copy()
    for index in range(count):
        top, column = 2 + index // 8 * 8, 2 + index % 8 * 10
        shown = grid[top : top + 6, column : column + 8]
        np.testing.assert_array_equal(shown, np.broadcast_to(images[index], (6, 8, 3)))
        left[top : top + 6, column : column + 8] = 255
    assert (left == 255).all()


def test_a_grid_has_a_limit(images):
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(draw_grid(batch, most=3), draw_grid(batch[:3]))
