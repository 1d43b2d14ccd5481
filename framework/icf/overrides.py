"""Reads recipe files: what they extend, and what the command line overrides."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icf.errors import Problem, RecipeError

RawRecipe = dict[str, Any]
"""A recipe as TOML has it: nothing checked, nothing filled in."""


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> RawRecipe:
    """Read a recipe file, with everything that it extends and with ``section.key=value`` overrides.

    Raises RecipeError if a file is missing or is no TOML, if files extend each other in a circle, or if an
    override is malformed.
    """
    raw = _read_extended(Path(path), ())
    return merge(raw, parse_overrides(overrides, raw)) if overrides else raw


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> RawRecipe:
    """Lay one table over another: tables merge, arrays and values replace.

    A component other than the base's starts afresh, so that no parameter of the base's leaks into it.
    """
    merged = dict(base)
    for key, new in change.items():
        old = merged.get(key)
        if _is_component(old, new):
            old, new = _as_table(old), _as_table(new)
        if isinstance(old, dict) and isinstance(new, dict) and not _is_another(old, new):
            new = merge(old, new)
        merged[key] = new
    return merged


def _is_component(old: Any, new: Any) -> bool:
    """Tell whether one value is a component's name and the other its table."""
    return {type(old), type(new)} == {str, dict}


def _as_table(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


def _is_another(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return "use" in old and "use" in new and old["use"] != new["use"]


def _read_extended(path: Path, readers: tuple[Path, ...]) -> RawRecipe:
    if path.resolve() in readers:
        circle = " -> ".join(file.name for file in (*readers, path))
        raise _unreadable(path, "extends", f"the files extend each other in a circle: {circle}")
    raw = _read_toml(path)
    if "extends" not in raw:
        return raw
    base = raw.pop("extends")
    if not isinstance(base, str):
        raise _unreadable(path, "extends", f'found {base!r}; must be a file name, such as "base.toml"')
    return merge(_read_extended(path.parent / base, (*readers, path.resolve())), raw)


def _read_toml(path: Path) -> RawRecipe:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _unreadable(path, f"line {line}", "the file is not UTF-8 text; save it as UTF-8") from error
    except IsADirectoryError as error:
        raise _unreadable(path, "file", "is a folder; name the recipe file in it") from error
    except FileNotFoundError as error:
        raise _unreadable(path, "file", "does not exist") from error
    except OSError as error:
        raise _unreadable(path, "file", f"can't be read: {error.strerror}") from error
    if text.startswith("\ufeff"):
        raise _unreadable(path, "line 1", "begins with a byte order mark; save the file without one")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unreadable(path, "TOML", str(error)) from error


def _unreadable(path: Path, where: str, message: str) -> RecipeError:
    return RecipeError(f"recipe {path} can't be read", [Problem(where, message)])


def parse_overrides(overrides: Sequence[str], raw: Mapping[str, Any]) -> RawRecipe:
    """Turn ``section.key=value`` texts into one table; later ones win. Raises RecipeError."""
    change: RawRecipe = {}
    problems = []
    for text in overrides:
        try:
            path, value = _split_override(text)
            _refuse_array(path, raw)
        except ValueError as error:
            problems.append(Problem(f"--set {text}", str(error)))
        else:
            _assign(change, path, value)
    if problems:
        raise RecipeError("overrides can't be used", problems)
    return change


def _split_override(text: str) -> tuple[list[str], Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError("no '=' in it; write section.key=value")
    try:
        path = _single_path(tomllib.loads(f"{key.strip()} = 0"))
    except tomllib.TOMLDecodeError:
        path = []
    if not path:
        raise ValueError(f"'{key}' is no TOML path; write section.key=value")
    if path == ["extends"]:
        raise ValueError("'extends' can only stand in a recipe file")
    return path, _parse_value(value.strip())


def _single_path(table: dict[str, Any]) -> list[str]:
    """Return the keys that lead to the only value in nested tables; nothing if there are several."""
    path = []
    current: Any = table
    while isinstance(current, dict):
        if len(current) != 1:
            return []
        [(key, current)] = current.items()
        path.append(key)
    return path


def _parse_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if list(table) == ["value"] else text


def _refuse_array(path: Sequence[str], raw: Mapping[str, Any]) -> None:
    current: Any = raw
    for position, key in enumerate(path):
        if isinstance(current, list):
            array = ".".join(path[:position])
            raise ValueError(f"{array} is an array, which can only be set whole: {array}=[...]")
        current = current.get(key) if isinstance(current, dict) else None


def _assign(table: RawRecipe, path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        table[key] = _as_table(table.get(key, {}))
        if not isinstance(table[key], dict):
            table[key] = {}
        table = table[key]
    table[path[-1]] = value
