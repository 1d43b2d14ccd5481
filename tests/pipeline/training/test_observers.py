from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import distributions
import icf
from icf.pipeline.files import read_json
from icf.pipeline.folder import RunFolder
from icf.pipeline.listener import Listener, RunResult
from icf.pipeline.run import run_pipeline
from runs import MAIN, find_run
from training import DIGITS, SMALL, make_plan, place_inline, read_history

installer = pytest.fixture(distributions.installer)

HEARD = "heard = []"

OBSERVER = """
    import icf
    from witness_log import heard

    def note(event):
        heard.append(("{module}", event))

    @icf.hookimpl
    def icf_run_start(event):
        note(event)

    @icf.hookimpl
    def icf_fold_start(event):
        note(event)

    @icf.hookimpl
    def icf_epoch_end(event):
        note(event)

    @icf.hookimpl
    def icf_fold_end(event):
        note(event)

    @icf.hookimpl
    def icf_run_end(event):
        note(event)
"""

GRUMPY = """
    import icf
    from witness_log import heard

    @icf.hookimpl
    def icf_run_start(event):
        heard.append(("grumpy", event))

    @icf.hookimpl
    def icf_epoch_end(event):
        heard.append(("grumpy", event))
        raise RuntimeError("not now")

    @icf.hookimpl
    def icf_run_end(event):
        heard.append(("grumpy", event))
"""


class Warned(Listener):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def heard(installer: distributions.Installer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    modules = {"witness_log": HEARD, "witness": OBSERVER, "second": OBSERVER, "grumpy": GRUMPY}
    points = {name: name for name in ("witness", "second", "grumpy")}
    installer.install("watchers", modules, entry_points=points)
    import witness_log  # type: ignore[import-not-found]

    found: list[Any] = witness_log.heard
    return found


def run(runs: Path, *overrides: str) -> tuple[RunResult, list[str]]:
    listener = Warned()
    result = run_pipeline(make_plan("train.epochs=2", *overrides), runs, place_inline, listener)
    return result, listener.warnings


def test_observers_hear_everything_in_the_order_of_the_recipe(tmp_path: Path, heard: list[Any]) -> None:
    run(tmp_path, 'observers=["second", "witness"]')
    assert [name for name, _ in heard] == ["second", "witness"] * (len(heard) // 2)
    told = [event for name, event in heard if name == "witness"]
    assert isinstance(told[0], icf.RunStart)
    assert isinstance(told[-1], icf.RunEnd)
    for fold in range(3):
        kinds = [type(event) for event in told[1:-1] if event.fold == fold]
        assert kinds == [icf.FoldStart, icf.EpochEnd, icf.EpochEnd, icf.FoldEnd]
    assert len(told) == 14


def test_only_the_observers_that_are_named_hear_anything(tmp_path: Path, heard: list[Any]) -> None:
    run(tmp_path, 'observers=["witness"]')
    assert {name for name, _ in heard} == {"witness"}


def test_events_say_what_the_files_say(tmp_path: Path, heard: list[Any]) -> None:
    result, _ = run(tmp_path, 'observers=["witness"]')
    events = [event for _, event in heard]
    folder = RunFolder(result.run_dir)
    assert {event.run_dir for event in events} == {result.run_dir}
    start, end = events[0], events[-1]
    assert (start.recipe, start.folds, start.epochs) == ("digits", 3, 2)
    assert start.classes == end.classes == tuple("0123456789")
    for event in events:
        if isinstance(event, icf.EpochEnd):
            row = read_history(folder.fold(event.fold))[event.epoch]
            assert (event.train_loss, event.val_loss) == (row["train_loss"], row["val_loss"])
            assert (event.learning_rate, event.images_per_second) == (row["learning_rate"], row["images_per_second"])
            assert dict(event.metrics) == {name: value for name, value in row.items() if name.startswith("metric/")}
        if isinstance(event, icf.FoldEnd):
            saved = read_json(folder.fold(event.fold).metrics)
            assert (event.best_epoch, dict(event.metrics)) == (saved["best_epoch"], saved["metrics"])
            assert event.augmented == folder.fold(event.fold).augmented
    assert dict(end.metrics) == {name: score["value"] for name, score in result.metrics["oof"].items()}
    assert [list(row) for row in end.confusion] == result.metrics["confusion"]
    assert sum(map(sum, end.confusion)) == result.metrics["rows"]
    assert end.hyperparameters["model"] == "nn/sequential-cnn"
    assert end.hyperparameters["optimizer.lr"] == 0.004


def test_a_continued_run_tells_no_epoch_twice(tmp_path: Path, heard: list[Any]) -> None:
    run(tmp_path, 'observers=["witness"]')
    heard.clear()
    run(tmp_path, 'observers=["witness"]')
    assert [type(event) for _, event in heard] == [icf.RunStart, icf.RunEnd]


def test_an_observer_that_raises_is_dropped_and_the_run_goes_on(tmp_path: Path, heard: list[Any]) -> None:
    result, warnings = run(tmp_path, 'observers=["grumpy", "witness"]')
    assert result.metrics["rows"] == 539
    assert [type(event) for name, event in heard if name == "grumpy"] == [icf.RunStart, icf.EpochEnd]
    assert len([event for name, event in heard if name == "witness"]) == 14
    assert warnings == [
        "observer 'grumpy' (watchers 1.0) was dropped, because icf_epoch_end raised RuntimeError: not now"
    ]


def test_tensorboard_shows_the_curves_of_a_run(tmp_path: Path) -> None:
    overrides = [*SMALL, "split.folds=2", "train.epochs=2", 'observers=["tensorboard"]', 'compute.executor="inline"']
    settings = [part for text in overrides for part in ("--set", text)]
    command = [sys.executable, "-c", MAIN, "run", str(DIGITS), "--runs", str(tmp_path), *settings]
    done = subprocess.run(
        command, env={**os.environ, "ICF_CACHE": str(tmp_path / "cache")}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = find_run(tmp_path)
    for fold in range(2):
        curves = EventAccumulator(str(folder / "tensorboard" / f"fold-{fold}"))
        curves.Reload()
        losses = [event.value for event in curves.Scalars("train_loss")]
        expected = [row["train_loss"] for row in read_history(RunFolder(folder).fold(fold))]
        assert losses == pytest.approx(expected, abs=1e-5)
        assert curves.Tags()["images"] == ["augmented"]
    run_events = EventAccumulator(str(folder / "tensorboard" / "run"))
    run_events.Reload()
    score = read_json(folder / "metrics.json")["oof"]["metric/macro-f1"]["value"]
    assert run_events.Scalars("score/metric/macro-f1")[0].value == pytest.approx(score, abs=1e-6)
