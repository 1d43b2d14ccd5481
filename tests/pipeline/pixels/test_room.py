from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from icf.pipeline.pixels import room as room_module
from icf.pipeline.pixels.lease import hold
from icf.pipeline.pixels.room import CacheFiles, make_room
from icf.pipeline.pixels.sources import MappedPixels

SIZE = 1000


def put(folder: Path, key: str, age: float) -> CacheFiles:
    """Make a cache of SIZE bytes that was last used so many seconds ago."""
    files = CacheFiles(folder, key)
    files.array.write_bytes(b"\0" * (SIZE - 10))
    files.table.write_bytes(b"\0" * 10)
    for path in (files.array, files.table):
        os.utime(path, (time.time() - age,) * 2)
    return files


@pytest.fixture
def caches(tmp_path) -> dict[str, CacheFiles]:
    return {key: put(tmp_path, key, age) for key, age in {"new": 10, "oldest": 1000, "old": 500}.items()}


def list_kept(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.np?")}


@pytest.mark.parametrize(
    ("most", "kept"),
    [
        (3500, {"old", "new", "oldest"}),
        (3499, {"old", "new"}),
        (2500, {"old", "new"}),
        (2499, {"new"}),
        (500, set()),
    ],
)
def test_the_oldest_make_way_and_no_more_than_needed(caches, tmp_path, most, kept):
    assert make_room(tmp_path, 500, most) == ""
    assert list_kept(tmp_path) == kept


def test_nothing_is_removed_for_what_can_not_fit(caches, tmp_path):
    assert make_room(tmp_path, 3_000_000_000, 2_000_000_000) == "they take 3 GB, but cache.max_gb is 2"
    assert len(list_kept(tmp_path)) == 3


def test_a_cache_in_use_is_kept(caches, tmp_path):
    with hold(caches["oldest"].array):
        assert make_room(tmp_path, 500, 2500) == ""
        assert list_kept(tmp_path) == {"oldest", "new"}
        assert "has no room" in make_room(tmp_path, 500, 1499)
        assert list_kept(tmp_path) == {"oldest", "new"}
    assert make_room(tmp_path, 500, 1499) == ""
    assert list_kept(tmp_path) == set()


def hold_until(path: Path, held, done) -> None:
    source = MappedPixels(path)
    held.set()
    assert done.wait(30)
    assert int(source.gather(np.arange(3)).sum()) == 9


def test_pixels_that_another_process_maps_are_kept_until_it_ends(tmp_path):
    files = CacheFiles(tmp_path, "key")
    np.save(files.array, np.full((3, 1, 1, 3), 1, dtype=np.uint8))
    context = multiprocessing.get_context("fork")
    held, done = context.Event(), context.Event()
    process = context.Process(target=hold_until, args=(files.array, held, done))
    process.start()
    assert held.wait(30)
    assert "has no room" in make_room(tmp_path, 1, 100)
    done.set()
    process.join(30)
    assert process.exitcode == 0
    assert make_room(tmp_path, 1, 100) == ""
    assert not files.array.exists()


def test_a_used_cache_is_a_new_one(tmp_path):
    files = CacheFiles(tmp_path, "key")
    np.save(files.array, np.zeros((3, 1, 1, 3), dtype=np.uint8))
    os.utime(files.array, (0, 0))
    MappedPixels(files.array)
    assert time.time() - files.array.stat().st_mtime < 60


def test_what_a_killed_fill_left_makes_way_too(caches, tmp_path):
    left = CacheFiles(tmp_path, "left")
    for path in (left.part, left.journal):
        path.write_bytes(b"\0" * 500)
        os.utime(path, (0, 0))
    assert make_room(tmp_path, 500, 3500) == ""
    assert not left.part.exists()
    assert not left.journal.exists()
    assert len(list_kept(tmp_path)) == 3


def test_the_disk_keeps_some_room(caches, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room_module, "SPARE_BYTES", usage.free + 10**12)
    assert "has no room" in make_room(tmp_path, 500, 10_000)
    assert len(list_kept(tmp_path)) == 3


def test_a_file_that_is_gone_can_not_be_held(tmp_path):
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "gone")
