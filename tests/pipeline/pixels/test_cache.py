from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import time
import warnings
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icf.errors import IcfError, PluginError
from icf.pipeline.cache import cache_dir
from icf.pipeline.data import preprocess as preprocess_module
from icf.pipeline.data.preprocess import Preprocessor
from icf.pipeline.pixels.cache import PixelCache, fill_cache, list_errors
from icf.pipeline.pixels.decode import decode_image
from icf.sections import Cache
from samples import choose_transform, draw_photo, make_preprocessing, save_photo

SPEC = make_preprocessing()
FORK = multiprocessing.get_context("fork")


def nothing(done: int, total: int) -> None:
    pass


def save_photos(folder: Path, count: int = 5) -> list[Path]:
    return [save_photo(folder / f"{seed:03d}.png", seed) for seed in range(count)]


def fill(images, tmp_path, spec=SPEC, **section) -> PixelCache:
    return fill_cache(images, spec, tmp_path / "cache", nothing, Cache(**section))


def read(cache: PixelCache) -> np.ndarray:
    return cache.source.gather(np.arange(len(cache.digests))).numpy()


def assert_equal(first: PixelCache, second: PixelCache) -> None:
    assert (first.key, first.path, first.errors, first.formats) == (
        second.key,
        second.path,
        second.errors,
        second.formats,
    )
    np.testing.assert_array_equal(first.digests, second.digests)
    np.testing.assert_array_equal(read(first), read(second))


def test_pixels_are_those_of_each_image_in_order(tmp_path):
    paths = save_photos(tmp_path)
    found = fill(paths, tmp_path)
    expected = [Preprocessor(SPEC)(decode_image(path, 3)[0]) for path in paths]
    np.testing.assert_array_equal(read(found), expected)
    assert read(found).dtype == np.uint8
    assert found.formats == ("PNG",) * 5
    assert found.errors == {}
    hashes = [sha256(image.tobytes()).digest()[:16] for image in expected]
    assert [digest.ljust(16, b"\0") for digest in found.digests.tolist()] == hashes


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
    assert_equal(second, first)


def test_statistics_do_not_change_the_pixels(tmp_path, decoded):
    paths = save_photos(tmp_path)
    first = fill(paths, tmp_path)
    normalised = make_preprocessing(mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1))
    assert_equal(fill(paths, tmp_path, normalised), first)
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
    np.testing.assert_array_equal(read(second)[2], expected)
    assert [left != right for left, right in zip(first.digests, second.digests, strict=True)] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_another_order_is_another_cache(tmp_path):
    paths = save_photos(tmp_path)
    np.testing.assert_array_equal(read(fill(paths[::-1], tmp_path))[::-1], read(fill(paths, tmp_path)))


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
    assert not read(found)[[1, 3]].any()
    assert read(found)[[0, 2, 4]].any(axis=(1, 2, 3)).all()
    problems = list_errors(found, paths)
    assert [problem.where for problem in problems] == [str(paths[1]), str(paths[3])]
    assert problems[0].message == "the file is empty"
    assert problems[1].message.startswith("damaged: ")
    assert_equal(fill(paths, tmp_path), found)


def test_writing_to_mapped_pixels_does_not_reach_the_file(tmp_path):
    found = fill(save_photos(tmp_path), tmp_path)
    read(found)[:] = 0
    assert np.load(found.path).any()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(5, 24, 40), (5, 24, 40, 1), (5, 24, 40, 3), (5, 24, 40, 4), (5, 16, 16, 3)])
def test_arrays_are_cached_as_files_of_the_same_pixels_are(tmp_path, shape, channels):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    paths = [tmp_path / f"{row}.png" for row in range(5)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image).save(path)
    spec = make_preprocessing(channels=channels)
    found = fill(images, tmp_path, spec)
    np.testing.assert_array_equal(read(found), read(fill(paths, tmp_path, spec)))
    assert found.formats == ("",) * 5
    assert_equal(fill(images, tmp_path, spec), found)
    images[2] += 1
    assert fill(images, tmp_path, spec).path != found.path


