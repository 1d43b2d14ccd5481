"""Convolutions of maps of a few pixels: only the weights that meet the map are computed with, as a matrix product.

At 32x32, the last maps of a ResNet-18 have one pixel, of which eight ninths of a 3x3 kernel see zeros only, and those
before have four. On a CPU, what such convolutions cost is to bring millions of weights, and then their gradients, into
the order in memory that the arithmetic wants. Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507) convolves maps
of one pixel in networks for images of any size.
"""

from __future__ import annotations

import math
import os
from functools import cache
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

SWITCH = "ICF_CUT_KERNELS"
"""Environment variable; "0" leaves convolutions as they are."""

FEWEST_WEIGHTS = 100_000
"""Below it, gathering the weights that meet the map takes as long as all of them do."""

LARGEST_MATRIX = 2
"""How many times as many numbers as there are weights that meet the map a matrix may have."""

Pair: TypeAlias = tuple[int, int, int, int]
"""Places of an output and of an input in their maps, and the row and column of the weight that joins them."""


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

    def list_taps(self) -> list[tuple[int, int, int]]:
        """Return which output (first) meets which pixel (second) with which weight (third)."""
        reached = [
            (output, output * self.stride - self.padding + tap * self.dilation, tap)
            for output, tap in product(range(self.count_outputs()), range(self.kernel))
        ]
        return [(output, pixel, tap) for output, pixel, tap in reached if 0 <= pixel < self.size]


class Cut(NamedTuple):
    """Along one axis: the weights from ``first`` to before ``end``, and the padding that they need."""

    first: int
    end: int
    padding: int


def find_cut(axis: Axis) -> Cut:
    """Return which weights of an axis meet the map, or all where some can't be left out."""
    whole = Cut(0, axis.kernel, axis.padding)
    if axis.size >= axis.dilation * (axis.kernel - 1) + axis.stride:  # somewhere, the whole kernel lies within the map
        return whole
    meeting = [tap for _, _, tap in axis.list_taps()]
    if not meeting:
        return whole
    first, end = min(meeting), max(meeting) + 1
    cut = Cut(first, end, axis.padding - first * axis.dilation)
    # Where outputs see nothing but padding, oneDNN 3.12 crashes; no cut may lead there.
    if not 0 <= cut.padding <= axis.dilation * (end - first - 1):
        return whole
    left = axis._replace(kernel=end - first, padding=cut.padding)
    return cut if left.count_outputs() == axis.count_outputs() else whole


class Product(NamedTuple):
    """A convolution as the product with a matrix [P * O, Q * C], of P outputs and the Q pixels that they meet."""

    outputs: tuple[int, int]
    pixels: tuple[int, ...]
    pairs: tuple[Pair, ...]
    is_kernel: bool
    """The matrix is the kernel, as it lies in channels-last memory."""


def find_product(rows: Axis, columns: Axis) -> Product | None:
    """Return the convolution as a product, if its matrix is not much larger than the weights that meet the map."""
    taps = rows.list_taps(), columns.list_taps()
    weights = math.prod(len({tap for _, _, tap in axis}) for axis in taps)
    if not weights or math.prod(map(len, taps)) > LARGEST_MATRIX * weights:
        return None
    height, width = rows.count_outputs(), columns.count_outputs()
    met = sorted((a * width + b, y * columns.size + x, row, column) for (a, y, row), (b, x, column) in product(*taps))
    pixels = sorted({pixel for _, pixel, _, _ in met})
    if height * width * len(pixels) > LARGEST_MATRIX * weights:
        return None
    pairs = tuple((output, pixels.index(pixel), row, column) for output, pixel, row, column in met)
    in_order = [pair[2:] for pair in pairs] == list(product(range(rows.kernel), range(columns.kernel)))
    return Product((height, width), tuple(pixels), pairs, height * width == 1 and in_order)


Way: TypeAlias = Product | tuple[Cut, Cut] | None
"""How maps of a size are convolved: as a product, with a part of the kernel, or with the whole."""


@cache
def find_way(
    map_size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Way:
    """Return how a convolution is computed best on a CPU."""
    rows, columns = (Axis(*axis) for axis in zip(map_size, kernel, stride, padding, dilation, strict=True))
    found = find_product(rows, columns) if groups == 1 else None
    cuts = find_cut(rows), find_cut(columns)
    return found or (cuts if tuple(cut.end - cut.first for cut in cuts) != kernel else None)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator] # torch.compile can't look into it
def _find_constant_way(*settings: Any) -> Way:
    return find_way(*settings)


class CutConv2d(nn.Conv2d):
    """A convolution that leaves out, on a CPU, weights that meet only padding; it computes the same, but for rounding.

    Padding is given as numbers, and is of zeros.
    """

    def find_way(self, map_size: tuple[int, ...]) -> Way:
        """Return how maps of a size are convolved best on a CPU."""
        settings = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        way: Way = _find_constant_way(map_size, *settings)
        return way

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return [N, O, H', W'] for images [N, C, H, W]."""
        way = self.find_way(tuple(images.shape[2:])) if images.device.type == "cpu" else None
        if isinstance(way, Product):
            return self._multiply(images, way)
        if way:
            weight = _TakeWeights.apply(self.weight, *way)
            padding = [cut.padding for cut in way]
            return nn.functional.conv2d(images, weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return super().forward(images)

    def _multiply(self, images: torch.Tensor, by: Product) -> torch.Tensor:
        maps = images.permute(0, 2, 3, 1)
        if len(by.pixels) < math.prod(maps.shape[1:3]):
            maps = maps.flatten(1, 2)[:, by.pixels]
        matrix = self.weight.permute(0, 2, 3, 1).flatten(1) if by.is_kernel else _GatherMatrix.apply(self.weight, by)
        bias = None if self.bias is None else self.bias.repeat(math.prod(by.outputs))
        outputs = nn.functional.linear(maps.flatten(1), matrix, bias)
        return outputs.view(len(maps), *by.outputs, -1).permute(0, 3, 1, 2)


class _TakeWeights(torch.autograd.Function):
    """The part of a kernel between cuts. Torch's own slicing gives gradients in an order that is copied once more."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, rows: Cut, columns: Cut) -> torch.Tensor:
        ctx.part = (..., slice(rows.first, rows.end), slice(columns.first, columns.end))
        ctx.save_for_backward(weight)
        return weight[ctx.part].contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        whole = torch.zeros_like(weight)
        whole[ctx.part] = gradient
        return whole, None, None


class _GatherMatrix(torch.autograd.Function):
    """The matrix of a product, in the format in which it is multiplied."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, by: Product) -> torch.Tensor:
        ctx.by = by
        ctx.save_for_backward(weight)
        shape = (math.prod(by.outputs), len(weight), len(by.pixels), weight.shape[1])
        half = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if half else weight.dtype
        create = torch.empty if len(by.pairs) == shape[0] * shape[2] else torch.zeros
        matrix = create(shape, dtype=dtype)
        for output, pixel, row, column in by.pairs:
            matrix[output, :, pixel] = weight[:, :, row, column]
        return matrix.view(shape[0] * shape[1], shape[2] * shape[3])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (weight,), by = ctx.saved_tensors, ctx.by
        parts = gradient.view(-1, len(weight), len(by.pixels), weight.shape[1])
        whole = torch.empty_like(weight)
        left = set(product(*map(range, weight.shape[2:])))
        for output, pixel, row, column in by.pairs:
            if (row, column) in left:
                whole[:, :, row, column] = parts[output, :, pixel]
                left.remove((row, column))
            else:
                whole[:, :, row, column] += parts[output, :, pixel]
        for row, column in left:
            whole[:, :, row, column] = 0
        return whole, None


def cut_kernels(model: nn.Module) -> None:
    """Let a network's convolutions leave out weights that meet only padding; names and weights stay."""
    if os.environ.get(SWITCH) == "0":
        return
    for module in model.modules():
        if type(module) is nn.Conv2d and _can_be_cut(module):  # a class of its own may compute something else
            module.__class__ = CutConv2d  # as torch's parametrizations do: hooks and references stay valid


def _can_be_cut(module: nn.Conv2d) -> bool:
    zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return zeros and (module.weight.numel() >= FEWEST_WEIGHTS or (module.groups == 1 and max(module.kernel_size) == 1))
