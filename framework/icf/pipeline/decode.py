"""One image file -> pixels, correctly: orientation, palette, alpha, CMYK, 16 bits; or the reason why not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from icf.components import PixelArray

MAX_PIXELS = 150_000_000
"""A small file can unpack to gigabytes; no photograph has more pixels than this."""

_SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
}


class UnreadableImageError(Exception):
    """The file holds no image that can be decoded; the text is the reason, without the file's name."""


def decode_image(path: Path, channels: int) -> tuple[PixelArray, str]:
    """Return the pixels of a file as uint8 [H, W, channels] (RGB, or grey for 1), upright, and its true format.

    EXIF orientation is applied; transparency is laid on white; 16-bit values are scaled to 8 bits.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, no image, or too large.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableImageError("the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return _to_pixels(image, channels), image.format or ""
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError("no such file") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image, or of an unknown format") from None
    # Damaged files make Pillow's decoders raise half a dozen unrelated types, SyntaxError among them.
    except Exception as error:
        raise UnreadableImageError(f"damaged: {type(error).__name__}: {error}") from error


def has_wrong_suffix(path: Path, true_format: str) -> bool:
    """Tell whether a file's suffix names another format than the one it has."""
    fitting = _SUFFIXES.get(true_format)
    return fitting is not None and path.suffix.lower() not in fitting


def _to_pixels(image: Image.Image, channels: int) -> PixelArray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_scale_to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if channels == 3 else "L")
    return np.asarray(image).reshape(image.height, image.width, channels)


def _scale_to_8_bits(values: np.ndarray) -> PixelArray:
    """Map 16-bit integers from 0..65535 and floats from 0..1 to 0..255; what already fits 8 bits stays."""
    if values.dtype.kind == "f":
        scaled = values * 255 if values.size and values.max() <= 1 else values
    else:
        sixteen_bits = values.dtype == np.uint16 or (values.size and values.max() > 255)
        scaled = values / 257 if sixteen_bits else values
    levels: PixelArray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return levels
