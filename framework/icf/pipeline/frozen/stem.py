"""The first part of a network, up to a module that a recipe names: freezing it, and running the rest without it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from icf.errors import IcfError, suggest

MARK = "icf_frozen"
"""Attribute of the modules of a frozen stem; most without parameters could not be told from others otherwise."""


class Reached(Exception):  # noqa: N818 - not an error
    """Ends a forward pass at the module that was looked for."""


def freeze_stem(model: nn.Module, name: str, images: torch.Tensor, source: str) -> None:
    """Freeze the module ``name`` and everything that runs before it: parameters, running statistics, and dropout.

    What runs before it is what its output is computed from when the network sees ``images``, float32 [N, C, H, W].

    Raises:
        IcfError: there is no such module, it does not run, or nothing would be left to train.
    """
    where = f'{source}: model.freeze = "{name}"'
    modules = dict(model.named_modules())
    if not name or name not in modules:
        top = ", ".join(child for child, _ in model.named_children())
        hint = suggest(name, modules)
        raise IcfError(f'{where}: the network has no such module{hint} (allowed: "none", "backbone", {top}, and parts)')
    finished, output = _run_until(model, modules[name], images)
    if output is None or not output.requires_grad:
        raise IcfError(f"{where}: this module gives no tensor that depends on parameters when the network runs")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is None)
    if not any(parameter.requires_grad for parameter in parameters):
        raise IcfError(f"{where}: nothing would be left to train; name an earlier module")
    for module in finished:
        setattr(module, MARK, True)


def _run_until(model: nn.Module, last: nn.Module, images: torch.Tensor) -> tuple[list[nn.Module], torch.Tensor | None]:
    """Return the modules that have run, in order, when ``last`` has, and its output; None if it did not run."""
    finished: list[nn.Module] = []
    outputs: list[Any] = []

    def note(module: nn.Module, _args: Any, output: Any) -> None:
        finished.append(module)
        if module is last:
            outputs.append(output)
            raise Reached

    handles = [module.register_forward_hook(note) for module in model.modules()]
    training = model.training
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            model.eval()(images)
    except Reached:
        pass
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    output = outputs[0] if outputs else None
    return finished, output if isinstance(output, torch.Tensor) else None


def is_frozen(module: nn.Module) -> bool:
    """Tell whether a module is part of a frozen stem."""
    return getattr(module, MARK, False)


def make_rest(model: nn.Module) -> nn.Module:
    """Return the network without its frozen stem, for which it takes the stem's output instead of images.

    Parameters and buffers are the model's own. Right for networks whose stem is a chain: to be checked.
    """
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    rest = copy.deepcopy(model, shared)
    for name in _list_outermost(rest):
        rest.set_submodule(name, nn.Identity())
    return rest


def _list_outermost(model: nn.Module) -> list[str]:
    names = [name for name, module in model.named_modules() if is_frozen(module)]
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
