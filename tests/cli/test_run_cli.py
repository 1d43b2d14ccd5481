from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from icf.cli.main import main
from icf.cli.predict import find_images, find_run_dir
from icf.errors import IcfError

ICF = Path(sys.executable).with_name("icf")

RECIPE = """
[problem]
question = "Which of two stripes is it?"
[dataset]
use = "images/folder"
root = "{root}"
on_bad_image = "skip"
[split]
folds = 2
[model]
use = "nn/sequential-cnn"
widths = [4]
[train]
epochs = 1
batch_size = 8
[compute]
executor = "inline"
"""


def draw(path: Path, *, upright: bool, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 60, (16, 16, 3), dtype=np.uint8)
    pixels[:, 6:10] += 150 * upright
    pixels[6:10] += 150 * (not upright)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, one of them damaged, and a recipe."""
    folder = tmp_path_factory.mktemp("place")
    for seed in range(24):
        name = "upright" if seed % 2 else "flat"
        draw(folder / "train" / name / f"{seed:02d}.png", upright=bool(seed % 2), seed=seed)
    (folder / "train" / "flat" / "broken.png").write_bytes(b"no image")
    (folder / "stripes.toml").write_text(RECIPE.format(root=folder / "train"))
    return folder


def spawn(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ICF), *arguments], cwd=place, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def call(place: Path, *arguments: str, **variables: str) -> Done:
    """Run the command in this process, where torch is imported only once."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ICF_CACHE", str(place / "cache"))
        for name in ("FORCE_COLOR", "ICF_RUNS"):
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = main(arguments)
    return Done(code, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def finished(place: Path) -> dict[str, Any]:
    """What ``icf run --json`` wrote."""
    done = call(place, "run", "stripes.toml", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_run_writes_json_about_files_that_exist(place: Path, finished: dict[str, Any]) -> None:
    run_dir = Path(finished["run_dir"])
    assert run_dir.parent == place / "runs" / "stripes"
    assert finished["metrics"] == json.loads((run_dir / "metrics.json").read_text())
    assert finished["skipped"] == 1
    assert finished["submission"] is None
    assert Path(finished["report"]).is_file()
    assert finished["seconds"] > 0


def test_the_same_command_continues_and_quiet_is_one_line(place: Path, finished: dict[str, Any]) -> None:
    done = call(place, "run", "stripes.toml", "--quiet")
    score = finished["metrics"]["oof"]["metric/macro-f1"]
    interval = f"[{score['low']:.4f}, {score['high']:.4f}]"
    run_dir = Path(finished["run_dir"]).relative_to(place)
    assert done.stdout == f"macro-f1 {score['value']:.4f} {interval}  {run_dir}\n"
    assert done.returncode == 0


def test_a_run_into_a_file_is_plain_lines(place: Path, finished: dict[str, Any]) -> None:
    done = call(place, "run", "stripes.toml", "--fresh", ICF_RUNS="elsewhere")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[1] == "Which of two stripes is it?"
    assert all(character == "\n" or character.isprintable() for character in done.stdout)
    assert sum(line.startswith("fold 0  epoch 1/1  train ") for line in lines) == 1
    assert "warning: 1 image could not be read" in done.stderr
    assert "warning" not in done.stdout
    [run_dir] = (place / "elsewhere" / "stripes").iterdir()
    assert f"run folder    elsewhere/stripes/{run_dir.name}" in lines
    assert (run_dir / "report.html").is_file()


def test_interrupted_run_says_how_to_continue(place: Path) -> None:
    command = [str(ICF), "run", "stripes.toml", "--set", "train.epochs=100000"]
    environment = {**os.environ, "ICF_CACHE": str(place / "cache"), "ICF_RUNS": "runs", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("fold 0  epoch"):
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    told = "interrupted; to continue, type: icf run stripes.toml --set train.epochs=100000"
    assert errors.splitlines()[-1] == told
    assert "Traceback" not in errors


def test_check_tells_what_it_found(place: Path) -> None:
    done = call(place, "check", "stripes.toml", "--set", "train.epochs=2")
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert "training rows   24" in lines
    assert "split           stratified-kfold; validation rows per fold: 12, 12" in lines
    assert any(line.startswith("skipped: ") and "broken.png" in line for line in lines)
    assert lines[-1] == "ready: icf run stripes.toml --set train.epochs=2"


def test_data_errors_exit_with_1(place: Path) -> None:
    done = call(place, "check", "stripes.toml", "--json", "--set", "dataset.on_bad_image=error")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "broken.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_writes_csv_and_names_what_it_skipped(place: Path, finished: dict[str, Any]) -> None:
    new = place / "new"
    for seed in (101, 100):
        draw(new / f"{seed}.png", upright=bool(seed % 2), seed=seed)
    (new / "bad.jpg").write_bytes(b"")
    done = call(place, "predict", "runs/stripes", "new", "--output", "predictions.csv", "--json")
    assert done.returncode == 1
    assert "bad.jpg" in done.stderr
    rows = list(csv.DictReader((place / "predictions.csv").open(newline="")))
    assert [row["image"] for row in rows] == ["new/100.png", "new/101.png"]
    assert list(rows[0]) == ["image", "prediction", "flat", "upright"]
    found = json.loads(done.stdout)
    assert found["classes"] == ["flat", "upright"]
    assert [item["where"] for item in found["skipped"]] == ["new/bad.jpg"]
    for row, item in zip(rows, found["predictions"], strict=True):
        assert sum(item["probabilities"]) == pytest.approx(1)
        assert row["prediction"] == item["prediction"] == max(found["classes"], key=lambda name: float(row[name]))
        assert float(row["flat"]) == pytest.approx(item["probabilities"][0], abs=1e-6)


def test_predict_shows_the_best_classes_first(place: Path, finished: dict[str, Any]) -> None:
    draw(place / "one.png", upright=True, seed=7)
    done = call(place, "predict", finished["run_dir"], "one.png", "--top", "2")
    assert done.returncode == 0, done.stderr
    name, first, first_score, second, second_score = done.stdout.splitlines()[1].split()
    assert (name, {first, second}) == ("one.png", {"flat", "upright"})
    assert float(first_score) >= float(second_score)


@pytest.mark.parametrize("command", ["run", "check"])
def test_recipe_mistakes_exit_with_2_and_are_shown_together(place: Path, command: str) -> None:
    done = spawn(place, command, "stripes.toml", "--set", "train.epoch=3", "--set", "model.width=[3]")
    assert done.returncode == 2
    assert "2 problems" in done.stderr
    assert "train.epoch: unknown key 'epoch'; did you mean 'epochs'?" in done.stderr
    assert "model.width: unknown key 'width'; did you mean 'widths'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "missing.toml"], "does not exist"),
        (["check", "stripes.toml", "--set", "nonsense"], "write section.key=value"),
        (["run", "stripes.toml", "--no-plugin", "nn"], "nn"),
        (["check", "--recipe-only", "stripes.toml", "--set", "loss=loss/focall"], "did you mean 'loss/focal'?"),
        (["run", "stripes.toml", "--frsh"], "--frsh"),
        (["run"], "RECIPE"),
    ],
)
def test_mistakes_before_the_run(place: Path, arguments: list[str], words: str) -> None:
    done = call(place, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_recipe_only_imports_nothing_heavy(place: Path) -> None:
    program = (
        "import sys; from icf.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'torchvision', 'timm', 'albumentations', 'ray', 'pyarrow', 'PIL', 'sklearn'};"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "--recipe-only", "stripes.toml"],
        cwd=place, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *lines, last = done.stdout.splitlines()
    assert last == "0 []"
    assert lines[0] == "Which of two stripes is it?"
    assert lines[-1] == "recipe 'stripes' is valid; its data was not looked at"
    assert any(line.startswith("optimizer") and "weight_decay = " in done.stdout for line in lines)


def test_recipe_only_as_json_is_the_filled_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--recipe-only", "--json", str(place / "stripes.toml")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recipe"], found["valid"], found["warnings"]) == ("stripes", True, [])
    assert found["filled"]["model"]["widths"] == [4]
    assert found["filled"]["optimizer"]["use"] == "optimizer/adamw"


