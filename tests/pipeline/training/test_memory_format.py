"""Training in torch's plain order of memory, where that is faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.files import read_json
from icf.pipeline.jobs import Workload
from icf.pipeline.training import fit as fit_module
from icf.pipeline.training import tuning
from icf.pipeline.training.fit import fit_fold
from icf.pipeline.training.memory_format import make_channels_last, make_contiguous
from icf.pipeline.training.output import Softmax
from icf.pipeline.training.tuning import choose_memory_format
from training import fit, fit_until_killed, make_jobs, make_plan, read_history, read_oof, without_speed

CONTIGUOUS = 'compute.memory_format="contiguous"'

pytestmark = pytest.mark.usefixtures("cache_of_test")


def list_formats(model: nn.Module) -> set[bool]:
    """Tell which of "is channels-last" the kernels of a network are."""
    kernels = [weight for weight in model.parameters() if weight.ndim == 4 and min(weight.shape) > 1]
    return {weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels}


def test_a_network_computes_the_same_in_both_orders() -> None:
    seen: list[bool] = []
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
    model[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].is_contiguous()))
    weights, images = list(model.parameters()), torch.randn(2, 3, 9, 9).to(memory_format=torch.channels_last)
    expected = model(images)
    contiguous = make_contiguous(model)
    assert list_formats(model) == {False}
    torch.testing.assert_close(model(images), expected)
    make_channels_last(model, contiguous)
    assert list_formats(model) == {True}
    torch.testing.assert_close(model(images), expected)
    assert seen == [False, True, False]
    assert all(one is other for one, other in zip(model.parameters(), weights, strict=True))  # an optimizer's, too


def test_a_fold_learns_the_same_and_continues_to_the_same_bits(tmp_path: Path) -> None:
    small = ("train.epochs=3", "model.widths=[8, 8]")
    last, whole = fit(tmp_path / "last", *small), fit(tmp_path / "whole", *small, CONTIGUOUS)
    np.testing.assert_allclose(read_oof(whole.folder), read_oof(last.folder), atol=1e-3)
    weights = [load_file(job.folder.checkpoints / "best.safetensors") for job in (last, whole)]
    assert {name: value.shape for name, value in weights[0].items()} == {
        name: value.shape for name, value in weights[1].items()
    }
    job = make_jobs(make_plan(*small, CONTIGUOUS), tmp_path / "parts")[0]
    formats = fit_until_killed(job, 2, lambda trainer: list_formats(trainer.model))
    fit_fold(job)
    assert formats == [{False}, {False}]
    assert without_speed(read_history(job.folder)) == without_speed(read_history(whole.folder))
    np.testing.assert_array_equal(read_oof(job.folder), read_oof(whole.folder))


def test_predictions_are_made_channels_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formats = []
    prepare = fit_module.predict_fold.__globals__["_prepare_model"]

    def look(trainer: Any) -> Any:
        formats.append(list_formats(trainer.model))
        return prepare(trainer)

    monkeypatch.setattr("icf.pipeline.training.fold_result._prepare_model", look)
    job = fit(tmp_path, "train.epochs=1", CONTIGUOUS)
    assert formats == [{True}]
    assert read_json(job.folder.metrics)["metrics"]["metric/accuracy"] > 0.1


def make_work() -> Workload:
    spec = Preprocessing.model_construct(image_size=(16, 16), channels=1)
    return Workload(folds=5, images=1_000_000, num_classes=10, preprocessing=spec, output=Softmax(classes=10))


@pytest.mark.parametrize(
    ("speed", "expected", "told"),
    [
        (125.0, "contiguous", "contiguous memory 1.25 times as fast as channels-last"),
        (105.0, "channels-last", "channels-last memory 0.95 times as fast as contiguous"),
        (50.0, "channels-last", "channels-last memory 2.00 times as fast as contiguous"),
    ],
)
def test_the_order_is_chosen_by_measurement_once(
    speed: float, expected: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measure(*arguments: object) -> dict[str, float]:
        asked.append(arguments)
        return {"channels-last": 100.0, "contiguous": speed}

    monkeypatch.setattr(tuning, "_measure_memory_formats", measure)
    plan = make_plan("model.widths=[8]")
    assert choose_memory_format(plan, make_work(), "fp32", 1) == (expected, told)
    assert choose_memory_format(plan, make_work(), "fp32", 1) == (expected, told)
    assert len(asked) == 1
    choose_memory_format(plan, make_work(), "fp32", 2)
    assert len(asked) == 2


def test_steps_are_really_timed_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = []
    time_steps = tuning.time_steps

    def look(copies: Any, *rest: Any) -> float:
        formats.append(list_formats(copies[0].network) == {True})
        return time_steps(copies, *rest)

    monkeypatch.setattr(tuning, "time_steps", look)
    found, told = choose_memory_format(make_plan("model.widths=[8, 8]"), make_work(), "fp32", 1)
    assert found in told
    assert formats[:2] == [True, False]


@pytest.mark.parametrize("wanted", ["contiguous", "channels-last"])
def test_the_recipe_decides(wanted: str) -> None:
    plan = make_plan(f'compute.memory_format="{wanted}"')
    assert choose_memory_format(plan, make_work(), "fp32", 1) == (wanted, "")


def test_a_network_that_fails_is_told_by_its_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> dict[str, float]:
        raise ValueError("no")

    monkeypatch.setattr(tuning, "_measure_memory_formats", fail)
    assert choose_memory_format(make_plan(), make_work(), "fp32", 1) == ("channels-last", "")
