from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.measure import Aim, Contest, Outcome, Pair, Result, Row, measure
from benchmarks.workspace import Workspace
from hypothesis import given
from hypothesis import strategies as st

seconds = st.floats(min_value=1e-3, max_value=1e5)
costs = st.lists(st.tuples(seconds, seconds), min_size=1, max_size=9)


def make_row(aim: Aim, contest: Contest | None = None, **changes: object) -> Row:
    nothing = Contest(lambda: Outcome(1.0), lambda: Outcome(1.0))
    fields = {"name": "x", "summary": "y", "aim": aim, "prepare": lambda _: contest or nothing}
    return Row(**fields | changes)


@given(costs)
def test_at_least_divides_the_reference_by_icf_and_at_most_the_other_way(pairs):
    made = [Pair(Outcome(icf), Outcome(reference)) for icf, reference in pairs]
    icf, reference = np.array(pairs).T
    faster = Result(make_row(Aim("at least", 2)), made).to_json()
    cost = Result(make_row(Aim("at most", 2)), made).to_json()
    for found, expected in ((faster, reference / icf), (cost, icf / reference)):
        assert found["ratio"] == pytest.approx(np.median(expected))
        assert found["low"] == pytest.approx(expected.min())
        assert found["high"] == pytest.approx(expected.max())
    assert faster["meets_aim"] == (np.median(reference / icf) >= 2)
    assert cost["meets_aim"] == (np.median(icf / reference) <= 2)
    assert faster["seconds"]["icf"] == pytest.approx(np.median(icf))
    assert faster["seconds"]["reference"] == pytest.approx(np.median(reference))


@pytest.mark.parametrize("kind", ["at least", "at most"])
def test_a_ratio_that_is_the_bound_meets_the_aim(kind):
    assert Aim(kind, 0.97).is_met(0.97)
    assert not Aim(kind, 0.97).is_met(0.96 if kind == "at least" else 0.98)
    assert str(Aim(kind, 40)) == f"{kind} 40"


def test_the_ratio_is_of_pairs_so_that_a_slow_minute_does_not_count():
    pairs = [Pair(Outcome(1), Outcome(2)), Pair(Outcome(10), Outcome(20)), Pair(Outcome(3), Outcome(6))]
    found = Result(make_row(Aim("at least", 2)), pairs).to_json()
    assert (found["low"], found["ratio"], found["high"]) == (2, 2, 2)


def test_memory_is_compared_where_the_row_says_so():
    pairs = [Pair(Outcome(1, megabytes=300), Outcome(9, megabytes=200))]
    row = make_row(Aim("at most", 1.2), compares="megabytes")
    assert Result(row, pairs).ratio == 1.5
    with pytest.raises(ValueError, match="megabytes were not measured"):
        _ = Result(row, [Pair(Outcome(1), Outcome(2))]).ratio


def test_accuracy_is_told_only_where_both_sides_have_one():
    both = Result(make_row(Aim("at most", 1)), [Pair(Outcome(1, accuracy=0.5), Outcome(1, accuracy=0.7))])
    one = Result(make_row(Aim("at most", 1)), [Pair(Outcome(1, accuracy=0.5), Outcome(1))])
    assert both.to_json()["accuracy"] == {"icf": 0.5, "reference": 0.7}
    assert one.to_json()["accuracy"] is None


def test_each_side_begins_every_other_pair(tmp_path):
    calls = []

    def run(side: str) -> Outcome:
        calls.append(side)
        return Outcome(2.0 if side == "i" else 3.0)

    row = make_row(Aim("at most", 1), Contest(lambda: run("i"), lambda: run("r")))
    result = measure(row, Workspace(tmp_path), 4, lambda _: None)
    assert "".join(calls) == "irriirri"
    assert result.ratios == [2 / 3] * 4


def test_data_is_written_once_and_a_half_written_folder_is_not_taken(tmp_path):
    workspace = Workspace(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.ensure("set", fail)
    found = workspace.ensure("set", lambda folder: (folder / "whole").touch())
    assert [path.name for path in found.iterdir()] == ["whole"]
    assert workspace.ensure("set", fail) == found


def test_a_run_leaves_nothing_for_the_next_one(tmp_path):
    workspace = Workspace(tmp_path)
    with workspace.fresh_folder() as first:
        (first / "cache").mkdir()
    with workspace.fresh_folder() as second:
        assert not any(second.iterdir())
    assert first != second
    assert not first.exists()
