"""Every name that plugins, recipes and scripts may rely on, with its type."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

import typer
from docs.reference.hooks import list_methods
from docs.reference.records import PARTS, SCHEMAS, list_keys

import icf
import icf.testing
from icf import hookspecs
from icf.cli.main import app
from icf.cli.parameters import list_parameters, type_name
from icf.plugins import load_object, load_plugins
from icf.sections import ComponentSection, Recipe, Section
from icf.testing import common, fixtures
from icf.testing.suite import CHECKS_OF_KINDS, name_of


class Promise(NamedTuple):
    """What is promised of a name: its type, and whether whoever uses it must give it (a field without a default)."""

    type: str = ""
    required: bool = False


Named = Iterator[tuple[str, Promise]]


def list_public_names() -> dict[str, Promise]:
    """Return every public name."""
    parts = (
        _list_module("icf", icf, icf.__all__),
        _list_module("icf.testing", icf.testing, icf.testing.__all__),
        _list_hooks(),
        _list_kit(),
        _list_recipe(),
        _list_components(),
        _list_commands(),
        _list_json(),
    )
    return dict(sorted(chain.from_iterable(parts)))


def _list_module(prefix: str, module: Any, names: Iterable[str]) -> Named:
    for name in names:
        value = getattr(module, name)
        yield f"{prefix}.{name}", Promise(_describe(value))
        if inspect.isclass(value):
            for member, promise in _list_members(value):
                yield f"{prefix}.{name}.{member}", promise


def _describe(value: Any) -> str:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
        return f"class({bases})" if bases else "class"
    if isinstance(value, str):
        return value
    return _signature(value) if inspect.isfunction(value) else type(value).__name__


def _signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "")


def _list_members(cls: type) -> Named:
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            missing = field.default is field.default_factory is dataclasses.MISSING
            # icf makes contexts itself, so no plugin can fail for a field that it does not give.
            yield field.name, Promise(str(field.type), missing and not cls.__name__.endswith("Context"))
    elif getattr(cls, "_is_protocol", False):
        for method in list_methods(cls):
            yield method.__name__, Promise(_signature(method))


def _list_hooks() -> Named:
    for name, hook in vars(hookspecs).items():
        if name.startswith("icf_"):
            yield f"hook {name}({', '.join(inspect.signature(hook).parameters)})", Promise()


def _list_kit() -> Named:
    for name in vars(fixtures):
        if name.startswith("icf_"):
            yield f"fixture {name}", Promise()
    for check in (*common.PLUGIN_CHECKS, *common.COMPONENT_CHECKS):
        yield f"check {name_of(check)}", Promise()
    for kind, path in CHECKS_OF_KINDS.items():
        for check in load_object(path):
            yield f"check {kind}:{name_of(check)}", Promise()


def _list_recipe() -> Named:
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        is_table = inspect.isclass(section) and issubclass(section, Section | ComponentSection)
        yield f"recipe {name}", Promise("table" if is_table else type_name(section), field.is_required())
        if is_table:
            yield from _list_parameters(f"recipe {name}", section)


def _list_components() -> Named:
    for entry in load_plugins().entries():
        if entry.plugin.distribution == "icf":
            name = f"{entry.kind} {entry.ref}"
            yield name, Promise()
            yield from _list_parameters(name, entry.descriptor.params)


def _list_parameters(prefix: str, model: Any) -> Named:
    for item in list_parameters(model):
        yield f"{prefix}.{item.name}", Promise(", ".join(filter(None, [item.type, item.bounds])), item.required)


def _list_commands() -> Named:
    group: Any = typer.main.get_command(app)
    for verb, command in group.commands.items():
        yield f"icf {verb}", Promise()
        for parameter in command.params:
            kind = "flag" if getattr(parameter, "is_flag", False) else "value"
            promise = Promise(kind + ", many" * (parameter.multiple or parameter.nargs != 1), bool(parameter.required))
            is_option = parameter.param_type_name == "option"
            for name in (*parameter.opts, *parameter.secondary_opts) if is_option else (parameter.metavar,):
                yield f"icf {verb} {name}", promise


def _list_json() -> Named:
    for record in (*SCHEMAS.values(), *PARTS):
        for key, (kind, _) in list_keys(record).items():
            yield f"json {record.__name__}.{key}", Promise(kind)
