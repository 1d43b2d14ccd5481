"""Crops images to their boxes, before anything else is done to them."""

from __future__ import annotations

import hashlib

import numpy as np

from icf.components import IntArray, PixelArray
from icf.pipeline.pixels.decode import UnreadableImageError


def cut_box(pixels: PixelArray, box: IntArray) -> PixelArray:
    """Return the part of uint8 [H, W, C] in a box (left, top, right, bottom); what is outside of the image is left off.

    Raises:
        UnreadableImageError: nothing of the box is in the image.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = (int(side) for side in box)
    part = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not part.size:
        where = f"from {left}, {top} to {right}, {bottom}"
        raise UnreadableImageError(f"its box {where} lies outside of the image of {width} x {height} pixels")
    return np.ascontiguousarray(part)


def digest_boxes(boxes: IntArray) -> str:
    """Return a hash of boxes."""
    return hashlib.sha256(np.ascontiguousarray(boxes, dtype="<i8").data).hexdigest()
