"""What sections are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict

from icf.params import NamedComponent

Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Side = Annotated[int, Strict(), Field(ge=1, le=4096)]


class Section(BaseModel):
    """A table of the recipe; unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ComponentSection(NamedComponent):
    """A table of the recipe that names a component: every key but ``use`` and its own keys is a parameter."""


def fill_use(ref: str) -> Callable[[Any], Any]:
    """Let a section with a default component give parameters without naming the component."""

    def fill(value: Any) -> Any:
        return {"use": ref} | value if isinstance(value, dict) else value

    return fill
