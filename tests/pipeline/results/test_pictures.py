from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icf.pipeline.results.pictures import THUMBNAIL, Guesses, encode_thumbnail, rank_mistakes, read_grid


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def guess(probabilities: np.ndarray, targets: np.ndarray) -> Guesses:
    true = probabilities[np.arange(len(targets)), targets]
    return Guesses(probabilities.argmax(axis=1), probabilities.max(axis=1), true)


def test_rank_mistakes_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    probabilities, targets = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50)
    wrong = [row for row in range(50) if probabilities[row].argmax() != targets[row]]
    expected = sorted(wrong, key=lambda row: -probabilities[row].max())
    assert rank_mistakes(guess(probabilities, targets), targets).tolist() == expected
    assert rank_mistakes(guess(np.eye(3), np.arange(3)), np.arange(3)).tolist() == []


@pytest.mark.parametrize(
    ("shape", "size"),
    [((512, 384, 3), (120, 160)), ((28, 28, 1), (28, 28)), ((160, 640, 3), (160, 40)), ((1, 1, 3), (1, 1))],
)
def test_thumbnails_keep_their_shape_and_are_never_enlarged(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    image = decode(encode_thumbnail(np.full(shape, 77, dtype=np.uint8)))
    assert image.size == size
    assert max(image.size) <= THUMBNAIL
    assert abs(int(np.asarray(image).mean()) - 77) <= 1


def test_large_grids_are_made_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "grid.png")
    uri = read_grid(tmp_path / "grid.png")
    assert uri is not None
    assert decode(uri).size == (960, 480)
    assert len(uri) < 500_000
    assert read_grid(tmp_path / "none.png") is None
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert read_grid(tmp_path / "broken.png") is None
