from __future__ import annotations

import importlib.metadata
import json
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from icf.errors import IcfError
from icf.executors.inline import InlineExecutor
from icf.pipeline.files import read_json, write_bytes, write_json
from icf.pipeline.folder import RunFolder, open_run_folder
from icf.pipeline.jobs import Executor, Placement, Prediction, Workload, read_placement
from icf.pipeline.listener import Listener
from icf.pipeline.run import run_pipeline
from icf.pipeline.training.checkpoint import list_states, load_weights, read_metadata, read_state
from icf.plan import Plan, load_plan
from training import fit, make_plan, place_inline


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICF_CACHE", str(tmp_path_factory.mktemp("cache")))
        result = run_pipeline(make_plan("train.epochs=2"), tmp_path_factory.mktemp("runs"), place_inline, Listener())
        yield RunFolder(result.run_dir)


def test_everything_has_its_fixed_name(finished: RunFolder) -> None:
    found = {str(path.relative_to(finished.path)) for path in finished.path.rglob("*") if path.is_file()}
    run = {"recipe.toml", "plan.json", "environment.json", "placement.json", "data.json", "split.parquet", "split.json"}
    run |= {"test_rows.parquet", "oof.parquet", "test.parquet", "ensemble.json", "metrics.json", "submission.csv"}
    run |= {"report.html"} | {f"stages/{name}.json" for name in ("prepare", "split", "ensemble")}
    run |= {"process.json", "run.lock"}
    fold = {"history.csv", "metrics.json", "progress.json", "oof.parquet", "test.parquet", "augmented.png"}
    fold |= {"checkpoint/best.safetensors", "checkpoint/epoch-00002/model.safetensors"}
    fold |= {"checkpoint/epoch-00002/state.pt", "attempt.txt"}
    folds = {f"folds/{number}/{name}" for number in range(3) for name in fold}
    assert found == run | folds | {f"stages/fold-{number}.json" for number in range(3)}


def test_plan_and_recipe_can_be_read_back(finished: RunFolder, tmp_path: Path) -> None:
    plan = make_plan("train.epochs=2")
    assert Plan.from_json(finished.plan.read_text()) == plan
    recipe = tmp_path / "digits.toml"
    recipe.write_text((finished.path / "recipe.toml").read_text())
    assert load_plan(recipe).identity == plan.identity


def test_the_environment_is_noted(finished: RunFolder) -> None:
    environment = read_json(finished.path / "environment.json")
    assert environment["packages"]["torch"] == importlib.metadata.version("torch")
    assert environment["packages"]["icf"]
    assert environment["cores"] >= 1
    assert environment["python"].startswith("3.")


def test_stages_are_recorded_with_their_inputs(finished: RunFolder) -> None:
    products = [finished.fold(0).metrics]
    inputs = read_json(finished.path / "stages" / "fold-0.json")["inputs"]
    assert finished.is_done("fold-0", inputs, products)
    assert not finished.is_done("fold-0", "other inputs", products)
    assert not finished.is_done("fold-0", inputs, [*products, finished.path / "missing"])
    assert not finished.is_done("no such stage", inputs, products)


def test_a_stage_that_fails_is_not_recorded(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    product = tmp_path / "product"

    def fail() -> None:
        product.touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        folder.run_stage("work", "key", [product], fail)
    assert folder.run_stage("work", "key", [product], product.touch)
    assert not folder.run_stage("work", "key", [product], product.touch)
    assert folder.run_stage("work", "another key", [product], product.touch)


def test_weights_tell_how_to_use_them(finished: RunFolder) -> None:
    facts = read_metadata(finished.fold(1).checkpoints / "best.safetensors")
    data = read_json(finished.data)
    assert facts["classes"] == data["classes"] == list("0123456789")
    assert facts["preprocessing"] == data["preprocessing"]
    assert facts["preprocessing"]["image_size"] == [8, 8]
    assert facts["fold"] == 1
    assert facts["epoch"] == read_json(finished.fold(1).metrics)["best_epoch"]
    assert facts["model"]["ref"] == "nn/sequential-cnn"


def test_the_state_is_tensors_and_plain_data(finished: RunFolder) -> None:
    (last,) = list_states(finished.fold(0).checkpoints)
    state = torch.load(last / "state.pt", weights_only=True)
    assert state["training"]["epoch"] == 2
    assert state["key"] == read_json(finished.path / "stages" / "fold-0.json")["inputs"]
    assert read_state(finished.fold(0).checkpoints) is not None
    assert read_state(finished.path / "nothing") is None


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("this must never be called",))


