"""Losses of a team's loss.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

import icf
from icf_baseline.code import call, explain, find_callable, list_parameters, load_module, name_file
from icf_baseline.plugin import LossParams

COMPONENT = "baseline/loss"
CLASS_COUNTS = ("classes", "num_classes", "n_classes")
"""How teams call the number of classes; the defaults of such arguments are those of another problem."""


class Criterion(nn.Module):
    """Calls a team's loss with float32 logits [N, K] and targets int64 [N], and insists on one number."""

    def __init__(self, name: str, criterion: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.name = name
        self.criterion = criterion

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, a scalar.

        Raises:
            PluginError: the team's loss failed, or gave something else than one number. Soft targets, float
                [N, K], are passed on; most teams' losses take class indices only, and then fail.
        """
        try:
            loss = self.criterion(logits.float(), targets)
        except Exception as error:  # noqa: BLE001 - a team's code may raise anything
            soft = targets.ndim > 1
            hint = "; does it take only class indices, and mixed images give it shares of all classes?" if soft else ""
            explain(COMPONENT, f"{self.name} failed on targets of shape {list(targets.shape)}{hint}", error)
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise icf.PluginError(
                f"{COMPONENT}: {self.name} gives {found}, not one number; set its reduction to the mean"
            )
        return loss


def build_loss(params: LossParams, ctx: icf.LossContext) -> nn.Module:
    """Build what ``create_criterion(name, **args)`` makes: logits float [N, K], targets int64 [N] -> mean loss.

    Raises PluginError for a name that loss.py does not know, arguments that the loss does not take, another
    number of classes than the data set's, and label smoothing that nobody gave an amount.
    """
    module = load_module(COMPONENT, params.module)
    create = getattr(module, "create_criterion", None)
    make = _find_loss(params.name, module, by_class=create is None)
    arguments = _choose_arguments(params, make, ctx)
    if create is None and make is not None:
        criterion = call(COMPONENT, params.name, make, arguments)
    else:
        criterion = _create(params.name, create, make, arguments)
    if not callable(criterion):
        raise icf.PluginError(f"{COMPONENT}: '{params.name}' made {type(criterion).__name__}, which can't be called")
    return Criterion(params.name, criterion)


def find_entries(module: ModuleType) -> Mapping[str, Callable[..., Any]]:
    """Return the losses that a module keeps by name, as in ``_criterion_entrypoints``; empty without such a table."""
    tables = [item for name, item in sorted(vars(module).items()) if "criterion" in name.lower()]
    for table in tables:
        if isinstance(table, dict) and table and all(callable(item) for item in table.values()):
            return table
    return {}


def _find_loss(name: str, module: ModuleType, *, by_class: bool) -> Callable[..., Any] | None:
    """Return the class or function behind a name; None where only create_criterion knows it."""
    entries = find_entries(module)
    if entries and name not in entries:
        raise icf.PluginError(
            f'{COMPONENT}: name = "{name}": {name_file(module)} knows no such loss{icf.did_you_mean(name, entries)}'
        )
    if not entries and by_class:
        return find_callable(COMPONENT, module, name)
    return entries.get(name)


def _choose_arguments(params: LossParams, make: Callable[..., Any] | None, ctx: icf.LossContext) -> dict[str, Any]:
    """Add the number of classes where the loss takes it, and refuse label smoothing that smooths nothing."""
    arguments = dict(params.args)
    parameters = list_parameters(make) if make is not None else {}
    for name in CLASS_COUNTS:
        if name in parameters and arguments.setdefault(name, ctx.num_classes) != ctx.num_classes:
            raise icf.PluginError(
                f"{COMPONENT}: args.{name} = {arguments[name]}, but the data set has {ctx.num_classes} classes;"
                " leave it out, and icf gives it"
            )
    smoothing = parameters.get("smoothing")
    if smoothing is not None and smoothing.default == 0 and "smoothing" not in arguments:
        raise icf.PluginError(
            f"{COMPONENT}: '{params.name}' smooths by 0 unless it is told, which is plain cross-entropy;"
            " write args = { smoothing = 0.1 }"
        )
    return arguments


def _create(name: str, create: Any, make: Callable[..., Any] | None, arguments: Mapping[str, Any]) -> Any:
    if make is not None:
        # Its own signature gives the better message; create_criterion would pass anything on.
        _check_signature(name, make, arguments)
    return call(COMPONENT, f"create_criterion('{name}')", lambda **given: create(name, **given), arguments)


def _check_signature(name: str, make: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    parameters = list_parameters(make)
    if not parameters or any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
        return
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        takes = f"(it takes: {', '.join(parameters)})"
        raise icf.PluginError(
            f"{COMPONENT}: '{name}' has no argument '{unknown[0]}'{icf.suggest(unknown[0], parameters)} {takes}"
        )
