"""Changing the first convolution and the head of a network of torchvision."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

HEADS = ("fc", "classifier", "heads", "head")
"""Where the families keep their head: ResNet and Inception, most others, ViT, Swin."""


def find_head_name(model: nn.Module) -> str:
    """Return the full name of the layer that gives the logits, such as ``classifier.1``.

    Raises ValueError for a network without such a layer.
    """
    names = [
        name
        for name, module in model.named_modules()
        if name.split(".")[0] in HEADS and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if not names:
        raise ValueError("the network has no head of a known kind")
    return str(names[-1])


def count_classes(state: Mapping[str, Tensor], head_name: str) -> int:
    """Return the number of classes of a state dict's head; raises KeyError when it has none."""
    return int(state[f"{head_name}.weight"].shape[0])


def fit_head(model: nn.Module, classes: int) -> None:
    """Put a new layer in place of the head, unless it gives that number of classes already."""
    name = find_head_name(model)
    head = model.get_submodule(name)
    if isinstance(head, nn.Conv2d):
        if head.out_channels != classes:
            model.set_submodule(name, nn.Conv2d(head.in_channels, classes, kernel_size=1))
        if hasattr(model, "num_classes"):
            model.num_classes = classes  # type: ignore[assignment]
    elif isinstance(head, nn.Linear) and head.out_features != classes:
        model.set_submodule(name, nn.Linear(head.in_features, classes, bias=head.bias is not None))


def fit_first_convolution(model: nn.Module, channels: int) -> None:
    """Put a convolution for ``channels`` in place of the first one, its weights spread by timm's rule."""
    name, first = next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    if first.in_channels == channels:
        return
    fitted = nn.Conv2d(
        channels,
        first.out_channels,
        kernel_size=(first.kernel_size[0], first.kernel_size[1]),
        stride=(first.stride[0], first.stride[1]),
        padding=first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    with torch.no_grad():
        fitted.weight.copy_(spread_channels(first.weight, channels))
        if first.bias is not None and fitted.bias is not None:
            fitted.bias.copy_(first.bias)
    model.set_submodule(name, fitted)


def spread_channels(weight: Tensor, channels: int) -> Tensor:
    """Turn RGB weights [D, 3, h, w] into [D, channels, h, w]: their sum for grey, else repeated and rescaled.

    The response to a grey image stays the same for 1 and for a multiple of 3 channels, as in timm
    (Wightman 2019, PyTorch Image Models, ``adapt_input_conv``).
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, math.ceil(channels / 3), 1, 1)[:, :channels]
    return repeated * (3 / channels)
