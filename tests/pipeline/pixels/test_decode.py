from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_image

from icf.pipeline.pixels.decode import UnreadableImageError, decode_image, has_wrong_suffix
from samples import draw_photo, save_photo

PHOTO = draw_photo()
GREY = PHOTO[:, :, 0]

torchvision_decodes = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""EXIF 2.32, table 6: what turns the stored pixels upright."""


def encode(image: Image.Image | np.ndarray, suffix: str, **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format=Image.registered_extensions()[suffix], **options)
    return buffer.getvalue()


VALID = {
    ".png": encode(PHOTO, ".png"),
    ".jpg": encode(PHOTO, ".jpg", quality=90),
    ".webp": encode(PHOTO, ".webp", quality=90),
    ".gif": encode(PHOTO, ".gif"),
    ".bmp": encode(PHOTO, ".bmp"),
    ".tif": encode(PHOTO, ".tif", compression="tiff_lzw"),
}


def write(tmp_path: Path, content: bytes, name: str = "image.png") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def decode(tmp_path: Path, content: bytes, channels: int = 3) -> np.ndarray:
    return decode_image(write(tmp_path, content), channels)[0]


def reason(path: Path) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(path, 3)
    text = str(caught.value)
    assert text
    assert str(path.parent) not in text
    return text


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    pixels = decode(tmp_path, encode(PHOTO, suffix, exif=exif, **options))
    np.testing.assert_array_equal(pixels, UPRIGHT[orientation](PHOTO))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_jpeg_agrees_with_opencv(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, encode(PHOTO, ".jpg", exif=exif, quality=95, subsampling=0), "image.jpg")
    expected = cv2.imread(str(path))[:, :, ::-1]
    pixels, _, _ = decode_image(path, 3)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 2
    assert np.abs(pixels.astype(int) - UPRIGHT[orientation](PHOTO)).mean() < 4


@pytest.mark.parametrize("exif", [b"II*\0\xff\xff\xff\x7f garbage", b"garbage", b"", b"II*\0\x08\0\0\0\xff\xff"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_image(tmp_path, exif):
    content = encode(PHOTO, ".jpg", exif=b"Exif\0\0" + exif, quality=90)
    np.testing.assert_array_equal(decode(tmp_path, content), decode(tmp_path, VALID[".jpg"]))


@pytest.mark.parametrize("quality", [50, 95])
@pytest.mark.parametrize("progressive", [False, True])
@torchvision_decodes
def test_jpeg_agrees_with_torchvision(tmp_path, quality, progressive):
    content = encode(draw_photo(67, 45), ".jpg", quality=quality, progressive=progressive)
    expected = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
    difference = decode(tmp_path, content).astype(int) - expected.permute(1, 2, 0).numpy()
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".gif"])
@torchvision_decodes
def test_lossless_agrees_with_torchvision(tmp_path, suffix):
    path = write(tmp_path, VALID[suffix], f"image{suffix}")
    expected = read_image(str(path), ImageReadMode.RGB).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(decode_image(path, 3)[0], expected)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_formats_give_back_the_pixels(tmp_path, suffix):
    pixels, true_format, _ = decode_image(write(tmp_path, VALID[suffix], f"image{suffix}"), 3)
    np.testing.assert_array_equal(pixels, PHOTO)
    assert pixels.dtype == np.uint8
    assert true_format == {".png": "PNG", ".bmp": "BMP", ".tif": "TIFF"}[suffix]


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_are_close(tmp_path, suffix):
    assert np.abs(decode(tmp_path, VALID[suffix]).astype(int) - PHOTO).mean() < 5


def test_one_channel_is_grey_by_rec_601(tmp_path):
    pixels = decode(tmp_path, VALID[".png"], channels=1)
    assert pixels.shape == (*PHOTO.shape[:2], 1)
    expected = PHOTO @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels[:, :, 0] - expected).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_is_repeated(tmp_path, channels):
    pixels = decode(tmp_path, encode(GREY, ".png"), channels)
    np.testing.assert_array_equal(pixels, np.repeat(GREY[:, :, None], channels, axis=2))


ALPHA = np.linspace(0, 255, GREY.size).reshape(GREY.shape).astype(np.uint8)


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[:, :, None] / 255
    return colour * share + 255 * (1 - share)


def test_alpha_is_laid_on_white(tmp_path):
    pixels = decode(tmp_path, encode(np.dstack([PHOTO, ALPHA]), ".png"))
    assert np.abs(pixels - on_white(PHOTO, ALPHA)).max() <= 1


def test_grey_with_alpha(tmp_path):
    pixels = decode(tmp_path, encode(np.dstack([GREY, ALPHA]), ".png"), channels=1)
    assert np.abs(pixels - on_white(GREY[:, :, None], ALPHA)).max() <= 1


def test_palette(tmp_path):
    image = Image.fromarray(PHOTO).quantize(64)
    np.testing.assert_array_equal(decode(tmp_path, encode(image, ".png")), np.asarray(image.convert("RGB")))


def test_palette_with_transparency(tmp_path):
    image = Image.fromarray(PHOTO).quantize(8)
    index = np.asarray(image)
    alpha = np.full(8, 255, np.uint8)
    alpha[2], alpha[5] = 0, 100
    pixels = decode(tmp_path, encode(image, ".png", transparency=alpha.tobytes()))
    colours = np.array(image.getpalette()).reshape(-1, 3)[index]
    assert np.abs(pixels - on_white(colours, alpha[index])).max() <= 1
    assert (pixels[index == 2] == 255).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_one_transparent_colour(tmp_path, mode):
    image = Image.fromarray(PHOTO).convert(mode)
    key = image.getpixel((3, 4))
    pixels = decode(tmp_path, encode(image, ".png", transparency=key))
    original = np.asarray(image.convert("RGB"))
    hit = (original == original[4, 3]).all(axis=2)
    assert hit.any()
    assert (pixels[hit] == 255).all()
    np.testing.assert_array_equal(pixels[~hit], original[~hit])


def test_cmyk_jpeg_is_close_to_rgb(tmp_path):
    content = encode(Image.fromarray(PHOTO).convert("CMYK"), ".jpg", quality=95)
    assert np.abs(decode(tmp_path, content).astype(int) - PHOTO).mean() < 6


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("brightest", [65535, 200])
def test_16_bits_are_scaled_by_257(tmp_path, suffix, brightest):
    values = np.linspace(0, brightest, GREY.size).reshape(GREY.shape).astype(np.uint16)
    pixels = decode(tmp_path, encode(values, suffix), channels=1)
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(values / 257))


@pytest.mark.parametrize("brightest", [65535, 200])
def test_16_bits_big_endian(tmp_path, brightest):
    values = np.linspace(0, brightest, GREY.size).reshape(GREY.shape).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / "little.tif"), values)
    big = Image.frombytes("I;16B", GREY.shape[::-1], values.astype(">u2").tobytes())
    pixels = decode(tmp_path, encode(big, ".tif"), channels=1)
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(values / 257))
    np.testing.assert_array_equal(pixels, decode_image(tmp_path / "little.tif", 1)[0])


def test_16_bit_colour(tmp_path):
    assert cv2.imwrite(str(tmp_path / "deep.png"), PHOTO[:, :, ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode_image(tmp_path / "deep.png", 3)[0], PHOTO)


def test_float_from_0_to_1(tmp_path):
    values = np.linspace(0, 1, GREY.size, dtype=np.float32).reshape(GREY.shape)
    pixels = decode(tmp_path, encode(values, ".tif"), channels=1)
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(values * 255))


def test_float_without_meaning_is_refused(tmp_path):
    values = np.full(GREY.shape, np.nan, dtype=np.float32)
    assert reason(write(tmp_path, encode(values, ".tif"))) == "some pixels are no finite numbers"


def test_one_bit(tmp_path):
    bits = GREY > 100
    pixels = decode(tmp_path, encode(bits, ".png"), channels=1)
    np.testing.assert_array_equal(pixels[:, :, 0], bits * 255)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(draw_photo(seed=seed)).quantize(32) for seed in range(3)]
    content = encode(frames[0], ".gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(tmp_path, content), np.asarray(frames[0].convert("RGB")))


def claim_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(60000, 60000), (12400, 12400)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, width, height):
    assert "150,000,000" in reason(write(tmp_path, claim_size(width, height)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"id,label\n1,cat\n", "not an image, or of an unknown format"),
        (b"\xff\xd8\xff", "not an image, or of an unknown format"),
        (VALID[".jpg"][:200], "not an image|damaged"),
        (VALID[".jpg"][:-100], "damaged: image file is truncated"),
        (VALID[".png"][:-100], "damaged: image file is truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "unknown format"),
    ],
)
def test_damaged_files_have_a_reason(tmp_path, content, expected):
    assert re.search(expected, reason(write(tmp_path, content, "photo.jpg")))


def test_what_is_no_file_has_a_reason(tmp_path):
    assert reason(tmp_path / "none.png") == "no such file"
    (tmp_path / "folder.png").mkdir()
    assert reason(tmp_path / "folder.png") == "not a file"
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "not a file"
    (tmp_path / "link.png").symlink_to(tmp_path / "none.png")
    assert reason(tmp_path / "link.png") == "no such file"
    (tmp_path / "real.png").write_bytes(b"x")
    assert reason(tmp_path / "real.png" / "below.png") == "can't be read: Not a directory"
    assert reason(tmp_path / ("n" * 300)) == "can't be read: File name too long"
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert reason(tmp_path / "loop.png").startswith("can't be read: ")


def decode_or_reason(path: Path) -> None:
    try:
        pixels, _, _ = decode_image(path, 3)
    except UnreadableImageError:
        return
    assert (pixels.dtype, pixels.ndim, pixels.shape[-1]) == (np.uint8, 3, 3)


MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
quiet = pytest.mark.filterwarnings("ignore")


@MANY
@given(content=st.binary(max_size=400), suffix=st.sampled_from([*VALID, ".txt"]))
@quiet
def test_random_bytes_are_never_another_error(tmp_path, content, suffix):
    decode_or_reason(write(tmp_path, content, f"random{suffix}"))


@MANY
@given(suffix=st.sampled_from(sorted(VALID)), share=st.floats(0, 0.999))
@quiet
def test_truncated_files_are_never_another_error(tmp_path, suffix, share):
    content = VALID[suffix]
    decode_or_reason(write(tmp_path, content[: int(share * len(content))], f"cut{suffix}"))


@MANY
@given(
    suffix=st.sampled_from(sorted(VALID)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
@quiet
def test_changed_bytes_are_never_another_error(tmp_path, suffix, changes):
    content = bytearray(VALID[suffix])
    for share, value in changes:
        content[int(share * min(len(content), 300))] = value
    decode_or_reason(write(tmp_path, bytes(content), f"changed{suffix}"))


def test_a_wrong_suffix_is_recognised(tmp_path):
    path = write(tmp_path, VALID[".png"], "photo.jpg")
    pixels, true_format, _ = decode_image(path, 3)
    np.testing.assert_array_equal(pixels, PHOTO)
    assert has_wrong_suffix(path, true_format)


@pytest.mark.parametrize(("name", "true_format"), [("a.JPG", "JPEG"), ("a.jpeg", "MPO"), ("a.x", ""), ("a.x", "PPM")])
def test_a_fitting_or_unknown_suffix_is_not_wrong(name, true_format):
    assert not has_wrong_suffix(Path(name), true_format)


FIRST_FILES = """
import sys, threading
from pathlib import Path
from icf.pipeline.pixels.decode import decode_image
start = threading.Barrier(8)
found = []
def work(path):
    start.wait()
    found.append(decode_image(path, 3)[0].shape)
threads = [threading.Thread(target=work, args=[Path(sys.argv[1 + n % 2])]) for n in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(found) == 8, found
"""


def test_threads_may_open_their_first_files_at_once(tmp_path):
    paths = [save_photo(tmp_path / "a.tif"), save_photo(tmp_path / "b.webp")]
    done = subprocess.run([sys.executable, "-c", FIRST_FILES, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
