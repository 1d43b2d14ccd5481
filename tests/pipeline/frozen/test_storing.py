from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from icf.errors import IcfError
from icf.pipeline.frozen.separation import InseparableError
from icf.pipeline.frozen.storing import ArrayTask, store_arrays
from icf.pipeline.pixels.room import CacheFiles, make_room
from stored_arrays import make_task, store

FORK = multiprocessing.get_context("fork")
VALUES = torch.arange(40, dtype=torch.float32).view(20, 2)


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    asked: list[int] = []
    store(make_task(tmp_path, "a", VALUES, asked))
    assert asked == list(range(0, 20, 3))
    store(make_task(tmp_path, "a", VALUES, asked), make_task(tmp_path, "b", VALUES + 1))
    assert len(asked) == 7
    assert list_files(tmp_path) == ["a.npy", "b.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), VALUES.numpy() + 1)


def test_progress_counts_the_rows_that_are_computed(tmp_path: Path) -> None:
    store(make_task(tmp_path, "a", VALUES))
    told: list[tuple[int, int]] = []
    tasks = [make_task(tmp_path, key, VALUES[:6]) for key in ("b", "a", "c")]
    with contextlib.ExitStack() as leases:
        store_arrays(tasks, 10**9, leases, lambda *event: told.append(event))
    assert told == [(3, 12), (6, 12), (9, 12), (12, 12)]


def test_what_would_not_fit_is_not_computed(tmp_path: Path) -> None:
    asked: list[int] = []
    tasks = [make_task(tmp_path, key, VALUES, asked) for key in "ab"]
    with pytest.raises(InseparableError, match=r"not stored: they take 3\.2e-07 GB, but cache\.max_gb is 3\.19e-07"):
        store(*tasks, most=319)
    assert asked == []
    assert list_files(tmp_path) == []
    store(*tasks, most=320)
    assert list_files(tmp_path) == ["a.npy", "b.npy"]


def test_the_oldest_make_way_be_they_images_or_embeddings(tmp_path: Path) -> None:
    pixels, embeddings = tmp_path / "pixels", tmp_path / "embeddings"
    pixels.mkdir()
    np.save(pixels / "images.npy", np.zeros((100, 1, 1, 1), np.uint8))
    store(make_task(embeddings, "first", VALUES), make_task(embeddings, "second", VALUES))
    for age, path in enumerate((embeddings / "second.npy", pixels / "images.npy", embeddings / "first.npy")):
        os.utime(path, (age, age))
    store(make_task(embeddings, "third", VALUES), most=900)
    assert [list_files(folder) for folder in (pixels, embeddings)] == [["images.npy"], ["first.npy", "third.npy"]]
    os.utime(embeddings / "third.npy", (9, 9))
    assert make_room(pixels, 300, 900) == ""
    assert [list_files(folder) for folder in (pixels, embeddings)] == [[], ["first.npy", "third.npy"]]
    assert make_room(pixels, 800, 900) == ""
    assert list_files(embeddings) == []


def test_nobody_removes_arrays_of_a_run_that_goes_on(tmp_path: Path) -> None:
    store(make_task(tmp_path, "a", VALUES))
    with contextlib.ExitStack() as leases:
        store_arrays([make_task(tmp_path, key, VALUES) for key in "ab"], 10**9, leases, lambda *_: None)
        with pytest.raises(InseparableError, match=r"has no room: cache\.max_gb is 7e-07"):
            store(make_task(tmp_path, "c", VALUES), most=700)
        assert list_files(tmp_path) == ["a.npy", "b.npy"]
    store(make_task(tmp_path, "c", VALUES), most=700)
    assert list_files(tmp_path) == ["b.npy", "c.npy"]


def break_off(task: ArrayTask, error: Exception) -> ArrayTask:
    def compute(done: int) -> Iterator[tuple[int, torch.Tensor]]:
        yield next(task.compute(done))
        raise error

    return replace(task, compute=compute)


def test_an_error_leaves_nothing_half_done(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path, "a", VALUES), break_off(make_task(tmp_path, "b", VALUES), KeyError("half"))]
    with pytest.raises(KeyError):
        store(*tasks)
    assert list_files(tmp_path) == []
    with pytest.raises(InseparableError, match="can't hold them: disk full"):
        store(break_off(make_task(tmp_path, "a", VALUES), OSError(28, "disk full")))
    assert list_files(tmp_path) == []


def test_a_folder_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IcfError, match=r"can't write embeddings to .*ICF_CACHE.*compute\.embeddings"):
        store(make_task(tmp_path / "file", "a", VALUES))


def slow_down(task: ArrayTask, at: int, wait: Callable[[], object]) -> ArrayTask:
    """Return a task that waits before it computes the row ``at``."""

    def compute(done: int) -> Iterator[tuple[int, torch.Tensor]]:
        for start, values in task.compute(done):
            if start == at:
                wait()
            yield start, values

    return replace(task, compute=compute)


def test_a_killed_process_leaves_no_array_and_is_continued(tmp_path: Path) -> None:
    tasks = [make_task(tmp_path, "a", VALUES), make_task(tmp_path, "b", VALUES)]
    reached = FORK.Event()

    def stop() -> None:
        reached.set()
        time.sleep(60)

    process = FORK.Process(target=store, args=(tasks[0], slow_down(tasks[1], 6, stop)))
    process.start()
    assert reached.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list_files(tmp_path) == [".a.journal", ".a.part", ".b.journal", ".b.part"]
    asked: list[int] = []
    store(*(make_task(tmp_path, key, VALUES, asked) for key in "ab"))
    assert asked == list(range(6, 20, 3))
    assert list_files(tmp_path) == ["a.npy", "b.npy"]
    for name in ("a.npy", "b.npy"):
        np.testing.assert_array_equal(np.load(tmp_path / name), VALUES.numpy())


def test_one_process_computes_and_the_others_wait_for_it(tmp_path: Path) -> None:
    computing, go_on = FORK.Event(), FORK.Event()

    def hold_up() -> None:
        computing.set()
        assert go_on.wait(30)

    first = FORK.Process(target=store, args=(slow_down(make_task(tmp_path, "a", VALUES), 6, hold_up),))
    first.start()
    assert computing.wait(30)
    asked: list[int] = []
    told: list[tuple[int, int]] = []

    def follow(done: int, total: int) -> None:
        told.append((done, total))
        go_on.set()

    with contextlib.ExitStack() as leases:
        store_arrays([make_task(tmp_path, "a", VALUES, asked)], 10**9, leases, follow)
    first.join(30)
    assert first.exitcode == 0
    assert asked == []
    assert told[0] == (6, 20)
    np.testing.assert_array_equal(np.load(CacheFiles(tmp_path, "a").array), VALUES.numpy())
