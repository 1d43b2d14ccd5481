"""What is trained, in groups with their own learning rate and weight decay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from icf.errors import IcfError, PluginError
from icf.pipeline.training.layers import Layer, scale_rates
from icf.plan import Choice, Plan
from icf.sections import ParameterGroup


class Setting(NamedTuple):
    """Factor of the learning rate of a parameter, and its weight decay; None: as the optimizer has it."""

    scale: float = 1.0
    weight_decay: float | None = None


Settings = Mapping[int, Setting]
"""Id of a parameter -> its setting; none where all are alike."""


def choose_settings(plan: Plan, whole: nn.Module, layers: Sequence[Layer]) -> Settings:
    """Return the settings that ``model.layer_decay`` and ``optimizer.groups`` ask for; factors are multiplied.

    ``whole`` is the whole network, by whose names groups know parameters. Raises IcfError for a pattern that is found
    in no name.
    """
    groups, scales = plan.recipe.optimizer.groups, scale_rates(layers, plan.recipe.model.layer_decay)
    if not (groups or scales):
        return {}
    _check_patterns(groups, [name for name, _ in whole.named_parameters()])
    settings = {}
    for name, parameter in whole.named_parameters():
        found = next((group for group in groups if re.search(group.match, name)), None)
        scale = scales.get(id(parameter), 1.0) * (found.lr_factor if found else 1.0)
        settings[id(parameter)] = Setting(scale, found.weight_decay if found else None)
    return settings


def _check_patterns(groups: Iterable[ParameterGroup], names: Sequence[str]) -> None:
    for index, group in enumerate(groups):
        if not any(re.search(group.match, name) for name in names):
            raise IcfError(
                f"optimizer.groups[{index}].match: {group.match!r} is found in no name of the network's parameters,"
                f" such as {names[0]} or {names[-1]}"
            )


def group_parameters(model: nn.Module, settings: Settings | None = None) -> list[dict[str, Any]]:
    """Split trainable parameters: biases and normalisation scales are not decayed.

    With ``settings``, those of one setting are groups of their own with an "lr_scale", as timm calls it; the largest
    come first.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not settings:
        return _split_by_decay(trainable)
    alike: dict[Setting, list[nn.Parameter]] = {}
    for parameter in trainable:
        alike.setdefault(settings[id(parameter)], []).append(parameter)
    ordered = sorted(alike, key=lambda setting: setting.scale, reverse=True)
    return [_describe_group(group, setting) for setting in ordered for group in _split_by_decay(alike[setting])]


def _describe_group(group: dict[str, Any], setting: Setting) -> dict[str, Any]:
    decay = {} if setting.weight_decay is None else {"weight_decay": setting.weight_decay}
    return {**group, **decay, "lr_scale": setting.scale}


def _split_by_decay(parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    plain = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = []
    if decayed:
        groups.append({"params": decayed})
    if plain:
        groups.append({"params": plain, "weight_decay": 0.0})
    return groups


def read_rates(choice: Choice, optimizer: torch.optim.Optimizer, settings: Settings) -> list[float]:
    """Return the learning rate of each group, before the schedule's factor.

    Raises:
        PluginError: the optimizer did not keep the groups that have another rate.
    """
    if not settings:
        return [group["lr"] for group in optimizer.param_groups]
    kept = {id(p): group.get("lr_scale") for group in optimizer.param_groups for p in group["params"]}
    if any(key not in settings or settings[key].scale != scale for key, scale in kept.items()):
        raise PluginError(
            f"{choice.source}: the optimizer changes the groups of parameters, so none can have a rate of its own;"
            " use another one, or leave out model.layer_decay and optimizer.groups"
        )
    return [group["lr"] * group["lr_scale"] for group in optimizer.param_groups]
