from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from icf.pipeline.pixels import fingerprint as fingerprint_module
from icf.pipeline.pixels.fingerprint import fingerprint


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Five files that were last changed an hour ago."""
    paths = [tmp_path / f"{number}.bin" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
        set_age(path, 3600)
    return paths


def set_age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def hashed(monkeypatch) -> list[Path]:
    """The files that were read so far."""
    paths: list[Path] = []
    read = fingerprint_module._hash_content

    def count(path: Path) -> bytes:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(fingerprint_module, "_hash_content", count)
    return paths


def test_content_and_order_count_but_not_the_place(files, tmp_path):
    notes = tmp_path / "notes"
    first = fingerprint(files, notes)
    copies = [Path(shutil.copy(path, tmp_path / f"copy of {path.name}")) for path in files]
    assert fingerprint(copies, notes) == first
    assert fingerprint(files[::-1], notes) != first
    assert fingerprint(files[:4], notes) != first
    files[2].write_bytes(b"else")
    assert fingerprint(files, notes) != first


def test_an_unchanged_file_is_read_once(files, tmp_path, hashed):
    first = fingerprint(files, tmp_path / "notes")
    assert sorted(hashed) == files
    assert fingerprint(files, tmp_path / "notes") == first
    assert fingerprint(files[1:3], tmp_path / "notes") != first
    assert len(hashed) == 5
    files[3].write_bytes(b"else")
    changed = fingerprint(files, tmp_path / "notes")
    assert hashed[5:] == [files[3]]
    assert changed == fingerprint(files, tmp_path / "other notes")


def test_a_file_that_was_changed_just_now_is_read_again(files, tmp_path, hashed):
    """It may change within the precision of its time, without a trace in size and time."""
    files[1].write_bytes(b"new")
    first = fingerprint(files, tmp_path / "notes")
    status = files[1].stat()
    files[1].write_bytes(b"neu")
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(files, tmp_path / "notes") != first
    assert hashed[5:] == [files[1]]


def test_torn_notes_are_no_harm(files, tmp_path, hashed):
    notes = tmp_path / "notes"
    first = fingerprint(files[:2], notes)
    notes.write_bytes(notes.read_bytes()[:-7])
    fingerprint(files, notes)
    assert sorted(hashed[2:]) == files[1:]
    assert notes.stat().st_size % 32 == 0
    assert fingerprint(files[:2], notes) == first
    assert len(hashed) == 6


def test_too_many_notes_are_forgotten(files, tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(fingerprint_module, "MOST_NOTES", 2)
    first = fingerprint(files[:3], tmp_path / "notes")
    fingerprint(files[3:], tmp_path / "notes")
    assert (tmp_path / "notes").stat().st_size == 64
    assert fingerprint(files[:3], tmp_path / "notes") == first


def test_what_is_no_file_differs_from_what_is_missing(tmp_path):
    notes = tmp_path / "notes"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    missing, empty, pipe, folder = (
        fingerprint([tmp_path / name], notes) for name in ("missing", "empty", "pipe", "folder")
    )
    assert len({missing, empty, pipe}) == 3
    assert pipe == folder
    (tmp_path / "missing").touch()
    assert fingerprint([tmp_path / "missing"], notes) == empty


def test_arrays_are_told_apart_by_shape_and_values(tmp_path):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    prints = [fingerprint(array, tmp_path / "notes") for array in (images, images.reshape(2, 4, 3), images + 1)]
    assert len(set(prints)) == 3
    assert fingerprint(np.asfortranarray(images), tmp_path / "notes") == prints[0]


def test_no_images(tmp_path):
    assert fingerprint([], tmp_path / "notes") == fingerprint([], tmp_path / "notes")
