"""Finds components among the parameters of another, and gives each what makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from icf.params import Nested, Params
from icf.validation import toml_path

Place: TypeAlias = tuple[str | int, ...]


def find_nested(value: Any, place: Place = ()) -> Iterator[tuple[Place, Nested]]:
    """Yield each nested component of parameters, with its place in them, such as ``("losses", 0)``."""
    if isinstance(value, Nested):
        yield place, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from find_nested(getattr(value, name), (*place, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_nested(item, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from find_nested(item, (*place, index))


def bind_nested(params: Params, factories: Mapping[str, Callable[[Any], Any]]) -> None:
    """Give each nested component its factory, which takes a context; they are named by place, such as ``losses[0]``."""
    for place, nested in find_nested(params):
        nested.bind(factories[toml_path(*place)])


def fill_nested(table: dict[str, Any], place: Place, params: Mapping[str, Any]) -> None:
    """Write the filled parameters of a nested component into the table of the outer one's parameters."""
    target: Any = table
    for part in place:
        target = target[part]
    target.update(params)


def list_names(value: Any) -> Iterator[str]:
    """Yield every text in parameters that may name a nested component."""
    if isinstance(value, str):
        if value.count("/") == 1:
            yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from list_names(item)
