"""TOML to a checked recipe, and back to TOML."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tomli_w
from pydantic import ValidationError

from icf.errors import Problem
from icf.nested import list_names
from icf.overrides import RawRecipe, read_recipe
from icf.sections import ComponentSection, Metrics, MetricSection, Recipe
from icf.validation import find_problems

__all__ = [
    "COMPONENT_SECTIONS",
    "TRANSFORM_LISTS",
    "ComponentSection",
    "ComponentTable",
    "RawRecipe",
    "Recipe",
    "component_tables",
    "find_idle_settings",
    "named_refs",
    "parse_recipe",
    "plain",
    "read_recipe",
    "to_toml",
]

COMPONENT_SECTIONS = {
    "dataset": "dataset",
    "model": "model",
    "loss": "loss",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "sampler": "sampler",
    "ensemble": "ensembler",
}
"""Sections that name one component, and the kind of it."""

TRANSFORM_LISTS = {"shared": "transform", "train": "transform", "mix": "mixer"}
"""Keys of [transforms] that list components, and the kind of these."""


@dataclass(frozen=True)
class ComponentTable:
    """A place in a raw recipe that names a component: its path, kind, name and parameters.

    ``name`` is what the recipe calls it beside that, and ``attribute`` what it scores, if it is a metric.
    """

    path: tuple[str | int, ...]
    kind: str
    ref: str
    params: dict[str, Any]
    name: str | None = None
    attribute: str | None = None


def parse_recipe(raw: RawRecipe) -> tuple[Recipe | None, list[Problem]]:
    """Check everything that can be checked without plugins; return the recipe, or every problem at once."""
    data = plain(raw)
    try:
        return Recipe.model_validate(data), []
    except ValidationError as error:
        return None, find_problems(error, data, Recipe)


def plain(raw: RawRecipe) -> RawRecipe:
    """Return the recipe as JSON has it: TOML's dates and times become text."""
    copied: RawRecipe = json.loads(json.dumps(raw, default=_date_as_text))
    return copied


def _date_as_text(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no TOML value")


def component_tables(raw: RawRecipe) -> Iterator[ComponentTable]:
    """Yield each component that a raw recipe names, or leaves at its default; skip what is malformed."""
    for section, kind in COMPONENT_SECTIONS.items():
        yield from _table((section,), kind, raw.get(section), Recipe)
    yield from _head_losses(raw.get("targets"))
    metrics, transforms = raw.get("metrics", {}), raw.get("transforms", {})
    if isinstance(metrics, dict):
        yield from _table(("metrics", "select"), "metric", metrics.get("select"), Metrics)
        reported = metrics.get("report", [item.use for item in Metrics().report])
        yield from _tables(("metrics", "report"), "metric", reported, MetricSection)
    if isinstance(transforms, dict):
        for key, kind in TRANSFORM_LISTS.items():
            yield from _tables(("transforms", key), kind, transforms.get(key, []), ComponentSection)
    yield from _view_transforms(raw.get("inference"))


def _table(
    path: tuple[str | int, ...], kind: str, value: Any, owner: type[Recipe | Metrics]
) -> Iterator[ComponentTable]:
    field = owner.model_fields[str(path[-1])]
    default = {} if field.is_required() else {"use": field.default.use}
    table = {"use": value} if isinstance(value, str) else {} if value is None else value
    if isinstance(table, dict):
        section: Any = field.annotation
        yield from _one_table(path, kind, default | table, section)


def _tables(
    path: tuple[str | int, ...], kind: str, values: Any, section: type[ComponentSection]
) -> Iterator[ComponentTable]:
    for index, value in enumerate(values if isinstance(values, list) else ()):
        table = {"use": value} if isinstance(value, str) else value
        if isinstance(table, dict):
            yield from _one_table((*path, index), kind, table, section)


def _one_table(
    path: tuple[str | int, ...], kind: str, table: dict[str, Any], section: type[ComponentSection]
) -> Iterator[ComponentTable]:
    if isinstance(ref := table.get("use"), str):
        params = {key: item for key, item in table.items() if key not in section.model_fields}
        own = table if issubclass(section, MetricSection) else {}
        name, attribute = (value if isinstance(value := own.get(key), str) else None for key in ("name", "attribute"))
        yield ComponentTable(path, kind, ref, params, name, attribute)


def _view_transforms(inference: Any) -> Iterator[ComponentTable]:
    views = inference.get("tta") if isinstance(inference, dict) else None
    for index, view in enumerate(views if isinstance(views, list) else ()):
        path = ("inference", "tta", index)
        for place, step in enumerate(view) if isinstance(view, list) else [(None, view)]:
            table = {"use": step} if isinstance(step, str) and "/" in step else step
            if isinstance(table, dict):
                where = path if place is None else (*path, place)
                yield from _one_table(where, "transform", table, ComponentSection)


def find_idle_settings(recipe: Recipe) -> list[str]:
    """Return a sentence for each setting that can have no effect beside the others."""
    train, unfreeze = recipe.train, recipe.model.unfreeze
    found = []
    if train.average == "swa" and train.swa_start is not None and train.swa_start >= train.epochs:
        found.append(
            f"train.swa_start = {train.swa_start}: training ends after {train.epochs} epochs, so none is averaged"
        )
    if unfreeze and unfreeze[-1] >= train.epochs:
        found.append(
            f"model.unfreeze = {list(unfreeze)}: training ends after {train.epochs} epochs, before all layers are open"
        )
    return found


def _head_losses(targets: Any) -> Iterator[ComponentTable]:
    heads = targets.get("heads") if isinstance(targets, dict) else None
    for index, head in enumerate(heads if isinstance(heads, list) else ()):
        loss = head.get("loss") if isinstance(head, dict) else None
        table = {"use": loss} if isinstance(loss, str) else loss
        if isinstance(table, dict):
            yield from _one_table(("targets", "heads", index, "loss"), "loss", table, ComponentSection)


def named_refs(raw: RawRecipe) -> list[str]:
    """Return every component and observer that a raw recipe names or leaves at its default.

    A text among the parameters of a component may name another; which plugins there are tells whether it does.
    """
    observers = raw.get("observers", [])
    listed = [item for item in observers if isinstance(item, str)] if isinstance(observers, list) else []
    tables = list(component_tables(raw))
    nested = [name for table in tables for name in list_names(table.params)]
    return [*(table.ref for table in tables), *nested, *listed]


def to_toml(recipe: RawRecipe) -> str:
    """Write a recipe as TOML; what is None, which TOML can't say, is left out."""
    return tomli_w.dumps(_without_none(recipe))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value if item is not None]
    return value
