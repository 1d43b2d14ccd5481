from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler

import icf
from icf_scheduler import plugin, schedules
from icf_scheduler.plugin import (
    CosineParams,
    CosineRestartsParams,
    MultiStepParams,
    OneCycleParams,
    PlateauParams,
    PolynomialParams,
    StepParams,
    WarmupParams,
)

TorchScheduler = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def context(steps_per_epoch: int = 7, epochs: int = 10, maximize: bool = True) -> icf.SchedulerContext:
    return icf.SchedulerContext(steps_per_epoch=steps_per_epoch, epochs=epochs, maximize=maximize)


def factors(schedule: icf.Schedule, steps: int) -> list[float]:
    return [schedule.factor(step) for step in range(steps)]


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def torch_factors(build: TorchScheduler, steps: int) -> list[float]:
    sgd = optimizer()
    rates = []
    with warnings.catch_warnings():
        # torch's warm-up sequence passes an epoch to its parts, which torch itself warns of.
        warnings.simplefilter("ignore", UserWarning)
        scheduler = build(sgd)
        for _ in range(steps):
            rates.append(sgd.param_groups[0]["lr"])
            sgd.step()
            scheduler.step()
    return rates


def warmed(build: TorchScheduler, steps: int, start: float) -> TorchScheduler:
    def sequence(sgd: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        line = lr_scheduler.LinearLR(sgd, start_factor=start, total_iters=steps)
        return lr_scheduler.SequentialLR(sgd, [line, build(sgd)], milestones=[steps])

    return sequence


def multi_step_params(**values: Any) -> MultiStepParams:
    return MultiStepParams(milestones=(4, 8), **values)


def restarts_params(**values: Any) -> CosineRestartsParams:
    return CosineRestartsParams(cycle_epochs=3, cycle_factor=2, **values)


def test_constant_is_one_throughout() -> None:
    assert factors(schedules.constant(WarmupParams(), context()), 70) == [1.0] * 70


@given(epochs=st.integers(1, 4), gamma=st.floats(0.01, 1), per_epoch=st.integers(1, 9), total=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_step_is_torchs(epochs: int, gamma: float, per_epoch: int, total: int) -> None:
    ours = schedules.step(StepParams(epochs=epochs, gamma=gamma), context(per_epoch, total))
    theirs = torch_factors(lambda sgd: lr_scheduler.StepLR(sgd, epochs * per_epoch, gamma), per_epoch * total)
    assert factors(ours, per_epoch * total) == pytest.approx(theirs, rel=1e-9)


@given(final=st.floats(0, 1), per_epoch=st.integers(1, 9), total=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_cosine_is_torchs(final: float, per_epoch: int, total: int) -> None:
    steps = per_epoch * total
    ours = schedules.cosine(CosineParams(final_factor=final), context(per_epoch, total))
    theirs = torch_factors(lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, steps, eta_min=final), steps)
    assert factors(ours, steps) == pytest.approx(theirs, rel=1e-9, abs=1e-12)
    assert ours.factor(steps) == pytest.approx(final)
    assert ours.factor(steps + 5) == pytest.approx(final)


@given(
    milestones=st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(sorted),
    gamma=st.floats(0.01, 1),
    per_epoch=st.integers(1, 9),
    total=st.integers(1, 12),
)
@settings(deadline=None, max_examples=30)
def test_multi_step_is_torchs(milestones: list[int], gamma: float, per_epoch: int, total: int) -> None:
    params = MultiStepParams(milestones=tuple(milestones), gamma=gamma)
    steps = [per_epoch * milestone for milestone in milestones]
    theirs = torch_factors(lambda sgd: lr_scheduler.MultiStepLR(sgd, steps, gamma), per_epoch * total)
    assert factors(schedules.multi_step(params, context(per_epoch, total)), per_epoch * total) == pytest.approx(theirs)


@given(
    cycle=st.integers(1, 5),
    factor=st.integers(1, 3),
    final=st.floats(0, 1),
    per_epoch=st.integers(1, 9),
    total=st.integers(1, 20),
)
@settings(deadline=None, max_examples=40)
def test_cosine_with_restarts_is_torchs(cycle: int, factor: int, final: float, per_epoch: int, total: int) -> None:
    params = CosineRestartsParams(cycle_epochs=cycle, cycle_factor=factor, final_factor=final)
    ours = schedules.cosine_restarts(params, context(per_epoch, total))
    theirs = torch_factors(
        lambda sgd: lr_scheduler.CosineAnnealingWarmRestarts(sgd, cycle * per_epoch, factor, eta_min=final),
        per_epoch * total,
    )
    assert factors(ours, per_epoch * total) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(power=st.floats(0.1, 5), per_epoch=st.integers(1, 9), total=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_polynomial_is_torchs(power: float, per_epoch: int, total: int) -> None:
    steps = per_epoch * total
    ours = schedules.polynomial(PolynomialParams(power=power), context(per_epoch, total))
    theirs = torch_factors(lambda sgd: lr_scheduler.PolynomialLR(sgd, steps, power), steps)
    assert factors(ours, steps) == pytest.approx(theirs, rel=1e-6, abs=1e-9)


def test_polynomial_ends_at_its_final_factor() -> None:
    ours = schedules.polynomial(PolynomialParams(power=2, final_factor=0.1), context(5, 4))
    assert factors(ours, 21) == pytest.approx([0.1 + 0.9 * (1 - step / 20) ** 2 for step in range(21)])


@given(
    pct_start=st.floats(0.01, 0.99),
    div_factor=st.floats(1, 100),
    final_div_factor=st.floats(1, 1e5),
    per_epoch=st.integers(1, 9),
    total=st.integers(1, 12),
)
@settings(deadline=None, max_examples=60)
def test_one_cycle_is_torchs(
    pct_start: float, div_factor: float, final_div_factor: float, per_epoch: int, total: int
) -> None:
    steps = per_epoch * total
    assume(pct_start * steps != 1)  # torch divides by zero there
    values: dict[str, Any] = {
        "pct_start": pct_start,
        "div_factor": div_factor,
        "final_div_factor": final_div_factor,
    }
    ours = schedules.one_cycle(OneCycleParams.model_validate(values), context(per_epoch, total))
    theirs = torch_factors(
        lambda sgd: lr_scheduler.OneCycleLR(sgd, 1.0, total_steps=steps, cycle_momentum=False, **values),
        steps,
    )
    assert factors(ours, steps) == pytest.approx(theirs, rel=1e-6, abs=1e-10)


def test_one_cycle_bears_a_rise_without_steps() -> None:
    schedule = schedules.one_cycle(OneCycleParams(pct_start=0.25), context(1, 4))
    assert schedule.factor(0) == 1.0
    assert schedule.factor(3) == pytest.approx(1 / 25e4)


@pytest.mark.parametrize(
    ("name", "params", "build"),
    [
        ("constant", WarmupParams, lambda sgd: lr_scheduler.ConstantLR(sgd, 1.0)),
        ("step", StepParams, lambda sgd: lr_scheduler.StepLR(sgd, 70, 0.1)),
        ("multi_step", multi_step_params, lambda sgd: lr_scheduler.MultiStepLR(sgd, [28, 56], 0.1)),
        ("cosine", CosineParams, lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, 140 - 10)),
        ("cosine_restarts", restarts_params, lambda sgd: lr_scheduler.CosineAnnealingWarmRestarts(sgd, 21, 2)),
        ("polynomial", PolynomialParams, lambda sgd: lr_scheduler.PolynomialLR(sgd, 140 - 10)),
    ],
)
def test_warm_up_is_torchs_sequence(name: str, params: Callable[..., WarmupParams], build: TorchScheduler) -> None:
    ours = getattr(schedules, name)(params(warmup_epochs=1.5, warmup_start=0.2), context(7, 20))
    assert factors(ours, 140) == pytest.approx(torch_factors(warmed(build, 10, 0.2), 140), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "params", "build"),
    [
        ("constant", WarmupParams, lambda sgd: lr_scheduler.ConstantLR(sgd, 1.0)),
        ("step", StepParams, lambda sgd: lr_scheduler.StepLR(sgd, 10, 0.1)),
        ("multi_step", multi_step_params, lambda sgd: lr_scheduler.MultiStepLR(sgd, [4, 8], 0.1)),
        ("cosine", CosineParams, lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, 18)),
        ("cosine_restarts", restarts_params, lambda sgd: lr_scheduler.CosineAnnealingWarmRestarts(sgd, 3, 2)),
        ("polynomial", PolynomialParams, lambda sgd: lr_scheduler.PolynomialLR(sgd, 18)),
        ("one_cycle", OneCycleParams, lambda sgd: lr_scheduler.OneCycleLR(sgd, 1.0, 18, cycle_momentum=False)),
    ],
)
def test_an_update_per_epoch_is_torchs_schedule_stepped_by_epochs(
    name: str, params: Callable[..., WarmupParams], build: TorchScheduler
) -> None:
    ours = getattr(schedules, name)(params(warmup_epochs=2, warmup_start=0.2, update="epoch"), context(7, 20))
    after = torch_factors(build, 18)
    expected = [share * after[0] for share in (0.2, 0.6)] + after
    assert factors(ours, 140) == pytest.approx([rate for rate in expected for _ in range(7)], abs=1e-9)


