from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.jobs import Workload
from icf.pipeline.training import measured, tuning
from icf.pipeline.training.measured import ROUNDS
from icf.pipeline.training.output import Softmax
from icf.pipeline.training.trial_steps import TrialSteps, time_steps
from icf.pipeline.training.tuning import SHARE, SHORT_WORK, Candidate, choose, measure_speeds, tune
from icf.plan import Plan
from training import make_plan

DENSE = 'model="nn/sequential-cnn"'
DEPTHWISE = 'model={use="timm/model", arch="tf_efficientnet_lite0", pretrained=false}'

BESIDE, ALONE = Candidate("bf16", 2), Candidate("bf16", 1)
BESIDE_32, ALONE_32 = Candidate("fp32", 2), Candidate("fp32", 1)
SPEEDS = {BESIDE: 1000.0, ALONE: 800.0, BESIDE_32: 500.0, ALONE_32: 400.0}


@pytest.fixture(autouse=True)
def _processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A processor with two cores and bfloat16, and a cache of its own."""
    monkeypatch.setenv("ICF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for module in ("tuning", "number_format"):
        monkeypatch.setattr(f"icf.pipeline.training.{module}.has_fast_bf16", lambda: True)
    monkeypatch.setattr("icf.pipeline.training.tuning.count_cores", lambda: 2)


def make_open_plan(*overrides: str) -> Plan:
    """A recipe that leaves everything open."""
    return make_plan(*overrides, small=["transforms.channels=3"])


def make_work(images: int = 1_000_000, side: int = 16, folds: int = 5) -> Workload:
    spec = Preprocessing.model_construct(image_size=(side, side), channels=3)
    return Workload(folds=folds, images=images, num_classes=10, preprocessing=spec, output=Softmax(classes=10))


class Meter:
    """Gives the speeds it was told, and counts how often it is asked."""

    def __init__(self, speeds: Mapping[Candidate, float] = SPEEDS) -> None:
        self.speeds = speeds
        self.asked: list[list[Candidate]] = []

    def __call__(self, plan: Plan, work: Workload, candidates: Sequence[Candidate]) -> Mapping[Candidate, float]:
        self.asked.append(list(candidates))
        return {candidate: self.speeds[candidate] for candidate in candidates}


@pytest.mark.parametrize(("model", "rule", "other"), [(DENSE, "bf16", "fp32"), (DEPTHWISE, "fp32", "bf16")])
def test_what_was_measured_faster_is_chosen_whatever_the_rule_says(model: str, rule: str, other: str) -> None:
    plan = make_open_plan(model)
    meter = Meter(
        {Candidate(rule, 2): 100.0, Candidate(rule, 1): 90.0, Candidate(other, 2): 130.0, Candidate(other, 1): 99.0}
    )
    found = tune(plan, make_work(), "cpu", 2, meter)
    assert meter.asked == [[Candidate(rule, 2), Candidate(rule, 1), Candidate(other, 2), Candidate(other, 1)]]
    assert (found.precision, found.places) == (other, 2)
    assert f"{other} 2 side by side 130" in found.reason
    near = Meter({**meter.speeds, Candidate(other, 2): 109.0})
    assert tune(plan, make_work(side=17), "cpu", 2, near).precision == rule


@pytest.mark.parametrize(
    ("changes", "images", "chosen"),
    [
        ({}, 1_000_000, BESIDE),
        ({BESIDE_32: 1050.0}, 1_000_000, BESIDE),
        ({BESIDE_32: 1200.0}, 1_000_000, BESIDE_32),
        ({ALONE: 1050.0}, 1_000_000, BESIDE),
        ({ALONE: 1200.0}, 1_000_000, ALONE),
        ({ALONE_32: 2000.0}, 1_000_000, ALONE_32),
        # 8 seconds with 10 more for the start of processes, against 10 without
        ({}, 8_000, ALONE),
    ],
)
def test_what_ends_first_is_chosen_unless_the_gain_is_small(
    changes: dict[Candidate, float], images: int, chosen: Candidate
) -> None:
    found = choose(BESIDE, {**SPEEDS, **changes}, images)
    assert (found.precision, found.places) == chosen


@pytest.mark.parametrize(("alone", "widens"), [(800.0, True), (540.0, False), (100.0, False)])
def test_a_lonely_fold_gets_all_threads_only_if_it_gains(alone: float, widens: bool) -> None:
    # One of two folds side by side does 500 images a second.
    assert choose(BESIDE, {**SPEEDS, ALONE: alone}, 1_000_000).widens == widens


@pytest.mark.parametrize(
    ("setting", "candidates"),
    [
        ('compute.precision="fp32"', [BESIDE_32, ALONE_32]),
        ("compute.threads=1", [BESIDE, BESIDE_32]),
    ],
)
def test_what_the_recipe_says_is_not_tried_otherwise(setting: str, candidates: list[Candidate]) -> None:
    meter = Meter()
    tune(make_open_plan(DENSE, setting), make_work(), "cpu", 2, meter)
    assert meter.asked == [candidates]


def test_a_single_fold_has_all_threads() -> None:
    meter = Meter()
    assert tune(make_open_plan(DENSE), make_work(folds=1), "cpu", 1, meter).places == 1
    assert meter.asked == [[ALONE, ALONE_32]]


ENOUGH = SHARE * ROUNDS * 2 * 3 * 64


@pytest.mark.parametrize(
    ("settings", "work", "device", "reason"),
    [
        (['compute.tune="off"'], make_work(), "cpu", 'compute.tune = "off"'),
        (['model.freeze="backbone"'], make_work(), "cpu", "layers are frozen"),
        (["compute.workers_per_fold=2"], make_work(), "cpu", "only folds on this machine"),
        ([], make_work(), "cuda", "only folds on this machine"),
        ([], make_work(images=SHORT_WORK // 256 - 1), "cpu", "the training is short"),
        (["train.batch_size=64"], make_work(images=ENOUGH - 1, side=64), "cpu", "the training is short"),
        (["compute.threads=1", 'compute.precision="bf16"'], make_work(), "cpu", ""),
    ],
)
def test_nothing_is_measured_without_need(
    settings: list[str], work: Workload, device: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 0))
    meter = Meter()
    found = tune(make_open_plan(DENSE, *settings), work, device, 2, meter)
    assert meter.asked == []
    assert (found.precision, found.places, found.widens) == ("bf16", 2, False)
    assert reason in found.reason


def test_the_shortest_training_that_is_measured() -> None:
    meter = Meter()
    tune(make_open_plan(DENSE, "train.batch_size=64"), make_work(images=ENOUGH, side=64), "cpu", 2, meter)
    assert len(meter.asked) == 1


def test_a_cluster_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    meter = Meter()
    tune(make_open_plan(DENSE), make_work(), "cpu", 2, meter)
    assert meter.asked == []


def test_the_recipe_of_the_digits_is_never_measured() -> None:
    # Whatever the machine: its numbers stand in the documentation.
    images = 4 * 1437 * 12
    work = Workload(5, images, 10, Preprocessing.model_construct(image_size=(8, 8), channels=1), Softmax(classes=10))
    meter = Meter()
    tune(make_plan(small=()), work, "cpu", 2, meter)
    assert meter.asked == []


def test_a_second_run_has_the_speeds_of_the_first() -> None:
    plan, work = make_open_plan(DENSE), make_work()
    first = tune(plan, work, "cpu", 2, Meter())
    other = Meter(dict.fromkeys(SPEEDS, 1.0))
    assert tune(plan, work, "cpu", 2, other) == first
    assert other.asked == []


@pytest.mark.parametrize(
    ("settings", "work"),
    [
        (["model.widths=[8, 16]"], make_work()),
        (["train.batch_size=32"], make_work()),
        (["optimizer.use='optimizer/sgd'"], make_work()),
        ([], make_work(side=17)),
    ],
)
def test_other_work_is_measured_anew(settings: list[str], work: Workload) -> None:
    tune(make_open_plan(DENSE), make_work(), "cpu", 2, Meter())
    meter = Meter()
    tune(make_open_plan('model={use="nn/sequential-cnn"}', *settings), work, "cpu", 2, meter)
    assert len(meter.asked) == 1


def test_other_software_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, work, meter = make_open_plan(DENSE), make_work(), Meter()
    tune(plan, work, "cpu", 2, meter)
    monkeypatch.setenv("ICF_CUT_KERNELS", "0")
    tune(plan, work, "cpu", 2, meter)
    monkeypatch.setattr("icf.__version__", "0.0.9")
    tune(plan, work, "cpu", 2, meter)
    tune(plan, work, "cpu", 2, meter)
    assert len(meter.asked) == 3


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '[{"precision": "bf16"}]', '[{"precision": 1, "places": 2, "speed": "x"}]']
)
def test_damaged_speeds_are_measured_anew(text: str, tmp_path: Path) -> None:
    tune(make_open_plan(DENSE), make_work(), "cpu", 2, Meter())
    [path] = (tmp_path / "cache" / "tuning").iterdir()
    path.write_text(text)
    meter = Meter()
    tune(make_open_plan(DENSE), make_work(), "cpu", 2, meter)
    assert len(meter.asked) == 1


def test_speeds_that_cannot_be_kept_are_used(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert tune(make_open_plan(DENSE), make_work(), "cpu", 2, Meter()).reason.startswith("measured")


def test_a_component_that_fails_leaves_the_default_and_its_error_to_the_fold() -> None:
    def fail(*_: Any) -> Mapping[Candidate, float]:
        raise SystemExit("no")

    found = tune(make_open_plan(DENSE), make_work(), "cpu", 2, fail)
    assert (found.precision, found.places) == BESIDE
    assert found.reason == "not measured: SystemExit: no"


def test_a_model_that_cannot_be_built_leaves_the_format_open() -> None:
    plan = make_open_plan('model={use="timm/model", arch="tf_efficientnet_lite0", pretrained=false}')
    broken = plan.model_copy(update={"model": plan.model.model_copy(update={"factory": "nowhere:nothing"})})
    assert tune(broken, make_work(), "cpu", 2).precision == "auto"


def test_real_steps_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icf.pipeline.training.trial_steps.SECONDS", 0.01)
    threads = torch.get_num_threads()
    speeds = measure_speeds(make_open_plan("model.widths=[8]", "train.batch_size=16"), make_work(), list(SPEEDS))
    assert speeds.keys() == SPEEDS.keys()
    assert all(speed > 0 for speed in speeds.values())
    assert torch.get_num_threads() == threads


def test_a_busy_machine_is_not_timed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(measured, "PATIENCE", -1.0)
    monkeypatch.setattr(tuning, "time_steps", lambda copies, precision, threads: calls.append(len(copies)) or 1.0)
    measure_speeds(make_open_plan("model.widths=[8]"), make_work(), [BESIDE, ALONE])
    assert calls == [2, 1] * 2


def test_trial_steps_change_no_weights() -> None:
    steps = TrialSteps(make_open_plan("model.widths=[8]", "train.batch_size=8"), make_work())
    before = [parameter.clone() for parameter in steps._model.parameters()]
    steps(None)
    steps(torch.bfloat16)
    assert all(torch.equal(old, new) for old, new in zip(before, steps._model.parameters(), strict=True))


class Watcher:
    """Steps only while its fellows step too, and tells with how many threads it would compute."""

    images_per_step = 4

    def __init__(self, fellows: threading.Barrier) -> None:
        self.fellows = fellows
        self.threads: set[int] = set()

    def __call__(self, precision: torch.dtype | None) -> None:
        self.fellows.wait(timeout=30)
        self.threads.add(torch.get_num_threads())


def test_copies_step_at_the_same_time_with_their_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icf.pipeline.training.trial_steps.SECONDS", 0.0)
    before, fellows = torch.get_num_threads(), threading.Barrier(3)
    copies: list[Any] = [Watcher(fellows) for _ in range(3)]
    try:
        assert time_steps(copies, None, threads=2) > 0
    finally:
        torch.set_num_threads(before)
    assert [copy.threads for copy in copies] == [{2}] * 3


def test_what_a_step_raises_is_raised() -> None:
    class Broken:
        images_per_step = 1

        def __call__(self, precision: torch.dtype | None) -> None:
            raise SystemExit("enough")

    copies: list[Any] = [Broken(), Broken()]
    with pytest.raises(SystemExit, match="enough"):
        time_steps(copies, None, threads=1)
