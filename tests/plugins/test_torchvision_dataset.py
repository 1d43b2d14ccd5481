from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

import icf
from icf_torchvision import fashion_mnist
from icf_torchvision.fashion_mnist import CLASSES, load_fashion_mnist, read_idx
from icf_torchvision.plugin import FashionMnistParams, icf_datasets


def write_idx(file: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def write_set(folder: Path, suffix: str = "", rows: int = 20) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", rows), ("t10k", rows // 2)):
        arrays[f"{part}-images-idx3-ubyte"] = random.integers(0, 256, (count, 28, 28))
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(count) % 10
    for name, array in arrays.items():
        write_idx(folder / f"{name}{suffix}", array)
    return arrays


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inside", ["", "FashionMNIST/raw"])
def test_folder_is_read_as_torchvision_reads_it(tmp_path: Path, suffix: str, inside: str) -> None:
    write_set(tmp_path / inside, suffix)
    reference = tmp_path / "reference"
    write_set(reference / "FashionMNIST" / "raw")
    content = load_fashion_mnist(FashionMnistParams(root=tmp_path), icf.DatasetContext())
    assert content.classes == CLASSES == tuple(FashionMNIST.classes)
    assert content.test is not None
    for samples, is_train in ((content.train, True), (content.test, False)):
        expected = FashionMNIST(reference, train=is_train)
        assert np.array_equal(np.asarray(samples.images), expected.data.numpy())
        assert samples.targets is not None
        assert samples.targets.dtype == np.int64
        assert np.array_equal(samples.targets, expected.targets.numpy())


def test_ids_are_zero_padded_unique_and_limited(tmp_path: Path) -> None:
    write_set(tmp_path, rows=40)
    content = load_fashion_mnist(FashionMnistParams(root=tmp_path, limit=12), icf.DatasetContext())
    assert content.test is not None
    assert (len(content.train), len(content.test)) == (12, 12)
    assert len(content.train.images) == 12
    assert content.train.ids[3] == "train-00003"
    assert len({*content.train.ids, *content.test.ids}) == 24


@pytest.mark.skipif(not fashion_mnist.DEBIAN_ROOT.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debian_package_is_found_without_a_root(tmp_path: Path) -> None:
    content = load_fashion_mnist(FashionMnistParams(), icf.DatasetContext(cache_dir=tmp_path))
    assert content.test is not None
    assert content.train.targets is not None
    assert np.asarray(content.train.images).shape == (60_000, 28, 28)
    assert len(content.test) == 10_000
    assert np.bincount(content.train.targets).tolist() == [6_000] * 10


def test_without_files_and_network_both_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_ROOT", tmp_path / "absent")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(icf.DataError, match=r"can't be reached.*dataset-fashion-mnist.*dataset\.root"):
        load_fashion_mnist(FashionMnistParams(), icf.DatasetContext(cache_dir=tmp_path))


def test_files_that_were_downloaded_before_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_ROOT", tmp_path / "absent")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    write_set(tmp_path / "FashionMNIST" / "raw")
    content = load_fashion_mnist(FashionMnistParams(), icf.DatasetContext(cache_dir=tmp_path))
    assert len(content.train) == 20


def test_absent_folder_and_absent_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(icf.DataError, match="absent"):
        load_fashion_mnist(FashionMnistParams(root=tmp_path / "absent"), icf.DatasetContext())
    write_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(icf.DataError, match="t10k-labels-idx1-ubyte"):
        load_fashion_mnist(FashionMnistParams(root=tmp_path), icf.DatasetContext())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08\x03", "not an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x02ab", "not an IDX file"),
        (b"\0\0\x08\x02\0\0\0\x02\0\0\0\x01ab", "not an IDX file"),
        (b"\0\0\x08\x01\0\0\0\x03ab", "truncated"),
        (b"\0\0\x08\x01\xff\xff\xff\xffab", "truncated"),
        (b"\0\0\x08\x01\0\0\0\x01ab", "too long"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "labels"
    file.write_bytes(content)
    with pytest.raises(icf.DataError, match=f"labels: .*{message}"):
        read_idx(file, dimensions=1)


@pytest.mark.parametrize("cut", [5, -5])
def test_damaged_gzip_files_are_refused(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "labels.gz"
    write_idx(file, np.arange(100))
    file.write_bytes(file.read_bytes()[:cut] if cut < 0 else b"no gzip at all")
    with pytest.raises(icf.DataError, match=r"labels\.gz"):
        read_idx(file, dimensions=1)


def test_labels_out_of_range_and_uneven_counts_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.full(20, 10))
    with pytest.raises(icf.DataError, match="row 0"):
        load_fashion_mnist(FashionMnistParams(root=tmp_path), icf.DatasetContext())
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(19))
    with pytest.raises(icf.DataError, match="20 train images but 19 labels"):
        load_fashion_mnist(FashionMnistParams(root=tmp_path), icf.DatasetContext())


def test_plugin_offers_the_dataset() -> None:
    assert [dataset.name for dataset in icf_datasets()] == ["fashion-mnist"]
