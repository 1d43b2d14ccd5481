"""Shows what a recipe asks for, before anything heavy is imported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from icf.cli.parameters import list_parameters
from icf.formats import format_count
from icf.plan import Choice, Plan
from icf.plugins import load_object
from icf.recipe import TRANSFORM_LISTS
from icf.sections import Section

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LABEL_WIDTH = 12
"""Characters of the left column, the same in all tables of label and value."""


def print_plan(console: Console, plan: Plan, *, full: bool = False) -> None:
    """Print the question and one row per part of the plan; ``full`` shows defaults too."""
    if plan.recipe.problem.question:
        console.print(plan.recipe.problem.question, style="bold")
    console.print(make_grid(describe_plan(plan, full=full)))


def make_grid(rows: Iterable[tuple[str, str]]) -> Table:
    """Return a table of label and value, without lines."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(min_width=LABEL_WIDTH, style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(label), Text(value))
    return grid


def describe_plan(plan: Plan, *, full: bool = False) -> list[tuple[str, str]]:
    """Return label and value of each part of a plan; without ``full`` only what differs from a default."""
    recipe = plan.recipe
    rows = [
        ("data set", _join(describe_choice(plan.dataset, full=full), _own_keys(recipe.dataset, full))),
        ("model", _join(describe_choice(plan.model, full=full), _own_keys(recipe.model, full))),
        ("loss", describe_choice(plan.loss, full=full)),
        ("optimizer", describe_choice(plan.optimizer, full=full)),
        ("schedule", describe_choice(plan.scheduler, full=full)),
        ("sampler", describe_choice(plan.sampler, full=full)),
        ("transforms", _describe_transforms(plan, full)),
        ("split", _describe_split(plan, full)),
        ("training", _describe_training(plan, full)),
        ("metrics", ", ".join(_describe_metrics(plan, full))),
        ("inference", _describe_inference(plan, full)),
        ("ensemble", describe_choice(plan.ensembler, full=full)),
        ("executor", _join(recipe.compute.executor, _settings(recipe.compute, full, {"executor"}))),
        ("observers", ", ".join(observer.name for observer in plan.observers)),
    ]
    return [(label, value) for label, value in rows if value]


def describe_choice(choice: Choice, *, full: bool = False) -> str:
    """Return a component and its parameters; without ``full`` only those that are no defaults."""
    params = choice.params if full else chosen_params(choice)
    pairs = ", ".join(f"{name} = {_show(value)}" for name, value in params.items() if value is not None)
    name = f"{choice.name}: {choice.ref}" if choice.name else choice.ref
    return f"{name} ({pairs})" if pairs else name


def chosen_params(choice: Choice) -> dict[str, Any]:
    """Return the parameters of a component that differ from their defaults."""
    known = {p.name: p for p in list_parameters(load_object(choice.params_type))}
    return {
        name: value
        for name, value in choice.params.items()
        if name not in known or known[name].required or known[name].default != value
    }


def _describe_transforms(plan: Plan, full: bool) -> str:
    parts = [_settings(plan.recipe.transforms, full, TRANSFORM_LISTS)]
    lists = {"every image": plan.shared_transforms, "training": plan.train_transforms, "mixed": plan.mixers}
    for when, choices in lists.items():
        if choices:
            parts.append(f"{when}: {', '.join(describe_choice(choice, full=full) for choice in choices)}")
    return "; ".join(part for part in parts if part)


def _describe_inference(plan: Plan, full: bool) -> str:
    views = [
        " + ".join(step if isinstance(step, str) else describe_choice(step, full=full) for step in view.steps)
        for view in plan.views
    ]
    settings = _settings(plan.recipe.inference, full, {"tta"})
    return "; ".join(part for part in (settings, f"views: {', '.join(['plain', *views])}" * bool(views)) if part)


def _describe_split(plan: Plan, full: bool) -> str:
    split = plan.recipe.split
    size = {"group-holdout": f"{split.holdout:.0%} held out", "predefined": "folds of the data set"}
    stated = [split.method, size.get(split.method, f"{split.folds} folds")]
    return _join(", ".join(stated), _settings(split, full, {"method", "folds", "holdout"}))


def _describe_training(plan: Plan, full: bool) -> str:
    train = plan.recipe.train
    stated = f"{format_count(train.epochs, 'epoch')}, batches of {train.batch_size}, seed {train.seed}"
    return _join(stated, _settings(train, full, {"epochs", "batch_size", "seed"}))


def _describe_metrics(plan: Plan, full: bool) -> list[str]:
    first, *others = (describe_choice(choice, full=full) for choice in plan.metrics)
    return [f"{first} chooses the best epoch", *others]


def _own_keys(section: Any, full: bool) -> str:
    """Write the keys of a component's section that are not the component's parameters."""
    fields = {name: field for name, field in type(section).model_fields.items() if name != "use"}
    return _pairs({name: getattr(section, name) for name in fields}, fields, full)


def _settings(section: Section, full: bool, leave_out: Iterable[str] = ()) -> str:
    fields = {name: field for name, field in type(section).model_fields.items() if name not in leave_out}
    return _pairs({name: getattr(section, name) for name in fields}, fields, full)


def _pairs(values: dict[str, Any], fields: dict[str, Any], full: bool) -> str:
    shown = (
        f"{name} = {_show(value)}"
        for name, value in values.items()
        if value is not None and (full or value != fields[name].default)
    )
    return ", ".join(shown)


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _show(value: Any) -> str:
    """Write a value as it would stand in a recipe; a string without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
