"""The model of a fold: its device, building, freezing, what its optimizer needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from icf.components import ModelContext
from icf.errors import IcfError, PluginError
from icf.pipeline.data.preprocess import Preprocessing
from icf.pipeline.frozen.stem import freeze_stem, is_frozen
from icf.pipeline.results.products import blame, build
from icf.pipeline.seeds import Purpose, derive_seed
from icf.pipeline.training.cosine_head import use_cosine_head
from icf.pipeline.training.head_dropout import drop_before
from icf.pipeline.training.kernels import cut_kernels
from icf.pipeline.training.output import Output
from icf.plan import Plan


def choose_device(wanted: str) -> torch.device:
    """Return the device for "auto", "cpu" or "cuda"; IcfError when it is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise IcfError('compute.device = "cuda", but torch sees no GPU; use "auto" or "cpu"')
    use_gpu = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_gpu else "cpu")


def build_model(plan: Plan, output: Output, spec: Preprocessing, fold: int, *, pretrained: bool = True) -> nn.Module:
    """Build the plan's model with weights drawn from the fold's seed, in channels-last memory.

    Raises:
        PluginError: the factory raised, or returned no module with the right output, or without a head where the
            recipe asks for one.
        IcfError: model.freeze names no module that can be the last of a frozen part.
    """
    seed = plan.recipe.train.seed
    if len(output.networks) == 1:
        model = _build_network(plan, output.units, spec, derive_seed(seed, Purpose.MODEL, fold), pretrained=pretrained)
    else:
        seeds = [derive_seed(seed, Purpose.MODEL, fold, place) for place in range(len(output.networks))]
        parts = zip(output.networks, seeds, strict=True)
        model = Experts([_build_network(plan, units, spec, own, pretrained=pretrained) for units, own in parts])
    cut_kernels(model)
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
    if section.head == "cosine":
        use_cosine_head(model, find_head(model, units, plan.model.source), section.head_scale, plan.model.source)
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
            ' model.freeze = "backbone", unfreeze, layer_decay, head_dropout and head = "cosine" need it'
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


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether a step of the optimizer computes gradients again, as SAM does."""
    return bool(getattr(optimizer, "needs_closure", False))


def check_closure(plan: Plan, optimizer: torch.optim.Optimizer, precision: torch.dtype | None) -> None:
    """Raise IcfError for an optimizer that computes gradients again where these are scaled, in float16."""
    if needs_closure(optimizer) and precision == torch.float16:
        raise IcfError(
            f"{plan.optimizer.source} computes gradients twice, which float16 does not allow; "
            'use compute.precision = "bf16" or "fp32"'
        )


@contextlib.contextmanager
def fixed_statistics(model: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation as they are, for a second look at the same batch."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum
