from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icf.cli.main import main
from icf.pipeline.files import read_json, read_table
from icf.pipeline.folder import FoldFolder, RunFolder
from icf.pipeline.listener import Listener, RunResult
from icf.pipeline.run import run_pipeline
from icf.plan import Plan, load_plan
from runs import find_run, finish, kill, start_run, wait_until
from training import SMALL, make_plan, place_inline, read_history, save_digits, without_speed

SLOW = (*SMALL, "train.epochs=8", "model.widths=[48, 96]", 'compute.executor="inline"')
"""A fold takes some seconds: long enough to be killed in."""

OFTEN = "compute.checkpoint_minutes=0.001"
"""A state every .06 seconds, of steps that take about .02."""

PRODUCTS = ("oof.parquet", "test.parquet", "submission.csv", "split.parquet")


class Recorder(Listener):
    """Remembers which stages and epochs there were."""

    def __init__(self) -> None:
        self.skipped: dict[str, bool] = {}
        self.epochs: list[tuple[int, int]] = []
        self.finished: list[int] = []

    def stage_ended(self, name: str, seconds: float, *, skipped: bool, detail: str = "") -> None:
        self.skipped[name] = skipped

    def folds_placed(self, placement: object, folds: int, finished: object) -> None:
        self.finished = list(finished)  # type: ignore[call-overload]

    def epoch_ended(self, event: object, epochs: int) -> None:
        self.epochs.append((event.fold, event.epoch))  # type: ignore[attr-defined]


pytestmark = pytest.mark.usefixtures("cache_of_file")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("undisturbed")
    with start_run(runs, *SLOW) as process:
        finish(process)
    return find_run(runs)


def run(plan: Plan, runs: Path, *, fresh: bool = False) -> tuple[RunResult, Recorder]:
    recorder = Recorder()
    return run_pipeline(plan, runs, place_inline, recorder, fresh=fresh), recorder


def fold_of(runs: Path, number: int) -> FoldFolder:
    folders = list(runs.glob("*/*/folds"))
    return FoldFolder(folders[0] / str(number)) if folders else FoldFolder(runs / "none")


def count_epochs(runs: Path) -> int:
    folders = (fold_of(runs, fold) for fold in range(3))
    return sum(len(read_history(folder)) for folder in folders if folder.history.exists())


def read_times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def load_plan_of(run_dir: Path) -> Plan:
    return Plan.from_json((run_dir / "plan.json").read_text())


def assert_same_products(run_dir: Path, other: Path) -> None:
    for name in PRODUCTS:
        assert (run_dir / name).read_bytes() == (other / name).read_bytes(), name
    for fold in range(3):
        histories = [read_history(RunFolder(path).fold(fold)) for path in (run_dir, other)]
        assert without_speed(histories[0]) == without_speed(histories[1])
    assert read_json(run_dir / "metrics.json") == read_json(other / "metrics.json")


def test_a_killed_run_goes_on_after_the_last_epoch(tmp_path: Path, undisturbed: Path) -> None:
    with start_run(tmp_path, *SLOW) as process:
        second = fold_of(tmp_path, 1)

        def in_the_middle() -> bool:
            nonlocal second
            second = fold_of(tmp_path, 1)
            return second.history.exists() and len(read_history(second)) >= 3

        wait_until(in_the_middle, process)
        kill(process)
    assert not second.metrics.exists()
    epochs = read_history(second)
    first_before = read_times(fold_of(tmp_path, 0).path)
    leftover = second.checkpoints / ".epoch-00099.tmp"
    leftover.mkdir()
    (leftover / "state.pt").write_bytes(b"half of a check")
    result, recorder = run(load_plan_of(undisturbed), tmp_path)
    assert result.run_dir == find_run(tmp_path)
    assert recorder.finished == [0]
    assert recorder.epochs[0] == (1, len(epochs))
    assert read_times(fold_of(tmp_path, 0).path) == first_before
    # Rows of epochs that are not run again keep even their speed.
    assert read_history(second)[: len(epochs)] == epochs
    assert_same_products(result.run_dir, undisturbed)


