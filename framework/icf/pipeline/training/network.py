"""The model of a fold on its device: building, freezing, number format, parameter groups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from icf.components import ModelContext
from icf.errors import IcfError, PluginError
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.frozen.stem import freeze_stem, is_frozen
from icf.pipeline.results.products import blame, build
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.head_dropout import drop_before
from icf.pipeline.training.output import Output
from icf.plan import Choice, Plan

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Name in recipes -> type of autocast; None for float32."""


def choose_device(wanted: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"; IcfError when it is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise IcfError('compute.device = "cuda", but torch sees no GPU; use "auto" or "cpu"')
    use_gpu = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_gpu else "cpu")


def build_model(plan: Plan, output: Output, spec: Preprocessing, fold: int, *, pretrained: bool = True) -> nn.Module:
    """Build the plan's model with weights drawn from the fold's seed, in channels-last memory.

    Raises:
        PluginError: the factory raised, or returned no module with the right output.
        IcfError: model.freeze names no module that can be the last of a frozen part.
    """
    seed = plan.recipe.train.seed
    if len(output.networks) == 1:
        model = _build_network(plan, output.units, spec, derive_seed(seed, Purpose.MODEL, fold), pretrained=pretrained)
    else:
        seeds = [derive_seed(seed, Purpose.MODEL, fold, place) for place in range(len(output.networks))]
        parts = zip(output.networks, seeds, strict=True)
        model = Experts([_build_network(plan, units, spec, own, pretrained=pretrained) for units, own in parts])
    return model.to(memory_format=torch.channels_last)


class Experts(nn.Module):
    """Networks side by side: the outputs of one after those of the other."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs of all networks, [N, U], for images [N, C, H, W]."""
        return torch.cat([network(images) for network in self.networks], dim=1)


def _build_network(plan: Plan, units: int, spec: Preprocessing, seed: int, *, pretrained: bool) -> nn.Module:
    torch.manual_seed(seed)
    context = ModelContext(
        num_classes=units,
        channels=spec.channels,
        image_size=spec.image_size,
        seed=seed,
        pretrained=pretrained,
    )
    model: nn.Module = build(plan.model, context)
    section, freeze = plan.recipe.model, plan.recipe.model.freeze
    if section.head_dropout:
        drop_before(find_head(model, units, plan.model.source), section.head_dropout, section.dropout_samples)
    if freeze == "backbone":
        freeze_backbone(model, units, plan.model.source)
    elif freeze != "none":
        with blame(plan.model, "on an empty image"):
            freeze_stem(model, freeze, torch.zeros((1, spec.channels, *spec.image_size)), plan.model.source)
    return model


def freeze_backbone(model: nn.Module, units: int, name: str) -> None:
    """Leave only the classifier head trainable."""
    head = find_head(model, units, name)
    model.requires_grad_(False)
    head.requires_grad_(True)


def find_head(model: nn.Module, units: int, name: str) -> nn.Module:
    """Return the classifier head: the last module with ``units`` outputs; PluginError when there is none."""
    heads = [
        module
        for module in model.modules()
        if getattr(module, "out_features", getattr(module, "out_channels", None)) == units
    ]
    if not heads:
        raise PluginError(
            f"{name}: no layer with {units} outputs was found, which is what the classifier head is known by;"
            ' model.freeze = "backbone", unfreeze, layer_decay and head_dropout need it'
        )
    return heads[-1]


def set_training_mode(model: nn.Module) -> None:
    """Switch to training mode; frozen layers keep their running statistics and do not drop anything."""
    model.train()
    if all(parameter.requires_grad for parameter in model.parameters()):
        return
    for module in model.modules():
        own = list(module.parameters())
        if is_frozen(module) or (own and not any(parameter.requires_grad for parameter in own)):
            module.eval()


def group_parameters(model: nn.Module, scales: Mapping[int, float] | None = None) -> list[dict[str, Any]]:
    """Split trainable parameters: biases and normalisation scales are not decayed.

    With ``scales``, the factor of the learning rate of each parameter by its id, those of one factor are groups of
    their own with an "lr_scale", as timm calls it; the largest come first.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not scales:
        return _split_by_decay(trainable)
    return [
        {**group, "lr_scale": scale}
        for scale in sorted({scales[id(parameter)] for parameter in trainable}, reverse=True)
        for group in _split_by_decay([parameter for parameter in trainable if scales[id(parameter)] == scale])
    ]


def _split_by_decay(parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    plain = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = []
    if decayed:
        groups.append({"params": decayed})
    if plain:
        groups.append({"params": plain, "weight_decay": 0.0})
    return groups


def read_rates(choice: Choice, optimizer: torch.optim.Optimizer, scales: Mapping[int, float]) -> list[float]:
    """Return the learning rate of each group, before the schedule's factor.

    Raises:
        PluginError: the optimizer did not keep the groups that have another rate.
    """
    if not scales:
        return [group["lr"] for group in optimizer.param_groups]
    kept = {id(p): group.get("lr_scale") for group in optimizer.param_groups for p in group["params"]}
    if any(scales.get(key) != scale for key, scale in kept.items()):
        raise PluginError(
            f"{choice.source}: the optimizer changes the groups of parameters, so each layer can't have a rate of its"
            " own; use another one, or model.layer_decay = 1.0"
        )
    return [group["lr"] * group["lr_scale"] for group in optimizer.param_groups]


def choose_precision(wanted: str, model: nn.Module, device: torch.device) -> torch.dtype | None:
    """Return the autocast type, or None for float32.

    "auto" is a fixed rule, for where nothing was measured: bfloat16 where the hardware
    computes in it, except for depthwise networks on a CPU, which it makes slower; else float16 on a GPU.
    """
    if wanted != "auto":
        return PRECISIONS[wanted]
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major >= 8 else torch.float16
    return torch.bfloat16 if has_fast_bf16() and not is_depthwise(model) else None


def has_fast_bf16() -> bool:
    """Tell whether the processor computes in bfloat16."""
    capability = torch.backends.cpu.get_cpu_capability()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = any(getattr(torch.cpu, name, lambda: False)() for name in checks)
    return capability != "DEFAULT" and native and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def is_depthwise(model: nn.Module) -> bool:
    """Tell whether a network is built of depthwise convolutions."""
    kernels = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    depthwise = [m for m in kernels if m.groups > 1 and m.groups == m.in_channels]
    return len(depthwise) * 2 > len(kernels)


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    """Return the mixed-precision context, or one that does nothing."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
