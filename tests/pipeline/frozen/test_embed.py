from __future__ import annotations

import os
import re
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from icf.pipeline.cache import cache_dir
from icf.pipeline.files import read_json, read_probabilities
from icf.pipeline.folder import RunFolder
from icf.pipeline.listener import Listener, RunResult
from icf.pipeline.predict import predict_images
from icf.pipeline.run import run_pipeline
from icf.plan import load_plan
from runs import find_run, kill, start_run, wait_until
from training import CLASSES, place_inline, read_history, save_digits, without_speed

RECIPE = """
    dataset = {{ use = "images/folder", root = "{root}", test = "new" }}
    transforms = {{ channels = 1, image_size = 32, train = ["augment/horizontal-flip", "augment/random-crop"] }}
    model.use = "timm/model"
    model.arch = "test_resnet"
    model.pretrained = true
    model.weights = "{weights}"
    model.drop_rate = 0.2
    model.freeze = "backbone"
    model.views = 2
    optimizer = {{ lr = 0.02 }}
    train = {{ epochs = 3, batch_size = 32 }}
    split = {{ folds = 2 }}
    inference = {{ tta = ["vertical-flip"] }}
    compute = {{ threads = 1, precision = "fp32", executor = "inline" }}
"""

RANDOM = 'model={use="nn/sequential-cnn", widths=[8, 16], freeze="backbone"}'


class Recorder(Listener):
    """Remembers stages and warnings."""

    def __init__(self) -> None:
        self.stages: dict[str, bool] = {}
        self.details: dict[str, str] = {}
        self.warnings: list[str] = []
        self.images: set[tuple[int, int]] = set()

    def stage_progress(self, name: str, what: str, done: int, total: int) -> None:
        if name == "embed":
            self.images.add((done, total))

    def stage_ended(self, name: str, seconds: float, *, skipped: bool, detail: str = "") -> None:
        self.stages[name], self.details[name] = skipped, detail

    def warn(self, text: str) -> None:
        self.warnings.append(text)


pytestmark = pytest.mark.usefixtures("cache_of_file")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    save_digits(root / "train", range(160))
    save_digits(root / "new", range(300, 320), by_class=False)
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", in_chans=3)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(0.3)  # untrained features are nearly equal for all images; this spreads them
    save_file(model.state_dict(), root / "weights.safetensors")
    path = root / "frozen.toml"
    path.write_text(RECIPE.format(root=root, weights=root / "weights.safetensors"))
    return path


def run(recipe: Path, runs: Path, *overrides: str) -> tuple[RunFolder, Recorder, RunResult]:
    recorder = Recorder()
    result = run_pipeline(load_plan(recipe, overrides), runs, place_inline, recorder)
    return RunFolder(result.run_dir), recorder, result


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Recorder, RunResult]:
    return run(recipe, tmp_path_factory.mktemp("runs"))


def list_arrays(folder: RunFolder) -> dict[str, Path]:
    files = read_json(folder.embeddings)["files"]
    return {f"{part} {name}": Path(path) for part in ("train", "test") for name, path in files[part].items()}


def assert_close(folder: RunFolder, other: RunFolder, tolerance: float) -> None:
    for name in ("oof.parquet", "test.parquet"):
        values = [read_probabilities(each.path / name, CLASSES) for each in (folder, other)]
        assert values[0][0] == values[1][0]
        np.testing.assert_allclose(values[0][1], values[1][1], atol=tolerance)
    for fold in range(2):
        histories = [without_speed(read_history(each.fold(fold))) for each in (folder, other)]
        for row, twin in zip(*histories, strict=True):
            assert row == pytest.approx(twin, abs=tolerance)


