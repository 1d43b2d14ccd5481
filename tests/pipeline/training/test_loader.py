from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from icf.errors import PluginError
from icf.pipeline.files import read_json
from icf.pipeline.pixels.cache import fill_cache
from icf.pipeline.training import loader
from icf.pipeline.training.batches import Batches
from icf.pipeline.training.loader import AHEAD, MOST, PROBE, Loader, Request, choose_prefetch, load_ahead
from samples import make_preprocessing
from training import fit, read_history, without_speed

CPU = torch.device("cpu")
REQUESTS: list[Request] = [(np.arange(step, step + 4), 100 + step) for step in range(12)]


def count_threads() -> int:
    return sum(thread.name == "icf-loader" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert count_threads() == 0


@given(st.lists(st.integers(), max_size=40), st.integers(1, 6))
def test_results_come_in_order_whatever_the_number_of_threads(requests: list[int], workers: int) -> None:
    assert list(load_ahead(requests, [lambda value: value * 2] * workers)) == [value * 2 for value in requests]


def test_an_error_comes_out_where_its_result_would_have_come() -> None:
    def fail(value: int) -> int:
        if value == 7:
            raise PluginError("seven is not to my taste")
        return value

    results = load_ahead(range(100), [fail] * 3)
    assert [next(results) for _ in range(7)] == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(PluginError, match="seven is not to my taste"):
        next(results)
    assert count_threads() == 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_only_so_many_results_are_made_ahead_and_closing_ends_the_threads() -> None:
    made: list[int] = []
    results = load_ahead(range(100), [lambda value: made.append(value)] * 2)
    with closing(results):
        next(results)
        most = 1 + 2 * (AHEAD + 1)
        wait_until(lambda: len(made) == most)
        time.sleep(0.05)
        assert len(made) == most
        assert count_threads() == 2
    assert count_threads() == 0


def test_threads_compute_with_one_core_each_and_leave_the_others_to_the_step() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(load_ahead(range(4), [lambda _: torch.get_num_threads()] * 2)) == [1, 1, 1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


class Shift:
    """Rolls each image by a random step, and remembers who called it."""

    def __init__(self, *, thread_safe: bool = True) -> None:
        self.thread_safe = thread_safe
        self.callers: set[int] = set()
        self.previous = 0

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.callers.add(threading.get_ident())
        self.previous = int(torch.randint(5, (), generator=generator))
        return images.roll(self.previous, dims=3)


class Kit:
    """Opens batches of ten images, and keeps the transforms that were made for them."""

    def __init__(self, folder: Path, *, thread_safe: bool = True) -> None:
        images = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3)).astype(np.uint8)
        self.spec = make_preprocessing((6, 8), mean=(0.5,) * 3, std=(0.2,) * 3)
        self.cache = fill_cache(images, self.spec, folder, lambda done, total: None).source
        self.thread_safe = thread_safe
        self.shifts: list[Shift] = []

    def open(self) -> Batches:
        self.shifts.append(Shift(thread_safe=self.thread_safe))
        return Batches(self.cache, self.spec, CPU, [self.shifts[-1]])


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_batches_are_the_same_bits_for_any_number_of_threads(threads: int, tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    expected = [Batches(kit.cache, kit.spec, CPU, [Shift()]).read_augmented(*request) for request in REQUESTS]
    loading = Loader(threads, kit.open(), kit.open, CPU, spare=0)
    for _ in range(2):
        found = list(loading.load(REQUESTS))
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert str(loading.prefetch).endswith("the recipe says so")


def test_each_thread_has_transforms_of_its_own(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    list(Loader(3, kit.open(), kit.open, CPU, spare=0).load(REQUESTS))
    callers = [shift.callers for shift in kit.shifts]
    assert [len(them) for them in callers] == [0, 1, 1, 1]
    assert threading.get_ident() not in set.union(*callers)


def test_a_transform_that_uses_global_generators_never_runs_beside_the_step(tmp_path: Path) -> None:
    kit = Kit(tmp_path, thread_safe=False)
    loading = Loader(3, kit.open(), kit.open, CPU, spare=4)
    list(loading.load(REQUESTS))
    assert kit.shifts[0].callers == {threading.get_ident()}
    assert loading.prefetch is not None
    assert loading.prefetch.threads == 0
    assert "random generators" in str(loading.prefetch)


@pytest.mark.parametrize(
    ("reading", "stepping", "spare", "threads"),
    [
        (0.001, 0.1, 4, 0),
        (0.01, 0.1, 4, 1),
        (0.15, 0.1, 4, 2),
        (0.35, 0.1, 4, 4),
        (9.0, 0.1, 3, 3),
        (9.0, 0.1, 64, MOST),
        (0.15, 0.1, 0, 0),
    ],
)
def test_as_many_threads_as_hide_the_reading(reading: float, stepping: float, spare: int, threads: int) -> None:
    choice = choose_prefetch(reading, stepping, spare)
    assert choice.threads == threads
    assert f"a batch takes {1000 * reading:.1f} ms, a step {1000 * stepping:.1f} ms" in str(choice)


def test_the_first_steps_choose_even_over_the_end_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(loader.time, "perf_counter", lambda: now)
    kit = Kit(tmp_path)
    batches = kit.open()
    read = batches.read_augmented
    made = 0

    def read_slowly(rows: np.ndarray, seed: int) -> torch.Tensor:
        nonlocal now, made
        now += 30 if made == 0 else 0.3  # the first batch warms up
        made += 1
        return read(rows, seed)

    monkeypatch.setattr(batches, "read_augmented", read_slowly)
    loading = Loader("auto", batches, kit.open, CPU, spare=4)
    for _ in range(PROBE + 1):
        assert loading.prefetch is None
        for _ in loading.load(REQUESTS[:1]):
            now += 0.2
    assert str(loading.prefetch) == "2 background threads: a batch takes 300.0 ms, a step 200.0 ms"


AUGMENTED = (
    'transforms.train=["augment/random-crop", "augment/brightness-contrast",'
    ' {use="albumentations/transform", op="Rotate", p=0.7}]',
    "train.epochs=2",
    "train.accumulate=2",
)


def test_a_fold_ends_in_the_same_bits_for_any_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    jobs = [fit(tmp_path / str(n), *AUGMENTED, f"compute.prefetch={n}") for n in ("0", "1", "3", '"auto"')]
    for job in jobs[1:]:
        assert job.folder.oof.read_bytes() == jobs[0].folder.oof.read_bytes()
        assert without_speed(read_history(job.folder)) == without_speed(read_history(jobs[0].folder))
        assert job.plan.identity == jobs[0].plan.identity
    told = [read_json(job.folder.metrics)["prefetch"] for job in jobs]
    counts = ("no background thread", "1 background thread", "3 background threads")
    assert told[:3] == [f"{count}: the recipe says so" for count in counts]
    assert "a batch takes" in told[3]


def test_torchvisions_random_transforms_run_between_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    transform = 'transforms.train=[{use="torchvision/transform", op="RandomRotation", args={degrees=20}}]'
    job = fit(tmp_path, transform, "train.epochs=1", "compute.prefetch=2")
    assert read_json(job.folder.metrics)["prefetch"].startswith("no background thread: a transform draws from")
