"""Turns what pydantic found wrong into lines for a person, each with its TOML path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from icf.errors import Problem, did_you_mean

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

_LONGEST_VALUE = 60


def toml_path(*parts: str | int) -> str:
    """Write a path as a person would look for it, such as ``transforms.train[1].p``."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + (part if _BARE_KEY.fullmatch(part) else json.dumps(part))
    return path


def show_value(value: Any) -> str:
    """Write a value as it would stand in a recipe, cut to one short line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def find_problems(
    error: ValidationError, data: Any, model: type[BaseModel], prefix: Sequence[str | int] = ()
) -> list[Problem]:
    """Translate every error that ``model`` found in ``data``, one problem per place.

    ``prefix`` is where ``data`` stands in the recipe. Several complaints about one value (the members
    of a union) become one line.
    """
    found: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        if _is_echo(item):
            continue
        where = toml_path(*prefix, *_existing_path(item["loc"], data)) or "recipe"
        message = _explain(item, model)
        if where in found:
            message = message.removeprefix(_found(item["input"]))
        if message not in found.setdefault(where, []):
            found[where].append(message)
    return [Problem(where, ", or ".join(messages)) for where, messages in found.items()]


def _is_echo(item: Any) -> bool:
    """Tell whether an array is called too short only because some of its entries were refused."""
    return bool(item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"])


def _existing_path(location: Iterable[str | int], data: Any) -> list[str | int]:
    """Keep the parts of a pydantic location that are keys of the data, not names of union members."""
    path: list[str | int] = []
    parts = list(location)
    for position, part in enumerate(parts):
        is_last = position == len(parts) - 1
        if isinstance(data, dict) and (part in data or (is_last and isinstance(part, str))):
            path.append(part)
            data = data.get(part)
        elif isinstance(data, list | tuple) and isinstance(part, int):
            path.append(part)
            data = data[part] if part < len(data) else None
    return path


def _explain(item: Any, model: type[BaseModel]) -> str:
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        name = str(item["loc"][-1])
        noun = "section" if isinstance(value, dict) and len(item["loc"]) == 1 else "key"
        return f"unknown {noun} {name!r}{did_you_mean(name, _allowed_keys(item['loc'], model))}"
    if kind == "missing":
        return f"is missing{_description(item['loc'], model)}"
    allowed = _EXPLAIN.get(kind, _plain_message)(item)
    return _found(value) + allowed


def _found(value: Any) -> str:
    return f"found {show_value(value)}; "


def _literal_message(item: Any) -> str:
    values = re.findall(r"'((?:[^'\\]|\\.)*)'", item["ctx"]["expected"])
    if isinstance(item["input"], str) and values:
        return did_you_mean(item["input"], values).removeprefix("; ").removeprefix(";").strip()
    return f"allowed: {item['ctx']['expected']}"


def _plain_message(item: Any) -> str:
    message: str = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("Input should be", "must be").replace("should", "must")
    return re.sub(r" or an instance of \w+", "", message)


_EXPLAIN: dict[str, Callable[[Any], str]] = {
    "literal_error": _literal_message,
    "dict_type": lambda _: "must be a table",
    "model_type": lambda _: "must be a table",
    "model_attributes_type": lambda _: "must be a component's name or a table",
    "int_type": lambda _: "must be a whole number",
    "int_parsing": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "float_parsing": lambda _: "must be a number",
    "string_type": lambda _: "must be a string",
    "bool_type": lambda _: "must be true or false",
    "bool_parsing": lambda _: "must be true or false",
    "too_short": lambda item: f"must have at least {item['ctx']['min_length']} entries",
    "too_long": lambda item: f"must have at most {item['ctx']['max_length']} entries",
    "list_type": lambda _: "must be an array",
    "tuple_type": lambda _: "must be an array",
}


def _model_at(location: Sequence[str | int], model: type[BaseModel]) -> type[BaseModel] | None:
    """Follow a location through nested models; None where it leads out of them."""
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, str) and current is not None and part in current.model_fields:
            current = _nested_model(current.model_fields[part].annotation)
    return current


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (nested := _nested_model(argument)) is not None:
            return nested
    return None


def _allowed_keys(location: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    owner = _model_at(location[:-1], model)
    return list(owner.model_fields) if owner is not None else []


def _description(location: Sequence[str | int], model: type[BaseModel]) -> str:
    owner = _model_at(location[:-1], model)
    field = owner.model_fields.get(str(location[-1])) if owner is not None else None
    return f": {field.description}" if field is not None and field.description else ""
