"""What plugins, recipes and scripts may rely on, recorded: ``python -m docs.reference.surface`` adds what is new.

The record is docs/plugins/surface.json: name -> the version that brought it, whether it must be given, and the
version that deprecated it. What is recorded may vanish two minor versions after it was deprecated, not before.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import typer

import icf
import icf.testing
from icf import hookspecs
from icf.cli.main import app
from icf.sections import ComponentSection, Recipe, Section

RECORD = Path(__file__).parents[1] / "plugins" / "surface.json"

MINORS = 2
"""A deprecated name stays for so many minor versions."""

Entry = dict[str, Any]


def describe_surface() -> dict[str, bool]:
    """Return every public name, and whether whoever uses it must give it (a field without a default)."""
    return dict(sorted(chain(_list_names(), _list_fields(), _list_recipe(), _list_commands())))


def _list_names() -> Iterator[tuple[str, bool]]:
    for name in icf.__all__:
        yield f"icf.{name}", False
    for name in icf.testing.__all__:
        yield f"icf.testing.{name}", False
    for name, hook in vars(hookspecs).items():
        if name.startswith("icf_"):
            yield f"hook {name}({', '.join(inspect.signature(hook).parameters)})", False


def _list_fields() -> Iterator[tuple[str, bool]]:
    for name in icf.__all__:
        cls = getattr(icf, name)
        if inspect.isclass(cls) and dataclasses.is_dataclass(cls):
            for field in dataclasses.fields(cls):
                missing = field.default is field.default_factory is dataclasses.MISSING
                # icf makes contexts itself, so no plugin can fail for a field that it does not give.
                yield f"icf.{name}.{field.name}", missing and not name.endswith("Context")


def _list_recipe() -> Iterator[tuple[str, bool]]:
    for name, field in Recipe.model_fields.items():
        yield f"recipe {name}", field.is_required()
        section = field.annotation
        if inspect.isclass(section) and issubclass(section, Section | ComponentSection):
            for key, inner in section.model_fields.items():
                yield f"recipe {name}.{key}", inner.is_required()


def _list_commands() -> Iterator[tuple[str, bool]]:
    group: Any = typer.main.get_command(app)
    for verb, command in group.commands.items():
        yield f"icf {verb}", False
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    yield f"icf {verb} {option}", bool(parameter.required)


def read_record() -> dict[str, Entry]:
    """Return the record."""
    record: dict[str, Entry] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return record


def find_breaks(record: Mapping[str, Entry], surface: Mapping[str, bool], version: str) -> list[str]:
    """Return what breaks those who rely on the record: names that vanished too early, and fields now required."""
    breaks = []
    for name, entry in record.items():
        if name not in surface:
            deprecated = entry.get("deprecated")
            if deprecated is None:
                breaks.append(f"{name} has vanished; deprecate it first, for {MINORS} minor versions")
            elif _count_minors(deprecated, version) < MINORS:
                breaks.append(f"{name} has vanished, but it is deprecated only since {deprecated}")
        elif surface[name] and not entry["required"]:
            breaks.append(f"{name} must be given now; give it a default")
    return breaks


def _count_minors(earlier: str, later: str) -> int:
    """Return the minor versions between two versions; a new major version counts for enough of them."""
    (major, minor), (new_major, new_minor) = (tuple(map(int, text.split(".")[:2])) for text in (earlier, later))
    return MINORS if new_major > major else new_minor - minor


def update_record(record: Mapping[str, Entry], surface: Mapping[str, bool], version: str) -> dict[str, Entry]:
    """Return the record with what is new; nothing is taken away but what may vanish."""
    since = ".".join(version.split(".")[:2])
    added = {name: {"since": since, "required": given} for name, given in surface.items() if name not in record}
    kept = {name: entry for name, entry in record.items() if name in surface}
    return dict(sorted({**kept, **added}.items()))


def main() -> int:
    """Write the record, unless something breaks it; return the exit code."""
    record, surface = read_record(), describe_surface()
    breaks = find_breaks(record, surface, icf.__version__)
    print("\n".join(breaks) or f"{len(surface)} public names")
    if not breaks:
        lines = [
            f"{json.dumps(name)}: {json.dumps(entry)}"
            for name, entry in update_record(record, surface, icf.__version__).items()
        ]
        RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return int(bool(breaks))


if __name__ == "__main__":
    sys.exit(main())
