"""Fashion-MNIST, from a folder of IDX files or by download.

Source: Xiao, Rasul and Vollgraf (2017), "Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms". The file format is described at http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

import icf
from icf.network import is_reachable
from icf_torchvision.plugin import FashionMnistParams

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN_ROOT = Path("/usr/share/datasets/fashion-mnist")
MAGIC_BYTES = 0x08
"""Third byte of an IDX file of unsigned bytes; the fourth is the number of dimensions."""


def load_fashion_mnist(params: FashionMnistParams, ctx: icf.DatasetContext) -> icf.DatasetContent:
    """Load the training and the official test set, which has labels, so a run can be scored on it.

    Images are uint8 [N, 28, 28]. Raises DataError for absent, damaged or truncated files, and when the files
    can't be downloaded.
    """
    folder = _find_folder(params.root, ctx.cache_dir)
    return icf.DatasetContent(
        classes=CLASSES,
        train=_read_samples(folder, "train", "train", params.limit),
        test=_read_samples(folder, "t10k", "test", params.limit),
    )


def _find_folder(root: Path | None, cache_dir: Path) -> Path:
    if root is not None:
        candidates = [root.expanduser(), root.expanduser() / "FashionMNIST" / "raw"]
        found = [folder for folder in candidates if _find_file(folder, "train-images-idx3-ubyte")]
        if not found:
            raise icf.DataError(
                f'torchvision/fashion-mnist: root = "{root}": neither it nor its FashionMNIST/raw holds '
                "train-images-idx3-ubyte or train-images-idx3-ubyte.gz"
            )
        return found[0]
    if _find_file(DEBIAN_ROOT, "train-images-idx3-ubyte"):
        return DEBIAN_ROOT
    return _download(cache_dir)


def _find_file(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((file for file in candidates if file.is_file()), None)


def _download(cache_dir: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    folder = cache_dir / "FashionMNIST" / "raw"
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    if all((folder / name).is_file() for name in names):
        return folder
    server = FashionMNIST.mirrors[0]
    advice = (
        "Install Debian's package dataset-fashion-mnist (found by itself), or give the folder of the four "
        "IDX files as dataset.root."
    )
    if not is_reachable(server):
        raise icf.DataError(
            f"torchvision/fashion-mnist: the files can't be downloaded, {server} can't be reached. {advice}"
        )
    try:
        FashionMNIST(cache_dir, download=True)
    except (OSError, RuntimeError) as error:
        raise icf.DataError(f"torchvision/fashion-mnist: the download failed: {error}. {advice}") from error
    return folder


def _read_samples(folder: Path, part: str, name: str, limit: int | None) -> icf.Samples:
    images = read_idx(_require_file(folder, f"{part}-images-idx3-ubyte"), dimensions=3)
    labels = read_idx(_require_file(folder, f"{part}-labels-idx1-ubyte"), dimensions=1)
    if len(images) != len(labels):
        raise icf.DataError(
            f"torchvision/fashion-mnist: {folder} has {len(images)} {name} images but {len(labels)} labels"
        )
    if labels.size and labels.max() >= len(CLASSES):
        raise icf.DataError(
            f"torchvision/fashion-mnist: {folder}: row {int(labels.argmax())} of the {name} labels is "
            f"{labels.max()}; allowed are 0 to {len(CLASSES) - 1}"
        )
    images, targets = images[:limit], labels[:limit].astype(np.int64)
    ids = [f"{name}-{row:05d}" for row in range(len(targets))]
    return icf.Samples(ids=ids, images=images, targets=targets)


def _require_file(folder: Path, name: str) -> Path:
    file = _find_file(folder, name)
    if file is None:
        raise icf.DataError(f"torchvision/fashion-mnist: {folder} has neither {name} nor {name}.gz")
    return file


def read_idx(file: Path, *, dimensions: int) -> icf.PixelArray:
    """Read an IDX file of unsigned bytes, packed with gzip or not; uint8 of ``dimensions`` axes.

    The header is two zero bytes, the type (8), the number of dimensions, and each dimension as a
    big-endian 32-bit integer. Raises DataError, naming the file, when the content is anything else.
    """
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise icf.DataError(f"{file}: can't be read: {error}") from None
    header = 4 + 4 * dimensions
    magic = bytes((0, 0, MAGIC_BYTES, dimensions))
    if len(content) < header or content[:4] != magic:
        raise icf.DataError(
            f"{file}: not an IDX file of unsigned bytes with {dimensions} dimensions: "
            f"it begins with {content[:4].hex()} and should begin with {magic.hex()}"
        )
    shape = tuple(int(length) for length in np.frombuffer(content, dtype=">u4", count=dimensions, offset=4))
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise icf.DataError(
            f"{file}: {state}: its header promises {shape}, {expected:,} bytes, but it has {len(content):,}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
