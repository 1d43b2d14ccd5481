"""Signatures of functions and classes, as code."""

from __future__ import annotations

import inspect
from typing import Any

WIDTH = 88
"""Characters after which a signature gets a line for each parameter, so that it fits beside a menu."""


class _Bare(str):
    """An annotation that is shown without quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__


def write_signature(name: str, value: Any) -> str:
    """Return how something is called, on one line or with a line for each parameter."""
    if inspect.isclass(value) and issubclass(value, Exception) and "__init__" not in vars(value):
        return f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
    signature = inspect.signature(value)
    parameters = [item.replace(annotation=_bare(item.annotation)) for item in signature.parameters.values()]
    returns = f" -> {signature.return_annotation}" if inspect.isroutine(value) else ""
    shown = [str(item).replace("<factory>", "...") for item in parameters if item.name != "self"]
    named = [number for number, item in enumerate(parameters) if item.kind is item.KEYWORD_ONLY]
    if named:
        shown.insert(named[0] - (len(parameters) - len(shown)), "*")
    line = f"{name}({', '.join(shown)}){returns}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {item}," for item in shown), f"){returns}"])


def _bare(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation
