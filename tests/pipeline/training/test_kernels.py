"""Kernels of which only a part meets the image."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import resnet18

from icf.pipeline.training import kernels
from icf.pipeline.training.kernels import Axis, Cut, CutConv2d, Product, cut_kernels, find_cut, find_way


def draw_images(channels: int, height: int, width: int, count: int = 2) -> torch.Tensor:
    images = torch.randn((count, channels, height, width), generator=torch.Generator().manual_seed(0))
    return images.to(memory_format=torch.channels_last).requires_grad_()


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


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "pairs", "is_kernel"),
    [
        ((1, 1), 1, 1, 0, 1, True),  # squeeze-and-excitation
        ((1, 1), 3, 1, 1, 1, False),  # a ResNet's last maps at 32x32
        ((2, 2), 3, 2, 1, 4, False),  # the convolution that makes them
        ((2, 2), 2, 2, 0, 4, True),  # and what is left of it when it is trimmed
        ((2, 2), 1, 2, 0, 1, True),  # its shortcut
        ((2, 2), 3, 1, 1, 16, False),
        ((3, 3), 3, 1, 1, 0, False),  # 81 pairs for 9 weights
        ((2, 2), 1, 1, 0, 0, False),  # pixels that do not meet
        ((7, 7), 7, 1, 0, 49, True),
    ],
)
def test_maps_of_a_few_pixels_are_multiplied(
    size: tuple[int, int], kernel: int, stride: int, padding: int, pairs: int, is_kernel: bool
) -> None:
    settings = ((number, number) for number in (kernel, stride, padding, 1))
    way = find_way(size, *settings, 1)
    found = (len(way.pairs), way.is_kernel) if isinstance(way, Product) else (0, False)
    assert found == (pairs, is_kernel)
    assert not isinstance(find_way(size, *((number, number) for number in (kernel, stride, padding, 1)), 4), Product)


@settings(deadline=None)
@given(
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_a_cut_convolution_computes_what_the_whole_one_does(
    sides: tuple[int, int],
    kernel: tuple[int, int],
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    groups: int,
    bias: bool,
    layout: torch.memory_format,
) -> None:
    axes = list(zip(sides, padding, kernel, strict=True))
    assume(all(side + 2 * pad > dilation * (k - 1) >= pad for side, pad, k in axes))  # else torch crashes, too
    torch.manual_seed(0)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
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
    multiply = nn.functional.linear

    def note(maps: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        used.append(tuple(matrix.shape))
        return multiply(maps, matrix, bias)

    monkeypatch.setattr(kernels.nn.functional, "linear", note)
    # Many images: of two, batch normalisation of one pixel leaves gradients that are nothing but rounding.
    images, targets = draw_images(3, 32, 32, count=16).detach(), torch.arange(16) % 4
    losses = []
    for model in (whole, cut):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, fused=True)
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is not None):
                loss = nn.functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4 if precision is None else 2e-2)
    assert used.count((512, 512)) == 2 * 3  # maps of one pixel
    assert used.count((512, 4 * 256)) == 2  # of four, to one
    assert used.count((4 * 256, 4 * 256)) == 2 * 3  # of four, to four
    assert used.count((512, 256)) == 2  # the shortcut
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
