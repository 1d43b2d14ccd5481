from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icf.pipeline.pixels import threads as module
from icf.pipeline.pixels.threads import AHEAD, map_in_threads, map_ordered


@given(st.lists(st.integers(), max_size=100), st.integers(1, 5))
def test_results_are_those_of_map(items, threads):
    assert list(map_in_threads(lambda item: item * 2, items, threads)) == [item * 2 for item in items]


def test_results_are_in_order_though_later_ones_are_ready_first():
    def wait_in_turn(item: int) -> int:
        time.sleep(0.01 * (3 - item % 3))
        return item

    assert list(map_in_threads(wait_in_turn, range(12), 3)) == list(range(12))


def test_only_so_many_items_are_taken_before_their_results_are():
    taken: list[int] = []

    def items():
        for item in range(10_000):
            taken.append(item)
            yield item

    results = map_in_threads(lambda item: item, items(), 2)
    assert next(results) == 0
    assert len(taken) == 2 * AHEAD
    results.close()
    assert len(taken) == 2 * AHEAD


def test_work_is_shared_by_threads():
    together = threading.Barrier(3)
    assert list(map_in_threads(lambda _: together.wait(10) >= 0, range(3), 3)) == [True] * 3


def test_an_error_comes_in_its_place_and_ends_the_work():
    done: list[int] = []

    def fail_on_five(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        done.append(item)
        return item

    results = map_in_threads(fail_on_five, range(1000), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert len(done) < 100


@given(st.lists(st.integers(), max_size=100), st.integers(1, 5), st.floats(0, 1e-6))
def test_results_are_those_of_map_whether_items_are_short_or_not(items, threads, short):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHORT_SECONDS", short)
        patch.setattr(module, "RUN", 3)
        assert list(map_ordered(lambda item: item * 2, items, threads)) == [item * 2 for item in items]


def test_only_long_items_are_given_to_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    here, now = threading.get_ident(), 0.0

    def find_thread(seconds: float) -> bool:
        nonlocal now
        is_here = threading.get_ident() == here
        now += seconds * is_here
        return is_here

    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    monkeypatch.setattr(module, "RUN", 4)
    short, long = [0.0] * 5, [1.0] * 20
    # One is timed, and threads do the next four; one is timed, and they do the next eight; and so on.
    shared = [True, *[False] * 4, True, *[False] * 8, True, *[False] * 5]
    assert list(map_ordered(find_thread, [*short, *long, *short], 2)) == [True] * 5 + shared + [False] * 5
    assert list(map_ordered(find_thread, [*long[:6], *short], 2)) == [*shared[:6], *[False] * 5]
    # Where one was long by chance, only the next run is done by threads, and the next one is short again.
    again = [*long[:6], *[0.0] * 8, 0.0, *long[:6]]
    assert list(map_ordered(find_thread, again, 2)) == [*shared[:6], *[False] * 8, True, *shared[:6]]


def test_errors_come_in_their_place_from_here_and_from_threads():
    def fail(item: int) -> int:
        if item in (2, 5):
            raise ValueError(f"{item}")
        return item

    for last, pause in ((2, 0.0), (2, 1.0), (5, 1.0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "SHORT_SECONDS", 0.1 - pause)
            results = map_ordered(fail, [*range(2), *range(last, 100)], 2)
            assert [next(results) for _ in range(2)] == [0, 1]
            with pytest.raises(ValueError, match=str(last)):
                next(results)


def test_threads_end_when_the_results_are_no_longer_wanted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SHORT_SECONDS", 0.0)
    before = threading.active_count()
    results = map_ordered(lambda item: item, range(100), 3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before
