"""Decodes every image once, into a file that is complete or not there."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from icf.components import PixelArray
from icf.pipeline.cache import count_cores
from icf.pipeline.pixels.decode import UnreadableImageError
from icf.pipeline.pixels.journal import Journal
from icf.pipeline.pixels.part import Progress, open_part, recall
from icf.pipeline.pixels.reader import ImageReader
from icf.pipeline.pixels.table import ImageFacts, ImageTable, TableDraft, digest_pixels
from icf.pipeline.pixels.threads import map_ordered


def fill_array(reader: ImageReader, part: Path, progress: Progress) -> ImageTable:
    """Decode all images into ``part``, an uint8 array [N, H, W, C]; continue what a killed process began.

    Raises:
        OSError: the disk has no room, or the file can't be written.
        PluginError: a shared transform failed.
    """
    with open_part(part, reader.shape, np.uint8) as (pixels, journal):
        return _decode_rest(reader, pixels, recall(journal, pixels), journal, progress)


def survey(reader: ImageReader, progress: Progress) -> ImageTable:
    """Decode all images only to learn what is known of them; their pixels are not kept."""
    return _decode_rest(reader, None, TableDraft(reader.shape[0]), None, progress)


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
