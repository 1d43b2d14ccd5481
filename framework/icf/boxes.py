"""Boxes around what matters in an image, as people write them into tables."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from icf.tables import Row

Box: TypeAlias = "tuple[int, int, int, int]"
"""Left, top, right and bottom in pixels of the upright image; right and bottom are outside of the box."""

BoxForm = Literal["corners", "size"]
"""How four columns say a box: left, top, right, bottom; or left, top, width, height."""

LARGEST = 2**31
"""No image has pixels beyond it."""


def read_box(row: Row, columns: tuple[str, str, str, str], form: BoxForm) -> Box:
    """Return the box of a row; fractions of pixels are widened to whole ones.

    Raises:
        ValueError: a cell is no number, or the box is empty; the text is for a person.
    """
    left, top, *ends = (_read_number(row, column) for column in columns)
    right, bottom = (left + ends[0], top + ends[1]) if form == "size" else ends
    if not (left < right and top < bottom):
        raise ValueError(f"the box from {left:g}, {top:g} to {right:g}, {bottom:g} is empty")
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def _read_number(row: Row, column: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not abs(value) < LARGEST:
        raise ValueError(f"{row[column]!r} in column {column!r} is no number of pixels")
    return value
