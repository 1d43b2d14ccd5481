from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icf.pipeline.pixels.threads import AHEAD, map_ordered


@given(st.lists(st.integers(), max_size=100), st.integers(1, 5))
def test_results_are_those_of_map(items, threads):
    assert list(map_ordered(lambda item: item * 2, items, threads)) == [item * 2 for item in items]


def test_results_are_in_order_though_later_ones_are_ready_first():
    def wait_in_turn(item: int) -> int:
        time.sleep(0.01 * (3 - item % 3))
        return item

    assert list(map_ordered(wait_in_turn, range(12), 3)) == list(range(12))


def test_only_so_many_items_are_taken_before_their_results_are():
    taken: list[int] = []

    def items():
        for item in range(10_000):
            taken.append(item)
            yield item

    results = map_ordered(lambda item: item, items(), 2)
    assert next(results) == 0
    assert len(taken) == 2 * AHEAD
    results.close()
    assert len(taken) == 2 * AHEAD


def test_work_is_shared_by_threads():
    together = threading.Barrier(3)
    assert list(map_ordered(lambda _: together.wait(10) >= 0, range(3), 3)) == [True] * 3


def test_an_error_comes_in_its_place_and_ends_the_work():
    done: list[int] = []

    def fail_on_five(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        done.append(item)
        return item

    results = map_ordered(fail_on_five, range(1000), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert len(done) < 100
