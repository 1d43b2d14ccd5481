from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from icf.errors import IcfError
from icf.pipeline.frozen.embeddings import EmbeddingFiles, Embeddings, write_array
from icf.pipeline.frozen.views import choose_views

CPU = torch.device("cpu")
ROWS = np.array([4, 0, 4, 2])


def save(path: Path, values: torch.Tensor) -> Path:
    write_array(path, tuple(values.shape), values.dtype, values.split(3))
    return path


def open_arrays(folder: Path, views: int = 1, **arrays: torch.Tensor) -> Embeddings:
    paths = {name: save(folder / f"{name}.npy", values) for name, values in arrays.items()}
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
    first, second = embeddings.read_views(ROWS, ["horizontal-flip"])
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


def test_half_a_file_never_has_its_name(tmp_path: Path) -> None:
    def break_off() -> Iterator[torch.Tensor]:
        yield torch.zeros(3, 2)
        raise KeyError("half")

    with pytest.raises(KeyError):
        write_array(tmp_path / "a.npy", (6, 2), torch.float32, break_off())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IcfError, match=r"can't write embeddings to .*ICF_CACHE.*compute\.embeddings"):
        write_array(tmp_path / "file" / "a.npy", (1, 2), torch.float32, [torch.zeros(1, 2)])
