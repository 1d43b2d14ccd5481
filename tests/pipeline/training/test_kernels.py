"""Kernels of which only a part meets the image."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import resnet18

from icf.pipeline.training import kernels
from icf.pipeline.training.kernels import CutConv2d, cut_kernels, find_products
from training import multiply_from


@pytest.fixture
def _few_weights() -> Iterator[None]:
    """Let small convolutions be products, too."""
    with multiply_from(1):
        yield


def draw_images(channels: int, height: int, width: int, count: int = 2) -> torch.Tensor:
    images = torch.randn((count, channels, height, width), generator=torch.Generator().manual_seed(0))
    return images.to(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "weights", "taps", "is_point"),
    [
        (1, 1, 1, 0, 2_000, 1, True),  # squeeze-and-excitation
        (5, 1, 1, 0, 2_000, 1, True),
        (6, 1, 1, 0, 2_000, 0, False),
        (1, 1, 1, 1, 300_000, 1, False),  # nine outputs, of which eight see padding
        (1, 3, 1, 1, 2_359_296, 1, False),  # a ResNet's last maps at 32x32
        (2, 3, 2, 1, 1_179_648, 4, False),  # the convolution that makes them
        (2, 1, 2, 0, 131_072, 1, True),  # and its shortcut
        (2, 3, 1, 1, 589_824, 9, False),
        (2, 3, 1, 1, 100_000, 0, False),  # few weights for four places
        (4, 3, 1, 1, 2_359_296, 9, False),  # its last maps at 128x128
        (14, 3, 1, 1, 2_359_296, 0, False),
    ],
)
def test_small_maps_with_many_weights_are_multiplied(
    size: int, kernel: int, stride: int, padding: int, weights: int, taps: int, is_point: bool
) -> None:
    settings = ((number, number) for number in (size, kernel, stride, padding, 1))
    found = find_products(*settings, weights)
    assert (len(found.taps), found.is_point) == (taps, is_point) if found else taps == 0


@pytest.mark.usefixtures("_few_weights")
@settings(deadline=None)
@given(
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_a_cut_convolution_computes_what_the_whole_one_does(
    sides: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    bias: bool,
    layout: torch.memory_format,
) -> None:
    axes = list(zip(sides, padding, kernel, strict=True))
    assume(all(side + 2 * pad > dilation * (k - 1) >= pad for side, pad, k in axes))  # else torch crashes, too
    torch.manual_seed(0)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "bias": bias}
    whole = nn.Conv2d(4, 6, kernel, **options).to(memory_format=layout)
    cut = copy.deepcopy(whole)
    cut.__class__ = CutConv2d
    images, others = draw_images(4, *sides), draw_images(4, *sides)
    found, expected = cut(others), whole(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    factors = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (found * factors).sum().backward()
    (expected * factors).sum().backward()
    torch.testing.assert_close(others.grad, images.grad, rtol=1e-5, atol=1e-5)
    for one, other in zip(cut.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)
        assert one.grad is not None
        for order in (torch.channels_last, torch.contiguous_format):  # a fused optimizer steps through one
            assert one.ndim < 4 or one.grad.is_contiguous(memory_format=order) == one.is_contiguous(memory_format=order)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_a_network_learns_the_same_with_cut_kernels(
    precision: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    whole = resnet18(num_classes=4).to(memory_format=torch.channels_last)
    cut = copy.deepcopy(whole)
    cut_kernels(cut)
    used: list[tuple[int, ...]] = []
    multiply = kernels._Multiply.apply

    def note(images: torch.Tensor, weight: torch.Tensor, by: kernels.Products) -> torch.Tensor:
        used.append((*images.shape[1:], len(by.taps)))
        return multiply(images, weight, by)

    monkeypatch.setattr(kernels._Multiply, "apply", note)
    # Many images: of two, batch normalisation of one pixel leaves gradients that are nothing but rounding.
    images, targets = draw_images(3, 32, 32, count=16).detach(), torch.arange(16) % 4
    losses: list[list[float]] = []
    for model in (whole, cut):
        losses.append([])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, fused=True)
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is not None):
                loss = nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    (before, after), (cut_before, cut_after) = losses
    assert cut_before == pytest.approx(before, rel=1e-5 if precision is None else 1e-2)
    # In bfloat16, gradients of so small maps differ from those in float32 by two fifths, convolved or multiplied.
    assert cut_after == pytest.approx(after, rel=1e-4 if precision is None else 0.2)
    assert used.count((512, 1, 1, 1)) == 2 * 3
    assert used.count((256, 2, 2, 4)) == 2
    assert used.count((256, 2, 2, 9)) == 2 * 3
    assert list(cut.state_dict()) == list(whole.state_dict())


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.SWITCH, "0")
    model = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1))
    cut_kernels(model)
    assert type(model[0]) is nn.Conv2d


def test_only_plain_convolutions_that_may_gain_are_changed() -> None:
    class Own(nn.Conv2d):
        pass

    large = {"kernel_size": 3, "padding": 1}
    model = nn.Sequential(
        nn.Conv2d(128, 128, **large),
        nn.Conv2d(8, 8, **large),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 1, groups=8),
        nn.Conv2d(128, 128, 3, padding="same"),
        nn.Conv2d(128, 128, **large, padding_mode="reflect"),
        Own(128, 128, **large),
    )
    cut_kernels(model)
    assert [type(module) is CutConv2d for module in model] == [True, False, True, *[False] * 4]
