"""The layers of a network from its input to its output: how fast each learns, and from which epoch on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import nn

from icf.errors import IcfError
from icf.pipeline.training.network import Experts, find_head
from icf.plan import Plan


@dataclass(frozen=True)
class Layer:
    """Parameters that are treated alike; ``name`` is a module that has them, or the first of them."""

    name: str
    parameters: tuple[nn.Parameter, ...]


def list_layers(model: nn.Module, head: nn.Module) -> list[Layer]:
    """Return all parameters of a network, layer by layer from its input on; that of the classifier head is the last.

    A network of timm says itself what its layers are (``group_matcher``). Otherwise they follow each other as their
    modules do: the entries of the outermost Sequential or ModuleList are one each, so is any other module with
    parameters, and what has only vectors (a normalisation) belongs to what is before it.
    """
    numbers = _number_by_matcher(model) if hasattr(model, "group_matcher") else _number_by_modules(model)
    found: dict[int, list[str]] = {}
    for name, number in numbers.items():
        found.setdefault(number, []).append(name)
    parameters = dict(model.named_parameters())
    layers = [
        Layer(_name_layer(names), tuple(parameters[name] for name in names)) for _, names in sorted(found.items())
    ]
    own = {id(parameter) for parameter in head.parameters()}
    return sorted(layers, key=lambda layer: any(id(parameter) in own for parameter in layer.parameters))


def choose_layers(plan: Plan, model: nn.Module, units: int) -> list[Layer]:
    """Return the layers of a plan's network, if the plan tells them apart."""
    section = plan.recipe.model
    if not section.unfreeze and section.layer_decay == 1:
        return []
    if isinstance(model, Experts):
        raise IcfError(
            "model.unfreeze and model.layer_decay tell the layers of one network apart, but targets.experts makes"
            " several; leave one of them out"
        )
    return list_layers(model, find_head(model, units, plan.model.source))


def _number_by_matcher(model: nn.Module) -> dict[str, int]:
    from timm.models import group_parameters  # such a network comes from timm, so timm is there

    numbers: dict[str, int] = group_parameters(
        model,
        model.group_matcher(coarse=False),  # type: ignore[operator]
        reverse=True,
    )
    return numbers


def _number_by_modules(model: nn.Module) -> dict[str, int]:
    parents: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        parents.setdefault(_find_layer(model, name), []).append(name)
    parameters = dict(model.named_parameters())
    numbers: dict[str, int] = {}
    number = -1
    for names in parents.values():
        if number < 0 or any(parameters[name].ndim > 1 for name in names):
            number += 1
        numbers |= dict.fromkeys(names, number)
    return numbers


def _find_layer(model: nn.Module, name: str) -> str:
    """Return the entry of the outermost container on the way to a parameter, or the module that has it."""
    module, parts = model, name.split(".")
    for depth, part in enumerate(parts[:-1]):
        if isinstance(module, nn.Sequential | nn.ModuleList):
            return ".".join(parts[: depth + 1])
        module = module.get_submodule(part)
    return ".".join(parts[:-1])


def _name_layer(names: Sequence[str]) -> str:
    """Return the innermost module that has all of these parameters, or the module of the first of them."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    common = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    return ".".join(common) or names[0].rpartition(".")[0]


def scale_rates(layers: Sequence[Layer], decay: float) -> dict[int, float]:
    """Return the factor of the learning rate of each parameter, by its id; none where all are 1.

    It is 1 for the head, ``decay`` for the layer before it, its square for the next, and so on: discriminative
    fine-tuning (Howard and Ruder 2018, arXiv:1801.06146, section 3.2), or layer-wise learning-rate decay (Bao et al.
    2021, arXiv:2106.08254).
    """
    depths = enumerate(reversed(layers)) if decay < 1 else ()
    return {id(parameter): decay**depth for depth, layer in depths for parameter in layer.parameters}


def count_open(unfreeze: Sequence[int], epoch: int, layers: int) -> int:
    """Return how many layers, counted from the head, are trained in an epoch: gradual unfreezing.

    It is that of Howard and Ruder 2018, arXiv:1801.06146, section 3.3, with epochs that can be chosen. The head always
    is trained; each number of ``unfreeze`` is an epoch that opens one more layer, and the last all others.
    """
    if epoch >= unfreeze[-1]:
        return layers
    return min(layers, 1 + sum(number <= epoch for number in unfreeze))


def open_layers(layers: Sequence[Layer], count: int) -> bool:
    """Let the last ``count`` layers be trained, and no other; tell whether that is a change."""
    changed = False
    for depth, layer in enumerate(reversed(layers)):
        for parameter in layer.parameters:
            changed |= parameter.requires_grad != (depth < count)
            parameter.requires_grad_(depth < count)
    return changed


def list_trained(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers without the parameters that are not trained now."""
    left = (Layer(layer.name, tuple(p for p in layer.parameters if p.requires_grad)) for layer in layers)
    return [layer for layer in left if layer.parameters]
