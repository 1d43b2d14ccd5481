"""Training without the weights of convolutions that never meet their map: they have no gradients, and only cost.

Of a ResNet-18 at 32x32 these are 6.9 of 11.2 million. Optimizers whose steps are the same for every weight without
them say so by ``elementwise = True``. Weights that are left out keep their first values, without decay.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch import nn

from icf.pipeline.training.kernels import Axis, CutConv2d

Size = tuple[int, int]


class Cut(NamedTuple):
    """Along one axis: the weights from ``first`` to before ``end``, and the padding that they need."""

    first: int
    end: int
    padding: int


def find_cut(axis: Axis) -> Cut:
    """Return which weights of an axis meet the map, or all where some can't be left out."""
    whole = Cut(0, axis.kernel, axis.padding)
    meeting = [tap for tap, _, _ in axis.list_taps()]
    if not meeting:
        return whole
    first, end = meeting[0], meeting[-1] + 1
    cut = Cut(first, end, axis.padding - first * axis.dilation)
    # Where outputs see nothing but padding, oneDNN 3.12 crashes; no cut may lead there.
    if not 0 <= cut.padding <= axis.dilation * (end - first - 1):
        return whole
    left = axis._replace(kernel=end - first, padding=cut.padding)
    return cut if left.count_outputs() == axis.count_outputs() else whole


class Trim(NamedTuple):
    """What a trimmed convolution was: its weights, of which a part is trained, and settings; and its maps' size."""

    whole: torch.Tensor
    part: tuple[EllipsisType, slice, slice]
    kernel_size: Size
    padding: Size
    map_size: Size


class TrimmedConv2d(CutConv2d):
    """A convolution of maps of one size with the weights that meet them; its state has all weights."""

    trim: Trim

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return [N, O, H', W'] for images [N, C, H, W]; ValueError for others than those it was trimmed for."""
        if tuple(images.shape[2:]) != self.trim.map_size:
            seen, known = (f"{height}x{width}" for height, width in (images.shape[2:], self.trim.map_size))
            raise ValueError(
                f"a convolution got a map of {seen} pixels, and of {known} when the network was tried; set the"
                " environment variable ICF_CUT_KERNELS=0 for networks whose maps change their size"
            )
        return super().forward(images)

    def fill_whole(self) -> torch.Tensor:
        """Return all weights, [O, C, KH, KW], with the trained ones in their place; the same tensor every time."""
        self.trim.whole[self.trim.part] = self.weight.detach()
        return self.trim.whole

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.fill_whole()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        whole = state_dict.get(f"{prefix}weight")
        if whole is not None and whole.shape == self.trim.whole.shape:
            self.trim.whole.copy_(whole)
            state_dict = {**state_dict, f"{prefix}weight": whole[self.trim.part]}
        super()._load_from_state_dict(state_dict, prefix, *rest)


def trim_kernels(model: nn.Module, optimizer: torch.optim.Optimizer, image_shape: tuple[int, int, int]) -> None:
    """Leave to an optimizer, before its first step, only weights that meet maps, for images [C, H, W] on a CPU.

    Parameters stay the same objects. Does nothing for optimizers that are not ``elementwise``.
    """
    if not getattr(optimizer, "elementwise", False):
        return
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    users = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
    for module, sizes in _watch_maps(model, image_shape).items():
        if len(sizes) == 1 and id(module.weight) in trained and users[id(module.weight)] == 1:
            _trim(module, *sizes)


def restore_kernels(model: nn.Module) -> None:
    """Give trimmed convolutions all their weights back."""
    for module in model.modules():
        if isinstance(module, TrimmedConv2d):
            module.weight.data = module.fill_whole()
            module.kernel_size, module.padding = module.trim.kernel_size, module.trim.padding
            del module.trim
            module.__class__ = CutConv2d  # type: ignore[assignment]


@torch.no_grad()
def _watch_maps(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[CutConv2d, set[Size]]:
    """Return the sizes of the maps of convolutions; nothing where the network fails, which training will tell."""
    found: dict[CutConv2d, set[Size]] = defaultdict(set)

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, CutConv2d)  # noqa: S101 - for the type checker
        height, width = inputs[0].shape[2:]
        found[module].add((height, width))

    handles = [module.register_forward_pre_hook(note) for module in model.modules() if _can_be_trimmed(module)]
    try:
        if handles:
            with torch.random.fork_rng(devices=[]):
                model.eval()(torch.zeros((1, *image_shape)).to(memory_format=torch.channels_last))
    except Exception:  # noqa: BLE001 - a plugin may raise anything
        found.clear()
    finally:
        model.train()
        for handle in handles:
            handle.remove()
    return found


def _can_be_trimmed(module: nn.Module) -> bool:
    return isinstance(module, CutConv2d) and module.weight.is_cpu and max(module.kernel_size) > 1


def _trim(module: CutConv2d, map_size: Size) -> None:
    settings = (module.kernel_size, module.stride, module.padding, module.dilation)
    axes = [Axis(*axis) for axis in zip(map_size, *settings, strict=True)]  # type: ignore[arg-type]
    rows, columns = map(find_cut, axes)
    whole = module.weight.data
    part = (..., slice(rows.first, rows.end), slice(columns.first, columns.end))
    size = (rows.end - rows.first, columns.end - columns.first)
    if size != module.kernel_size:
        trim = Trim(whole, part, module.kernel_size, module.padding, map_size)  # type: ignore[arg-type]
        module.__class__, module.trim = TrimmedConv2d, trim  # type: ignore[assignment]
        module.kernel_size, module.padding = size, (rows.padding, columns.padding)
    is_product = module.find_products(map_size) is not None
    if size != tuple(whole.shape[2:]) or (is_product and size != (1, 1)):
        # A product reads weights channels-last; a convolution wants them as its network has them.
        layout = torch.contiguous_format if whole.is_contiguous() and not is_product else torch.channels_last
        module.weight.data = whole[part].clone(memory_format=layout)
