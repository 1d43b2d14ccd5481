"""Batch normalisation made part of the convolutions before it, for networks that only predict."""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from icf.errors import one_line

TOLERANCE = 1e-5
"""Largest change of a probability, in float32."""

TRIAL_ROWS = 8
"""Images that show whether a fused network computes the same."""

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


class UnfusedError(Exception):
    """Why a network is left as it is."""


def try_fusion(model: nn.Module, images: torch.Tensor) -> tuple[nn.Module, str]:
    """Return the model fused and an empty text, or the model itself and the reason why not."""
    try:
        return fuse_norms(model, images), ""
    except UnfusedError as error:
        return model, str(error)


@torch.no_grad()
def fuse_norms(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """Return a copy in evaluation mode that computes the same with fewer layers; ``images`` [N, C, H, W] try it.

    Which normalisation follows which convolution is seen in a forward pass, so that code of any form will do: tracing
    it, as torch.fx does, fails for most networks of timm. Whether something else reads what lies between them is not
    seen, and is why the probabilities are compared.

    Raises:
        UnfusedError: there is nothing to fuse, the network failed, or a probability changed by more than TOLERANCE.
    """
    try:
        fused = copy.deepcopy(model).eval()
        pairs = find_pairs(fused, images)
        if not pairs:
            raise UnfusedError("no convolution with batch normalisation after it")
        expected = fused(images).softmax(1)
        for convolution, norm in pairs:
            _fuse(fused, convolution, norm)
        change = float((fused(images).softmax(1) - expected).abs().max())
    except UnfusedError:
        raise
    # A network may do anything when it is copied, watched or changed.
    except Exception as error:
        raise UnfusedError(one_line(error)) from error
    if not change <= TOLERANCE:
        raise UnfusedError(f"it would change a probability by {change:.1g}")
    return fused


def find_pairs(model: nn.Module, images: torch.Tensor) -> list[Pair]:
    """Return each convolution whose output goes into a batch normalisation; both run once, in evaluation mode."""
    outputs: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # the tensors are kept, so that no id comes twice
    calls: Counter[nn.Module] = Counter()
    pairs: list[Pair] = []

    def note_convolution(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)  # noqa: S101 - for the type checker
        calls[module] += 1
        outputs[id(output)] = module, output

    def note_norm(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)  # noqa: S101 - for the type checker
        calls[module] += 1
        if inputs and id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    with _watch(model, note_convolution, note_norm):
        model(images)
    return [pair for pair in pairs if all(calls[module] == 1 for module in pair) and pair[1].track_running_stats]


@contextmanager
def _watch(model: nn.Module, after_convolution: Any, before_norm: Any) -> Iterator[None]:
    handles = [
        module.register_forward_hook(after_convolution)
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(before_norm)
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _fuse(model: nn.Module, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    names = {module: name for name, module in model.named_modules()}
    fused = fuse_conv_bn_eval(convolution, norm).to(memory_format=torch.channels_last)
    model.set_submodule(names[convolution], fused)
    # timm's normalisations contain the activation that follows them; most others nothing, and then this does nothing.
    model.set_submodule(names[norm], nn.Sequential(OrderedDict(norm.named_children())))
