"""JPEG data -> pixels by libjpeg-turbo, at a half, a quarter or an eighth of the size where that is enough."""

from __future__ import annotations

import simplejpeg

from icf.components import PixelArray

REDUCTIONS = (8, 4, 2)
"""The scales that libjpeg-turbo computes faster than the full size; 3/8 and the like are slower than a full decode."""


def can_decode(true_format: str | None, mode: str) -> bool:
    """Tell whether Pillow's format and mode are those of plain JPEG data, grey or of three colours."""
    return true_format in ("JPEG", "MPO") and mode in ("RGB", "L")


def decode_jpeg(data: bytes, size: tuple[int, int], mode: str, reduction: int) -> PixelArray | None:
    """Return uint8 [ceil(H / reduction), ceil(W / reduction), C], as it is stored; None when the data is damaged.

    ``size`` is (H, W) in the file, ``mode`` is "RGB" or "L", ``reduction`` 1, 2, 4 or 8.
    """
    height, width = (-(-side // reduction) for side in size)
    colours = "RGB" if mode == "RGB" else "GRAY"
    try:
        # The smallest scale that is not below both sides is the reduction itself.
        pixels: PixelArray = simplejpeg.decode_jpeg(data, colours, min_height=height, min_width=width)
    except ValueError:
        return None
    return pixels
