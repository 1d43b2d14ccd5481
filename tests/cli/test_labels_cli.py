"""Images with any number of labels, through the whole command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from icf.pipeline.files import read_json, read_probabilities, read_table

ICF = Path(sys.executable).with_name("icf")
LABELS = ("blue", "green", "red")

RECIPE = """
[dataset]
use = "images/csv"
root = "data"
label_separator = ";"
group_column = "scene"
test_csv = "test.csv"
[split]
folds = 2
[transforms]
image_size = 12
mix = ["augment/mixup"]
[model]
use = "nn/sequential-cnn"
widths = [8]
[loss]
use = "loss/binary-cross-entropy"
[optimizer]
lr = 0.02
[train]
epochs = 12
batch_size = 16
[metrics]
select = "metric/average-precision"
report = ["metric/macro-f1", { use = "metric/f1", average = "micro" }, "metric/roc-auc", "metric/log-loss"]
[compute]
executor = "inline"
tune = "off"
"""


def draw(path: Path, labels: list[str], seed: int) -> None:
    """Draw a square of each label's colour on noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (12, 12, 3), dtype=np.uint8)
    for label in labels:
        top, left = random.integers(0, 8, 2)
        pixels[top : top + 5, left : left + 5, ["red", "green", "blue"].index(label)] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 96 images of no to three labels, two of a scene, and 8 to predict."""
    folder = tmp_path_factory.mktemp("place")
    train, test = ["image,label,scene"], ["image"]
    random = np.random.default_rng(0)
    for row in range(104):
        labels = [name for name in LABELS if random.random() < 0.4]
        draw(folder / "data" / f"{row}.png", labels, row)
        if row < 96:
            train.append(f"{row}.png,{';'.join(labels)},s{row // 2}")
        else:
            test.append(f"{row}.png")
    (folder / "data" / "train.csv").write_text("\n".join(train))
    (folder / "data" / "test.csv").write_text("\n".join(test))
    return folder


def icf(place: Path, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    (place / "recipe.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICF_CACHE", str(place / "cache"))
        arguments = [str(ICF), command[0], "recipe.toml", *command[1:]]
        return subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(place: Path) -> dict[str, Any]:
    done = icf(place, RECIPE, "run", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_scores_are_those_of_scikit_learn(finished: dict[str, Any]) -> None:
    folder, scores = Path(finished["run_dir"]), finished["metrics"]["oof"]
    _, p = read_probabilities(folder / "oof.parquet", LABELS)
    table = read_table(folder / "oof.parquet")
    y = np.stack([table[f"y_{name}"] for name in LABELS], axis=1)
    assert ((p > 0) & (p < 1)).all()
    assert (np.abs(p.sum(axis=1) - 1) > 0.01).any()
    there = (p >= 0.5).astype(int)
    assert scores["metric/average-precision"]["value"] == pytest.approx(average_precision_score(y, p, average="macro"))
    assert scores["metric/macro-f1"]["value"] == pytest.approx(f1_score(y, there, average="macro", zero_division=0))
    assert scores["metric/f1"]["value"] == pytest.approx(f1_score(y, there, average="micro"))
    assert scores["metric/roc-auc"]["value"] == pytest.approx(roc_auc_score(y, p, average="macro"))
    log_loss = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert scores["metric/log-loss"]["value"] == pytest.approx(log_loss)
    assert scores["metric/average-precision"]["value"] > 0.8  # it has learned something: chance is 0.4
    assert finished["metrics"]["labels"]["rows"] == y.sum(axis=0).tolist()
    assert finished["metrics"]["labels"]["found"] == (there & y).sum(axis=0).tolist()
    report = (folder / "report.html").read_text()
    assert "<h2>Labels</h2>" in report
    assert "<h2>Confusion</h2>" not in report


def test_folds_share_labels_and_keep_scenes_together(finished: dict[str, Any]) -> None:
    split = read_table(Path(finished["run_dir"]) / "split.parquet")
    folds = split["fold"]
    scenes = dict(zip(split["group"], folds.tolist(), strict=True))
    assert [scenes[name] for name in split["group"]] == folds.tolist()
    for name in LABELS:
        first, second = (int(split[f"y_{name}"][folds == fold].sum()) for fold in (0, 1))
        assert abs(first - second) <= 2
    assert abs(int((folds == 0).sum()) - 48) <= 2


def test_a_submission_has_a_column_for_each_label(place: Path, finished: dict[str, Any]) -> None:
    folder = Path(finished["run_dir"])
    header, *rows = csv.reader((folder / "submission.csv").open())
    assert header == ["image", *LABELS]
    ids, p = read_probabilities(folder / "test.parquet", LABELS)
    assert [row[0] for row in rows] == ids
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), p)
    done = icf(place, RECIPE, "run", "--json", "--set", "dataset.write_labels=true")
    assert done.returncode == 0, done.stderr
    path = Path(json.loads(done.stdout)["submission"])
    _, *rows = csv.reader(path.open())
    written = [row[1:] for row in rows]
    np.testing.assert_array_equal(np.array(written, int), p >= 0.5)


def test_columns_of_labels_are_the_same_as_a_list(place: Path, finished: dict[str, Any]) -> None:
    rows = list(csv.DictReader((place / "data" / "train.csv").open()))
    lines = [f"image,scene,{','.join(LABELS)}"]
    for row in rows:
        found = row["label"].split(";")
        lines.append(f"{row['image']},{row['scene']},{','.join(str(int(name in found)) for name in LABELS)}")
    (place / "data" / "columns.csv").write_text("\n".join(lines))
    text = RECIPE.replace('label_separator = ";"', f'csv = "columns.csv"\nlabel_columns = {list(LABELS)}')
    done = icf(place, text, "run", "--json", "--set", "train.epochs=1")
    assert done.returncode == 0, done.stderr
    one, other = (
        read_table(Path(path) / "split.parquet") for path in (finished["run_dir"], json.loads(done.stdout)["run_dir"])
    )
    for name in (*(f"y_{label}" for label in LABELS), "fold"):
        np.testing.assert_array_equal(one[name], other[name])
    assert read_json(Path(json.loads(done.stdout)["run_dir"]) / "data.json")["output"]["kind"] == "sigmoid"


def test_images_can_be_predicted(place: Path, finished: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICF_CACHE", str(place / "cache"))
        arguments = [str(ICF), "predict", finished["run_dir"], "data/100.png", "--json"]
        done = subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_needs_one_class_of_each_image_is_refused_all_at_once(place: Path) -> None:
    text = RECIPE.replace("loss/binary-cross-entropy", "loss/focal").replace('"metric/roc-auc"', '"metric/matthews"')
    text += (
        '[sampler]\nuse = "sampler/balanced"\n[ensemble]\nuse = "ensemble/hard-vote"\n[targets]\nheads = ["class"]\n'
    )
    done = icf(place, text, "check")
    assert done.returncode == 2
    for ref in ("loss/focal", "sampler/balanced", "ensemble/hard-vote", "metric/matthews"):
        assert f"'{ref}' takes one class of each image, and this data set has any number of labels" in done.stderr
    assert "targets.heads: can't be used with a data set whose images have any number of labels" in done.stderr
    done = icf(place, RECIPE.replace('"augment/mixup"', '{ use = "augment/mixup", partners = "same-label" }'), "check")
    assert "augment/mixup: partners = 'same-label' needs one class of each image" in done.stderr
    assert icf(place, RECIPE, "check").returncode == 0