def test_a_run_killed_at_any_moment_ends_like_one_that_was_not(tmp_path: Path, undisturbed: Path) -> None:
    moments = random.Random(20)
    for _ in range(4):
        before, more = count_epochs(tmp_path), moments.randint(1, 5)
        with start_run(tmp_path, *SLOW, OFTEN) as process:
            wait_until(lambda target=before + more: count_epochs(tmp_path) >= target, process)  # type: ignore[misc]
            time.sleep(moments.random() * 0.3)
            kill(process)
        assert count_epochs(tmp_path) < 24
    with start_run(tmp_path, *SLOW, OFTEN) as process:
        finish(process)
    assert_same_products(find_run(tmp_path), undisturbed)


def test_killed_before_its_last_history_was_written_a_fold_still_ends(tmp_path: Path) -> None:
    plan = make_plan("train.epochs=1")
    first, _ = run(plan, tmp_path)
    fold = RunFolder(first.run_dir).fold(1)
    expected = read_history(fold)
    for product in (fold.history, fold.oof, fold.metrics, first.run_dir / "stages" / "fold-1.json"):
        product.unlink()
    again, recorder = run(plan, tmp_path)
    assert recorder.finished == [0, 2]
    assert read_history(fold) == expected
    assert again.metrics == first.metrics


def test_a_finished_run_trains_nothing(tmp_path: Path) -> None:
    plan = make_plan("train.epochs=1")
    first, told = run(plan, tmp_path)
    assert told.skipped == dict.fromkeys(told.skipped, False)
    assert sorted(told.epochs) == [(0, 0), (1, 0), (2, 0)]
    kept = read_times(first.run_dir / "folds")
    again, recorder = run(plan, tmp_path)
    assert again.run_dir == first.run_dir
    assert again.metrics == first.metrics
    assert recorder.epochs == []
    assert [name for name, skipped in recorder.skipped.items() if skipped] == ["prepare", "split", "fit", "ensemble"]
    assert read_times(first.run_dir / "folds") == kept


def test_a_lost_product_is_made_again(tmp_path: Path) -> None:
    plan = make_plan("train.epochs=1")
    first, _ = run(plan, tmp_path)
    expected = (first.run_dir / "test.parquet").read_bytes()
    (first.run_dir / "test.parquet").unlink()
    _, recorder = run(plan, tmp_path)
    assert recorder.skipped["fit"]
    assert not recorder.skipped["ensemble"]
    assert (first.run_dir / "test.parquet").read_bytes() == expected


def test_a_run_goes_on_with_a_cache_in_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "one"))
    plan = make_plan("train.epochs=1")
    first, _ = run(plan, tmp_path / "runs")
    shutil.rmtree(tmp_path / "one")
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "two"))
    RunFolder(first.run_dir).fold(1).metrics.unlink()
    again, recorder = run(plan, tmp_path / "runs")
    assert recorder.finished == [0, 2]
    assert again.metrics == first.metrics


def test_fresh_starts_a_folder_of_its_own_with_the_same_result(tmp_path: Path) -> None:
    plan = make_plan("train.epochs=1")
    first, _ = run(plan, tmp_path)
    second, recorder = run(plan, tmp_path, fresh=True)
    assert second.run_dir != first.run_dir
    assert not recorder.skipped["fit"]
    assert second.metrics == first.metrics
    third, _ = run(plan, tmp_path)
    assert third.run_dir == second.run_dir


def test_another_recipe_has_another_folder(tmp_path: Path) -> None:
    first, _ = run(make_plan("train.epochs=1"), tmp_path)
    second, recorder = run(make_plan("train.epochs=1", "optimizer.lr=0.001"), tmp_path)
    assert second.run_dir != first.run_dir
    assert not recorder.skipped["fit"]


FOLDER = """
    dataset = {{ use = "images/folder", root = "{root}" }}
    model = {{ use = "nn/sequential-cnn", widths = [8] }}
    transforms = {{ channels = 1, image_size = 8 }}
    train = {{ epochs = 2, batch_size = 32 }}
    split = {{ folds = 2 }}
    compute = {{ threads = 1, executor = "inline" }}
"""


