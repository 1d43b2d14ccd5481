"""The contract: hooks, descriptors, contexts, what factories return, and events."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

from docs.reference.markdown import clean, write_table

from icf import components, events, hookspecs
from icf.components import KINDS, Component
from icf.plugins import EVENT_HOOKS, hook_name

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
