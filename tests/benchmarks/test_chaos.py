from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.chaos import KINDS, SCENES, choose_scenes

ROOT = Path(__file__).parents[2]


def test_nothing_is_lost_to_some_kills() -> None:
    command = [sys.executable, "benchmarks/chaos.py", "--seed", "3", "--kills", "4", "--places", "process,inline"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.stdout.splitlines()[-1] == "kills 4, finished 4, equal 4, lost 0", done.stdout + done.stderr
    assert done.returncode == 0


def test_all_kinds_of_kills_are_in_a_round() -> None:
    found = choose_scenes(len(SCENES), random.Random(1), KINDS, ())
    assert {kind for kind, _ in found} >= {"worker", "driver", "oom", "node", "head", "ctrl-c"}
    assert choose_scenes(50, random.Random(1), KINDS, ()) == choose_scenes(50, random.Random(1), KINDS, ())
    assert set(choose_scenes(9, random.Random(1), ["driver"], ["inline"])) == {("driver", "inline")}


@pytest.mark.parametrize("seed", range(3))
def test_the_seed_chooses_an_order(seed: int) -> None:
    orders = [choose_scenes(20, random.Random(number), KINDS, ()) for number in (seed, seed + 1)]
    assert orders[0] != orders[1]
