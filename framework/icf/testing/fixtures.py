"""Fixtures for a plugin's tests: ``pytest_plugins = ["icf.testing.fixtures"]`` in a test file or conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import pytest
import tomli_w
from PIL import Image

from icf.catalogue import PluginInfo
from icf.plugins import register_module

IMAGES_PER_CLASS = 8
SIDE = 16

WriteRecipe: TypeAlias = Callable[..., Path]
"""Sections of a recipe -> the file."""


@pytest.fixture
def icf_register() -> Callable[[ModuleType], PluginInfo]:
    """Return a function that registers a module of hooks with a manager of its own, installed or not.

    Its status says what is wrong with the module, as ``icf list-plugins`` would.
    """
    return lambda module: register_module("under-test", module)


@pytest.fixture
def icf_images(tmp_path: Path) -> Path:
    """Return a folder with 8 images of 16 x 16 pixels in each of two classes, ``dark`` and ``light``."""
    root = tmp_path / "icf-images"
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 120)):
        (root / name).mkdir(parents=True)
        for number in range(IMAGES_PER_CLASS):
            pixels = rng.integers(low, low + 120, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def icf_recipe(tmp_path: Path, icf_images: Path) -> WriteRecipe:
    """Return a function that writes a recipe of seconds: two folds, one epoch and a small network.

    Its keywords replace sections: ``icf_recipe(loss={"use": "poly/poly"})``. The data is ``icf_images``.
    """

    def write(**sections: Mapping[str, Any]) -> Path:
        recipe: dict[str, Any] = {
            "dataset": {"use": "images/folder", "root": str(icf_images)},
            "split": {"folds": 2},
            "model": {"use": "nn/sequential-cnn", "widths": [4]},
            "train": {"epochs": 1, "batch_size": 4},
            "compute": {"executor": "inline", "device": "cpu"},
        }
        path = tmp_path / "icf-recipe.toml"
        path.write_text(tomli_w.dumps(recipe | sections), encoding="utf-8")
        return path

    return write
