"""Convolutions of maps of a few pixels as matrix products, one for each weight of a kernel that meets the map.

At 32x32, the last maps of a ResNet-18 have one pixel, of which eight ninths of a 3x3 kernel see zeros only, and those
before have four. On a CPU, what such convolutions cost is to bring millions of weights, and then their gradients, into
the order in memory that oneDNN wants; products take them as they are, and leave out what is padding. At 128x128, with
maps of 4x4, they are still 1.7 times as fast. Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507) convolves maps
of one pixel in networks for images of any size.
"""

from __future__ import annotations

import math
import os
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import nn

SWITCH = "ICF_CUT_KERNELS"
"""Environment variable; "0" leaves convolutions as they are."""

WEIGHTS_PER_PLACE = 30_000
"""From so many weights for each place of the output on products are faster, as measured for 1 to 49 places."""

MOST_POINTS = 25
"""Up to so many places, the product is faster for 1x1 kernels, however few their weights are."""


class Axis(NamedTuple):
    """One axis of a convolution; ``size`` is that of the map in pixels."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    def count_outputs(self) -> int:
        """Return the size of the map that comes out."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def list_taps(self) -> list[tuple[int, slice, slice]]:
        """Return the weights that meet pixels, each with the outputs for which it does, and these pixels."""
        taps = []
        for tap in range(self.kernel):
            start = tap * self.dilation - self.padding
            meeting = [out for out in range(self.count_outputs()) if 0 <= start + out * self.stride < self.size]
            if meeting:
                first, last = meeting[0], meeting[-1]
                pixels = slice(start + first * self.stride, start + last * self.stride + 1, self.stride)
                taps.append((tap, slice(first, last + 1), pixels))
        return taps


class Tap(NamedTuple):
    """A weight of a kernel, the outputs for which it meets the map, and the pixels that it meets there."""

    row: int
    column: int
    outputs: tuple[slice, slice]
    pixels: tuple[slice, slice]


class Products(NamedTuple):
    """A convolution as products: the size of its output, its taps, and whether the only one meets no padding."""

    size: tuple[int, int]
    taps: tuple[Tap, ...]
    is_point: bool


@cache
def find_products(
    map_size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    weights: int,
) -> Products | None:
    """Return the products that a convolution with so many weights is on a CPU, or None where it is faster as it is."""
    rows, columns = (Axis(*axis) for axis in zip(map_size, kernel, stride, padding, dilation, strict=True))
    size = rows.count_outputs(), columns.count_outputs()
    places = math.prod(size)
    if not 0 < places <= max(weights // WEIGHTS_PER_PLACE, MOST_POINTS * (kernel == (1, 1))):
        return None
    taps = [
        Tap(row, column, (above, left), (y, x))
        for (row, above, y), (column, left, x) in product(rows.list_taps(), columns.list_taps())
    ]
    if not taps:
        return None
    return Products(size, tuple(taps), is_point=kernel == (1, 1) and padding == (0, 0))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch.compile can't look into it
def _find_constant_products(*settings: Any) -> Products | None:
    return find_products(*settings)


class CutConv2d(nn.Conv2d):
    """A convolution that is computed as products where that is faster, on a CPU; it gives the same but for rounding.

    It has no groups, and padding of zeros, given as numbers.
    """

    def find_products(self, map_size: tuple[int, ...]) -> Products | None:
        """Return the products that are faster than convolving maps of a size on a CPU; None if they are not."""
        settings = (self.kernel_size, self.stride, self.padding, self.dilation, self.weight.numel())
        found: Products | None = _find_constant_products(map_size, *settings)
        return found

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return [N, O, H', W'] for images [N, C, H, W]."""
        # In torch's plain order the weights of a tap lie apart, and are slow to gather.
        is_ready = self.weight.is_cpu and self.weight.is_contiguous(memory_format=torch.channels_last)
        found = self.find_products(tuple(images.shape[2:])) if is_ready else None
        if found is None:
            return super().forward(images)
        if found.is_point:
            maps = images.permute(0, 2, 3, 1)[:, *found.taps[0].pixels]
            return nn.functional.linear(maps, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        outputs: torch.Tensor = _Multiply.apply(images, self.weight, found)
        return outputs if self.bias is None else outputs + self.bias.to(outputs.dtype)[:, None, None]


class _Multiply(torch.autograd.Function):
    """Products of maps and the taps of a kernel, in autocast's number format, added up in float32."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor, by: Products) -> torch.Tensor:
        ctx.by = by
        ctx.dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
        ctx.save_for_backward(images, weight)
        maps, kernel = images.to(ctx.dtype).permute(0, 2, 3, 1), weight.to(ctx.dtype).permute(2, 3, 1, 0)
        sums = torch.zeros((len(maps), *by.size, len(weight)), dtype=torch.promote_types(ctx.dtype, torch.float32))
        with torch.autocast("cpu", enabled=False):
            for row, column, outputs, pixels in by.taps:
                target = sums[:, *outputs]
                target += (maps[:, *pixels].flatten(0, 2) @ kernel[row, column]).view(target.shape)
        return sums.to(ctx.dtype).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor, None]:
        (images, weight), of_weight = ctx.saved_tensors, torch.empty_like(ctx.saved_tensors[1])
        maps, kernel = images.to(ctx.dtype).permute(0, 2, 3, 1), weight.to(ctx.dtype).permute(2, 3, 0, 1)
        change = gradient.to(ctx.dtype).permute(0, 2, 3, 1)
        of_maps = torch.zeros(maps.shape, dtype=torch.promote_types(ctx.dtype, torch.float32))
        left = set(product(*map(range, weight.shape[2:])))
        for row, column, outputs, pixels in ctx.by.taps:
            part = change[:, *outputs].flatten(0, 2)
            _multiply_into(of_weight[:, :, row, column], part.T, maps[:, *pixels].flatten(0, 2))
            left.remove((row, column))
            if ctx.needs_input_grad[0]:
                target = of_maps[:, *pixels]
                target += (part @ kernel[row, column]).view(target.shape)
        for row, column in left:
            of_weight[:, :, row, column] = 0
        return of_maps.permute(0, 3, 1, 2) if ctx.needs_input_grad[0] else None, of_weight, None


def _multiply_into(target: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Write a product where it belongs: by a copy, gradients of millions of weights would cost a tenth of a step."""
    if target.dtype == left.dtype and not torch.compiler.is_compiling():  # compiled code writes in place by itself
        torch.mm(left, right, out=target)
    else:
        target.copy_(left @ right)


def cut_kernels(model: nn.Module) -> None:
    """Let a network's convolutions be products where that is faster; names and weights stay."""
    if os.environ.get(SWITCH) == "0":
        return
    for module in model.modules():
        if type(module) is nn.Conv2d and _can_be_cut(module):  # a class of its own may compute something else
            module.__class__ = CutConv2d  # as torch's parametrizations do: hooks and references stay valid


def _can_be_cut(module: nn.Conv2d) -> bool:
    if module.groups > 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return False
    return module.kernel_size == (1, 1) or module.weight.numel() >= WEIGHTS_PER_PLACE
