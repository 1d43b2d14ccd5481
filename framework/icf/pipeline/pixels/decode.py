"""One image file -> pixels, correctly: orientation, palette, alpha, CMYK, 16 bits; or the reason why not."""

from __future__ import annotations

import io
import stat
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from icf.components import PixelArray
from icf.pipeline.pixels.jpeg import can_decode, decode_jpeg

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

_ORIENTATION = 0x0112

# EXIF 2.32, table 6: what turns the stored pixels upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LAST_STAYS = (None, Image.Transpose.TRANSPOSE)
_TRANSPOSED = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


class UnreadableImageError(Exception):
    """The file holds no image that can be decoded; the text is the reason, without the file's name."""


class Decoded(NamedTuple):
    """``pixels`` are uint8 [H, W, channels], upright; ``format`` is the file's true one.

    ``extent`` is the image's height and width in these pixels: no whole numbers where 13 pixels of the file became
    4, of which the last is image for a quarter only.
    """

    pixels: PixelArray
    format: str
    extent: tuple[float, float]


def decode_image(
    path: Path, channels: int, choose_reduction: Callable[[tuple[int, int]], int] | None = None
) -> Decoded:
    """Return the pixels of a file as RGB, or as grey for 1 channel, upright.

    EXIF orientation is applied; transparency is laid on white; 16-bit values are scaled to 8 bits.
    ``choose_reduction`` tells by which power of two, 1 to 8, an upright image of (height, width) may be smaller
    than in the file; only JPEG makes use of it, which is decoded several times faster so.

    Raises:
        UnreadableImageError: the file is missing, empty, truncated, no image, or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError("not a file")
        if status.st_size == 0:
            raise UnreadableImageError("the file is empty")
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image)
            if can_decode(image.format, image.mode):
                decoded = _decode_jpeg(data, image, channels, choose_reduction)
                if decoded is not None:
                    return decoded
            pixels = _decode(image, channels)
            return Decoded(pixels, image.format or "", pixels.shape[:2])
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


def describe_decoders() -> list[str]:
    """Return what pixels depend on besides the files: another version may round otherwise."""
    return [f"{name} {version(name)}" for name in ("pillow", "simplejpeg", "torch")]


def has_wrong_suffix(path: Path, true_format: str) -> bool:
    """Tell whether a file's suffix names another format than the one it has."""
    fitting = _SUFFIXES.get(true_format)
    return fitting is not None and path.suffix.lower() not in fitting


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")


def _decode_jpeg(
    data: bytes, image: Image.Image, channels: int, choose_reduction: Callable[[tuple[int, int]], int] | None
) -> Decoded | None:
    """Decode without Pillow, which has read only the header; None when the data is not sound."""
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    stored = image.height, image.width
    upright = stored[::-1] if turn in _TRANSPOSED else stored
    reduction = choose_reduction(upright) if choose_reduction else 1
    # An incomplete last pixel would become the first one.
    while turn not in _LAST_STAYS and any(side % reduction for side in stored):
        reduction //= 2
    pixels = decode_jpeg(data, stored, image.mode, reduction)
    if pixels is None:
        return None
    if turn is not None or pixels.shape[2] != channels:
        decoded = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        pixels = to_pixels(decoded if turn is None else decoded.transpose(turn), channels)
    return Decoded(pixels, image.format or "", (upright[0] / reduction, upright[1] / reduction))


def _decode(image: Image.Image, channels: int) -> PixelArray:
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
    return np.array(image).reshape(image.height, image.width, channels)


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
