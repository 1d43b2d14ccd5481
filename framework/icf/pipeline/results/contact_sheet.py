"""A sheet of small pictures in rows and columns, with a title for each column and words beside and below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from icf.components import PixelArray

SIDE = 192
"""Pixels of the longest side of a picture that was enlarged."""

LARGEST = 224
"""Larger pictures are reduced to this side."""

LEAST_WIDTH = 96
"""Of a column, so that its words have room."""

WORDS_WIDTH = 170
MARGIN = 8
FONT_SIZE = 12
LINE = 16
BLACK, GREY, WHITE = (20, 20, 20), (110, 110, 110), (255, 255, 255)


@dataclass(frozen=True)
class Column:
    """Pictures of one kind, uint8 [H, W, C] of any size, one for each row of the sheet, and the words below each."""

    title: str
    pictures: Sequence[PixelArray]
    captions: Sequence[str] = ()


def draw_sheet(
    title: str, rows: Sequence[tuple[str, str]], columns: Sequence[Column], size: tuple[int, int]
) -> Image.Image:
    """Return the sheet; ``rows`` are two lines of words each, ``size`` is the (height, width) that most pictures have.

    All pictures are shown in one size: small ones with their pixels as squares. Those of another shape keep it.
    """
    height, width = _choose_cell(size)
    cell = max(width, LEAST_WIDTH) + MARGIN
    line = height + MARGIN + (LINE if any(column.captions for column in columns) else 0)
    top = MARGIN + 2 * LINE
    sheet = Image.new("RGB", (MARGIN + WORDS_WIDTH + cell * len(columns), top + line * len(rows) + MARGIN), WHITE)
    pen = ImageDraw.Draw(sheet)
    _write(pen, (MARGIN, MARGIN), title, sheet.width - 2 * MARGIN, BLACK)
    for row, words in enumerate(rows):
        for place, text in enumerate(words):
            _write(pen, (MARGIN, top + row * line + place * LINE), text, WORDS_WIDTH - MARGIN, (BLACK, GREY)[place])
    for number, column in enumerate(columns):
        left = MARGIN + WORDS_WIDTH + number * cell
        _write(pen, (left, MARGIN + LINE), column.title, cell - MARGIN, BLACK)
        for row, pixels in enumerate(column.pictures):
            sheet.paste(_fit(pixels, (height, width)), (left, top + row * line))
            if column.captions:
                _write(pen, (left, top + row * line + height), column.captions[row], cell - MARGIN, GREY)
    return sheet


def _choose_cell(size: tuple[int, int]) -> tuple[int, int]:
    longest = max(size)
    scale = SIDE // longest if longest <= SIDE else min(1.0, LARGEST / longest)
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def _fit(pixels: PixelArray, cell: tuple[int, int]) -> Image.Image:
    """Return a picture of at most the cell's size, in the shape that it has."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    scale = min(cell[0] / image.height, cell[1] / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _write(
    pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, colour: tuple[int, int, int]
) -> None:
    """Write a line of text, with an ellipsis in its middle where it is too long."""
    font = ImageFont.load_default(FONT_SIZE)
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
    pen.text(place, shown, font=font, fill=colour)
