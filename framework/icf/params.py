"""The base of every component's parameters."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """What a user may choose for one component.

    Subclass it, give every field a type, a default where there is a sensible one, bounds, and
    ``Field(description=...)`` with the unit where it has one. Instances are frozen and refuse
    unknown keys, so a misspelt parameter is an error that names the right one; defaults are checked like what
    a recipe gives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())