def test_no_images_make_an_empty_cache(tmp_path):
    assert read(fill([], tmp_path)).shape == (0, 16, 16, 3)


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
    assert [str(warning.message) for warning in shown] == []


def list_files(tmp_path) -> list[str]:
    """Return the files of caches."""
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    return sorted(name for name in names if not name.endswith((".lock", ".bin")))


def test_a_failing_transform_stops_the_fill_and_leaves_nothing(tmp_path):
    with pytest.raises(PluginError, match=r"transform 'samples/crash' \(samples 0\) failed"):
        fill(save_photos(tmp_path), tmp_path, make_preprocessing(shared=[choose_transform("crash")]))
    assert list_files(tmp_path) == []


@contextmanager
def limit_files(size: int):
    """Let no file grow beyond some bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_on_a_full_disk_pixels_are_decoded_each_time(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1000, 16, 16, 3)).astype(np.uint8)
    with limit_files(100_000):
        found = fill(images, tmp_path)
    assert found.path is None
    assert "every epoch decodes them again: they take 0.000768 GB" in found.note
    assert "can't hold them" in found.note
    np.testing.assert_array_equal(read(found), images)
    assert list_files(tmp_path) == [f"{found.key}.npz"]


def test_a_full_disk_is_an_error_where_pixels_must_be_stored(tmp_path):
    with limit_files(100_000), pytest.raises(IcfError, match=r'cache\.mode = "on".*ICF_CACHE'):
        fill(np.zeros((1000, 16, 16, 3), dtype=np.uint8), tmp_path, mode="on")
    assert list_files(tmp_path) == []


def test_what_would_not_fit_into_max_gb_is_decoded_each_time(tmp_path, decoded):
    paths = save_photos(tmp_path)
    paths[1].write_bytes(b"")
    needed = 5 * 16 * 16 * 3
    found = fill(paths, tmp_path, max_gb=(needed - 1) / 1e9)
    assert found.path is None
    assert "cache.max_gb is 3.839e-06" in found.note
    stored = fill(paths, tmp_path, max_gb=(needed + 5000) / 1e9)
    assert stored.path is not None
    assert (stored.note, stored.key, stored.errors) == ("", found.key, found.errors)
    np.testing.assert_array_equal(read(found), read(stored))
    np.testing.assert_array_equal(found.digests, stored.digests)


def test_pixels_are_not_stored_when_the_recipe_says_so(tmp_path, decoded):
    paths = save_photos(tmp_path)
    found = fill(paths, tmp_path, mode="off")
    assert (found.path, found.note) == (None, "")
    assert list_files(tmp_path) == [f"{found.key}.npz"]
    assert len(decoded) == 5
    again = fill(paths, tmp_path, mode="off")
    assert len(decoded) == 5  # what is known of every image is kept
    np.testing.assert_array_equal(again.source.gather(np.array([3])), read(found)[[3]])


def test_a_folder_that_can_not_be_made_is_an_error_for_people(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(IcfError, match="ICF_CACHE"):
        fill(save_photos(tmp_path), tmp_path)


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ICF_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("ICF_CACHE", "")
    assert cache_dir() == Path.home() / ".cache" / "icf"


def test_copies_of_the_files_elsewhere_share_the_cache(tmp_path, decoded):
    paths = save_photos(tmp_path / "photos")
    first = fill(paths, tmp_path)
    copies = [Path(shutil.copy(path, tmp_path / f"copy-{path.name}")) for path in paths]
    assert_equal(fill(copies, tmp_path), first)
    assert sorted(decoded) == paths


def start_fill(paths: list[Path], tmp_path: Path, progress=nothing) -> multiprocessing.Process:
    process = FORK.Process(target=fill_cache, args=(paths, SPEC, tmp_path / "cache", progress))
    process.start()
    return process


def kill_at(paths: list[Path], tmp_path: Path, rows: int) -> None:
    """Kill a process that fills when some rows are done."""
    reached = FORK.Event()

    def stop(done: int, total: int) -> None:
        assert done < total
        if done == rows:
            reached.set()
            time.sleep(60)

    process = start_fill(paths, tmp_path, stop)
    assert reached.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_killed_fill_leaves_no_cache_and_goes_on_where_it_was(tmp_path, decoded):
    paths = save_photos(tmp_path / "photos", 300)
    paths[20].write_bytes(b"no image")
    kill_at(paths, tmp_path, 192)
    names = list_files(tmp_path)
    assert [name[-8:] for name in names] == [".journal", names[1][-8:]]
    assert all(name.startswith(".") for name in names)
    told: list[tuple[int, int]] = []
    again = fill_cache(paths, SPEC, tmp_path / "cache", lambda *event: told.append(event))
    assert sorted(decoded) == paths[192:]
    assert told == [(256, 300), (300, 300)]
    assert list_files(tmp_path) == [again.path.name, again.path.with_suffix(".npz").name]
    whole = fill_cache(paths, SPEC, tmp_path / "other", nothing)
    assert again.errors == whole.errors
    assert list(again.errors) == [20]
    np.testing.assert_array_equal(read(again), read(whole))
    np.testing.assert_array_equal(again.digests, whole.digests)


@pytest.mark.parametrize("damage", ["pixels", "journal", "torn", "no array"])
def test_what_a_crash_of_the_machine_lost_is_decoded_again(tmp_path, decoded, damage):
    paths = save_photos(tmp_path / "photos", 200)
    kill_at(paths, tmp_path, 128)
    (part,), (journal,) = (list((tmp_path / "cache").glob(f".*.{kind}")) for kind in ("part", "journal"))
    if damage == "pixels":  # the journal reached the disk, and the pixels of a row did not
        pixels = np.load(part, mmap_mode="r+")
        pixels[70] = 0
        pixels.flush()
        kept = 70
    elif damage == "journal":
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:50]) + b"null\n" + b"".join(lines[51:]))
        kept = 50
    elif damage == "torn":
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:30]) + lines[30][:20])
        kept = 30
    else:
        part.write_bytes(b"")
        kept = 0
    again = fill(paths, tmp_path)
    assert sorted(decoded) == paths[kept:]
    np.testing.assert_array_equal(read(again), read(fill_cache(paths, SPEC, tmp_path / "other", nothing)))


def test_one_process_fills_and_the_others_wait_for_it(tmp_path):
    paths = save_photos(tmp_path / "photos", 70)
    filling, waiting = FORK.Event(), FORK.Event()
    told = FORK.Queue()

    def hold_up(done: int, total: int) -> None:
        if done == 64:
            filling.set()
            assert waiting.wait(30)

    def follow(done: int, total: int) -> None:
        told.put((done, total))
        waiting.set()

    first = start_fill(paths, tmp_path, hold_up)
    assert filling.wait(30)
    second = start_fill(paths, tmp_path, follow)
    for process in (first, second):
        process.join(60)
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert told.get(timeout=5) == (64, 70)  # how far the first was; the second decoded nothing itself
    assert told.empty()
    found = fill(paths, tmp_path)
    np.testing.assert_array_equal(read(found), read(fill_cache(paths, SPEC, tmp_path / "other", nothing)))
    assert len(list_files(tmp_path)) == 2


def test_the_disk_s_room_is_claimed_before_decoding(tmp_path):
    claimed: list[bool] = []

    def look(done: int, total: int) -> None:
        (path,) = tmp_path.glob(".*.part")
        claimed.append(path.stat().st_blocks * 512 >= path.stat().st_size)

    fill_cache(np.zeros((5000, 4, 4), dtype=np.uint8), SPEC, tmp_path, look)
    assert claimed[0]
