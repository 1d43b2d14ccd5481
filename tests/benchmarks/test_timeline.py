from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from benchmarks.timeline import Span, divide, read_spans
from hypothesis import given, settings
from hypothesis import strategies as st


def schedule(durations: list[float], places: int, delay: float) -> list[Span]:
    """Deal folds to places as they become free; each takes ``delay`` to begin."""
    free, spans = [100.0] * places, []
    for duration in durations:
        begin = min(free) + delay
        free[free.index(min(free))] = begin + duration
        spans.append(Span(begin, begin + duration))
    return spans


@pytest.mark.parametrize(("places", "ideal", "uneven"), [(1, 50, 0), (2, 25, 5), (4, 12.5, 7.5), (8, 6.25, 3.75)])
def test_five_equal_folds_leave_places_empty_at_the_end(places: int, ideal: float, uneven: float) -> None:
    spans = schedule([10.0] * 5, places, 0.0)
    last = max(span.end for span in spans)
    found = divide(Span(93.0, last + 4), spans, places, 50.0)
    assert (found.ideal, found.uneven, found.handover, found.contention) == pytest.approx((ideal, uneven, 0, 0))
    assert (found.start, found.end) == pytest.approx((7, 4))
    assert found.efficiency == pytest.approx(50 / (places * (last - 100)))


def test_time_between_folds_and_time_lost_to_each_other_are_told_apart() -> None:
    spans = schedule([12.0] * 4, 2, 1.0)  # of which 10 each would have been needed alone
    found = divide(Span(100, 126), spans, 2, 40.0)
    assert (found.ideal, found.contention, found.uneven) == pytest.approx((20, 4, 0))
    assert found.start == pytest.approx(1)  # before the first fold, not between two
    assert found.handover == pytest.approx(1)
    assert found.efficiency == pytest.approx(20 / 25)


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.integers(1, 9), st.floats(0, 5), st.randoms())
def test_the_parts_are_the_whole(durations: list[float], places: int, delay: float, chance) -> None:
    spans = schedule(durations, places, delay)
    last = max(span.end for span in spans)
    alone = 0.9 * sum(durations)
    chance.shuffle(spans)
    found = divide(Span(90, last + 3), spans, places, alone)
    assert found.total == pytest.approx(last + 3 - 90)
    gaps = max(0, len(durations) - places) * delay
    assert found.handover * places == pytest.approx(gaps, abs=1e-6)
    assert found.contention * places == pytest.approx(sum(durations) - alone, abs=1e-6)
    assert found.uneven >= -1e-6


def test_times_of_folds_come_from_what_a_run_leaves(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    for number, end in enumerate((1000.0, 1010.5)):
        folder = tmp_path / "folds" / str(number)
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({"seconds": {"start": 0.5, "steps": 4.0 + number}}))
        done = tmp_path / "stages" / f"fold-{number}.json"
        done.touch()
        os.utime(done, (end, end))
    assert read_spans(tmp_path) == [Span(995.5, 1000.0), Span(1005.0, 1010.5)]
