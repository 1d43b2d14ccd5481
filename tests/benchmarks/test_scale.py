from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from benchmarks.scale import FILES, Stages, explain_end, index_csv, write_csv
from PIL import Image

ROOT = Path(__file__).parents[2]


def test_every_stage_is_run_and_printed():
    command = [sys.executable, "-m", "benchmarks.scale", "--rows", "2000", "--classes", "20", "--scored", "300"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    lines = [line.split() for line in found.stdout.splitlines()]
    stages = {line[0]: [float(cell.replace(",", "")) for cell in line[-4:]] for line in lines[2:]}
    assert list(stages) == ["start", "index", "prepare", "split", "save", "vote,", "submission", "mistakes"]
    for seconds, _, resident, own in stages.values():
        assert seconds >= 0  # a short one prints 0.0
        assert 50 < own < resident


def test_the_peak_is_that_of_the_stage_alone():
    stages = Stages()
    with stages.stage("large"):
        pages = np.ones(300_000_000, np.uint8)
    del pages
    with stages.stage("small"):
        pass
    large, small = stages.found["large"], stages.found["small"]
    assert 250 < large.resident - small.resident < 350
    assert 250 < large.own - small.own < 350


def test_a_process_that_the_system_kills_is_told():
    assert explain_end(-9) == "the system has killed the process, most likely because the memory was full"
    assert "SIGTERM" in explain_end(-15)
    assert explain_end(3) == "the process ended with code 3"


def test_what_the_disk_can_not_hold_is_told_at_once():
    command = [sys.executable, "-m", "benchmarks.scale", "--rows", "1000", "--scored", "1000000000000"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 1
    assert "GB are needed in" in found.stderr


def test_the_listed_images_are_there_and_can_be_indexed(tmp_path):
    write_csv(tmp_path, 3000, 20)
    with (tmp_path / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["id"] for row in rows}) == 3000
    assert len({row["image"] for row in rows}) == FILES
    assert Image.open(tmp_path / rows[-1]["image"]).size == (2, 2)
    index_csv(tmp_path)
