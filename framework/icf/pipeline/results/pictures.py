"""Pictures inside the report: pixels and PNG files as small data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from icf.components import FloatArray, IntArray, PixelArray
from icf.pipeline.files import read_parts, read_table
from icf.pipeline.folder import RunFolder
from icf.pipeline.pixels.sources import PixelSource

THUMBNAIL = 160
"""Longest side of a thumbnail in pixels; smaller images keep their size."""

GRID_WIDTH = 960
"""Largest width in pixels of the picture of a training batch."""

_SMALL = 64
"""Images up to this side are stored without loss: their pixels are seen one by one."""


@dataclass(frozen=True)
class Mistake:
    """A row whose most probable class is wrong.

    ``picture`` is a data URI; ``small`` says that its pixels should stay sharp when it is enlarged.
    """

    id: str
    true: str
    predicted: str
    probability: float
    probability_of_true: float
    picture: str
    small: bool


def read_mistakes(folder: RunFolder, classes: Sequence[str], source: PixelSource, most: int) -> list[Mistake]:
    """Return the out-of-fold rows that were predicted wrongly with the highest probability, surest first.

    ``source`` holds the pixels of the training rows.
    """
    path = folder.path / "oof.parquet"
    table, split = read_table(path, ["id", "target"]), read_table(folder.split, ["id", "row"])
    if "target" not in table:  # an image with any number of labels is not simply right or wrong
        return []
    ids, targets = table["id"], table["target"]
    guesses = read_guesses(path, classes, targets)
    pixel_rows = dict(zip(split["id"], split["row"].tolist(), strict=True))
    found = []
    for row in rank_mistakes(guesses, targets)[:most].tolist():
        image = source.gather(np.array([pixel_rows[ids[row]]]))[0].numpy()
        found.append(
            Mistake(
                id=ids[row],
                true=classes[targets[row]],
                predicted=classes[guesses.predicted[row]],
                probability=float(guesses.probability[row]),
                probability_of_true=float(guesses.probability_of_true[row]),
                picture=encode_thumbnail(image),
                small=max(image.shape[:2]) <= _SMALL,
            )
        )
    return found


@dataclass(frozen=True)
class Guesses:
    """Of each row the most probable class, int64 [N], its probability, and that of the target, float64 [N]."""

    predicted: IntArray
    probability: FloatArray
    probability_of_true: FloatArray


def read_guesses(path: Path, classes: Sequence[str], targets: IntArray) -> Guesses:
    """Return what a file of probabilities says of its rows; they are never in memory all at once."""
    found = Guesses(np.empty(len(targets), np.int64), np.empty(len(targets)), np.empty(len(targets)))
    start = 0
    for part in read_parts(path, classes):
        chosen, rows = slice(start, start + len(part)), np.arange(len(part))
        found.predicted[chosen] = part.argmax(axis=1)
        found.probability[chosen] = part.max(axis=1)
        found.probability_of_true[chosen] = part[rows, targets[chosen]]
        start += len(part)
    return found


def rank_mistakes(guesses: Guesses, targets: IntArray) -> IntArray:
    """Return the rows whose most probable class is not the target, surest first, int64."""
    wrong = np.flatnonzero(guesses.predicted != targets)
    return wrong[np.argsort(-guesses.probability[wrong], kind="stable")]


def encode_thumbnail(pixels: PixelArray) -> str:
    """Return uint8 [H, W, C] as a data URI, no side longer than THUMBNAIL."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return _encode(image, "PNG" if max(image.size) <= _SMALL else "JPEG")


def read_grid(path: Path) -> str | None:
    """Return the picture of a training batch as a data URI, or None when it is missing or unreadable."""
    try:
        image = Image.open(path).convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None
    if image.width <= GRID_WIDTH // 2:
        return _encode(image, "PNG")
    image.thumbnail((GRID_WIDTH, GRID_WIDTH), Image.Resampling.LANCZOS)
    return _encode(image, "JPEG")


def _encode(image: Image.Image, form: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=form, quality=80, optimize=True)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
