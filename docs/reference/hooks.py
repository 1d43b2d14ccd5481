"""The contract: hooks, descriptors, contexts, what factories return, and events."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, get_args

from docs.reference.markdown import clean, write_table

from icf import components, events, hookspecs
from icf.components import KINDS, Component
from icf.plugins import EVENT_HOOKS, hook_name

PRODUCTS = {
    "dataset": ("DatasetContent", "Samples", "Attribute", "SubmissionFormat"),
    "model": ("ModelInfo",),
    "scheduler": ("Schedule",),
    "sampler": ("Sampling",),
    "transform": ("BatchTransform",),
    "mixer": ("Mixed", "BatchMixer"),
    "metric": ("MetricFunction",),
    "ensembler": ("Combiner",),
}
"""What factories of a kind return, beside torch's own objects."""

EXAMPLE = "Example::\n"


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
    text, _, _ = clean(getattr(hookspecs, name).__doc__).partition(EXAMPLE)
    return [f"### {name}", "", text.strip(), "", "```python", find_example(name), "```", ""]


def find_example(hook: str) -> str:
    """Return the whole plugin in a hook's docstring, with the blank lines that a module has."""
    _, _, example = inspect.cleandoc(getattr(hookspecs, hook).__doc__).partition(EXAMPLE)
    return re.sub(r"\n\n(?=\S)", "\n\n\n", textwrap.dedent(example).strip())


def _write_class(cls: type) -> list[str]:
    lines = [f"#### {cls.__name__}", "", clean(cls.__doc__)]
    rows = [(f"`{name}`", f"`{kind}`", default, find_meaning(cls, name)) for name, kind, default in list_fields(cls)]
    return [*lines, "", *write_table(["field", "type", "default", "meaning"], rows)] if rows else lines


def _write_product(name: str) -> list[str]:
    product = getattr(components, name)
    if not inspect.isclass(product):
        return [f"#### {name}", "", f"`{product}`", "", _find_alias_meaning(name)]
    if dataclasses.is_dataclass(product):
        return _write_class(product)
    lines = [f"#### {name}", "", clean(product.__doc__)]
    rows = [
        (f"`{method.__name__}{inspect.signature(method)}`".replace("'", ""), clean(method.__doc__))
        for method in list_methods(product)
    ]
    return [*lines, "", *write_table(["method", "meaning"], rows)]


def _find_alias_meaning(name: str) -> str:
    modules = [inspect.getmodule(cls) for cls in KINDS.values()]
    return next(clean(docs[name]) for docs in map(_attribute_docs, modules) if name in docs)


def list_methods(protocol: type) -> list[FunctionType]:
    """Return the methods that a protocol asks for."""
    methods = {name: item for name, item in vars(protocol).items() if inspect.isfunction(item)}
    return [item for name, item in methods.items() if name == "__call__" or not name.startswith("_")]


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
    """Return what the field's docstring says of it; empty if it has none."""
    return clean(_attribute_docs(inspect.getmodule(cls)).get(f"{cls.__name__}.{name}")).removesuffix(".")


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