def test_plateau_per_epoch_warms_up_by_epochs() -> None:
    params = PlateauParams(warmup_epochs=2, warmup_start=0.5, patience=0, factor=0.1, update="epoch")
    schedule = schedules.plateau(params, context(3, 5))
    rates = []
    for epoch, score in enumerate((0.5, 0.5, 0.5, 0.9, 0.9)):
        rates += [schedule.factor(3 * epoch + step) for step in range(3)]
        schedule.observe(score)
    assert rates == pytest.approx([0.5] * 3 + [0.75] * 3 + [1.0] * 3 + [0.1] * 6)


def test_milestones_must_ascend() -> None:
    with pytest.raises(ValidationError, match=r"must ascend; found \[3.0, 2.0\]"):
        MultiStepParams(milestones=(3, 2))


def test_warm_up_of_one_cycle_leads_to_its_start() -> None:
    warm = schedules.one_cycle(OneCycleParams(warmup_epochs=2, warmup_start=0.5), context(5, 10))
    plain = schedules.one_cycle(OneCycleParams(), context(5, 8))
    line = [(0.5 + 0.05 * step) / 25 for step in range(10)]
    assert factors(warm, 50) == pytest.approx(line + factors(plain, 40))


@given(
    scores=st.lists(st.floats(-1, 1), min_size=1, max_size=40),
    factor=st.sampled_from([0.1, 0.5]),
    patience=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    min_factor=st.sampled_from([0.0, 0.05]),
    maximize=st.booleans(),
)
@settings(deadline=None)
def test_plateau_is_torchs(
    scores: list[float], factor: float, patience: int, threshold: float, min_factor: float, maximize: bool
) -> None:
    values: dict[str, Any] = {"factor": factor, "patience": patience, "threshold": threshold}
    ours = schedules.plateau(
        PlateauParams.model_validate({**values, "min_factor": min_factor}), context(maximize=maximize)
    )
    sgd = optimizer()
    theirs = lr_scheduler.ReduceLROnPlateau(sgd, "max" if maximize else "min", min_lr=min_factor, eps=0, **values)
    for score in scores:
        ours.observe(score)
        theirs.step(score)
        assert ours.factor(3) == pytest.approx(sgd.param_groups[0]["lr"])


