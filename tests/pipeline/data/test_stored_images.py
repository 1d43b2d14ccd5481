from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from icf.errors import BadImagesError, IcfError, PluginError
from icf.pipeline.data.inputs import open_train_images
from icf.pipeline.data.prepare import Prepared, prepare, save_prepared
from icf.pipeline.data.stored_images import open_sources
from icf.pipeline.files import read_json
from icf.pipeline.folder import RunFolder
from icf.pipeline.pixels.cache import fill_cache
from icf.pipeline.pixels.sources import DecodedPixels, MappedPixels, TwoSizes
from icf.plan import Plan, load_plan
from icf.recipe import to_toml
from samples import choose_transform, save_photo

ROWS = np.array([3, 0, 5])


pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.fixture
def root(tmp_path) -> Path:
    """Six training images of two classes, and two test images of which one is broken."""
    for name, seeds in {"train/cat": (1, 2, 3), "train/dog": (4, 5, 6), "test": (7, 8)}.items():
        for seed in seeds:
            save_photo(tmp_path / "data" / name / f"{seed}.jpg", seed, 60, 80)
    (tmp_path / "data/test/8.jpg").write_bytes(b"broken")
    return tmp_path / "data"


def make(root: Path, *overrides: str) -> Plan:
    recipe = {
        "dataset": {"use": "images/folder", "root": str(root), "test": "test", "on_bad_image": "skip"},
        "model": {"use": "nn/sequential-cnn"},
        "transforms": {"image_size": [12, 10]},
    }
    path = root.parent / "recipe.toml"
    path.write_text(to_toml(recipe))
    return load_plan(path, overrides)


def save(plan: Plan, folder: Path) -> tuple[Prepared, dict]:
    data = prepare(plan, lambda *_: None)
    save_prepared(data, RunFolder(folder))
    return data, read_json(RunFolder(folder).data)["pixels"]


def gather(data: Prepared) -> tuple[np.ndarray, np.ndarray]:
    return data.train.cache.source.gather(ROWS).numpy(), data.test.cache.source.gather(np.arange(2)).numpy()


def assert_opens_to(data: Prepared, plan: Plan, described: dict, kind: type) -> None:
    sources = open_sources(plan, data.preprocessing, described)
    assert {type(source) for source in sources.values()} == {kind}
    train, test = gather(data)
    np.testing.assert_array_equal(sources["train"].gather(ROWS), train)
    np.testing.assert_array_equal(sources["test"].gather(np.arange(2)), test)


def test_a_worker_maps_what_was_stored(root, tmp_path):
    plan = make(root)
    data, described = save(plan, tmp_path / "run")
    shutil.move(root, tmp_path / "gone")  # the images themselves are not needed any more
    assert_opens_to(data, plan, described, MappedPixels)


def test_a_worker_on_another_machine_fills_its_own_cache(root, tmp_path, monkeypatch):
    plan = make(root)
    data, described = save(plan, tmp_path / "run")
    shutil.move(tmp_path / "cache", tmp_path / "cache of the first machine")
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache of the second machine"))
    assert_opens_to(data, plan, described, MappedPixels)
    assert len(list(tmp_path.glob("cache of the second machine/pixels/*.npy"))) == 2


def test_without_room_results_are_the_same(root, tmp_path, monkeypatch):
    stored, _ = save(make(root), tmp_path / "stored")
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "full"))
    plan = make(root, "cache.max_gb=1e-9")
    data, described = save(plan, tmp_path / "run")
    assert described["train"] == {"key": stored.train.cache.key, "path": None}
    assert data.key == stored.key
    assert data.preprocessing == stored.preprocessing
    assert [note for note in data.warnings if "cache.max_gb is 1e-09" in note]
    assert stored.warnings == ()
    for found, expected in zip(gather(data), gather(stored), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert_opens_to(data, plan, described, DecodedPixels)


def with_transform(plan: Plan, function: str) -> Plan:
    return plan.model_copy(update={"train_transforms": (choose_transform(function),)})


@pytest.mark.parametrize(("mode", "kind"), [("auto", MappedPixels), ("off", DecodedPixels)])
def test_training_gets_the_larger_images_that_its_transforms_ask_for(root, tmp_path, monkeypatch, mode, kind):
    plan = with_transform(make(root, f'cache.mode="{mode}"'), "take_corner")
    plain, _ = save(make(root), tmp_path / "plain")
    data, described = save(plan, tmp_path / "run")
    assert data.key == plain.key
    large = fill_cache(
        [Path(path) for path in data.train.sources], data.preprocessing.enlarge(1.5), tmp_path / "x", lambda *_: None
    )
    for source in (data.train.cache.source, open_sources(plan, data.preprocessing, described)["train"]):
        assert isinstance(source, TwoSizes)
        np.testing.assert_array_equal(source.gather(ROWS), plain.train.cache.source.gather(ROWS))
        assert source.gather_for_training(ROWS).shape == (3, 18, 15, 3)
        np.testing.assert_array_equal(source.gather_for_training(ROWS), large.source.gather(ROWS))
    assert type(data.test.cache.source) is kind
    batches = open_train_images(plan, data.train.cache.source, data.preprocessing, torch.device("cpu"))
    corner = large.source.gather(ROWS)[:, :12, :10].permute(0, 3, 1, 2)
    np.testing.assert_array_equal(batches.augment(ROWS, seed=0), corner)
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache of another machine"))
    shutil.move(tmp_path / "cache", tmp_path / "gone")
    again = open_sources(plan, data.preprocessing, described)["train"]
    np.testing.assert_array_equal(again.gather_for_training(ROWS), large.source.gather(ROWS))


def test_a_transform_can_not_ask_for_any_size(root):
    plan = with_transform(make(root), "ask_for_too_much")
    with pytest.raises(PluginError, match=r"'samples/ask_for_too_much'.*input_scale is 40, but must be a number"):
        prepare(plan, lambda *_: None)


def test_other_images_on_another_machine_are_an_error(root, tmp_path, monkeypatch):
    plan = make(root)
    data, described = save(plan, tmp_path / "run")
    shutil.rmtree(tmp_path / "cache")
    save_photo(root / "train/cat/2.jpg", 99)
    with pytest.raises(IcfError, match="the train images on this machine are not those"):
        open_sources(plan, data.preprocessing, described)


def test_a_file_that_breaks_later_is_named(root, tmp_path):
    data, _ = save(make(root, 'cache.mode="off"'), tmp_path / "run")
    (root / "train/dog/4.jpg").write_bytes(b"")
    with pytest.raises(BadImagesError, match=r"dog/4\.jpg: the file is empty"):
        data.train.cache.source.gather(ROWS)
