from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import distributions
from icf.pipeline.check import check_plan
from icf.pipeline.listener import Listener
from icf.pipeline.training import order
from icf.plan import load_plan

COLOUR = '{use="albumentations/transform", op="MedianBlur", args={blur_limit=[7, 7]}, p=1.0}'
CROP = '{use="albumentations/transform", op="CenterCrop", args={height=16, width=16}, p=1.0}'
RECIPE = """
    dataset = { use = "images/folder", root = "data" }
    transforms = { image_size = [16, 16] }
    model = { use = "nn/sequential-cnn", widths = [8] }
    split = { folds = 2 }
"""


GROW = """
    import icf

    @icf.hookimpl
    def icf_transforms():
        yield icf.Transform(name="double", factory="{module}:build", summary="Doubles the size")

    def build(params, ctx):
        return lambda images, generator: images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
"""

installer = pytest.fixture(distributions.installer)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index in range(8):
        path = tmp_path / "data" / "train" / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path)
    (tmp_path / "sizes.toml").write_text(RECIPE)


def warn(*overrides: str) -> list[str]:
    found = check_plan(load_plan(Path("sizes.toml"), overrides), Listener()).warnings
    return [text for text in found if "with geometry first" in text]


def test_colour_at_full_size_before_a_crop_is_told_with_both_times() -> None:
    [text] = warn(f"transforms.shared=[{COLOUR}, {CROP}]")
    assert text.startswith("transforms.shared: in this order 4 images take ")
    assert "albumentations/transform CenterCrop, albumentations/transform MedianBlur" in text


def test_a_crop_that_comes_first_is_not_worth_a_word() -> None:
    assert warn(f"transforms.shared=[{CROP}, {COLOUR}]") == []


def test_a_crop_that_is_only_possible_after_another_step_is_left_alone(installer: distributions.Installer) -> None:
    installer.install("grow", {"grow_kit": GROW}, entry_points={"grow": "grow_kit"})
    assert warn(f"transforms.shared=['grow/double', {CROP.replace('16', '700')}]") == []


class Step:
    """A transform that costs so many seconds of a clock that the test keeps."""

    def __init__(self, clock: list[float], cost: float) -> None:
        self.clock, self.cost = clock, cost

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.clock[0] += self.cost
        return images


@pytest.mark.parametrize(("costs", "expected"), [((3.0, 1.0), (3.0, 1.0)), ((0.25, 0.5), (0.25, 0.5))])
def test_the_fastest_of_rounds_that_take_turns_counts(
    costs: tuple[float, float], expected: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(order.time, "perf_counter", lambda: clock[0])
    ours, theirs = ([Step(clock, cost)] for cost in costs)
    assert order.measure(ours, theirs, [torch.zeros(2, 3, 4, 4, dtype=torch.uint8)]) == pytest.approx(expected)


def make_choice(op: str) -> Any:
    text = f'transforms.train=[{{use="albumentations/transform", op="{op}"}}]'
    return load_plan(Path("sizes.toml"), [text]).train_transforms[0]


def test_a_choice_is_named_with_what_it_stands_for() -> None:
    assert order.name_choice(make_choice("CLAHE")) == "albumentations/transform CLAHE"
