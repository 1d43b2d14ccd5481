"""Trainings without the weights that never meet a map."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import resnet18

from icf.pipeline.training import kernels
from icf.pipeline.training.checkpoint import load_weights, save_weights
from icf.pipeline.training.fit import fit_fold
from icf.pipeline.training.kernels import Axis, cut_kernels
from icf.pipeline.training.memory_format import make_contiguous
from icf.pipeline.training.trimming import Cut, TrimmedConv2d, find_cut, restore_kernels, trim_kernels
from icf_optimizer.memory_order import Adam, AdamW
from icf_optimizer.optimizers import SGD, RAdam
from training import fit, fit_until_killed, make_jobs, make_plan, multiply_from, read_history, read_oof, without_speed

IMAGE = (3, 8, 8)
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]

pytestmark = pytest.mark.usefixtures("cache_of_test")


@pytest.fixture(autouse=True)
def _cut_small_kernels() -> Iterator[None]:
    with multiply_from(100):
        yield


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "expected"),
    [
        (1, 3, 1, 1, Cut(1, 2, 0)),  # a ResNet's last maps at 32x32
        (2, 3, 2, 1, Cut(1, 3, 0)),  # and the convolution that makes them
        (2, 7, 1, 3, Cut(2, 5, 1)),
        (2, 3, 1, 1, Cut(0, 3, 1)),  # every weight meets a pixel
        (1, 1, 1, 0, Cut(0, 1, 0)),
        (32, 7, 2, 3, Cut(0, 7, 3)),
    ],
)
def test_weights_that_meet_only_padding_are_known(
    size: int, kernel: int, stride: int, padding: int, expected: Cut
) -> None:
    assert find_cut(Axis(size, kernel, stride, padding, dilation=1)) == expected


def make_network() -> nn.Sequential:
    """Maps of 8, 4, 2, 1 and 1 pixels a side: of nine weights, the last two kernels use four and one."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels, stride in ((3, 2), (8, 2), (8, 2), (8, 1)):
        layers += [nn.Conv2d(channels, 8, 3, stride, 1), nn.BatchNorm2d(8), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4)).to(memory_format=torch.channels_last)
    cut_kernels(network)
    return network


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 4) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        images = torch.randn((16, *IMAGE), generator=generator).to(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(network(images), torch.arange(16) % 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, fused=True),
        lambda parameters: Adam(parameters, lr=0.01, weight_decay=0.01, fused=True),
        lambda parameters: AdamW(parameters, lr=0.01, weight_decay=0.1, fused=True),
        lambda parameters: RAdam(parameters, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    ],
)
def test_a_trimmed_network_learns_the_same(make: MakeOptimizer) -> None:
    whole, trimmed = make_network(), make_network()
    first = copy.deepcopy(whole.state_dict())
    optimizers = make(whole.parameters()), make(trimmed.parameters())
    trim_kernels(trimmed, optimizers[1], IMAGE)
    assert [tuple(m.weight.shape[2:]) for m in trimmed if isinstance(m, nn.Conv2d)] == [(3, 3), (3, 3), (2, 2), (1, 1)]
    assert train(trimmed, optimizers[1]) == pytest.approx(train(whole, optimizers[0]), rel=1e-4)
    restore_kernels(trimmed)
    assert not any(isinstance(module, TrimmedConv2d) for module in trimmed)
    for name, expected in whole.state_dict().items():
        found = trimmed.state_dict()[name]
        assert found.shape == expected.shape
        part: Any = {"6.weight": (..., slice(1, 3), slice(1, 3)), "9.weight": (..., [1], [1])}.get(name, ...)
        torch.testing.assert_close(found[part], expected[part], rtol=1e-3, atol=1e-5)
        rest = torch.ones(found.shape, dtype=torch.bool)
        rest[part] = False
        assert torch.equal(found[rest], first[name][rest])


def test_its_state_is_that_of_the_whole_network(tmp_path: Path) -> None:
    whole, trimmed = make_network(), make_network()
    optimizer = Adam(trimmed.parameters())
    trim_kernels(trimmed, optimizer, IMAGE)
    assert list(trimmed.state_dict()) == list(whole.state_dict())
    train(trimmed, optimizer)
    save_weights(tmp_path / "weights.safetensors", trimmed, {})
    load_weights(tmp_path / "weights.safetensors", whole)
    other = make_network()
    trim_kernels(other, Adam(other.parameters()), IMAGE)
    load_weights(tmp_path / "weights.safetensors", other)
    restore_kernels(trimmed)
    restore_kernels(other)
    for name, expected in whole.state_dict().items():
        assert torch.equal(trimmed.state_dict()[name], expected)
        assert torch.equal(other.state_dict()[name], expected)


