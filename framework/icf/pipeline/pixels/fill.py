"""Decodes every image once, into a file that is complete or not there."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from icf.components import PixelArray
from icf.pipeline.cache import count_cores
from icf.pipeline.pixels.decode import UnreadableImageError
from icf.pipeline.pixels.journal import Journal
from icf.pipeline.pixels.lease import hold
from icf.pipeline.pixels.reader import ImageReader
from icf.pipeline.pixels.table import ImageFacts, ImageTable, TableDraft, digest_pixels
from icf.pipeline.pixels.threads import map_ordered

Progress = Callable[[int, int], None]


def fill_array(reader: ImageReader, part: Path, progress: Progress) -> ImageTable:
    """Decode all images into ``part``, an uint8 array [N, H, W, C]; continue what a killed process began.

    Only one process at a time may do so. The file's room on the disk is claimed first: a full disk would kill a
    process that writes to mapped memory.

    Raises:
        OSError: the disk has no room, or the file can't be written.
        PluginError: a shared transform failed.
    """
    part.touch()
    with hold(part), Journal(journal_of(part)) as journal:
        pixels = _open_array(part, reader.shape)
        _reserve(part)
        draft = _recall(journal, pixels)
        table = _decode_rest(reader, pixels, draft, journal, progress)
        pixels.flush()
        _sync(part)
    return table


def _recall(journal: Journal, pixels: PixelArray) -> TableDraft:
    """Return what a killed process has done; a crash of the machine may have lost pixels that were noted."""
    draft = TableDraft(len(pixels))
    for facts in journal.recall():
        row = len(draft)
        if row == len(pixels) or (facts.error is None and digest_pixels(pixels[row]) != facts.digest):
            break
        draft.append(facts)
    journal.forget_rest()
    return draft


def survey(reader: ImageReader, progress: Progress) -> ImageTable:
    """Decode all images only to learn what is known of them; their pixels are not kept."""
    return _decode_rest(reader, None, TableDraft(reader.shape[0]), None, progress)


def journal_of(part: Path) -> Path:
    """Return the path of the journal of an array that is being filled."""
    return part.with_suffix(".journal")


def _open_array(part: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    try:
        pixels = np.lib.format.open_memmap(part, mode="r+")
        if pixels.shape == shape and pixels.dtype == np.uint8:
            return pixels
    except (ValueError, OSError):  # not begun, or killed before its header was written
        pass
    return np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)


def _reserve(path: Path) -> None:
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _decode_rest(
    reader: ImageReader, pixels: PixelArray | None, draft: TableDraft, journal: Journal | None, progress: Progress
) -> ImageTable:
    total = reader.shape[0]

    def decode(row: int) -> ImageFacts:
        try:
            image, true_format = reader.read(row)
        except UnreadableImageError as error:
            image, facts = np.zeros(reader.shape[1:], np.uint8), ImageFacts(b"", "", str(error))
        else:
            facts = ImageFacts(digest_pixels(image), true_format, None)
        if pixels is not None:
            pixels[row] = image
        return facts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about files that it reads all the same
        for facts in map_ordered(decode, range(len(draft), total), count_cores()):
            draft.append(facts)
            if journal is not None:
                journal.append(facts)
            if len(draft) % 64 == 0 or len(draft) == total:
                progress(len(draft), total)
    return draft.finish()
