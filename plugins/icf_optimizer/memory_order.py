"""Adam and AdamW whose fused step sees weights in the order in which they lie in memory.

On a CPU, torch's fused kernel makes a contiguous copy of every gradient, and does not use it (torch 2.4 to 2.14,
aten/src/ATen/native/cpu/FusedAdamKernel.cpp): time that channels-last kernels would cost in every step.
"""

from __future__ import annotations

from typing import Any

import torch


def view_in_order(tensor: torch.Tensor) -> torch.Tensor:
    """Return a contiguous view of a channels-last tensor on a CPU, [O, H, W, I], and any other tensor as it is."""
    if tensor.ndim != 4 or tensor.device.type != "cpu" or tensor.is_contiguous():
        return tensor
    return tensor.permute(0, 2, 3, 1) if tensor.is_contiguous(memory_format=torch.channels_last) else tensor


class _InOrder:
    """Hands views to the step; weights, gradients and moments have one layout, so that the arithmetic is the same."""

    def _init_group(self, group: Any, *tensors: list[torch.Tensor]) -> Any:
        found = super()._init_group(group, *tensors)  # type: ignore[misc]
        for values in tensors:  # parameters, gradients, moments, and steps, which are scalars
            values[:] = map(view_in_order, values)
        return found


class Adam(_InOrder, torch.optim.Adam):
    """torch.optim.Adam (Kingma and Ba 2015, arXiv:1412.6980); every weight is treated by itself."""

    elementwise = True


class AdamW(_InOrder, torch.optim.AdamW):
    """torch.optim.AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101); every weight is treated by itself."""

    elementwise = True
