"""Views at test time, through the command line: the same for validation rows, test rows and new images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from icf.pipeline.files import read_probabilities
from training import CLASSES, save_digits

ICF = Path(sys.executable).with_name("icf")

RECIPE = """
[dataset]
use = "images/folder"
root = "photos"
test = "test"

[split]
folds = 2

[transforms]
image_size = 16

[model]
use = "nn/sequential-cnn"
widths = [8, 16]

[optimizer]
lr = 0.02

[train]
epochs = 12
batch_size = 16

[inference]
batch_size = 64
average = "logits"
tta = [
  "horizontal-flip",
  { use = "augment/crop", place = "bottom-right" },
  ["vertical-flip", { use = "augment/scale", factor = 0.8 }],
  { use = "augment/random-crop", padding = 3 },
  { use = "albumentations/transform", op = "GaussNoise", p = 0.5 },
]

[compute]
threads = 1
precision = "fp32"
executor = "inline"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, whose test images are copies of training images."""
    place = tmp_path_factory.mktemp("place")
    save_digits(place / "photos" / "train", range(120))
    (place / "photos" / "test").mkdir()
    for image in sorted((place / "photos" / "train").glob("*/*")):
        shutil.copy(image, place / "photos" / "test" / f"{image.parent.name}-{image.name}")
    (place / "recipe.toml").write_text(RECIPE)
    return place


def icf(place: Path, *arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICF_CACHE", str(place / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        done = subprocess.run([str(ICF), *arguments], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(place: Path, *overrides: str) -> Path:
    settings = [part for override in overrides for part in ("--set", override)]
    found = json.loads(icf(place, "run", "recipe.toml", "--json", *settings))
    return place / found["run_dir"]


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    return run(place)


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the probabilities of each image, by the name of its file."""
    ids, probabilities = read_probabilities(path, CLASSES)
    names = ["-".join(Path(name).parts[-2:]) if "-" not in Path(name).name else Path(name).name for name in ids]
    return dict(zip(names, probabilities, strict=True))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=tolerance, err_msg=name)


def test_validation_rows_and_test_rows_are_seen_alike(finished: Path) -> None:
    for fold in ("0", "1"):
        oof, test = (read(finished / "folds" / fold / f"{name}.parquet") for name in ("oof", "test"))
        assert len(oof) == 60
        assert_same({name: test[name] for name in oof}, oof, 1e-6)
        assert np.stack(list(oof.values())).std(axis=0).max() > 0.02  # the images are told apart


def test_new_images_are_seen_as_in_the_run_in_any_order(place: Path, finished: Path) -> None:
    expected = read(finished / "test.parquet")
    names = sorted(expected, reverse=True)[:7]
    images = [str(place / "photos" / "test" / name) for name in names]
    found = json.loads(icf(place, "predict", str(finished), *images, "--json"))["predictions"]
    assert [Path(row["image"]).name for row in found] == names
    np.testing.assert_allclose([row["probabilities"] for row in found], [expected[name] for name in names], atol=1e-5)


def test_views_differ_so_it_matters_what_is_averaged(place: Path, finished: Path) -> None:
    other = read(run(place, 'inference.average="probabilities"') / "test.parquet")
    expected = read(finished / "test.parquet")
    assert np.abs(np.stack([other[name] - values for name, values in expected.items()])).max() > 1e-3


def test_batches_processes_and_a_second_try_change_nothing(place: Path, finished: Path) -> None:
    expected = [read(finished / "folds" / "0" / f"{name}.parquet") for name in ("oof", "test")]
    smaller = run(place, "inference.batch_size=7", 'compute.executor="process"')
    assert smaller != finished
    for name, values in zip(("oof", "test"), expected, strict=True):
        assert_same(read(smaller / "folds" / "0" / f"{name}.parquet"), values, 1e-6)
    (finished / "folds" / "0" / "metrics.json").unlink()  # as if it had been killed while it predicted
    (finished / "folds" / "0" / "test.parquet").unlink()
    assert run(place) == finished
    for name, values in zip(("oof", "test"), expected, strict=True):
        assert_same(read(finished / "folds" / "0" / f"{name}.parquet"), values, 0)


def test_people_see_which_views_there_are(place: Path, finished: Path) -> None:
    checked = " ".join(icf(place, "check", "--recipe-only", "recipe.toml").split())
    assert "augment/random-crop" in checked
    report = (finished / "report.html").read_text()
    assert "plain, horizontal-flip, 2: augment/crop, 3: vertical-flip + augment/scale" in report
    assert "averaged as logits" in report
