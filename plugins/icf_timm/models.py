"""Models of timm, with random or pretrained weights."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

import icf
from icf_timm.plugin import ModelParams
from icf_timm.weights import WeightsSource, find_weights, load_weights

RESERVED = ("num_classes", "in_chans", "pretrained", "features_only", "checkpoint_path", "drop_rate")
"""Arguments of timm.create_model that the recipe's other parameters or the data decide."""


def build_model(params: ModelParams, ctx: icf.ModelContext) -> nn.Module:
    """Build the model; with ``ctx.pretrained`` false no weights are looked for.

    Returns a module, images float32 [N, C, H, W] -> logits [N, K]. Raises PluginError for an unknown
    architecture, arguments it does not take, and weights that can't be had or do not fit.
    """
    _check_arch(params.arch)
    source = find_weights(params) if params.pretrained and ctx.pretrained else None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(ctx.seed)
        model = _create(params, ctx, source)
    if source is not None and source.kind in ("file", "package") and source.file is not None:
        load_weights(model, source.file, params.arch)
    if source is not None and source.kind != "file" and params.zero_head:
        _zero_new_head(model, params.arch, ctx.num_classes)
    return model


def _zero_new_head(model: nn.Module, arch: str, num_classes: int) -> None:
    """Set a new classifier to zero; timm's own initialisation gives one of few classes huge logits."""
    config = timm.get_pretrained_cfg(arch)
    find_head: Any = getattr(model, "get_classifier", nn.Identity)
    head = find_head()
    if isinstance(head, nn.Linear) and (config is None or config.num_classes != num_classes):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)


def inspect_model(params: ModelParams, ctx: icf.ModelContext) -> icf.ModelInfo:
    """Say what is known before the model is built; raises PluginError when its weights can't be had."""
    _check_arch(params.arch)
    _check_args(params)
    if not (params.pretrained and ctx.pretrained):
        return icf.ModelInfo()
    source = find_weights(params)
    config = timm.get_pretrained_cfg(params.arch)
    if config is None:
        return icf.ModelInfo(weights=source.description)
    height, width = config.input_size[-2:]
    return icf.ModelInfo(
        mean=_spread(config.mean, ctx.channels),
        std=_spread(config.std, ctx.channels),
        image_size=(int(height), int(width)),
        weights=source.description,
    )


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Give RGB statistics to other channels, as timm spreads the first convolution: mean, or repeated."""
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(islice(cycle(values), channels))


def _check_arch(arch: str) -> None:
    name, _, tag = arch.partition(".")
    if not timm.is_model(name):
        raise icf.PluginError(
            f'timm/model: arch = "{arch}": timm {timm.__version__} has no such architecture'
            f"{icf.suggest(name, timm.list_models())}"
        )
    tagged = timm.list_pretrained(f"{name}.*") if tag else []
    if tag and arch not in tagged:
        raise icf.PluginError(
            f"timm/model: arch = \"{arch}\": '{name}' has no weights with the tag '{tag}' "
            f"(it has: {', '.join(tagged) or 'none'})"
        )


def _check_args(params: ModelParams) -> None:
    taken = sorted(set(params.args) & set(RESERVED))
    if taken:
        raise icf.PluginError(
            f"timm/model: args may not set {', '.join(taken)}: icf sets them from the data and the other parameters"
        )


def _create(params: ModelParams, ctx: icf.ModelContext, source: WeightsSource | None) -> nn.Module:
    _check_args(params)
    arguments = _choose_arguments(params, ctx)
    if source is not None and source.kind in ("cache", "hub"):
        arguments["pretrained"] = True
        if source.file is not None:
            arguments["pretrained_cfg_overlay"] = _overlay_file(source.file)
    try:
        model: nn.Module = timm.create_model(params.arch, **arguments)
    except Exception as error:  # what an architecture or the hub raises is not documented
        raise icf.PluginError(
            f"timm/model: '{params.arch}' can't be built for images of {ctx.channels} channels and "
            f"{ctx.image_size[0]} x {ctx.image_size[1]} pixels with args = {params.args}: {error}"
        ) from error
    return model


def _overlay_file(file: Path) -> dict[str, Any]:
    return {"file": str(file), "custom_load": file.suffix == ".npz"}


def _choose_arguments(params: ModelParams, ctx: icf.ModelContext) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "num_classes": ctx.num_classes,
        "in_chans": ctx.channels,
        "drop_rate": params.drop_rate,
    }
    if params.drop_path_rate > 0:
        arguments["drop_path_rate"] = params.drop_path_rate
    config = timm.get_pretrained_cfg(params.arch)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = ctx.image_size
    return arguments | params.args
