from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from benchmarks.scale import FILES, Stages, index_csv, write_csv
from PIL import Image

ROOT = Path(__file__).parents[2]


def test_every_stage_is_run_and_printed():
    command = [sys.executable, "-m", "benchmarks.scale", "--rows", "2000", "--classes", "20", "--scored", "300"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    lines = [line.split() for line in found.stdout.splitlines()]
    stages = {line[0]: [float(cell.replace(",", "")) for cell in line[-3:]] for line in lines[2:]}
    assert list(stages) == ["start", "index", "prepare", "split", "score"]
    assert all(seconds >= 0 and megabytes > 50 for seconds, _, megabytes in stages.values())  # a short one prints 0.0


def test_the_peak_is_that_of_the_stage_alone():
    stages = Stages()
    with stages.stage("large"):
        pages = np.ones(300_000_000, np.uint8)
    del pages
    with stages.stage("small"):
        pass
    large, small = stages.found["large"].megabytes, stages.found["small"].megabytes
    assert 250 < large - small < 350


def test_the_listed_images_are_there_and_can_be_indexed(tmp_path):
    write_csv(tmp_path, 3000, 20)
    with (tmp_path / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == 3000
    assert len({row["image"] for row in rows}) == FILES
    assert Image.open(tmp_path / rows[-1]["image"]).size == (2, 2)
    index_csv(tmp_path)
