from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import jsonschema
import pytest
from benchmarks.data import write_masks
from benchmarks.rows import ROWS
from benchmarks.workspace import Workspace

ROOT = Path(__file__).parents[2]

SIDES = {
    "type": ["object", "null"],
    "required": ["icf", "reference"],
    "additionalProperties": {"type": "number", "minimum": 0},
}
SCHEMA = {
    "type": "object",
    "required": ["machine", "rows"],
    "additionalProperties": False,
    "properties": {
        "machine": {"type": "object", "required": ["cpu", "cores", "memory_gb", "torch", "icf"]},
        "rows": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["row", "ratio", "low", "high", "aim", "meets_aim", "seconds"],
                "properties": {
                    "row": {"enum": list(ROWS)},
                    "ratio": {"type": "number", "exclusiveMinimum": 0},
                    "low": {"type": "number", "exclusiveMinimum": 0},
                    "high": {"type": "number", "exclusiveMinimum": 0},
                    "aim": {"type": "string", "pattern": r"^at (least|most) [0-9.]+$"},
                    "meets_aim": {"type": "boolean"},
                    "seconds": {**SIDES, "type": "object"},
                    "megabytes": SIDES,
                    "accuracy": SIDES,
                    "pairs": {"type": "integer", "minimum": 1},
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def test_the_list_names_every_row_and_its_aim():
    found = run("--list")
    assert found.returncode == 0, found.stderr
    lines = {line.split()[0]: line for line in found.stdout.splitlines() if line.split()[0] in ROWS}
    assert list(lines) == list(ROWS)
    assert all(str(ROWS[name].aim) in line for name, line in lines.items())


def test_listing_imports_nothing_heavy():
    code = "import sys, benchmarks.__main__ as m; m.main(['--list']); print({'torch', 'timm'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "set()"


def test_rows_are_measured_and_written(data, tmp_path):
    """fold-128-tuned runs whole processes of icf and of a reference, the others icf's own functions."""
    names = ("feed-64", "first-epoch", "fold-128-tuned")
    chosen = [part for name in names for part in ("--row", name)]
    found = run("--quick", *chosen, "--json", tmp_path / "found.json", "--data", data)
    assert found.returncode == 0, found.stderr
    written = json.loads((tmp_path / "found.json").read_text())
    jsonschema.validate(written, SCHEMA)
    assert [row["row"] for row in written["rows"]] == list(names)
    assert all(row["low"] == row["ratio"] == row["high"] for row in written["rows"])
    assert written["rows"][2]["accuracy"].keys() == {"icf", "reference"}
    assert all(name in found.stdout for name in names)
    assert "quick" in found.stdout


@pytest.mark.parametrize("arguments", [("--row", "no-such-row"), ("--repeats", "0")])
def test_what_can_t_be_measured_is_refused(arguments):
    found = run(*arguments)
    assert found.returncode == 2
    assert arguments[0] in found.stderr


def test_a_row_that_fails_costs_the_exit_code_but_not_the_others(data, tmp_path):
    (data / "data" / "fashion-80").mkdir(parents=True)  # an empty set: its listing can't be read
    found = run("--quick", "--row", "start", "--row", "feed-64", "--json", tmp_path / "found.json", "--data", data)
    assert found.returncode == 1
    assert "start:" in found.stderr
    assert [row["row"] for row in json.loads((tmp_path / "found.json").read_text())["rows"]] == ["feed-64"]


def test_a_person_stands_in_one_fold_and_one_fold_is_the_first_of_five(data):
    listings = {}
    for folds in (1, 5):
        with write_masks(Workspace(data, quick=True), 6, folds=folds).open(newline="") as file:
            listings[folds] = list(csv.DictReader(file))
    folds_of = defaultdict(set)
    for row in listings[5]:
        folds_of[row["image"].partition("-")[0]].add(row["fold"])
    assert all(len(found) == 1 for found in folds_of.values())
    assert {row["fold"] for row in listings[5]} == set("01234")
    assert [row["image"] for row in listings[1] if row["fold"] == "0"] == [
        row["image"] for row in listings[5] if row["fold"] == "0"
    ]
    assert {row["fold"] for row in listings[1]} == {"0", "-1"}
    assert {row["label"] for row in listings[5]} == {"wear", "incorrect", "normal"}
