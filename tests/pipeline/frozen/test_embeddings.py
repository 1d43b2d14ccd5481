from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from icf.choice import View
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.frozen.embeddings import EmbeddingFiles, Embeddings
from icf.pipeline.frozen.views import choose_views
from icf.pipeline.pixels.lease import is_used
from icf.pipeline.training.tta import ViewTransform
from stored_arrays import make_task, store

CPU = torch.device("cpu")
ROWS = np.array([4, 0, 4, 2])


def open_arrays(folder: Path, views: int = 1, **arrays: torch.Tensor) -> Embeddings:
    tasks = {name: make_task(folder, name, values) for name, values in arrays.items()}
    store(*tasks.values())
    paths = {name: task.files.array for name, task in tasks.items()}
    dtype = str(next(iter(arrays.values())).dtype).removeprefix("torch.")
    files = EmbeddingFiles(dtype=dtype, length=2, dropout=0.0, views=views, train=paths, test={})
    return Embeddings(files.train, files, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(5,), (3, 2)])
def test_what_is_written_is_read(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values = torch.randn(7, *shape).to(dtype)
    read = open_arrays(tmp_path, plain=values).read(ROWS)
    assert read.dtype == dtype
    assert torch.equal(read, values[ROWS])


def test_a_view_at_test_time_is_an_array_of_its_own(tmp_path: Path) -> None:
    plain, flipped = torch.randn(7, 2), torch.randn(7, 2)
    embeddings = open_arrays(tmp_path, plain=plain, **{"horizontal-flip": flipped})
    spec = Preprocessing(image_size=(4, 4), channels=3, resize="stretch", mean=None, std=None)
    first, second = embeddings.read_views(ROWS, [ViewTransform(View(1, ("horizontal-flip",)), spec, seed=0)])
    assert torch.equal(first, plain[ROWS])
    assert torch.equal(second, flipped[ROWS])


def test_training_takes_one_of_the_augmented_views(tmp_path: Path) -> None:
    views = torch.randn(3, 7, 2)
    embeddings = open_arrays(tmp_path, 3, plain=torch.randn(7, 2), augmented=views.flatten(0, 1))
    chosen = choose_views(4, 3, seed=9)
    assert torch.equal(embeddings.read_augmented(ROWS, seed=9), views[chosen, ROWS])


def test_without_augmentation_training_takes_the_plain_images(tmp_path: Path) -> None:
    plain = torch.randn(7, 2)
    assert torch.equal(open_arrays(tmp_path, plain=plain).read_augmented(ROWS, seed=1), plain[ROWS])


def test_files_that_a_fold_reads_are_kept(tmp_path: Path) -> None:
    embeddings = open_arrays(tmp_path, plain=torch.randn(7, 2))
    assert is_used(tmp_path / "plain.npy")
    del embeddings
    assert not is_used(tmp_path / "plain.npy")