def test_plateau_waits_for_the_warm_up() -> None:
    params = PlateauParams(warmup_epochs=2, warmup_start=0.0, patience=0, factor=0.5)
    schedule = schedules.plateau(params, context(10, 10))
    for score in (0.9, 0.1):
        schedule.observe(score)
    assert schedule.factor(5) == pytest.approx(0.25)
    assert schedule.factor(20) == 1.0
    schedule.observe(0.5)
    assert schedule.factor(30) == 0.5


def test_plateau_takes_a_score_that_is_no_number_as_a_bad_one() -> None:
    schedule = schedules.plateau(PlateauParams(patience=1, factor=0.5), context())
    for score in (0.5, float("nan"), float("nan")):
        schedule.observe(score)
    assert schedule.factor(0) == 0.5


@pytest.mark.parametrize("descriptor", list(plugin.icf_schedulers()), ids=lambda descriptor: descriptor.name)
@given(
    scores=st.lists(st.floats(0, 1), min_size=10, max_size=10),
    stop=st.integers(0, 10),
    maximize=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_resumed_is_uninterrupted(descriptor: icf.Scheduler, scores: list[float], stop: int, maximize: bool) -> None:
    module, _, function = descriptor.factory.partition(":")
    build = getattr(importlib.import_module(module), function)
    params = descriptor.params.model_validate({**(descriptor.examples or ({},))[0], "warmup_epochs": 1})

    def train(epochs: range, state: str | None) -> tuple[list[float], str]:
        schedule: icf.Schedule = build(params, context(3, 10, maximize))
        if state is not None:
            schedule.load_state_dict(json.loads(state))
        rates = []
        for epoch in epochs:
            rates += [schedule.factor(3 * epoch + step) for step in range(3)]
            schedule.observe(scores[epoch])
        return rates, json.dumps(schedule.state_dict(), allow_nan=False)

    whole, final = train(range(10), None)
    first, saved = train(range(stop), None)
    second, resumed = train(range(stop, 10), saved)
    assert first + second == whole
    assert resumed == final


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "plateau", "one_cycle"])
def test_a_warm_up_as_long_as_the_training_is_refused(name: str) -> None:
    params = {
        "step": StepParams,
        "cosine": CosineParams,
        "plateau": PlateauParams,
        "one_cycle": OneCycleParams,
    }
    with pytest.raises(icf.PluginError, match="5 epochs do not fit into a training of 5"):
        getattr(schedules, name)(params.get(name, WarmupParams)(warmup_epochs=5), context(4, 5))


@pytest.mark.parametrize(
    ("params", "values"),
    [
        (WarmupParams, {"warmup_epochs": -1}),
        (StepParams, {"epochs": 0}),
        (PlateauParams, {"factor": 1.0}),
        (OneCycleParams, {"pct_start": 1.0}),
        (CosineParams, {"final_factor": float("inf")}),
    ],
)
def test_values_out_of_bounds_are_refused(params: type[icf.Params], values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        params.model_validate(values)
