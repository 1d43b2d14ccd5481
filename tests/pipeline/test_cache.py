from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
import warnings
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icf.errors import IcfError, PluginError
from icf.pipeline import cache as cache_module
from icf.pipeline import preprocess as preprocess_module
from icf.pipeline.cache import cache_dir, fill_cache, list_errors, open_pixels
from icf.pipeline.pixels.decode import decode_image
from icf.pipeline.preprocess import Preprocessor
from samples import choose_transform, draw_photo, make_preprocessing, save_photo

SPEC = make_preprocessing()
FORK = multiprocessing.get_context("fork")


def nothing(done: int, total: int) -> None:
    pass


def save_photos(folder: Path, count: int = 5) -> list[Path]:
    return [save_photo(folder / f"{seed:03d}.png", seed) for seed in range(count)]


def fill(images, tmp_path, spec=SPEC):
    return fill_cache(images, spec, tmp_path / "cache", nothing)


def list_files(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_pixels_are_those_of_each_image_in_order(tmp_path):
    paths = save_photos(tmp_path)
    found = fill(paths, tmp_path)
    expected = [Preprocessor(SPEC)(decode_image(path, 3)[0]) for path in paths]
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.pixels.dtype == np.uint8
    assert found.formats == ("PNG",) * 5
    assert found.errors == {}
    assert found.digests == tuple(blake2b(image.tobytes(), digest_size=16).hexdigest() for image in expected)


def test_equal_images_have_equal_digests_whatever_their_format(tmp_path):
    photo = Image.fromarray(draw_photo())
    paths = [tmp_path / "a.png", tmp_path / "b.bmp", tmp_path / "c.png"]
    for path in paths[:2]:
        photo.save(path)
    save_photo(paths[2], seed=1)
    digests = fill(paths, tmp_path).digests
    assert digests[0] == digests[1] != digests[2]


@pytest.fixture
def decoded(monkeypatch) -> list[Path]:
    """The files that were decoded so far."""
    paths: list[Path] = []

    def count(path, *options):
        paths.append(path)
        return decode_image(path, *options)

    monkeypatch.setattr(preprocess_module, "decode_image", count)
    return paths


def test_a_second_fill_decodes_nothing(tmp_path, decoded):
    paths = save_photos(tmp_path)
    first = fill(paths, tmp_path)
    second = fill(paths, tmp_path)
    assert sorted(decoded) == paths
    assert second == first
    np.testing.assert_array_equal(second.pixels, first.pixels)


def test_statistics_do_not_change_the_pixels(tmp_path, decoded):
    paths = save_photos(tmp_path)
    first = fill(paths, tmp_path)
    normalised = make_preprocessing(mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1))
    assert fill(paths, tmp_path, normalised) == first
    assert len(decoded) == 5


@pytest.mark.parametrize(
    "spec",
    [
        make_preprocessing((16, 17)),
        make_preprocessing(resize="pad"),
        make_preprocessing(channels=1),
        make_preprocessing(shared=[choose_transform("upper_half")]),
    ],
)
def test_another_preprocessing_is_another_cache(tmp_path, spec):
    paths = save_photos(tmp_path)
    assert fill(paths, tmp_path, spec).path != fill(paths, tmp_path).path


def test_a_changed_file_is_decoded_again(tmp_path):
    paths = save_photos(tmp_path)
    first = fill(paths, tmp_path)
    save_photo(paths[2], seed=77)
    second = fill(paths, tmp_path)
    assert second.path != first.path
    expected = Preprocessor(SPEC)(draw_photo(seed=77))
    np.testing.assert_array_equal(second.pixels[2], expected)
    assert [left != right for left, right in zip(first.digests, second.digests, strict=True)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_another_order_is_another_cache(tmp_path):
    paths = save_photos(tmp_path)
    np.testing.assert_array_equal(fill(paths[::-1], tmp_path).pixels[::-1], fill(paths, tmp_path).pixels)


def test_a_file_that_appears_is_decoded(tmp_path):
    paths = save_photos(tmp_path)
    absent = [*paths, tmp_path / "late.png"]
    assert fill(absent, tmp_path).errors == {5: "no such file"}
    save_photo(absent[-1])
    assert fill(absent, tmp_path).errors == {}


def test_unreadable_files_are_zero_and_named_with_the_reason(tmp_path):
    paths = save_photos(tmp_path)
    paths[1].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:-60])
    found = fill(paths, tmp_path)
    assert not found.pixels[[1, 3]].any()
    assert found.pixels[[0, 2, 4]].any(axis=(1, 2, 3)).all()
    problems = list_errors(found, paths)
    assert [problem.where for problem in problems] == [str(paths[1]), str(paths[3])]
    assert problems[0].message == "the file is empty"
    assert problems[1].message.startswith("damaged: ")
    assert fill(paths, tmp_path) == found


