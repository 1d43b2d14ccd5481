"""Sections of a recipe, and what icf says of a wrong one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

from docs.reference.markdown import clean, write_table
from pydantic import BaseModel

from icf.cli.parameters import list_parameters, type_name
from icf.errors import RecipeError
from icf.params import Params
from icf.plan import load_plan
from icf.recipe import COMPONENT_SECTIONS
from icf.sections import ComponentSection, Recipe, Section


def write_sections() -> list[str]:
    """Describe every section of a recipe and its fields."""
    lines = write_table(
        ["section", "meaning", "if left out"],
        ((f"[`{name}`](#{name})", field.description or "", _absent(name)) for name, field in _recipe_fields()),
    )
    for name, field in _recipe_fields():
        lines += ["", f"### {name}", "", *_write_section(name, field.annotation)]
    return lines


def _recipe_fields() -> Iterable[tuple[str, Any]]:
    return Recipe.model_fields.items()


def _absent(name: str) -> str:
    field = Recipe.model_fields[name]
    if field.is_required():
        return "an error"
    if isinstance(field.default, ComponentSection):
        return f"`{field.default.use}`"
    return "none" if field.default == () else "the defaults below"


def _write_section(name: str, annotation: Any) -> list[str]:
    if name == "observers":
        return ['An array of plugin names, at the top of the file: `observers = ["tensorboard"]`.']
    lines = [f"{clean(annotation.__doc__)}", ""] if annotation is not ComponentSection else []
    default = Recipe.model_fields[name].default
    given = {"use": default} if isinstance(default, ComponentSection) else {}
    rows = (_field_row(annotation, field, given) for field in annotation.model_fields)
    lines += write_table(["field", "type", "default", "bounds", "meaning"], rows)
    for key, nested in _nested_sections(annotation):
        rows = (_field_row(nested, field, {}) for field in nested.model_fields)
        lines += ["", f"Each table of `{name}.{key}`: {clean(nested.__doc__)}", ""]
        lines += write_table(["field", "type", "default", "bounds", "meaning"], rows)
    if name in COMPONENT_SECTIONS:
        kind = COMPONENT_SECTIONS[name]
        lines += [
            "",
            f"Every other key is a parameter of the component: [components of kind {kind}](components.md#{kind}).",
        ]
    return lines


def _nested_sections(model: type[BaseModel]) -> Iterable[tuple[str, type[BaseModel]]]:
    """Yield the fields that are arrays of tables of their own."""
    for name, field in model.model_fields.items():
        for kind in get_args(field.annotation):
            if isinstance(kind, type) and issubclass(kind, Section):
                yield name, kind


def _field_row(model: type[BaseModel], name: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    field = model.model_fields[name]
    [bounds] = [found.bounds for found in list_parameters(cast("type[Params]", model)) if found.name == name]
    required = field.is_required() and name not in given
    shown = "required" if required else _show_default(given.get(name, field.default))
    kind = type_name(field.annotation)
    if name not in dict(_nested_sections(model)):  # all other tables inside a section are components
        kind = kind.replace("table", "component")
    return (f"`{name}`", kind, shown, bounds, field.description or "")


def _show_default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"`{json.dumps([getattr(item, 'use', item) for item in value])}`"
    return f"`{json.dumps(getattr(value, 'use', value))}`"


WRONG = """\
dataset = "images/folder"

[model]
use = "timm/model"
arch = "resnet18"
drop_rat = 0.2

[loss]
use = "loss/focl"

[split]
folds = 1

[train]
epochs = "ten"

[sheduler]
use = "scheduler/cosine"
"""


def write_mistakes() -> list[str]:
    """Show a wrong recipe and what icf says of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photos.toml"
        path.write_text(WRONG, encoding="utf-8")
        try:
            load_plan(path)
        except RecipeError as error:
            return ["<!-- wrong -->", "```toml", WRONG.rstrip(), "```", "", "```text", f"error: {error}", "```"]
    raise AssertionError("the wrong recipe is accepted")
