"""Everything that plugins, recipes and scripts may rely on, as names and what they are.

``python tests/contracts/public_surface.py`` records in public_surface.json what was added, and forgets what is
gone; tests/contracts/test_compatibility.py says when that is not allowed.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

import icf
import icf.testing
from icf import hookspecs
from icf.cli import records
from icf.cli.main import app
from icf.cli.parameters import type_name
from icf.plan import FORMAT
from icf.sections import ComponentSection, Recipe
from icf.testing import common, fixtures
from icf.testing.suite import CHECKS_OF_KINDS, load_object, name_of

FOLDER = Path(__file__).parent
RECORD = FOLDER / "public_surface.json"
DEPRECATIONS = FOLDER / "deprecations.toml"
CHANGELOG = FOLDER.parents[1] / "CHANGELOG.md"
COMMAND = "python tests/contracts/public_surface.py"

Surface = Mapping[str, str]
"""Name -> what it is."""


def list_surface() -> dict[str, str]:
    """Return the surface as it is now."""
    parts = (_list_python(), _list_hooks(), _list_kit(), _list_commands(), _list_recipe(), _list_json())
    return dict(sorted(entry for part in parts for entry in part))


def _list_python() -> Iterator[tuple[str, str]]:
    for name in icf.__all__:
        value = getattr(icf, name)
        if dataclasses.is_dataclass(value):
            yield f"python icf.{name}", "dataclass"
            for field in dataclasses.fields(value):
                needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
                yield f"python icf.{name}.{field.name}", f"{field.type}, {'required' if needed else 'optional'}"
        elif inspect.isclass(value):
            yield f"python icf.{name}", f"class({', '.join(base.__name__ for base in value.__bases__)})"
            if getattr(value, "_is_protocol", False):
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and (method == "__call__" or not method.startswith("_")):
                        yield f"python icf.{name}.{method}", str(inspect.signature(function))
        else:
            what = value if isinstance(value, str) else type(value).__name__
            yield f"python icf.{name}", str(inspect.signature(value)) if inspect.isfunction(value) else what


def _list_hooks() -> Iterator[tuple[str, str]]:
    for name, hook in vars(hookspecs).items():
        if name.startswith("icf_"):
            yield f"hook {name}", str(inspect.signature(hook))


def _list_kit() -> Iterator[tuple[str, str]]:
    for name in icf.testing.__all__:
        value = getattr(icf.testing, name)
        is_function = inspect.isfunction(value)
        yield f"kit icf.testing.{name}", str(inspect.signature(value)) if is_function else "class"
    for name in vars(fixtures):
        if name.startswith("icf_"):
            yield f"kit fixture {name}", "fixture"
    for check in common.PLUGIN_CHECKS + common.COMPONENT_CHECKS:
        yield f"kit check {name_of(check)}", "check"
    for kind, path in CHECKS_OF_KINDS.items():
        for check in load_object(path):
            yield f"kit check {kind}:{name_of(check)}", "check"


def _list_commands() -> Iterator[tuple[str, str]]:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield f"command icf {name}", "command"
        for parameter in command.params:
            label = "/".join(parameter.opts) if parameter.param_type_name == "option" else parameter.name
            needed = "required" if parameter.required else "optional"
            many = ", many" if parameter.multiple or parameter.nargs != 1 else ""
            yield f"command icf {name} {label}", f"{parameter.param_type_name}, {needed}{many}"


def _list_recipe() -> Iterator[tuple[str, str]]:
    for section, field in Recipe.model_fields.items():
        yield f"recipe {section}", "required" if field.is_required() else "optional"
        model = field.annotation
        if inspect.isclass(model) and issubclass(model, BaseModel):
            for key, inner in model.model_fields.items():
                is_needed = inner.is_required() and not isinstance(field.default, ComponentSection)
                needed = "required" if is_needed else "optional"
                yield f"recipe {section}.{key}", f"{type_name(inner.annotation)}, {needed}"


def _list_json() -> Iterator[tuple[str, str]]:
    yield "file plan.json", f"format {FORMAT}"
    yield "json version", str(records.VERSION)
    for record in vars(records).values():
        if inspect.isclass(record) and issubclass(record, BaseModel) and not record.__name__.startswith("_"):
            for key in record.model_fields if record is not BaseModel else ():
                yield f"json {record.__name__}.{key}", str(record.__annotations__[key])


# -- what was, and what may change ------------------------------------------------------------------


def read_record() -> dict[str, dict[str, str]]:
    """Return what was recorded: name -> what it ``is`` and ``since`` which minor version it is there."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return found


def read_deprecations() -> dict[str, dict[str, str]]:
    """Return the announced ends: name -> ``deprecated_in``, ``removed_in`` and ``instead``."""
    return tomllib.loads(DEPRECATIONS.read_text())


def list_versions(changelog: str) -> tuple[list[str], str | None]:
    """Return the minor versions of a changelog, oldest first, and the one that is not released yet."""
    headings = re.findall(r"^## (\d+\.\d+)\.\d+( \(unreleased\))?", changelog, re.MULTILINE)
    minors = list(dict.fromkeys(version for version, _ in reversed(headings)))
    unreleased = [version for version, mark in headings if mark]
    return minors, unreleased[0] if unreleased else None


def find_breaks(
    recorded: Mapping[str, Mapping[str, str]],
    surface: Surface,
    deprecations: Mapping[str, Mapping[str, str]],
    versions: list[str],
    unreleased: str | None,
) -> list[str]:
    """Return a line for every promise that is broken."""
    broken = []
    for name, entry in recorded.items():
        now = surface.get(name)
        if now == entry["is"] or entry["since"] == unreleased or _is_wider(entry["is"], now):
            continue
        what = "is gone" if now is None else f"was '{entry['is']}' and is '{now}'"
        reason = _forbids(deprecations.get(name), versions)
        if reason:
            broken.append(f"{name} {what}, {reason}")
    for name, what in surface.items():
        if name not in recorded and name.rpartition(".")[0] in recorded and what.endswith("required"):
            broken.append(f"{name} is new and required: give it a default")
    return broken


def _forbids(end: Mapping[str, str] | None, versions: list[str]) -> str:
    """Say why the end of something is not allowed yet; empty if it is."""
    if end is None:
        return "and was never deprecated"
    first, last = _number(end["deprecated_in"]), _number(end["removed_in"])
    if last > _number(versions[-1]):
        return f"but its end is announced for {end['removed_in']}"
    warned = [minor for minor in versions if first <= _number(minor) < last]
    return "" if len(warned) >= 2 else f"after {len(warned)} minor versions with a warning, and not two"


def _is_wider(before: str, now: str | None) -> bool:
    """Tell whether what was required is now optional, and nothing else has changed."""
    return now is not None and before.replace("required", "optional") == now


def _number(minor: str) -> tuple[int, ...]:
    return tuple(map(int, minor.split(".")))


def main() -> None:
    """Record what is there now."""
    minor = icf.__version__.rpartition(".")[0]
    recorded: dict[str, Any] = read_record()
    surface = list_surface()
    lines = {
        name: {"is": what, "since": recorded.get(name, {"since": minor})["since"]} for name, what in surface.items()
    }
    RECORD.write_text(
        "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in lines.items()) + "\n}\n"
    )


if __name__ == "__main__":
    main()
