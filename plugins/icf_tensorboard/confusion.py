"""A confusion matrix as a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import icf

READABLE = 30
"""Up to so many classes, cells carry numbers and rows and columns carry names."""

CELL = 44
"""Side of a readable cell in pixels."""

MARGIN = 8
CORNER = ("rows: target", "columns: prediction")
TEXT = (20, 20, 20)
DARK = np.array((8, 48, 107), dtype=np.float64)


def draw_confusion(counts: icf.IntArray, classes: tuple[str, ...]) -> icf.PixelArray:
    """Draw counts int64 [K, K], [target][prediction], as uint8 [H, W, 3].

    A cell's shade is its share of its row, so that rare classes are as readable as frequent ones; a class
    without rows stays white.
    """
    count = len(counts)
    readable = count <= READABLE
    cell = CELL if readable else max(4, 720 // count)
    labels = [_shorten(name) for name in classes] if readable else []
    font = ImageFont.load_default(12)
    gutter = 2 * MARGIN + max(int(font.getlength(text)) for text in (*CORNER, *labels))
    side = gutter + count * cell + MARGIN
    shades = _shade(counts).repeat(cell, axis=0).repeat(cell, axis=1)
    picture = Image.new("RGB", (side, side), "white")
    picture.paste(Image.fromarray(shades), (gutter, gutter))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((gutter - 1, gutter - 1, gutter + count * cell, gutter + count * cell), outline=TEXT)
    draw.text((MARGIN, MARGIN), "\n".join(CORNER), TEXT, font)
    if readable:
        _write_labels(picture, labels, gutter, font)
        _write_numbers(draw, counts, gutter, font)
    return np.asarray(picture, dtype=np.uint8)


def _shorten(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f"{name[: longest - 3]}..."


def _shade(counts: icf.IntArray) -> icf.PixelArray:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colours = 255 + shares[:, :, None] * (DARK - 255)
    shades: icf.PixelArray = colours.round().astype(np.uint8)
    return shades


def _write_labels(
    picture: Image.Image, labels: list[str], gutter: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    draw = ImageDraw.Draw(picture)
    for index, label in enumerate(labels):
        middle = gutter + index * CELL + CELL // 2
        width = int(font.getlength(label))
        draw.text((gutter - MARGIN - width, middle - 8), label, TEXT, font)
        upright = Image.new("RGB", (width + 2, 16), "white")
        ImageDraw.Draw(upright).text((0, 0), label, TEXT, font)
        picture.paste(upright.rotate(90, expand=True), (middle - 8, gutter - MARGIN - width - 2))


def _write_numbers(
    draw: ImageDraw.ImageDraw,
    counts: icf.IntArray,
    gutter: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    totals = np.maximum(counts.sum(axis=1), 1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        number = str(counts[row, column])
        x = gutter + column * CELL + (CELL - int(font.getlength(number))) // 2
        y = gutter + row * CELL + CELL // 2 - 8
        colour = (255, 255, 255) if counts[row, column] > totals[row] / 2 else TEXT
        draw.text((int(x), int(y)), number, colour, font)
