from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from icf.pipeline.data.preprocess import Preprocessor
from icf.pipeline.pixels import decode as decode_module
from icf.pipeline.pixels.decode import UnreadableImageError, decode_image
from samples import choose_transform, draw_photo, make_preprocessing


def draw_large(height: int, width: int) -> np.ndarray:
    """Return a photo whose finest detail is several pixels wide, as in those of cameras."""
    small = Image.fromarray(draw_photo(-(-height // 8), -(-width // 8)))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


PHOTO = draw_large(203, 158)


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def write(folder: Path, image: Image.Image, **options: object) -> Path:
    path = folder / "photo.jpg"
    path.write_bytes(encode(image, **options))
    return path


def decode_reduced(path: Path, reduction: int, channels: int = 3) -> np.ndarray:
    return decode_image(path, channels, lambda _given: reduction)[0]


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}])
def test_a_reduced_image_is_the_average_of_its_pixels(
    tmp_path: Path, reduction: int, options: dict[str, object]
) -> None:
    path = write(tmp_path, Image.fromarray(PHOTO), **options)
    full = np.asarray(Image.open(path))
    found = decode_reduced(path, reduction)
    assert found.shape == (-(-203 // reduction), -(-158 // reduction), 3)
    height, width = 203 // reduction, 158 // reduction
    blocks = full[: height * reduction, : width * reduction].reshape(height, reduction, width, reduction, 3)
    difference = np.abs(found[:height, :width] - blocks.mean(axis=(1, 3)))
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.99) < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("reduction", [1, 4])
def test_a_reduced_image_is_turned_upright(tmp_path: Path, orientation: int, mode: str, reduction: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, Image.fromarray(PHOTO[:200, :156]).convert(mode), exif=exif)
    seen: list[tuple[int, int]] = []

    def choose(given: tuple[int, int]) -> int:
        seen.append(given)
        return reduction

    found = decode_image(path, 3, choose)[0]
    upright = cv2.imread(str(path))[:, :, ::-1]  # OpenCV applies the orientation by itself
    assert seen == [upright.shape[:2]]
    expected = cv2.resize(upright, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert found.shape[:2] == tuple(-(-side // reduction) for side in upright.shape[:2])
    assert np.abs(found.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 1), ("L", 3), ("L", 1)])
def test_grey_and_colour_become_what_is_asked(tmp_path: Path, mode: str, channels: int) -> None:
    path = write(tmp_path, Image.fromarray(PHOTO).convert(mode))
    expected = np.asarray(Image.open(path).convert("RGB" if channels == 3 else "L")).reshape(203, 158, channels)
    assert np.abs(decode_reduced(path, 1, channels).astype(int) - expected).max() <= 1


def test_pixels_are_those_of_pillow_and_come_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, Image.fromarray(PHOTO))
    expected = np.asarray(Image.open(path))
    monkeypatch.setattr(decode_module, "_decode", None)
    np.testing.assert_allclose(decode_image(path, 3)[0], expected, atol=1)


@pytest.mark.parametrize("mode", ["CMYK"])
def test_other_colour_spaces_are_read_by_pillow(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path, Image.fromarray(PHOTO).convert(mode))
    np.testing.assert_array_equal(decode_reduced(path, 4), np.asarray(Image.open(path).convert("RGB")))


@given(cut=st.integers(min_value=0, max_value=1000))
def test_damaged_data_is_told_never_half_decoded(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = encode(Image.fromarray(PHOTO))
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(content[: len(content) * cut // 1001])
    with pytest.raises(UnreadableImageError):
        decode_image(path, 3)


def test_what_pillow_can_read_but_the_fast_decoder_refuses_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, Image.fromarray(PHOTO))
    content = path.read_bytes()
    broken = content[:-2] + b"\xff\xff\x00 garbage" + content[-2:]
    path.write_bytes(broken)
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(broken)
    assert np.abs(decode_image(path, 3)[0].astype(int) - PHOTO).mean() < 5


def test_a_file_that_lies_about_its_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    content = bytearray(encode(Image.fromarray(PHOTO)))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    path = tmp_path / "bomb.jpg"
    path.write_bytes(bytes(content))
    with pytest.raises(UnreadableImageError, match="more than 150,000,000"):
        decode_image(path, 3)


SIZES = [(64, 48), (30, 30)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["stretch", "pad", "crop"])
def test_a_file_is_preprocessed_like_its_full_pixels(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    path = write(tmp_path, Image.fromarray(draw_large(400, 500)))
    preprocess = Preprocessor(make_preprocessing(size, resize=mode))
    found, true_format = preprocess.read(path)
    expected = preprocess(decode_image(path, 3)[0])
    assert true_format == "JPEG"
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 1.5


def draw_texture(height: int, width: int) -> Image.Image:
    """Return random colours about 16 pixels wide, which show a shift of a fraction of a pixel."""
    small = np.random.default_rng(3).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["stretch", "pad", "crop"])
@pytest.mark.parametrize(("height", "width"), [(384, 512), (387, 518), (375, 500), (193, 97)])
def test_sides_that_can_not_be_divided_are_not_stretched(
    tmp_path: Path, orientation: int, mode: str, height: int, width: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, draw_texture(height, width), exif=exif)
    preprocess = Preprocessor(make_preprocessing((48, 40), resize=mode))
    expected = preprocess(decode_image(path, 3)[0])
    # The middle is found to half a reduced pixel, which is a third of a shown one and much in this fine texture.
    assert np.abs(preprocess.read(path)[0].astype(int) - expected).mean() < (12 if mode == "crop" else 2)


@pytest.mark.parametrize("orientation", [1, 5])
def test_the_last_pixel_is_at_its_place(tmp_path: Path, orientation: int) -> None:
    """513 pixels become 65, of which the last is one eighth."""
    ramp = np.linspace(0, 255, 513)
    picture = np.stack([ramp[:, None] + 0 * ramp, 0 * ramp[:, None] + ramp, np.zeros((513, 513))], axis=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path, Image.fromarray(picture.astype(np.uint8)), quality=100, subsampling=0, exif=exif)
    found = Preprocessor(make_preprocessing((40, 40))).read(path)[0].astype(int)
    expected = Preprocessor(make_preprocessing((40, 40)))(decode_image(path, 3)[0])
    assert np.abs(found - expected).max() <= 3


def test_shared_transforms_see_the_file_s_own_pixels(tmp_path: Path) -> None:
    path = write(tmp_path, Image.fromarray(draw_large(400, 500)))
    preprocess = Preprocessor(make_preprocessing((30, 30), shared=[choose_transform("upper_half")]))
    np.testing.assert_array_equal(preprocess.read(path)[0], preprocess(decode_image(path, 3)[0]))
