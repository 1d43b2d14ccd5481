"""Classification networks of torchvision, with random or pretrained weights."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings

import icf
from icf_torchvision.plugin import ModelParams
from icf_torchvision.surgery import count_classes, find_head_name, fit_first_convolution, fit_head
from icf_torchvision.weights import WeightsSource, find_weights, read_weights

AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
"""Networks with extra heads for training, which would return several logits; the heads are left out."""

RESERVED = ("num_classes", "weights", "progress", "aux_logits", "image_size", "input_size")


def build_model(params: ModelParams, ctx: icf.ModelContext) -> nn.Module:
    """Build the model; with ``ctx.pretrained`` false no weights are looked for.

    Pretrained weights are loaded strictly into the network they were made for; then the first convolution
    and the head are changed to fit the data. Returns a module, images float32 [N, C, H, W] ->
    logits [N, K]. Raises PluginError for an unknown architecture, arguments it does not take, and weights
    that can't be had or do not fit.
    """
    _check(params)
    source = find_weights(params) if params.pretrained and ctx.pretrained else None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(ctx.seed)
        model = _create(params, ctx, pretrained=source is not None)
        if source is not None:
            _load_weights(model, source, params.arch, ctx.image_size)
        fit_first_convolution(model, ctx.channels)
        fit_head(model, ctx.num_classes)
    return model


def inspect_model(params: ModelParams, ctx: icf.ModelContext) -> icf.ModelInfo:
    """Say what is known before the model is built; raises PluginError when its weights can't be had."""
    _check(params)
    if not (params.pretrained and ctx.pretrained):
        return icf.ModelInfo()
    source = find_weights(params)
    weights: Any = torchvision.models.get_model_weights(params.arch)
    preset = weights.DEFAULT.transforms()
    side = int(preset.crop_size[0])
    return icf.ModelInfo(
        mean=_spread(tuple(preset.mean), ctx.channels),
        std=_spread(tuple(preset.std), ctx.channels),
        image_size=(side, side),
        weights=source.description,
    )


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Give RGB statistics to other channels as the first convolution is spread: mean, or repeated."""
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(islice(cycle(values), channels))


def _check(params: ModelParams) -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    if params.arch not in known:
        raise icf.PluginError(
            f'torchvision/model: arch = "{params.arch}": torchvision {torchvision.__version__} has no such '
            f"classification network{icf.suggest(params.arch, known)}"
        )
    taken = sorted(set(params.args) & set(RESERVED))
    if taken:
        raise icf.PluginError(
            f"torchvision/model: args may not set {', '.join(taken)}: "
            "icf sets them from the data and the other parameters"
        )


def _create(params: ModelParams, ctx: icf.ModelContext, *, pretrained: bool) -> nn.Module:
    arguments = _choose_arguments(params.arch, ctx, pretrained=pretrained) | params.args
    try:
        model: nn.Module = torchvision.models.get_model(params.arch, weights=None, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        height, width = ctx.image_size
        raise icf.PluginError(
            f"torchvision/model: '{params.arch}' can't be built for images of {height} x {width} pixels with "
            f"args = {params.args}: {error}"
        ) from error
    return model


def _choose_arguments(arch: str, ctx: icf.ModelContext, *, pretrained: bool) -> dict[str, Any]:
    if arch in AUXILIARY:
        # These two were trained on other statistics and convert RGB that is normalised as for ImageNet.
        convert = pretrained and ctx.channels == 3
        return {"aux_logits": False, "init_weights": False, "transform_input": convert}
    if arch.startswith("maxvit"):
        return {"input_size": ctx.image_size}
    if arch.startswith("vit_"):
        height, width = ctx.image_size
        if height != width:
            raise icf.PluginError(
                f"torchvision/model: '{arch}' takes square images only, not {height} x {width} pixels"
            )
        return {"image_size": height}
    return {}


def _load_weights(model: nn.Module, source: WeightsSource, arch: str, image_size: tuple[int, int]) -> None:
    state = read_weights(source)
    extra = AUXILIARY.get(arch)
    if extra is not None:
        state = {key: value for key, value in state.items() if not key.startswith(extra)}
    try:
        if arch.startswith("vit_"):
            state = _resize_embeddings(state, model, image_size)
        fit_head(model, count_classes(state, find_head_name(model)))
        model.load_state_dict(state, strict=True)
    except (KeyError, RuntimeError, ValueError) as error:
        raise icf.PluginError(
            f"torchvision/model: {source.description} does not fit '{arch}': {error} "
            "Choose the architecture that the file was made for."
        ) from None


def _resize_embeddings(state: dict[str, Tensor], model: nn.Module, image_size: tuple[int, int]) -> dict[str, Tensor]:
    patch_size: Any = model.patch_size
    resized = interpolate_embeddings(image_size[0], patch_size, dict(state))
    return dict(resized)
