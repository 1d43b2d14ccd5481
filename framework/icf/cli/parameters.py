"""Tells a person, or a program, which parameters a component takes."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from icf.params import Nested, Params

_SIMPLE_NAMES = {
    int: "whole number",
    float: "number",
    str: "string",
    bool: "true or false",
    Path: "path",
    Any: "anything",
    type(None): "none",
}
_COMPARISONS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
_LENGTHS = {"min_length": ">=", "max_length": "<="}


@dataclass(frozen=True)
class Parameter:
    """One parameter; ``default`` is a JSON value, and means nothing where the parameter is required."""

    name: str
    type: str
    required: bool
    default: Any
    bounds: str
    description: str

    @property
    def shown_default(self) -> str:
        """The default as it would stand in a recipe."""
        if self.required:
            return "required"
        return "none" if self.default is None else json.dumps(self.default, ensure_ascii=False)


def list_parameters(params: type[Params]) -> list[Parameter]:
    """Return the parameters of a component in the order of their definition."""
    return [_describe(name, field) for name, field in params.model_fields.items()]


def _describe(name: str, field: FieldInfo) -> Parameter:
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    return Parameter(
        name=name,
        type=type_name(field.annotation),
        required=field.is_required(),
        default=_as_json(default),
        bounds=", ".join(dict.fromkeys([*_bounds(field.metadata), *_nested_bounds(field.annotation)])),
        description=field.description or "",
    )


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return json.loads(json.dumps(value, default=str))


def type_name(annotation: Any) -> str:
    """Write a type in the words of a recipe, such as ``whole number or none``."""
    if annotation in _SIMPLE_NAMES:
        return _SIMPLE_NAMES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(type_name(argument) for argument in arguments)
    if origin is tuple and Ellipsis not in arguments:
        return f"[{', '.join(type_name(argument) for argument in arguments)}]"
    if origin in {tuple, list, set, frozenset}:
        return f"array of {type_name(arguments[0])}"
    if origin is dict:
        return f"table of {type_name(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Nested):
        return annotation.kind
    return "table" if isinstance(annotation, type) and issubclass(annotation, BaseModel) else str(annotation)


def _nested_bounds(annotation: Any) -> Iterator[str]:
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        yield from _bounds(arguments[1:])
    if get_origin(annotation) is not Literal:
        for argument in arguments:
            yield from _nested_bounds(argument)


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _bounds(item.metadata)
        for name, sign in _COMPARISONS.items():
            if (limit := getattr(item, name, None)) is not None:
                yield f"{sign} {limit}"
        for name, sign in _LENGTHS.items():
            if limit := getattr(item, name, None):
                yield f"length {sign} {limit}"
