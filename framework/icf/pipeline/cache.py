"""Decode once: preprocessed pixels of many images in one memory-mapped uint8 array, shared by every process."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from icf.components import PixelArray
from icf.errors import IcfError, Problem
from icf.pipeline.files import digest, digest_strings, read_table, write_table
from icf.pipeline.pixels.decode import UnreadableImageError, describe_decoders, to_pixels
from icf.pipeline.preprocess import Preprocessing, Preprocessor

FORMAT = 2
"""Part of every key: raise it when the same inputs would give other pixels."""

STALE_SECONDS = 3600
"""A temporary file that nobody has written to for so long was left behind by a process that was killed."""

Progress = Callable[[int, int], None]


def cache_dir() -> Path:
    """Return the folder for caches: $ICF_CACHE, else ~/.cache/icf."""
    return Path(os.environ.get("ICF_CACHE") or Path.home() / ".cache" / "icf")


@dataclass(frozen=True)
class PixelCache:
    """``pixels`` is uint8 [N, H, W, C], in the order of the images; unreadable ones are zeros, named in ``errors``.

    ``formats`` are the files' true formats ("JPEG"), empty for pixels that came from no file.
    """

    path: Path
    digests: tuple[str, ...]
    errors: dict[int, str]
    formats: tuple[str, ...]

    @property
    def pixels(self) -> PixelArray:
        """Map the pixels into memory, copy-on-write."""
        return open_pixels(self.path)


def open_pixels(path: Path) -> PixelArray:
    """Map a cache file into memory; pages are shared between processes."""
    mapped: PixelArray = np.load(path, mmap_mode="c", allow_pickle=False)
    return mapped


def fill_cache(
    images: Sequence[Path] | PixelArray, spec: Preprocessing, folder: Path, progress: Progress
) -> PixelCache:
    """Return the cache of these images under this preprocessing; decode what is not there yet.

    The file appears under its name only when it is complete, so no reader meets a half-filled one.

    Raises:
        IcfError: the folder can't be written to, or has no room.
        PluginError: a shared transform failed.
    """
    key = digest(FORMAT, describe_decoders(), _describe_pixels(spec), _fingerprint(images))
    path, index = folder / f"{key}.npy", folder / f"{key}.parquet"
    if not (path.exists() and index.exists()):
        try:
            _fill(images, spec, path, index, progress)
        except OSError as error:
            megabytes = len(images) * int(np.prod(spec.image_size)) * spec.channels / 1e6
            raise IcfError(
                f"can't write {megabytes:,.0f} MB of decoded images to {folder}: {error.strerror or error};"
                " set the environment variable ICF_CACHE to a folder that can be written to and has room"
            ) from error
    table = read_table(index)
    errors = {row: text for row, text in enumerate(table["error"]) if text is not None}
    return PixelCache(path, tuple(table["digest"]), errors, tuple(table["format"]))


def _describe_pixels(spec: Preprocessing) -> dict[str, object]:
    return spec.model_dump(mode="json", exclude={"mean", "std"})


def _fingerprint(images: Sequence[Path] | PixelArray) -> str:
    if isinstance(images, np.ndarray):
        return digest(list(images.shape), np.ascontiguousarray(images).tobytes())
    return digest_strings(_describe_file(path) for path in images)


def _describe_file(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path}|missing"
    return f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}"


def _fill(
    images: Sequence[Path] | PixelArray, spec: Preprocessing, path: Path, index: Path, progress: Progress
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shape = (len(images), *spec.image_size, spec.channels)
    try:
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(temporary)
        rows = _decode_into(pixels, images, spec, progress)
        pixels.flush()
        columns = {name: [getattr(row, name) for row in rows] for name in ("digest", "error", "format")}
        write_table(index, columns)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob(".*.npy.*.tmp"):
        try:
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
        except FileNotFoundError:
            pass  # another process was faster


def _reserve(path: Path) -> None:
    """Claim the whole file's room on the disk: a full disk would kill a process that writes to mapped memory."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


@dataclass(frozen=True)
class _Decoded:
    digest: str = ""
    format: str = ""
    error: str | None = None


def _decode_into(
    pixels: PixelArray, images: Sequence[Path] | PixelArray, spec: Preprocessing, progress: Progress
) -> list[_Decoded]:
    preprocess = Preprocessor(spec)

    def decode(row: int) -> _Decoded:
        try:
            pixels[row], true_format = _read(images[row], preprocess, spec.channels)
        except UnreadableImageError as error:
            return _Decoded(error=str(error))
        return _Decoded(blake2b(pixels[row].tobytes(), digest_size=16).hexdigest(), true_format)

    results: list[_Decoded] = []
    # The decoders release the interpreter lock, so threads are enough and share the array.
    with warnings.catch_warnings(), ThreadPoolExecutor(count_cores()) as pool:
        warnings.simplefilter("ignore")  # Pillow's, about files that it reads all the same
        for result in pool.map(decode, range(len(images))):
            results.append(result)
            if len(results) % 64 == 0 or len(results) == len(images):
                progress(len(results), len(images))
    return results


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(image: Path | PixelArray, preprocess: Preprocessor, channels: int) -> tuple[PixelArray, str]:
    """Return uint8 [h, w, channels] from a file or from an array [H, W] or [H, W, C], and the file's format."""
    if isinstance(image, Path):
        return preprocess.read(image)
    if image.shape[2:] == (channels,):
        return preprocess(np.array(image)), ""
    grey = image[:, :, 0] if image.shape[2:] == (1,) else image
    return preprocess(to_pixels(Image.fromarray(grey), channels)), ""


def list_errors(cache: PixelCache, images: Sequence[Path] | PixelArray) -> list[Problem]:
    """Return a Problem for each image that could not be read."""
    return [Problem(str(images[row]), reason) for row, reason in sorted(cache.errors.items())]