def test_every_view_has_its_array(finished: tuple[RunFolder, Recorder, RunResult]) -> None:
    folder, recorder, _ = finished
    assert set(list_arrays(folder)) == {
        "train plain", "train vertical-flip", "train augmented", "test plain", "test vertical-flip",
    }  # fmt: skip
    assert max(recorder.images) == (160 * (1 + 1 + 2) + 20 * 2,) * 2
    assert recorder.stages["embed"] is False
    assert recorder.details["embed"].startswith("5 arrays of float32")
    assert recorder.details["embed"].endswith("batch normalisation fused")
    assert not recorder.warnings


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("train.accumulate=2", "model.drop_rate=0.0"),
        ("transforms.train=[]",),
        ('train.average="ema"',),
        ('train.average="swa"', "train.swa_start=1"),
        ('train.average="soup"',),
        ("model.head_dropout=0.4", "model.dropout_samples=3"),
    ],
)
def test_numbers_are_those_of_the_ordinary_way_on_the_same_views(
    recipe: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    folder, _, _ = run(recipe, tmp_path, *more)
    ordinary, recorder, _ = run(recipe, tmp_path, 'compute.embeddings="off"', *more)
    assert "embed" not in recorder.stages
    assert not ordinary.embeddings.exists()
    assert_close(folder, ordinary, 1e-4)
    first, last = (read_history(folder.fold(0))[index]["train_loss"] for index in (0, -1))
    assert last < first - 0.02


def test_views_with_transforms_are_those_of_the_ordinary_way(recipe: Path, tmp_path: Path) -> None:
    random, crop = '{use="augment/erasing", p=0.8, fill="noise"}', '{use="augment/crop", share=0.7, place="top-left"}'
    views = f'inference.tta=[{random}, {random}, ["vertical-flip", {crop}]]'
    more = (views, 'inference.average="logits"', "train.epochs=1")
    folder, recorder, _ = run(recipe, tmp_path, *more)
    assert recorder.details["embed"].startswith("9 arrays")
    arrays = list_arrays(folder)
    assert len(set(arrays.values())) == 9
    assert {"train 1: augment/erasing", "train 2: augment/erasing", "test 3: vertical-flip + augment/crop"} <= set(
        arrays
    )
    ordinary, _, _ = run(recipe, tmp_path, 'compute.embeddings="off"', *more)
    assert_close(folder, ordinary, 1e-4)
    ids, expected = read_probabilities(folder.path / "test.parquet", CLASSES)
    found = predict_images(folder.path, [recipe.parent / name for name in ids])
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


def test_bfloat16_embeddings_are_stored_as_they_are(recipe: Path, tmp_path: Path) -> None:
    folder, recorder, _ = run(recipe, tmp_path, 'compute.precision="bf16"')
    ordinary, _, _ = run(recipe, tmp_path, 'compute.precision="bf16"', 'compute.embeddings="off"')
    assert recorder.details["embed"].startswith("5 arrays of bfloat16")
    assert not read_json(folder.embeddings)["files"]["fused"]  # which would round otherwise
    assert_close(folder, ordinary, 0.02)


@pytest.mark.parametrize(
    ("fuse", "precision", "fused"), [("off", "fp32", False), ("on", "fp32", True), ("on", "bf16", True)]
)
def test_a_recipe_decides_whether_norms_are_fused(
    recipe: Path, tmp_path: Path, fuse: str, precision: str, fused: bool
) -> None:
    settings = (f'compute.precision="{precision}"', "train.epochs=1")
    folder, _, _ = run(recipe, tmp_path, *settings, f'inference.fuse="{fuse}"')
    ordinary, _, _ = run(recipe, tmp_path, *settings)
    assert read_json(folder.embeddings)["files"]["fused"] is fused
    alike = read_json(ordinary.embeddings)["files"]["fused"] is fused
    assert (list_arrays(folder) == list_arrays(ordinary)) is alike


def test_the_whole_network_predicts_new_images_as_in_the_run(
    finished: tuple[RunFolder, Recorder, RunResult], recipe: Path
) -> None:
    folder, _, _ = finished
    ids, expected = read_probabilities(folder.path / "test.parquet", CLASSES)
    found = predict_images(folder.path, [recipe.parent / name for name in ids])
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert expected.std(axis=0).max() > 0.01  # the images are told apart


def test_the_backbone_in_the_weights_is_the_pretrained_one(
    finished: tuple[RunFolder, Recorder, RunResult], recipe: Path
) -> None:
    folder, _, _ = finished
    given = load_file(recipe.parent / "weights.safetensors")
    for fold in range(2):
        kept = load_file(folder.fold(fold).checkpoints / "best.safetensors")
        changed = {
            name for name in given if given[name].shape == kept[name].shape and not given[name].equal(kept[name])
        }
        assert not changed
        assert set(kept) == set(given)


def test_the_next_run_computes_only_what_is_new(
    finished: tuple[RunFolder, Recorder, RunResult], recipe: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_ino for path in list_arrays(finished[0]).values()}
    folder, recorder, _ = run(recipe, tmp_path, "train.epochs=1", 'inference.tta=["vertical-flip", "horizontal-flip"]')
    arrays = list_arrays(folder)
    assert {path: path.stat().st_ino for path in arrays.values() if path in before} == before
    assert {name for name, path in arrays.items() if path not in before} == {
        "train horizontal-flip", "test horizontal-flip",
    }  # fmt: skip
    assert max(recorder.images) == (180, 180)


def test_other_views_are_other_arrays(
    finished: tuple[RunFolder, Recorder, RunResult], recipe: Path, tmp_path: Path
) -> None:
    before = list_arrays(finished[0])
    for index, change in enumerate(("train.seed=1", "model.views=3", 'transforms.train=["augment/vertical-flip"]')):
        folder, _, _ = run(recipe, tmp_path / str(index), change, "train.epochs=1")
        arrays = list_arrays(folder)
        assert {name for name in arrays if arrays[name] != before[name]} == {"train augmented"}, change


def test_a_finished_run_is_skipped_and_lost_arrays_are_made_again(recipe: Path, tmp_path: Path) -> None:
    first, _, _ = run(recipe, tmp_path, "train.epochs=2")
    _, again, _ = run(recipe, tmp_path, "train.epochs=2")
    assert again.stages["embed"] is True
    assert again.stages["fit"] is True
    content = {path: path.read_bytes() for path in list_arrays(first).values()}
    next(iter(content)).unlink()
    _, repaired, _ = run(recipe, tmp_path, "train.epochs=2")
    assert repaired.stages["embed"] is False
    assert repaired.stages["fit"] is True
    assert {path: path.read_bytes() for path in content} == content


def test_random_backbones_are_trained_the_ordinary_way_and_that_is_told(recipe: Path, tmp_path: Path) -> None:
    folder, recorder, result = run(recipe, tmp_path, RANDOM, "train.epochs=1")
    reason = "the frozen layers run in every step: their weights are random, so they differ between folds"
    assert recorder.warnings == [reason]
    assert reason in result.warnings
    assert "differ between folds" in (folder.path / "report.html").read_text()
    assert read_json(folder.embeddings)["files"] is None
    assert result.metrics["rows"] == 160
    _, again, result = run(recipe, tmp_path, RANDOM, "train.epochs=1")
    assert again.stages["fit"] is True
    assert reason in result.warnings


def test_mixed_images_are_trained_the_ordinary_way_and_that_is_told(recipe: Path, tmp_path: Path) -> None:
    mix = 'transforms.mix=[{use="augment/mixup", probability=1.0}]'
    folder, recorder, _ = run(recipe, tmp_path, mix, "train.epochs=1")
    assert recorder.warnings == ["the frozen layers run in every step: transforms.mix makes other images in every step"]
    assert len(read_history(folder.fold(0))) == 1


@pytest.mark.parametrize("more", [(), ("transforms.train=[]",)])
def test_a_frozen_first_part_runs_once_too(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setattr("icf.pipeline.frozen.embed.judge_saving", lambda *_: "")
    settings = ('model.freeze="layer2"', "model.drop_rate=0.0", "train.epochs=2", "optimizer.lr=0.001", *more)
    folder, recorder, _ = run(recipe, tmp_path, *settings)
    ordinary, _, _ = run(recipe, tmp_path, *settings, 'compute.embeddings="off"')
    assert not recorder.warnings
    assert_close(folder, ordinary, 1e-3)
    given, kept = (
        load_file(path)
        for path in (recipe.parent / "weights.safetensors", folder.fold(0).checkpoints / "best.safetensors")
    )
    changed = {name.partition(".")[0] for name in given if not torch.equal(given[name], kept[name])}
    assert changed == {"conv1", "layer3", "layer4", "fc"}  # conv1 is spread over one channel
    ids, expected = read_probabilities(folder.path / "test.parquet", CLASSES)
    found = predict_images(folder.path, [recipe.parent / name for name in ids])
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "saving", "reason"),
    [
        (('model.freeze="layer2"',), "a measured reason", "a measured reason"),
        (('model={use="nn/sequential-cnn", freeze="stages.0"}',), "", "every epoch draws new images; model.views"),
        (('model.freeze="layer2.0.conv1"',), "", "in every step: the network "),
    ],
)
def test_a_first_part_that_runs_in_every_step_has_a_reason(
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
    saving: str,
    reason: str,
) -> None:
    monkeypatch.setattr("icf.pipeline.frozen.embed.judge_saving", lambda *_: saving)
    _, recorder, result = run(recipe, tmp_path, *settings, "train.epochs=1")
    [warning] = recorder.warnings
    assert reason in warning
    assert result.metrics["rows"] == 160