def test_images_are_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.JPG", "b/1.png", "b/deep/3.webp", "a.txt", "b/notes.txt", "b/._1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert [str(path) for path in find_images(["b"])] == ["b/1.png", "b/2.JPG", "b/deep/3.webp"]
    assert [str(path) for path in find_images(["a.txt", "b/*.png", "b"])] == [
        "a.txt", "b/1.png", "b/2.JPG", "b/deep/3.webp",
    ]  # fmt: skip


def test_images_that_are_not_there_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(IcfError) as caught:
        find_images(["gone.png", "empty", "*.jpg"])
    text = str(caught.value)
    assert "3 problems" in text
    assert "gone.png: no such file or folder" in text
    assert "empty: no image in this folder" in text
    assert "*.jpg: no file matches this pattern" in text


def test_the_newest_finished_run_is_found(tmp_path: Path) -> None:
    for name in ("20260102-000000-bb", "20260101-000000-aa", "20260103-000000-cc"):
        (tmp_path / "digits" / name).mkdir(parents=True)
        (tmp_path / "digits" / name / "plan.json").touch()
    newest = tmp_path / "digits" / "20260103-000000-cc"
    assert find_run_dir(tmp_path / "digits") == newest
    finished = tmp_path / "digits" / "20260102-000000-bb"
    (finished / "metrics.json").touch()
    assert find_run_dir(tmp_path / "digits") == finished
    assert find_run_dir(newest) == newest
    with pytest.raises(IcfError, match="no such folder"):
        find_run_dir(tmp_path / "mnist")
    with pytest.raises(IcfError, match=r"no plan\.json"):
        find_run_dir(tmp_path)