def test_changed_data_is_trained_again_and_every_epoch_is_told(tmp_path: Path) -> None:
    save_digits(tmp_path / "data" / "train", range(120))
    recipe = tmp_path / "folder.toml"
    recipe.write_text(FOLDER.format(root=tmp_path / "data"))
    plan = load_plan(recipe)
    first, _ = run(plan, tmp_path / "runs")
    _, unchanged = run(plan, tmp_path / "runs")
    assert unchanged.epochs == []
    image = next((tmp_path / "data" / "train" / "3").glob("*.png"))
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    second, recorder = run(plan, tmp_path / "runs")
    assert second.run_dir == first.run_dir
    assert recorder.skipped == {"prepare": False, "split": False, "fit": False, "ensemble": False, "report": False}
    assert sorted(recorder.epochs) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert second.metrics["oof"] != first.metrics["oof"]


CSV = """
    dataset = {{ use = "images/csv", root = "{root}", image_folder = "train", fold_column = "fold" }}
    model = {{ use = "nn/sequential-cnn", widths = [8] }}
    transforms = {{ channels = 1, image_size = 8 }}
    train = {{ epochs = 1, batch_size = 32 }}
    split = {{ method = "predefined" }}
    compute = {{ threads = 1, executor = "inline" }}
"""


def test_corrected_labels_are_trained_although_the_folds_stay(tmp_path: Path) -> None:
    save_digits(tmp_path / "data" / "train", range(40))
    images = sorted((tmp_path / "data" / "train").glob("*/*.png"))
    lines = [[f"{path.parent.name}/{path.name}", path.parent.name, str(row % 2)] for row, path in enumerate(images)]
    recipe = tmp_path / "listed.toml"
    recipe.write_text(CSV.format(root=tmp_path / "data"))

    def train_with_labels() -> list[int]:
        text = "\n".join(",".join(line) for line in [["image", "label", "fold"], *lines])
        (tmp_path / "data" / "train.csv").write_text(text)
        result, _ = run(load_plan(recipe), tmp_path / "runs")
        return [int(target) for target in read_table(result.run_dir / "oof.parquet")["target"]]

    before = train_with_labels()
    lines[0][1], lines[-1][1] = lines[-1][1], lines[0][1]
    after = train_with_labels()
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 2


def test_test_images_may_go_away(tmp_path: Path) -> None:
    save_digits(tmp_path / "data" / "train", range(60))
    (tmp_path / "data" / "train" / "3").rename(tmp_path / "data" / "new")
    recipe = tmp_path / "folder.toml"
    recipe.write_text(FOLDER.format(root=tmp_path / "data"))
    with_test, _ = run(load_plan(recipe, ["dataset.test='new'"]), tmp_path / "runs")
    assert (with_test.run_dir / "test.parquet").exists()
    without, _ = run(load_plan(recipe), tmp_path / "runs")
    # As if an earlier start of the same recipe had found test images.
    shutil.copy(with_test.run_dir / "test_rows.parquet", without.run_dir)
    (without.run_dir / "stages" / "prepare.json").unlink()
    RunFolder(without.run_dir).fold(0).metrics.unlink()
    again, _ = run(load_plan(recipe), tmp_path / "runs")
    assert again.submission is None
    assert again.metrics == without.metrics


def test_the_command_continues_and_begins_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "small.toml"
    shutil.copy(Path(__file__).parents[2] / "recipes" / "digits.toml", recipe)
    settings = [part for text in (*SMALL, "train.epochs=1", 'compute.executor="inline"') for part in ("--set", text)]
    command = ["run", str(recipe), "--runs", str(tmp_path / "runs"), *settings]
    outputs = []
    for extra in ([], [], ["--fresh"]):
        assert main([*command, *extra]) == 0
        outputs.append(capsys.readouterr().out)
    assert len(list((tmp_path / "runs" / "small").iterdir())) == 2
    assert "epoch 1/1" in outputs[0]
    assert "epoch 1/1" not in outputs[1]
    assert "epoch 1/1" in outputs[2]