def test_a_full_disk_is_no_reason_to_stop(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(1000))
    _, recorder, _ = run(recipe, tmp_path, "train.epochs=1")
    assert "embeddings are not stored" in recorder.warnings[0]
    assert "has no room" in recorder.warnings[0]
    assert not list((cache_dir() / "embeddings").glob("*.np?"))


def test_embeddings_keep_to_the_room_of_the_cache(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    _, recorder, result = run(recipe, tmp_path, "train.epochs=1", "cache.max_gb=0.0001")
    assert re.search(r"embeddings are not stored: they take .* GB, but cache\.max_gb is 0\.0001", recorder.warnings[0])
    assert result.metrics["rows"] == 160


def test_an_unreadable_test_image_keeps_its_row(recipe: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(recipe.parent / "train", root / "train")
    shutil.copytree(recipe.parent / "new", root / "new")
    broken = sorted((root / "new").iterdir())[3]
    broken.write_bytes(b"no image")
    sorted((root / "train" / "0").iterdir())[0].write_bytes(b"no image")
    settings = (f'dataset.root="{root}"', 'dataset.on_bad_image="skip"', "train.epochs=1")
    folder, _, _ = run(recipe, tmp_path, *settings)
    ordinary, _, _ = run(recipe, tmp_path, *settings, 'compute.embeddings="off"')
    assert len(read_probabilities(folder.path / "test.parquet", CLASSES)[0]) == 20
    assert_close(folder, ordinary, 1e-4)


def test_a_killed_run_goes_on_to_the_same_numbers(recipe: Path, tmp_path: Path) -> None:
    settings = ("train.epochs=40", "inference.tta=[]")
    environment = {"ICF_CACHE": os.environ["ICF_CACHE"]}
    undisturbed, _, _ = run(recipe, tmp_path / "a", *settings)
    runs = tmp_path / "b"
    with start_run(runs, *settings, recipe=recipe, environment=environment) as process:
        wait_until(lambda: len(list(runs.glob("*/*/folds/1/checkpoint/epoch-*"))) > 0, process)
        kill(process)
    folder = RunFolder(find_run(runs))
    assert not folder.fold(1).metrics.exists()
    again, _, _ = run(recipe, runs, *settings)
    assert again == folder
    assert_close(folder, undisturbed, 0.0)
    for fold in range(2):
        weights = [each.fold(fold).checkpoints / "best.safetensors" for each in (folder, undisturbed)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
