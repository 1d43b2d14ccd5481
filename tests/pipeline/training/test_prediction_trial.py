from __future__ import annotations

from typing import Any

import pytest
import torch

from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.jobs import Prediction, Workload
from icf.pipeline.training import prediction_trial
from icf.pipeline.training.output import Softmax
from icf.pipeline.training.prediction_trial import (
    MOST_PIXELS,
    SHARE,
    PredictionTrial,
    choose_prediction,
    choose_size,
    count_images,
    list_sizes,
)
from icf.plan import Plan
from training import make_plan


@pytest.fixture(autouse=True)
def _short_timings(cache_of_test: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_trial, "SECONDS", 0.0)


def make_open_plan(*overrides: str) -> Plan:
    return make_plan("model.widths=[8]", *overrides)


def make_work(images: int = 10**7, side: int = 8) -> Workload:
    spec = Preprocessing.model_construct(image_size=(side, side), channels=1)
    return Workload(folds=5, images=images, num_classes=10, preprocessing=spec, output=Softmax(classes=10))


class Meter:
    """Speeds of batches and of fused networks, and what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, best: int, gain: float) -> None:
        self.asked: list[tuple[int, bool]] = []

        def time(_: PredictionTrial, size: int, *, fused: bool = False) -> float:
            self.asked.append((size, fused))
            return (gain if fused else 1.0) * (100 if size == best else 50)

        monkeypatch.setattr(PredictionTrial, "time", time)


def test_sizes_have_room() -> None:
    assert list_sizes(make_work(side=8)) == [16, 32, 64, 128, 256, 512]
    assert list_sizes(make_work(side=128)) == [16, 32, 64]
    assert MOST_PIXELS == 64 * 128 * 128
    assert list_sizes(make_work(side=1024)) == [16]


@pytest.mark.parametrize(
    ("speeds", "chosen"), [({16: 90, 64: 99, 256: 100}, 64), ({16: 96, 64: 99}, 16), ({16: 90, 64: 80}, 16)]
)
def test_the_smallest_batch_near_the_best_is_chosen(speeds: dict[int, float], chosen: int) -> None:
    assert choose_size(speeds) == chosen


@pytest.mark.parametrize(("gain", "fused"), [(1.2, True), (1.04, False)])
def test_what_was_measured_faster_is_chosen_and_remembered(
    monkeypatch: pytest.MonkeyPatch, gain: float, fused: bool
) -> None:
    meter = Meter(monkeypatch, best=128, gain=gain)
    found, told = choose_prediction(make_open_plan(), make_work(), "fp32", 1)
    assert found == Prediction(128, fused)
    assert {size for size, fused in meter.asked if fused} == {128}
    assert "batches of 128 100" in told
    meter.asked.clear()
    assert choose_prediction(make_open_plan(), make_work(), "fp32", 1) == (found, told)
    assert meter.asked == []
    choose_prediction(make_open_plan(), make_work(), "fp32", 2)
    assert meter.asked != []


@pytest.mark.parametrize(
    ("settings", "found", "asked"),
    [
        (["inference.batch_size=7"], Prediction(7, True), {(7, False), (7, True)}),
        (["inference.batch_size=7", "inference.fuse='off'"], Prediction(7, False), set()),
        (["inference.batch_size=7", "inference.fuse='on'"], Prediction(7, True), set()),
        (["inference.fuse='off'"], Prediction(64, False), {(s, False) for s in (16, 32, 64, 128, 256, 512)}),
    ],
)
def test_what_the_recipe_says_is_not_tried_otherwise(
    monkeypatch: pytest.MonkeyPatch, settings: list[str], found: Prediction, asked: set[tuple[int, bool]]
) -> None:
    meter = Meter(monkeypatch, best=64, gain=2.0)
    assert choose_prediction(make_open_plan(*settings), make_work(), "fp32", 1)[0] == found
    assert set(meter.asked) == asked


def test_short_work_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(monkeypatch, best=64, gain=2.0)
    enough = SHARE * count_images(list_sizes(make_work()))
    assert choose_prediction(make_open_plan(), make_work(enough - 1), "fp32", 1) == (Prediction(256, False), "")
    assert meter.asked == []
    choose_prediction(make_open_plan(), make_work(enough), "fp32", 1)
    assert meter.asked != []


def test_real_passes_are_timed() -> None:
    threads = torch.get_num_threads()
    found, told = choose_prediction(make_open_plan(), make_work(), "bf16", 2)
    assert found.batch_size in list_sizes(make_work())
    assert told.startswith(f"predictions {found}, measured images/s: batches of 16 ")
    assert " fused " in told
    assert torch.get_num_threads() == threads


def test_a_model_that_fails_leaves_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> float:
        raise SystemExit("no")

    monkeypatch.setattr(PredictionTrial, "time", fail)
    found, told = choose_prediction(make_open_plan(), make_work(), "fp32", 1)
    assert (found, told) == (Prediction(256, False), "predictions not measured: SystemExit: no")
    assert choose_prediction(make_open_plan(), make_work(), "auto", 1)[0] == found
