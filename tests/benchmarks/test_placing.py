from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.driver import DriverWatch
from benchmarks.timeline import Span

ROOT = Path(__file__).parents[2]
PARTS = ("ideal", "contention", "uneven", "handover", "start", "end")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.placing", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)


def measure(*arguments: object, file: Path) -> tuple[list[dict], str]:
    found = run(*arguments, "--json", file)
    assert found.returncode == 0, found.stderr
    return json.loads(file.read_text())[arguments[0]], found.stdout


def test_where_the_time_of_places_goes(tmp_path: Path) -> None:
    options = ("--folds", 3, "--places", "1,3", "--seconds", 1, "--repeats", 1)
    rows, printed = measure("places", "--work", "nap", "--executors", "process", *options, file=tmp_path / "found.json")
    assert [row["places"] for row in rows] == [1, 3]
    for row in rows:
        assert row["seconds"] == pytest.approx(sum(row[part] for part in PARTS))
        assert 0 < row["low"] == row["efficiency"] == row["high"]
    assert rows[0]["ideal"] == pytest.approx(3 * rows[1]["ideal"])
    assert rows[0]["ideal"] > 3  # three naps
    assert "process" in printed


def test_what_many_folds_cost_besides_their_work(tmp_path: Path) -> None:
    options = ("--folds", 12, "--places", 4, "--seconds", 2)
    (row,), printed = measure("many", "--executors", "process", *options, file=tmp_path / "found.json")
    assert row["seconds"] > 6
    assert row["overhead"] == pytest.approx(row["seconds"] * 4 / 12 - 2)
    besides = row["fold"] + row["handover"] + row["uneven"] + (row["start"] + row["end"]) * 4 / 12
    assert row["overhead"] == pytest.approx(besides)
    assert 50 < row["driver"]["first_quarter_mb"] <= row["driver"]["peak_mb"]
    assert row["driver"]["core_share"] >= 0
    assert "driver's first MB" in printed


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an older commit needs a repository")
def test_the_start_is_compared_with_that_of_a_commit(tmp_path: Path) -> None:
    options = ("--executors", "inline", "--repeats", 1, "--before", "HEAD")
    (row,), _ = measure("start", *options, file=tmp_path / "found.json")
    assert row["executor"] == "inline"
    assert row["ratios"] == [pytest.approx(row["before"][0] / row["seconds"][0])]
    assert row["seconds"][0] > 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("start", "--executors", "elsewhere"), "'elsewhere' is not one of inline"),
        (("places", "--places", "0"), "at least 1"),
        (("many", "--executors", "ray-train"), "'ray-train' is not one of process"),
        ((), "measure"),
    ],
)
def test_what_can_not_be_measured_is_refused(arguments: tuple[str, ...], named: str) -> None:
    found = run(*arguments)
    assert found.returncode == 2
    assert named in found.stderr


def test_quarters_are_those_of_the_time_in_which_folds_are_trained() -> None:
    watch = DriverWatch([(float(second), 100.0 + second, 0.25 * second) for second in range(20)])
    found = watch.summarize(Span(4.0, 15.0))
    assert found == {"first_quarter_mb": 106, "last_quarter_mb": 115, "peak_mb": 119, "core_share": 0.25}
    with pytest.raises(SystemExit, match="raise --seconds"):
        watch.summarize(Span(4.0, 6.0))
