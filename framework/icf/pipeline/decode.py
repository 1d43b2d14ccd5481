"""One image file -> pixels, correctly: orientation, palette, alpha, CMYK, 16 bits; or the reason why not."""

from __future__ import annotations

import stat
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

# Loaded now: Pillow's own search for a reader is not safe when threads open their first files at once.
Image.init()

# Only readers of pictures: the one of EPS, for example, would start another program.
_FORMATS = [name for name in (*_SUFFIXES, "PPM", "JPEG2000", "AVIF") if name in Image.OPEN]


class UnreadableImageError(Exception):
    """The file holds no image that can be decoded; the text is the reason, without the file's name."""


def decode_image(path: Path, channels: int) -> tuple[PixelArray, str]:
    """Return the pixels of a file as uint8 [H, W, channels] (RGB, or grey for 1), upright, and its true format.

    EXIF orientation is applied; transparency is laid on white; 16-bit values are scaled to 8 bits.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, no image, or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError("not a file")
        if status.st_size == 0:
            raise UnreadableImageError("the file is empty")
        with Image.open(path, formats=_FORMATS) as image:
            return _decode(image, channels), image.format or ""
    except UnreadableImageError:
        raise
    # Damaged files make Pillow's decoders raise half a dozen unrelated types, SyntaxError among them.
    except Exception as error:
        raise UnreadableImageError(_explain(error)) from error


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, or of an unknown format (known are {', '.join(_FORMATS)})"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be read: {error.strerror}"
    kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
    return f"damaged: {kind}{error}"


def has_wrong_suffix(path: Path, true_format: str) -> bool:
    """Tell whether a file's suffix names another format than the one it has."""
    fitting = _SUFFIXES.get(true_format)
    return fitting is not None and path.suffix.lower() not in fitting


def _decode(image: Image.Image, channels: int) -> PixelArray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_scale_to_8_bits(np.asarray(image)))
    return to_pixels(image, channels)


def to_pixels(image: Image.Image, channels: int) -> PixelArray:
    """Return an image of 8 bits as uint8 [H, W, channels], laid on white where it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if channels == 3 else "L")
    return np.asarray(image).reshape(image.height, image.width, channels)


def _scale_to_8_bits(values: np.ndarray) -> PixelArray:
    """Map 16-bit integers from 0..65535 and floats from 0..1 to 0..255; what already fits 8 bits stays."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise UnreadableImageError("some pixels are no finite numbers")
        scaled = values * 255 if values.max() <= 1 else values
    else:
        scaled = values / 257 if values.dtype.itemsize == 2 or values.max() > 255 else values
    levels: PixelArray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return levels
