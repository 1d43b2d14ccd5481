from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from icf.cli.main import main
from training import DIGITS

ICF = Path(sys.executable).with_name("icf")
SMALL = ("compute.threads=1", 'compute.precision="fp32"', "dataset.test_share=0.5", "train.batch_size=32")


def call(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = [part for text in SMALL for part in ("--set", text)]
    command = [ICF, "find-lr", DIGITS, "--runs", tmp_path / "runs", *settings, *arguments]
    environment = {**os.environ, "ICF_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_rate_is_found_and_written_and_no_run_is_touched(tmp_path: Path) -> None:
    done = call(tmp_path, "--steps", "150", "--start", "1e-5", "--end", "30", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 1e-4 < found["steepest"] < 0.3
    assert 1e-4 < found["tenth"] < 0.3
    with Path(found["csv"]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["learning_rate"]) for row in rows]
    np.testing.assert_allclose(rates, np.geomspace(1e-5, 30, 150)[: len(rates)])
    smoothed = [float(row["smoothed"]) for row in rows]
    assert found["tenth"] == pytest.approx(rates[int(np.argmin(smoothed))] / 10)
    picture = ElementTree.parse(found["svg"]).getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(picture.findall("{*}circle")) == 4  # a point and a ring for each suggestion
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["lr-finder"]
    assert not list((tmp_path / "runs").rglob("*.safetensors"))
    text = call(tmp_path, "--steps", "150", "--start", "1e-5", "--end", "30")
    assert f"--set optimizer.lr={found['steepest']:.2g}" in text.stdout
    assert "where the loss falls fastest" in text.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--start", "1", "--end", "0.1"), 2, "--start 1 --end 0.1: rates are above 0"),
        (("--fold", "9", "--steps", "20"), 1, "--fold 9: the recipe has folds 0 to 4"),
        (("--steps", "20", "--start", "1e-12", "--end", "2e-12", "--set", "train.batch_size=600"), 1, "did not fall"),
    ],
)
def test_what_can_not_be_searched_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    assert main(["find-lr", str(DIGITS), "--runs", str(tmp_path / "runs"), *arguments]) == code
    assert message in capsys.readouterr().err


def test_heads_on_embeddings_are_searched_too(tmp_path: Path) -> None:
    done = call(tmp_path, "--steps", "60", "--json", "--set", 'model.freeze="backbone"', "--set", 'train.average="ema"')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] <= 60