def test_most_weights_of_a_resnet_are_left_out_at_32x32() -> None:
    network = resnet18(num_classes=10)
    cut_kernels(network)
    optimizer = SGD(network.parameters(), lr=0.1)
    before = sum(parameter.numel() for parameter in network.parameters())
    trim_kernels(network, optimizer, (3, 32, 32))
    left = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    assert before - left == 3 * 512 * 512 * 8 + 512 * 256 * 5


def test_weights_that_are_multiplied_lie_channels_last_whatever_the_network_does() -> None:
    network = make_network()
    make_contiguous(network)
    trim_kernels(network, Adam(network.parameters()), IMAGE)
    weights = [module.weight for module in network if isinstance(module, nn.Conv2d)]
    assert [weight.is_contiguous(memory_format=torch.channels_last) for weight in weights] == [False, True, True, True]
    assert [weight.is_contiguous() for weight in weights] == [True, False, False, True]  # the last is of one pixel


def test_a_map_of_another_size_is_told() -> None:
    network = make_network()
    trim_kernels(network, Adam(network.parameters()), IMAGE)
    with pytest.raises(ValueError, match=r"a map of 2x2 pixels, and of 1x1 when .* ICF_CUT_KERNELS=0"):
        network[9](torch.zeros(1, 8, 2, 2))


class Twice(nn.Module):
    """A convolution that sees maps of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return [N, 3]."""
        small = nn.functional.adaptive_avg_pool2d(images, 1)
        return (self.kernel(images) + self.kernel(small)).mean((2, 3))


class Failing(nn.Sequential):
    """A network that takes no single image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Raise for one image."""
        if len(images) == 1:
            raise RuntimeError("one image is not enough")
        return super().forward(images)


def tie(network: nn.Sequential) -> nn.Module:
    network[9].weight = network[6].weight
    return network


@pytest.mark.parametrize(
    ("network", "optimizer"),
    [
        (make_network(), torch.optim.Adam),  # which does not say that it treats every weight by itself
        (Twice(), Adam),
        (Failing(*make_network()), Adam),
        (tie(make_network()), Adam),
    ],
)
def test_what_is_not_known_to_be_safe_is_left(network: nn.Module, optimizer: MakeOptimizer) -> None:
    cut_kernels(network)
    trim_kernels(network, optimizer(network.parameters()), IMAGE)
    assert not any(isinstance(module, TrimmedConv2d) for module in network.modules())


def test_weights_that_are_not_trained_are_left() -> None:
    network = make_network()
    trim_kernels(network, Adam(network[:8].parameters()), IMAGE)
    assert [isinstance(module, TrimmedConv2d) for module in network if isinstance(module, nn.Conv2d)] == [
        False,
        False,
        True,
        False,
    ]


def test_trying_the_network_draws_no_random_number() -> None:
    network = nn.Sequential(make_network(), nn.Dropout())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    trim_kernels(network, Adam(network.parameters()), IMAGE)
    assert torch.equal(torch.rand(1), expected)


SMALL = ("train.epochs=3", 'model={use="timm/model", arch="resnet10t"}')


def count_trimmed(trainer: Any) -> int:
    return sum(isinstance(module, TrimmedConv2d) for module in trainer.model.modules())


@pytest.mark.parametrize("layout", ["channels-last", "contiguous"])
def test_a_fold_learns_the_same_and_continues_to_the_same_bits(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*SMALL, f'compute.memory_format="{layout}"')
    whole = fit(tmp_path / "whole", *settings)
    job = make_jobs(make_plan(*settings), tmp_path / "parts")[0]
    trimmed = fit_until_killed(job, 2, count_trimmed)
    fit_fold(job)
    assert len(trimmed) == 2
    assert min(trimmed) > 0
    assert without_speed(read_history(job.folder)) == without_speed(read_history(whole.folder))
    np.testing.assert_array_equal(read_oof(job.folder), read_oof(whole.folder))

    monkeypatch.setenv(kernels.SWITCH, "0")
    plain = fit(tmp_path / "plain", *settings)
    losses = [float(read_history(one.folder)[0]["train_loss"]) for one in (whole, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # rounding grows from step to step
    weights = [load_file(one.folder.checkpoints / "best.safetensors") for one in (whole, plain)]
    shapes = [{name: value.shape for name, value in one.items()} for one in weights]
    assert shapes[0] == shapes[1]


def test_a_fold_that_was_begun_with_other_weights_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_jobs(make_plan(*SMALL), tmp_path / "parts")[0]
    fit_until_killed(job, 1)
    monkeypatch.setenv(kernels.SWITCH, "0")
    fit_fold(job)
    plain = fit(tmp_path / "plain", *SMALL)
    np.testing.assert_array_equal(read_oof(job.folder), read_oof(plain.folder))
