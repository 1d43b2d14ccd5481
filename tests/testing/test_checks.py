from __future__ import annotations

import gzip
import struct
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from icf.components import KINDS
from icf.local import read_local_plugins
from icf.testing import CheckSkipped, list_checks
from icf.testing.suite import find_plugin
from samples import save_photo


def make_folders(folder):
    for name in ("cat/p1_a.png", "cat/p2_a.png", "dog/p1_b.jpg", "dog/p3_a.jpg"):
        save_photo(folder / "train" / name, seed=len(name))
    save_photo(folder / "test" / "one.png")
    return [{"root": folder}, {"root": folder, "test": "test", "group_pattern": "^(p[0-9])_"}]


def make_table(folder):
    lines = ["image,label,person,fold"]
    for number in range(6):
        save_photo(folder / f"{number}.png", seed=number)
        lines.append(f"{number}.png,{'cat' if number % 2 else 'dog'},p{number // 2},{number % 3}")
    (folder / "train.csv").write_text("\n".join(lines))
    (folder / "test.csv").write_text("image\n0.png\n")
    columns = {"group_column": "person", "fold_column": "fold"}
    return [{"root": folder}, {"root": folder, "test_csv": "test.csv", **columns}]


def make_idx(folder):
    for part, rows in (("train", 20), ("t10k", 10)):
        arrays = {
            "images-idx3": np.arange(rows * 28 * 28).reshape(rows, 28, 28) % 251,
            "labels-idx1": np.arange(rows) % 10,
        }
        for name, array in arrays.items():
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            content = header + array.astype(np.uint8).tobytes()
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return {"root": folder}


POLICIES = ("rand-augment", "trivial-augment", "auto-augment", "aug-mix")

EXAMPLES = {
    "baseline": {
        "model/model": [{"name": "SmallNet"}, {"name": "BlockNet", "args": {"width": 4, "dropout": 0.0}}],
        "loss/loss": [
            {"name": "cross_entropy"},
            {"name": "focal", "args": {"gamma": 1.0}},
            {"name": "label_smoothing", "args": {"smoothing": 0.1}},
            {"name": "f1"},
        ],
        "transform/transform": [
            {"name": "BaseAugmentation"},
            {"name": "CustomAugmentation", "mean": [0.5, 0.4, 0.6], "std": [0.2, 0.3, 0.2]},
            {"name": "CutoutAugmentation", "args": {"size": 4}},
            {"name": "AlbumentationsStyle", "call": "albumentations"},
        ],
    },
    "albumentations": {
        "transform/transform": [
            {"op": "CLAHE"},
            {"op": "RandomCrop", "args": {"height": 32, "width": 24}, "p": 1.0},
            {"op": "Equalize", "p": 1.0},
            {"op": "SomeOf", "args": {"transforms": [{"op": "InvertImg"}, {"op": "GaussNoise"}]}},
        ],
    },
    # With and without randomness: a batch is compared with its images where nothing is random.
    "augment": {
        "transform/horizontal-flip": [{}, {"p": 1.0}],
        "transform/vertical-flip": [{}, {"p": 1.0}],
        "transform/random-crop": [{}, {"p": 0.0}],
        "transform/erasing": [{}, {"p": 0.0}],
        "transform/brightness-contrast": [{}, {"brightness": 0.0, "contrast": 0.0}],
    },
    "images": {
        "dataset/folder": make_folders,
        "dataset/csv": make_table,
        "transform/centre-crop": [{"size": [30, 24]}, {"share": 0.8}],
    },
    "torchvision": {
        "dataset/fashion-mnist": make_idx,
        "transform/transform": [
            {"op": "ColorJitter", "args": {"brightness": 0.3}},
            {"op": "RandomCrop", "args": {"size": 24}},
            {"op": "RandomResizedCrop", "args": {"size": 32}},
            {"op": "RandomAutocontrast", "args": {"p": 1.0}},
            {"op": "RandomApply", "args": {"transforms": [{"op": "RandomSolarize", "args": {"threshold": 99}}]}},
        ],
        **{f"transform/{name}": [{}, {"p": 0.0}] for name in POLICIES},
    },
    "loss": {
        "loss/cross-entropy": [{}, {"label_smoothing": 0.2, "class_weights": "balanced"}],
        "loss/focal": [{}, {"gamma": 0.5, "alpha": "balanced"}, {"gamma": 0.0}],
    },
    "optimizer": {"optimizer/sgd": [{}, {"momentum": 0.0, "nesterov": False}]},
    "scheduler": {
        f"scheduler/{name}": [{}, {"warmup_epochs": 2.5}]
        for name in ("constant", "step", "cosine", "plateau", "one-cycle")
    },
    "nn": {"model/sequential-cnn": [{}, {"dropout": 0.5, "residual": True}]},
    "timm": {
        "model/model": [{}, {"arch": "test_vit", "drop_rate": 0.2}],
        "optimizer/optimizer": [{}, {"name": "lamb"}, {"name": "sgd"}],
    },
}

TEAM = read_local_plugins([Path(__file__).parents[1] / "baseline_team"])
"""A folder as teams have it, from which the adapter ``baseline`` takes its code."""

PLUGINS = sorted(point.name for point in metadata.distribution("icf").entry_points if point.group == "icf")


CHECKS = [
    pytest.param(check, id=f"{plugin}:{check.id}")
    for plugin in PLUGINS
    for check in list_checks(find_plugin(plugin), EXAMPLES.get(plugin), TEAM if plugin == "baseline" else ())
]


COMPARED_ELSEWHERE = {"metric/calibration-error:reference"}
"""Checks that say nothing, as the reference is no function of scikit-learn; tests/plugins compares these metrics."""


@pytest.mark.parametrize("check", CHECKS)
def test_every_built_in_plugin_keeps_the_contract(check, tmp_path):
    try:
        check(tmp_path)
    except CheckSkipped as error:
        if check.id in COMPARED_ELSEWHERE:
            return
        pytest.fail(f"a built-in component is not checked: {error}")


def test_every_kind_is_checked():
    assert {check.values[0].component.partition("/")[0] for check in CHECKS} == {*KINDS, ""}
