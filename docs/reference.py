"""Writes the generated parts of the documentation, each between two markers of a page.

``python docs/reference.py`` writes them; ``python docs/reference.py --check`` only tells which are out of date.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast, get_args

from pydantic import BaseModel

from icf import components, events, hookspecs
from icf.cli.parameters import list_parameters, type_name
from icf.components import KINDS, Component
from icf.errors import RecipeError
from icf.params import Params
from icf.plan import load_plan
from icf.plugins import EVENT_HOOKS, Entry, hook_name, load_object, load_plugins
from icf.recipe import COMPONENT_SECTIONS
from icf.sections import ComponentSection, Recipe
from icf.testing import common
from icf.testing.suite import CHECKS_OF_KINDS, Check, name_of

DOCS = Path(__file__).parent

PRODUCTS = {
    "dataset": ("DatasetContent", "Samples", "SubmissionFormat"),
    "model": ("ModelInfo",),
    "scheduler": ("Schedule",),
    "sampler": ("Sampling",),
    "transform": ("BatchTransform",),
    "metric": ("MetricFunction",),
    "ensembler": ("Combiner",),
}
"""What factories of a kind return, beside torch's own objects."""

NOTES = {
    "Component.name": "Name after the slash: lower-case letters, digits and single hyphens",
    "Component.summary": "One line for `icf list-plugins` and `icf describe`",
    "Component.params": "Subclass of `icf.Params` that describes what a recipe may choose",
    "Component.deprecated": "What to use instead; a recipe that names the component gets this as a warning",
    "SubmissionFormat.id_column": "Header of the first column",
    "SubmissionFormat.columns": "Headers after it: one for the label, or one per class for probabilities",
    "SubmissionFormat.ids": "Ids of the rows, in the file's order; empty: those of the test rows",
    "DatasetContent.classes": "Class names; a target is an index into them",
    "DatasetContent.train": "Rows with targets",
    "DatasetContent.test": "Rows to predict; None if there are none",
    "DatasetContent.submission": "None: a column `id` and a column `label` with the class names",
    "DatasetContext.seed": "The recipe's `train.seed`",
    "DatasetContext.cache_dir": "Where downloads and rendered data may be kept",
    "ModelContext.seed": "Differs from fold to fold; torch's own generator is seeded with it before the factory",
    "ModelInfo.mean": "Mean per channel; None: measured on the training rows",
    "ModelInfo.std": "Standard deviation per channel; None: measured on the training rows",
    "ModelInfo.image_size": "Height and width that the model prefers; None: those of the data",
    "ModelInfo.weights": "Where the weights come from, for the report",
    "LossContext.num_classes": "Number of classes, K",
    "LossContext.seed": "Differs from fold to fold",
    "OptimizerContext.parameter_groups": "Parameters to optimise; biases and norms have a weight decay of 0",
    "OptimizerContext.seed": "Differs from fold to fold",
    "SchedulerContext.steps_per_epoch": "Optimizer steps in an epoch",
    "SchedulerContext.epochs": "Epochs in the whole training",
    "SamplerContext.targets": "Targets of the fold's training rows, in their order",
    "SamplerContext.num_classes": "Number of classes, K",
    "TransformContext.image_size": "Height and width in pixels",
    "TransformContext.channels": "1 or 3",
    "MetricContext.num_classes": "Number of classes, K",
    "Metric.maximize": "True: a higher score is better",
    "Metric.bounds": "Lowest and highest possible score",
    "Metric.reference": "Paper or library that defines the metric",
    "EnsemblerContext.num_classes": "Number of classes, K",
    "EnsemblerContext.seed": "Seed of whatever is random",
    "RunStart.run_dir": "The run folder",
    "RunStart.recipe": "Name of the recipe file, without its ending",
    "RunStart.folds": "Number of folds",
    "RunStart.epochs": "Epochs of each fold",
    "RunStart.classes": "Class names",
    "RunStart.notes": "The data set's notes",
    "FoldStart.run_dir": "The run folder",
    "FoldStart.fold": "Number of the fold, from 0",
    "EpochEnd.run_dir": "The run folder",
    "EpochEnd.fold": "Number of the fold, from 0",
    "EpochEnd.epoch": "Number of the epoch, from 0",
    "EpochEnd.train_loss": "Mean loss of the training rows during the epoch",
    "EpochEnd.val_loss": "Loss of the validation rows after it",
    "EpochEnd.learning_rate": "Rate of the first parameter group in the last step",
    "EpochEnd.images_per_second": "Training images per second",
    "FoldEnd.run_dir": "The run folder",
    "FoldEnd.fold": "Number of the fold, from 0",
    "FoldEnd.best_epoch": "Epoch whose weights are kept, from 0",
    "FoldEnd.metrics": "Metrics of the validation rows with these weights, by name",
    "RunEnd.run_dir": "The run folder",
    "RunEnd.metrics": "Metrics of all out-of-fold rows, by name",
    "RunEnd.classes": "Class names",
    "RunEnd.hyperparameters": "Components, their parameters, epochs, batch size and seed",
}
"""Meanings of fields that their class's docstring does not tell."""


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*head, *(f"| {' | '.join(map(_escape, row))} |" for row in rows)]


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def clean(docstring: str | None) -> str:
    """Return a docstring as Markdown: double backticks become single ones."""
    return inspect.cleandoc(docstring or "").replace("``", "`")