def test_writing_to_mapped_pixels_does_not_reach_the_file(tmp_path):
    found = fill(save_photos(tmp_path), tmp_path)
    found.pixels[:] = 0
    assert open_pixels(found.path).any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(5, 24, 40), (5, 24, 40, 1), (5, 24, 40, 3), (5, 24, 40, 4), (5, 16, 16, 3)])
def test_arrays_are_cached_as_files_of_the_same_pixels_are(tmp_path, shape, channels):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    paths = [tmp_path / f"{row}.png" for row in range(5)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image).save(path)
    spec = make_preprocessing(channels=channels)
    found = fill(images, tmp_path, spec)
    np.testing.assert_array_equal(found.pixels, fill(paths, tmp_path, spec).pixels)
    assert found.formats == ("",) * 5
    assert fill(images, tmp_path, spec) == found
    images[2] += 1
    assert fill(images, tmp_path, spec).path != found.path


def test_no_images_make_an_empty_cache(tmp_path):
    assert fill([], tmp_path).pixels.shape == (0, 16, 16, 3)


def test_progress_ends_with_the_total(tmp_path):
    told: list[tuple[int, int]] = []
    images = np.zeros((130, 4, 4), dtype=np.uint8)
    fill_cache(images, SPEC, tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(64, 130), (128, 130), (130, 130)]


def test_pillow_s_warnings_are_not_shown(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(draw_photo()).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f garbage")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        assert fill([path], tmp_path).errors == {}
    assert shown == []


def test_a_failing_transform_stops_the_fill_and_leaves_nothing(tmp_path):
    with pytest.raises(PluginError, match=r"transform 'samples/crash' \(samples 0\) failed"):
        fill(save_photos(tmp_path), tmp_path, make_preprocessing(shared=[choose_transform("crash")]))
    assert list_files(tmp_path) == []


def test_a_full_disk_is_an_error_for_people(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(IcfError, match=r"can't write 1 MB of decoded images to .*ICF_CACHE"):
            fill(np.zeros((1000, 16, 16, 3), dtype=np.uint8), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list_files(tmp_path) == []


def test_a_folder_that_can_not_be_made_is_an_error_for_people(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(IcfError, match="ICF_CACHE"):
        fill(save_photos(tmp_path), tmp_path)


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ICF_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("ICF_CACHE", "")
    assert cache_dir() == Path.home() / ".cache" / "icf"


def start_fill(paths: list[Path], tmp_path: Path, progress=nothing) -> multiprocessing.Process:
    process = FORK.Process(target=fill_cache, args=(paths, SPEC, tmp_path / "cache", progress))
    process.start()
    return process


def test_a_killed_fill_leaves_no_cache_and_is_cleaned_up(tmp_path):
    paths = save_photos(tmp_path / "photos", 100)
    half_way = FORK.Event()

    def stop_half_way(done: int, total: int) -> None:
        assert 0 < done < total
        half_way.set()
        time.sleep(60)

    process = start_fill(paths, tmp_path, stop_half_way)
    assert half_way.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (left,) = list_files(tmp_path)
    assert left.startswith(".")
    assert left.endswith(".tmp")
    old = time.time() - 2 * cache_module.STALE_SECONDS
    os.utime(tmp_path / "cache" / left, (old, old))
    again = fill(paths, tmp_path)
    whole = fill_cache(paths, SPEC, tmp_path / "other", nothing)
    np.testing.assert_array_equal(again.pixels, whole.pixels)
    assert again.digests == whole.digests
    assert list_files(tmp_path) == [again.path.name, again.path.with_suffix(".parquet").name]


def test_two_processes_may_fill_the_same_cache(tmp_path):
    paths = save_photos(tmp_path / "photos", 70)
    both_began = FORK.Barrier(2)
    processes = [start_fill(paths, tmp_path, lambda done, total: done == 64 and both_began.wait(30)) for _ in range(2)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    found = fill(paths, tmp_path)
    np.testing.assert_array_equal(found.pixels, fill_cache(paths, SPEC, tmp_path / "other", nothing).pixels)
    assert len(list_files(tmp_path)) == 2


def test_the_disk_s_room_is_claimed_before_decoding(tmp_path):
    claimed: list[bool] = []

    def look(done: int, total: int) -> None:
        (path,) = tmp_path.glob(".*.tmp")
        claimed.append(path.stat().st_blocks * 512 >= path.stat().st_size)

    fill_cache(np.zeros((5000, 4, 4), dtype=np.uint8), SPEC, tmp_path, look)
    assert claimed[0]


def test_another_process_s_file_in_use_is_left_alone(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".other.npy.123.tmp").write_bytes(b"")
    fill(save_photos(tmp_path), tmp_path)
    assert ".other.npy.123.tmp" in list_files(tmp_path)
