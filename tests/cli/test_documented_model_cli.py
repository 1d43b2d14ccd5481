"""The network in one file that the tutorial shows, through the whole pipeline, as a person would call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icf.pipeline.files import read_json, read_table
from runs import find_run
from training import DIGITS

ICF = Path(sys.executable).with_name("icf")
FILE = Path(__file__).parents[2] / "docs" / "plugins" / "my_model.py"

RECIPE = """
    model.use = "my-model/net"
    model.head_dropout = 0.1
    dataset.use = "sklearn/digits"
    dataset.test_share = 0.5
    transforms.channels = 1
    optimizer.lr = 0.02
    split.folds = 2
    train.epochs = 4
    train.average = "ema"
    train.ema_decay = 0.9
    compute.executor = "inline"
    compute.threads = 1
    compute.precision = "fp32"
"""


def icf(*arguments: str | Path) -> str:
    done = subprocess.run([ICF, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_is_short() -> None:
    lines = [line for line in FILE.read_text().splitlines() if line.strip()]
    assert len(lines) <= 15


def test_a_network_in_one_file_goes_through_the_whole_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE)
    assert "16 checks: 16 ok" in icf("check-plugin", FILE)
    assert "ready: icf run" in icf("check", recipe, "--plugin", FILE)
    icf("run", recipe, "--plugin", FILE, "--runs", tmp_path / "runs", "--quiet")
    run_dir = find_run(tmp_path / "runs")
    assert read_json(run_dir / "metrics.json")["oof"]["metric/accuracy"]["value"] > 0.5
    assert len(read_table(run_dir / "oof.parquet")["id"]) > 800
    assert (run_dir / "report.html").exists()
    image = tmp_path / "0.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)).save(image)
    found = json.loads(icf("predict", run_dir, image, "--plugin", FILE, "--json"))
    assert [row["image"] for row in found["predictions"]] == [str(image)]


def test_the_command_of_the_tutorial_is_right() -> None:
    options = ["--recipe-only", "--plugin", FILE, "--set", "model.use=my-model/net"]
    done = subprocess.run([ICF, "check", DIGITS, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
