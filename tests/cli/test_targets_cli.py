"""What the network learns, through the whole command line, on the rendered mask set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from icf.pipeline.files import read_json, read_probabilities, read_table

ICF = Path(sys.executable).with_name("icf")

RECIPE = """
[dataset]
use = "mask/competition"
demo = "always"
demo_people = 24
demo_test_people = 6
demo_height = 32
[split]
folds = 2
[transforms]
image_size = 16
mix = ["augment/mixup"]
[model]
use = "nn/sequential-cnn"
widths = [4]
[train]
epochs = 1
[compute]
executor = "inline"
tune = "off"
"""

HEADS = """
[targets]
decode = "joint"
experts = true
heads = [
  "mask",
  { attribute = "gender", loss = { use = "loss/focal", gamma = 1.0 }, weight = 0.5 },
  { attribute = "age", kind = "binned" },
]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


def icf(place: Path, text: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Call a command of icf with a recipe in a process."""
    (place / "recipe.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICF_CACHE", str(place / "cache"))
        arguments = [str(ICF), command[0], "recipe.toml", *command[1:]]
        return subprocess.run(arguments, cwd=place, capture_output=True, text=True, check=False)


def run(place: Path, text: str) -> dict[str, Any]:
    done = icf(place, text, "run", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_heads_with_networks_of_their_own_are_trained_and_predicted(place: Path) -> None:
    done = run(place, RECIPE + HEADS)
    folder = Path(done["run_dir"])
    classes = read_json(folder / "data.json")["classes"]
    ids, oof = read_probabilities(folder / "oof.parquet", classes)
    np.testing.assert_allclose(oof.sum(axis=1), 1)
    assert len(ids) == 24 * 7
    weights = load_file(folder / "folds" / "0" / "checkpoint" / "best.safetensors")
    years = read_table(folder / "split.parquet")["number_age"]
    units = [3, 2, int(years.max() - min(years.min(), 29)) + 1]
    heads = {name: value.shape[0] for name, value in weights.items() if name.endswith("weight") and value.ndim == 2}
    assert list(heads.values()) == units
    assert {name.split(".")[1] for name in heads} == {"0", "1", "2"}
    images = [str(path) for path in sorted((place / "cache").rglob("eval/images/*.*"))[:3]]
    predicted = subprocess.run(
        [str(ICF), "predict", str(folder), *images, "--json"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin", "ICF_CACHE": str(place / "cache"), "PYTHONPATH": ":".join(sys.path)},
    )
    assert predicted.returncode == 0, predicted.stderr


def test_the_joint_table_of_a_fold_is_that_of_its_training_rows(place: Path) -> None:
    from icf.pipeline.training.checkpoint import read_metadata
    from icf.pipeline.training.output_choice import read_output

    folder = Path(run(place, RECIPE + HEADS)["run_dir"])
    split = read_table(folder / "split.parquet")
    counts = np.bincount(split["target"][split["fold"] != 0], minlength=18) + 1
    table = (counts / counts.sum()).reshape(3, 2, 3)
    marginals = np.einsum("m,g,a->mga", table.sum(axis=(1, 2)), table.sum(axis=(0, 2)), table.sum(axis=(0, 1)))
    output = read_output(read_metadata(folder / "folds" / "0" / "checkpoint" / "best.safetensors")["output"])
    flat = torch.zeros(output.units)
    ratio = output.decode(flat) / output.decode(flat)[0]
    bands = np.bincount(output.heads[2].bands)  # type: ignore[attr-defined]
    expected = (table / marginals * bands / bands.sum()).ravel()
    np.testing.assert_allclose(ratio, expected / expected[0])


def test_labels_change_for_training_alone_and_attributes_are_scored(place: Path) -> None:
    table = place / "cache" / "labels.csv"
    folder = Path(run(place, RECIPE)["run_dir"])
    split = read_table(folder / "split.parquet")
    young = [name for name, age in zip(split["id"], split["number_age"], strict=True) if age < 30]
    other = {"male": "female", "female": "male"}
    lines = [f"{name},gender,{other[name.split('_')[1]]},I have seen it" for name in young[:3]]
    table.write_text("\n".join(["id,column,value,reason", *lines]))
    changes = """
[metrics]
report = [{ use = "metric/accuracy", attribute = "age" }, { use = "metric/macro-f1", attribute = "gender" }]
[targets]
heads = ["mask", "gender", { attribute = "age", kind = "ordinal" }]
overrides = "cache/labels.csv"
[[targets.train_only]]
attribute = "age"
at_least = 50
below = 60
becomes = ">=60"
[[targets.train_only]]
attribute = "mask"
equals = "incorrect"
drop = true
"""
    done = run(place, RECIPE + changes)
    folder = Path(done["run_dir"])
    changed = read_table(folder / "split.parquet")
    np.testing.assert_array_equal(changed["target"], split["target"])
    np.testing.assert_array_equal(changed["fold"], split["fold"])
    expected = split["target"].copy()
    for row in [split["id"].index(name) for name in young[:3]]:
        expected[row] += 3 if "_male_" in split["id"][row] else -3
    border = (split["number_age"] >= 50) & (split["number_age"] < 60)
    assert border.any()
    expected[border] += 1
    expected[expected // 6 == 1] = -1
    np.testing.assert_array_equal(changed["trained"], expected)
    assert any("3 labels are corrected in training" in note for note in done["notes"])
    assert any("age is at least 50 and is below 60 are trained on as '>=60'" in note for note in done["notes"])
    assert "I have seen it" in (folder / "report.html").read_text()
    _, oof = read_probabilities(folder / "oof.parquet", read_json(folder / "data.json")["classes"])
    ages = oof.reshape(-1, 3, 2, 3).sum(axis=(1, 2)).argmax(axis=1)
    score = done["metrics"]["oof"]["metric/accuracy of age"]["value"]
    assert score == pytest.approx(np.mean(ages == read_table(folder / "oof.parquet")["target"] % 3))
    history = (folder / "folds" / "0" / "history.csv").read_text()
    assert "metric/macro-f1 of gender" in history
    done = icf(place, RECIPE + changes, "check", "--json")
    assert done.returncode == 0, done.stderr
    assert any("3 labels are corrected" in note for note in json.loads(done.stdout)["notes"])


def test_a_metric_of_an_attribute_that_is_not_there_is_told_before_training(place: Path) -> None:
    text = '[metrics]\nreport = [{ use = "metric/accuracy", attribute = "nose" }]'
    done = icf(place, RECIPE + text, "run", "--quiet")
    assert done.returncode == 2
    assert "the data set has no attribute 'nose'" in done.stderr


def test_a_head_that_the_data_set_lacks_is_named(place: Path) -> None:
    done = icf(place, RECIPE + '[targets]\nheads = ["mask", "gander", "age"]', "check")
    assert done.returncode == 2
    assert "targets.heads[1].attribute: the data set has no attribute 'gander'; did you mean 'gender'?" in done.stderr
    done = icf(
        place, RECIPE + '[targets]\nheads = [{attribute = "age", kind = "ordinal", loss = "loss/focal"}]', "check"
    )
    assert "a head of kind 'ordinal' has a loss of its own" in done.stderr