# -- recipes.md -------------------------------------------------------------------------------------


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
    if name in COMPONENT_SECTIONS:
        kind = COMPONENT_SECTIONS[name]
        lines += [
            "",
            f"Every other key is a parameter of the component: [components of kind {kind}](components.md#{kind}).",
        ]
    return lines


def _field_row(model: type[BaseModel], name: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    field = model.model_fields[name]
    [bounds] = [found.bounds for found in list_parameters(cast("type[Params]", model)) if found.name == name]
    required = field.is_required() and name not in given
    shown = "required" if required else _show_default(given.get(name, field.default))
    # The only tables inside a section are components.
    kind = type_name(field.annotation).replace("table", "component")
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


# -- components.md ----------------------------------------------------------------------------------


def write_components() -> list[str]:
    """Describe every built-in component and its parameters, by kind."""
    lines: list[str] = []
    for kind in KINDS:
        entries = [entry for entry in load_plugins().entries(kind) if entry.plugin.distribution == "icf"]
        lines += ["", f"## {kind}", ""]
        lines += write_table(
            ["component", "what it is"],
            ((f"[`{item.ref}`](#{_anchor(item, kind)})", item.descriptor.summary) for item in entries),
        )
        for entry in entries:
            lines += ["", f"### {entry.ref} ({kind})", "", f"{entry.descriptor.summary}.", "", *_parameters(entry)]
    return lines[1:]


def _anchor(entry: Entry, kind: str) -> str:
    return f"{entry.ref.replace('/', '')}-{kind}"


def _parameters(entry: Entry) -> list[str]:
    rows = [
        (f"`{item.name}`", item.type, item.shown_default, item.bounds, item.description)
        for item in list_parameters(entry.descriptor.params)
    ]
    if not rows:
        return ["No parameters."]
    return write_table(["parameter", "type", "default", "bounds", "meaning"], rows)


# -- hooks.md ---------------------------------------------------------------------------------------


def write_hooks() -> list[str]:
    """Describe every hook, descriptor, context, product and event."""
    lines = ["## Component hooks", "", *_write_class(Component), ""]
    for kind, descriptor in KINDS.items():
        context = getattr(components, f"{descriptor.__name__}Context")
        lines += [*_write_hook(hook_name(kind)), *_write_class(descriptor), "", *_write_class(context), ""]
        for name in PRODUCTS.get(kind, ()):
            lines += [*_write_product(name), ""]
    lines += ["## Event hooks", ""]
    for hook, event in zip(EVENT_HOOKS, get_args(events.Event), strict=True):
        lines += [*_write_hook(hook), *_write_class(event), ""]
    return lines[:-1]


def _write_hook(name: str) -> list[str]:
    text, _, example = clean(getattr(hookspecs, name).__doc__).partition("Example::")
    code = inspect.cleandoc(example.replace("\n    ", "\n")).strip().replace("\n\n@", "\n\n\n@")
    return [f"### {name}", "", text.strip(), "", "```python", code, "```", ""]


def _write_class(cls: type) -> list[str]:
    lines = [f"#### {cls.__name__}", "", clean(cls.__doc__)]
    rows = [(f"`{name}`", f"`{kind}`", default, find_meaning(cls, name)) for name, kind, default in list_fields(cls)]
    return [*lines, "", *write_table(["field", "type", "default", "meaning"], rows)] if rows else lines


def _write_product(name: str) -> list[str]:
    product = getattr(components, name)
    if not inspect.isclass(product):
        return [f"#### {name}", "", f"`{product}`", "", clean(_attribute_docs(components)[name])]
    if dataclasses.is_dataclass(product):
        return _write_class(product)
    lines = [f"#### {name}", "", clean(product.__doc__)]
    methods = [item for name, item in vars(product).items() if inspect.isfunction(item) and _is_method(name)]
    rows = [
        (f"`{method.__name__}{inspect.signature(method)}`".replace("'", ""), clean(method.__doc__))
        for method in methods
    ]
    return [*lines, "", *write_table(["method", "meaning"], rows)]


def _is_method(name: str) -> bool:
    return name == "__call__" or not name.startswith("_")


def list_fields(cls: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and default of the fields that a data class adds to its base."""
    inherited = set(getattr(cls.__base__, "__dataclass_fields__", ()))
    for field in dataclasses.fields(cls):
        if field.name not in inherited:
            yield field.name, str(field.type), _default_of(field)


def _default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        default = getattr(field.default, "__name__", None)
        return f"`{default or repr(field.default)}`"
    return "required" if field.default_factory is dataclasses.MISSING else "filled in"


def find_meaning(cls: type, name: str) -> str:
    """Return what the field's own docstring says, else a note, else the sentence of the class's docstring."""
    own = _attribute_docs(inspect.getmodule(cls)).get(f"{cls.__name__}.{name}")
    if own:
        return clean(own)
    if note := NOTES.get(f"{cls.__name__}.{name}"):
        return note
    return find_sentence(cls, name)


def find_sentence(cls: type, name: str) -> str:
    """Return the part of a class's docstring that speaks of a field, or nothing."""
    text = " ".join(clean(cls.__doc__).split())
    parts = re.split(r"(?<=\.)\s+|;\s+", text)
    return next((part for part in parts if f"`{name}`" in part), "")


def _attribute_docs(module: ModuleType | None) -> dict[str, str]:
    """Return the strings that follow assignments, by ``Class.field`` or name."""
    if module is None:
        return {}
    found: dict[str, str] = {}

    def look(body: list[ast.stmt], prefix: str) -> None:
        for statement, following in zip(body, [*body[1:], None], strict=True):
            if isinstance(statement, ast.ClassDef):
                look(statement.body, f"{statement.name}.")
            if isinstance(statement, ast.AnnAssign) and isinstance(following, ast.Expr):
                found[prefix + ast.unparse(statement.target)] = ast.literal_eval(following.value)

    look(ast.parse(inspect.getsource(module)).body, "")
    return found


# -- testing.md -------------------------------------------------------------------------------------


def write_checks() -> list[str]:
    """List every check of the conformance kit with its sentence of the contract."""
    lines = ["### Every plugin", "", *_check_table(common.PLUGIN_CHECKS)]
    lines += ["", "### Every component", "", *_check_table(common.COMPONENT_CHECKS)]
    for kind in KINDS:
        lines += ["", f"### Components of kind {kind}", "", *_check_table(load_object(CHECKS_OF_KINDS[kind]))]
    return lines


def _check_table(checks: Iterable[Check]) -> list[str]:
    return write_table(["check", "what it promises"], ((f"`{name_of(item)}`", clean(item.__doc__)) for item in checks))


# -- pages ------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "mistakes": ("recipes.md", write_mistakes),
    "sections": ("recipes.md", write_sections),
    "components": ("components.md", write_components),
    "hooks": ("hooks.md", write_hooks),
    "checks": ("testing.md", write_checks),
}
"""Name of a generated part -> its page, and what writes it."""


def render(part: str) -> tuple[Path, str]:
    """Return a page and what its text must be."""
    page, write = PARTS[part]
    path = DOCS / page
    begin, end = f"<!-- generated by docs/reference.py: {part} -->", "<!-- end of the generated part -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{path}: the markers '{begin}' and '{end}' are missing")
    return path, "\n".join([before + begin, "", *write(), "", end + after])


def main(arguments: Sequence[str]) -> int:
    """Write every generated part, or with ``--check`` name those that are out of date."""
    stale = []
    for part in PARTS:
        path, text = render(part)
        if path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    print("out of date: " + ", ".join(stale) if stale else "up to date")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
