"""Networks of a team's model.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import icf
from icf_baseline.code import accepts, call, explain, find_callable, list_parameters, load_module, name_file
from icf_baseline.plugin import ModelParams
from icf_baseline.randomness import own_randomness

COMPONENT = "baseline/model"


class ColourInput(nn.Module):
    """Gives grey images to a network for colour images: float [N, 1, H, W] -> logits [N, K]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's logits; the one channel is repeated."""
        logits: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return logits


def build_model(params: ModelParams, ctx: icf.ModelContext) -> nn.Module:
    """Build the class with ``num_classes`` and the recipe's ``args``; its weights are drawn from the seed.

    Returns a module, images float32 [N, C, H, W] -> logits [N, K]; where images are grey, their channel is
    repeated. Raises PluginError for an unknown class, arguments that it does not take, and an output of
    another shape, which one forward pass finds out.
    """
    make, arguments = _prepare(params, ctx)
    with own_randomness() as seed_all:
        seed_all(ctx.seed)
        network = call(COMPONENT, params.name, make, arguments)
        if not isinstance(network, nn.Module):
            raise icf.PluginError(f"{COMPONENT}: {params.name} makes {type(network).__name__}, not torch.nn.Module")
        model = ColourInput(network) if ctx.channels == 1 else network
        _check_output(params.name, model, ctx)
    return model


def inspect_model(params: ModelParams, ctx: icf.ModelContext) -> icf.ModelInfo:
    """Look the class up before any image is read; raises PluginError if there is none, as ``build_model`` does."""
    _prepare(params, ctx)
    return icf.ModelInfo(weights=f"as {params.name} makes them")


def _prepare(params: ModelParams, ctx: icf.ModelContext) -> tuple[Any, dict[str, Any]]:
    module = load_module(COMPONENT, params.module)
    make = find_callable(COMPONENT, module, params.name)
    if "num_classes" in params.args:
        raise icf.PluginError(f"{COMPONENT}: args may not set num_classes: the data set has {ctx.num_classes} classes")
    if not accepts(make, "num_classes"):
        file = name_file(module)
        raise icf.PluginError(f"{COMPONENT}: {params.name} of {file} takes no num_classes, which icf must tell it")
    arguments = {"num_classes": ctx.num_classes, **params.args}
    # Weights that a checkpoint will replace need not be fetched.
    parameter = list_parameters(make).get("pretrained")
    if not ctx.pretrained and arguments.get("pretrained", parameter and parameter.default) is True:
        arguments["pretrained"] = False
    return make, arguments


def _check_output(name: str, model: nn.Module, ctx: icf.ModelContext) -> None:
    height, width = ctx.image_size
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(1, ctx.channels, height, width))
    except Exception as error:  # noqa: BLE001 - a team's code may raise anything
        explain(COMPONENT, f"{name} failed on an image of {ctx.channels} x {height} x {width}", error)
    model.train(was_training)
    if isinstance(output, Tensor) and tuple(output.shape) == (1, ctx.num_classes):
        return
    found = list(output.shape) if isinstance(output, Tensor) else f"{type(output).__name__} of {_count(output)}"
    advice = "" if isinstance(output, Tensor) else "; several heads must be joined to logits of all classes"
    raise icf.PluginError(
        f"{COMPONENT}: {name} makes {found} of one image, but must make logits [1, {ctx.num_classes}]{advice}"
    )


def _count(output: Any) -> str:
    return f"{len(output)} outputs" if hasattr(output, "__len__") else "its own kind"
