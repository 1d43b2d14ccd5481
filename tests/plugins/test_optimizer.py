from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import icf
from icf_optimizer.optimizers import adam, adamw, sgd
from icf_optimizer.plugin import AdamParams, AdamWParams, SGDParams

Builder: TypeAlias = Callable[..., torch.optim.Optimizer]

ADAM = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}
SGD = {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}
CASES: list[tuple[Builder, type[icf.Params], Builder, dict[str, Any]]] = [
    (sgd, SGDParams, torch.optim.SGD, SGD),
    (adam, AdamParams, torch.optim.Adam, ADAM),
    (adamw, AdamWParams, torch.optim.AdamW, ADAM),
]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


def groups(net: nn.Module) -> list[dict[str, Any]]:
    parameters = list(net.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images, targets = (
            torch.randn(16, 4, generator=generator),
            torch.randint(3, (16,), generator=generator),
        )
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return [parameter.detach() for parameter in net.parameters()]


@pytest.mark.parametrize(("build", "params", "reference"), [case[:3] for case in CASES[1:]])
def test_channels_last_kernels_are_learned_the_same_without_copies(
    build: Builder, params: type[icf.Params], reference: Builder
) -> None:
    def learn(optimizer_of: Callable[[nn.Module], torch.optim.Optimizer]) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 2), nn.Flatten(), nn.Linear(4 * 3 * 3, 2))
        net.to(memory_format=torch.channels_last)
        optimizer = optimizer_of(net)
        for step in range(4):
            images = torch.randn((6, 3, 6, 6), generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            net(images).square().mean().backward()
            optimizer.step()
        return net, optimizer

    values = {**ADAM, "lr": 0.05}
    ours, optimizer = learn(
        lambda net: build(params(**values), icf.OptimizerContext(parameter_groups=[{"params": net.parameters()}]))
    )
    theirs, other = learn(lambda net: reference(net.parameters(), **values, fused=False))
    for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, yours)
        assert optimizer.state[mine]["exp_avg"].shape == mine.shape
        torch.testing.assert_close(optimizer.state[mine]["exp_avg_sq"], other.state[yours]["exp_avg_sq"])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    assert {event.name for event in profile.events()}.isdisjoint({"aten::contiguous", "aten::clone"})


@pytest.mark.parametrize(("build", "params", "reference", "values"), CASES)
def test_every_parameter_reaches_torch(
    build: Builder,
    params: type[icf.Params],
    reference: Builder,
    values: dict[str, Any],
) -> None:
    assert set(values) == set(params.model_fields)
    ours, theirs = model(), model()
    optimizer = build(params.model_validate(values), icf.OptimizerContext(parameter_groups=groups(ours)))
    expected = train(theirs, reference(groups(theirs), **values))
    # torch's own plain loop: the fused step may differ from it in the last digits.
    torch.testing.assert_close(train(ours, optimizer), expected, rtol=1e-5, atol=1e-6)
    assert optimizer.defaults["fused"]


def test_parameters_that_cannot_be_fused_are_trained_all_the_same() -> None:
    weight = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    optimizer = adam(AdamParams(), icf.OptimizerContext(parameter_groups=[{"params": [weight]}]))
    assert not optimizer.defaults["fused"]
    weight.abs().sum().backward()
    optimizer.step()
    assert (weight.abs() < 1).all()


@pytest.mark.parametrize(("build", "params", "reference", "values"), CASES)
def test_a_group_without_weight_decay_keeps_it_that_way(
    build: Builder,
    params: type[icf.Params],
    reference: Builder,
    values: dict[str, Any],
) -> None:
    given = groups(model())
    optimizer = build(params.model_validate(values), icf.OptimizerContext(parameter_groups=iter(given)))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert "lr" not in given[0]  # what the run holds is not changed


@pytest.mark.parametrize(("build", "params"), [case[:2] for case in CASES])
def test_defaults_lower_the_loss(build: Builder, params: type[icf.Params]) -> None:
    net = model()
    images, targets = torch.randn(64, 4), torch.arange(64) % 3
    before = nn.functional.cross_entropy(net(images), targets)
    optimizer = build(params(), icf.OptimizerContext(parameter_groups=groups(net)))
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert nn.functional.cross_entropy(net(images), targets) < before


@pytest.mark.parametrize(("build", "params"), [case[:2] for case in CASES])
def test_nothing_to_train_is_said(build: Builder, params: type[icf.Params]) -> None:
    cases: list[list[dict[str, Any]]] = [[], [{"params": []}, {"params": iter(())}]]
    for empty in cases:
        with pytest.raises(icf.PluginError, match="no trainable parameter"):
            build(params(), icf.OptimizerContext(parameter_groups=empty))


def test_an_empty_group_beside_a_full_one_is_left_out() -> None:
    optimizer = adamw(AdamWParams(), icf.OptimizerContext(parameter_groups=[*groups(model()), {"params": []}]))
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 4]


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValidationError, match="nesterov needs momentum"):
        SGDParams(momentum=0)
    assert SGDParams(momentum=0, nesterov=False).momentum == 0


@pytest.mark.parametrize("values", [{"lr": 0}, {"lr": float("nan")}, {"lr": float("inf")}, {"betas": [0.9, 1.0]}])
def test_values_out_of_bounds_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AdamWParams.model_validate(values)
