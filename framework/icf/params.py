"""The base of every component's parameters, and components among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from icf.errors import PluginError


class Params(BaseModel):
    """What a user may choose for one component.

    Subclass it, give every field a type, a default where there is a sensible one, bounds, and
    ``Field(description=...)`` with the unit where it has one. Instances are frozen and refuse
    unknown keys, so a misspelt parameter is an error that names the right one; defaults are checked like what
    a recipe gives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())


class NamedComponent(BaseModel):
    """A component and its parameters: every key but ``use`` (and a subclass's own keys) is a parameter."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=(), ser_json_inf_nan="constants")

    use: str = Field(description="Name of the component, 'plugin/component'")

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that the recipe gives, not yet checked by the component."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_name(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value


class Nested(NamedComponent):
    """A component among the parameters of another: its name, or a table of ``use`` and its parameters.

    A field of Params whose type is a subclass, such as ``icf.NestedLoss``, or an array of such, takes components of
    that kind. icf looks each up and checks its parameters, as it does for a section of a recipe; the factory
    gets it by ``params.FIELD.build(ctx)``. A subclass may have fields of its own, such as a weight. A default must be
    of the same plugin.
    """

    kind: ClassVar[str]

    _factory: Callable[[Any], Any] | None = PrivateAttr(default=None)

    def bind(self, factory: Callable[[Any], Any]) -> None:
        """Take what ``build`` calls; icf does that before the factory of the outer component gets the parameters."""
        self._factory = factory

    def build(self, ctx: Any) -> Any:
        """Return what the component's factory makes of its parameters and the context.

        Raises PluginError for whatever goes wrong in it, and if icf has not looked it up.
        """
        if self._factory is None:
            raise PluginError(f"'{self.use}' was not looked up; icf.testing and recipes do it")
        return self._factory(ctx)


class NestedLoss(Nested):
    """A loss among the parameters of another component."""

    kind: ClassVar[str] = "loss"


class NestedOptimizer(Nested):
    """An optimizer among the parameters of another component."""

    kind: ClassVar[str] = "optimizer"
