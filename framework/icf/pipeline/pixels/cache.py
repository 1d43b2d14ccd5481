"""Decode once: preprocessed pixels of many images in one memory-mapped uint8 array, shared by every process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icf.components import IntArray, PixelArray
from icf.errors import IcfError, Problem
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.files import digest
from icf.pipeline.pixels.boxes import digest_boxes
from icf.pipeline.pixels.decode import describe_decoders
from icf.pipeline.pixels.fill import fill_array, survey
from icf.pipeline.pixels.fingerprint import fingerprint
from icf.pipeline.pixels.part import Progress, complete, discard, take_turn
from icf.pipeline.pixels.reader import ImageReader
from icf.pipeline.pixels.room import GB, CacheFiles, make_room
from icf.pipeline.pixels.sources import DecodedPixels, MappedPixels, PixelSource
from icf.pipeline.pixels.table import Digests, ImageTable, read_image_table, write_image_table
from icf.sections import Cache

FORMAT = 4
"""Part of every key: raise it when the same inputs would give other pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelCache:
    """What is known of images, in their order, and a ``source`` of their pixels.

    ``digests`` are hashes of the pixels; ``errors`` tell why images are unreadable; ``formats`` are the files' true
    ones ("JPEG"), empty for pixels that came from no file. ``path`` is None, and ``note`` says why, where pixels
    are not stored. ``large`` holds the same images in the size that the transforms of training ask for, if that is
    another; then ``source`` has both.
    """

    key: str
    path: Path | None
    digests: Digests
    errors: dict[int, str]
    formats: tuple[str, ...]
    source: PixelSource
    note: str = ""
    large: PixelCache | None = None


def fill_cache(
    images: Sequence[Path] | PixelArray,
    spec: Preprocessing,
    folder: Path,
    progress: Progress,
    section: Cache | None = None,
    boxes: IntArray | None = None,
) -> PixelCache:
    """Return the cache of these images under this preprocessing; decode what is not there yet.

    ``boxes``, int64 [N, 4], are what images are cropped to first.

    One process decodes, and others that want the same wait for it. Pixels appear under their name only when they are
    complete, so no reader meets half of them. Where they are not to be stored, or would not fit, every image
    is decoded all the same, to learn what is known of it, and then whenever it is asked for.

    Raises:
        IcfError: the folder can't be written to, or cache.mode = "on" and there is no room.
        PluginError: a shared transform failed.
    """
    section = section or Cache()
    reader = ImageReader(images, spec, boxes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contents = fingerprint(images, folder / "contents.bin")
        parts = [FORMAT, describe_decoders(), _describe_pixels(spec), contents]
        files = CacheFiles(folder, digest(*parts, *([] if boxes is None else [digest_boxes(boxes)])))
        return _open_or_fill(reader, files, progress, section)
    except OSError as error:
        raise IcfError(
            f"can't write decoded images to {folder}: {error.strerror or error};"
            " set the environment variable ICF_CACHE to a folder that can be written to"
        ) from error


def _describe_pixels(spec: Preprocessing) -> dict[str, object]:
    return spec.model_dump(mode="json", exclude={"mean", "std", "boxes"})


def _open_or_fill(reader: ImageReader, files: CacheFiles, progress: Progress, section: Cache) -> PixelCache:
    if section.mode == "off":
        return _decode_each_time(reader, files, progress, "")
    found = _open(files)
    if found is None:
        with take_turn(files, reader.shape[0], progress):
            found = _open(files)
            note = "" if found else _store(reader, files, progress, section)
            found = found or _open(files)
    return found or _decode_each_time(reader, files, progress, note)


def _open(files: CacheFiles) -> PixelCache | None:
    """Return the complete cache, if there is one."""
    try:
        source = MappedPixels(files.array)
        return _make_cache(files, read_image_table(files.table), source, path=files.array)
    except FileNotFoundError:
        return None


def _decode_each_time(reader: ImageReader, files: CacheFiles, progress: Progress, note: str) -> PixelCache:
    with take_turn(files, reader.shape[0], progress):
        try:
            table = read_image_table(files.table)
        except FileNotFoundError:
            table = survey(reader, progress)
            write_image_table(files.table, table)
    return _make_cache(files, table, DecodedPixels(reader, table.errors), note=note)


def _make_cache(
    files: CacheFiles, table: ImageTable, source: PixelSource, path: Path | None = None, note: str = ""
) -> PixelCache:
    return PixelCache(
        key=files.key,
        path=path,
        digests=table.digests,
        errors=table.errors,
        formats=table.formats,
        source=source,
        note=note,
    )


def _store(reader: ImageReader, files: CacheFiles, progress: Progress, section: Cache) -> str:
    """Decode all images into the cache; return "", or why there is no room for it."""
    needed = int(np.prod(reader.shape))
    why = "" if files.part.exists() else make_room(files.folder, needed, round(section.max_gb * GB))
    if not why:
        try:
            write_image_table(files.table, fill_array(reader, files.part, progress))
            complete(files)
            return ""
        except OSError as error:
            discard(files)
            why = f"they take {needed / GB:.3g} GB, and {files.folder} can't hold them: {error.strerror or error}"
        except IcfError:
            discard(files)
            raise
    if section.mode == "on":
        raise IcfError(
            f'decoded images can\'t be stored, though cache.mode = "on": {why}; raise cache.max_gb, or'
            " set the environment variable ICF_CACHE to a folder with more room"
        )
    return f"decoded images are not stored, and every epoch decodes them again: {why}"


def list_errors(cache: PixelCache, images: Sequence[Path] | PixelArray) -> list[Problem]:
    """Return a Problem for each image that could not be read."""
    return [Problem(str(images[row]), reason) for row, reason in sorted(cache.errors.items())]