@pytest.mark.parametrize("content", [pickle.dumps(Evil(), protocol=2), b"", b"half a checkpoint"])
def test_a_state_that_is_no_plain_data_is_refused(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "epoch-00001"
    folder.mkdir()
    (folder / "state.pt").write_bytes(content)
    with pytest.raises(IcfError, match=r"state\.pt: this checkpoint can't be read .* to train anew"):
        read_state(tmp_path)
    assert "never" not in capsys.readouterr().out


def test_weights_that_do_not_fit_are_refused(finished: RunFolder, tmp_path: Path) -> None:
    weights = finished.fold(0).checkpoints / "best.safetensors"
    with pytest.raises(IcfError, match="can't be loaded into the model"):
        load_weights(weights, torch.nn.Linear(2, 2))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(weights.read_bytes()[:100])
    for read in (lambda: load_weights(broken, torch.nn.Linear(2, 2)), lambda: read_metadata(broken)):
        with pytest.raises(IcfError, match="broken"):
            read()


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, [0] * 5000)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            write_json(path, [number] * 5000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [json.loads(path.read_text()) for _ in range(200)]
    finally:
        stop.set()
        writer.join()
    assert all(len(value) == 5000 and len(set(value)) == 1 for value in seen)
    assert len({value[0] for value in seen}) > 1
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "value"
    write_bytes(path, b"old")
    with pytest.raises(TypeError):
        write_bytes(path, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["value"]


def test_a_folder_that_cannot_be_made_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(IcfError, match=r"can't write to .*choose another place with --runs"):
        open_run_folder(make_plan(), tmp_path / "runs")


def test_fresh_folders_of_one_second_are_different(tmp_path: Path) -> None:
    folders = [open_run_folder(make_plan(), tmp_path, fresh=True).path for _ in range(3)]
    assert len(set(folders)) == 3
    assert open_run_folder(make_plan(), tmp_path).path == max(folders)


def test_only_the_last_state_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    job = fit(tmp_path / "runs", "train.epochs=3")
    assert sorted(path.name for path in job.folder.checkpoints.iterdir()) == ["best.safetensors", "epoch-00003"]


def test_folds_compute_as_placed_and_an_interrupted_run_is_placed_as_before(tmp_path: Path) -> None:
    plan = make_plan("split.folds=2", "train.epochs=1", "compute.precision='auto'")
    seen: list[Workload] = []
    placement = Placement(
        "inline", "a test", 1, 1, "cpu", precision="bf16", fold_threads=(1, 2), prediction=Prediction(64)
    )

    def place(plan: Plan, work: Workload) -> tuple[Placement, Executor]:
        seen.append(work)
        return placement, InlineExecutor()

    run_dir = run_pipeline(plan, tmp_path, place, Listener()).run_dir
    [first] = seen
    assert (first.folds, first.images, first.num_classes, first.earlier) == (2, 539, 10, None)
    assert first.pixels == 539 * 64
    folder = RunFolder(run_dir)
    assert [read_json(folder.fold(fold).metrics)["precision"] for fold in (0, 1)] == ["bfloat16"] * 2
    run_pipeline(plan, tmp_path, place, Listener())
    assert seen[1].earlier == placement
    placement = replace(placement, precision="fp32")  # other numbers: the folds are trained again
    run_pipeline(plan, tmp_path, place, Listener())
    assert [read_json(folder.fold(fold).metrics)["precision"] for fold in (0, 1)] == ["float32"] * 2
    assert "inline: a test" in (run_dir / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [None, "", "[]", '{"executor": "inline"}', '{"executor": 1, "fold_threads": 1}'])
def test_a_placement_that_cannot_be_read_is_none(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "placement.json").write_text(text)
    assert read_placement(tmp_path / "placement.json") is None
