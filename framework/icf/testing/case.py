"""What a check gets, and what it raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias
from unittest import SkipTest

from pydantic import ValidationError

from icf.catalogue import PluginInfo
from icf.components import Component
from icf.nested import bind_nested, find_nested
from icf.params import Params
from icf.plugins import load_object, load_plugins, plugin_names
from icf.resolver import Resolver
from icf.validation import find_problems, toml_path

Example: TypeAlias = Mapping[str, Any]
"""Parameters of a component, as a recipe would give them."""

Given: TypeAlias = Example | Sequence[Example] | Callable[[Path], Example | Sequence[Example]]
"""One example, several, or a function that makes them, with their files, in an empty folder."""


class CheckFailure(AssertionError):  # noqa: N818 - the word of pytest for a test that finds something
    """A component breaks a sentence of the contract; the text says how, for the plugin's author."""


class CheckSkipped(SkipTest):
    """A check that says nothing about this component; the text says why. pytest skips the test."""


def expect(condition: object, message: str) -> None:
    """Raise CheckFailure with the message unless the condition holds."""
    if not condition:
        raise CheckFailure(message)


@dataclass(frozen=True)
class Case:
    """A component with one choice of parameters, and an empty folder for what it writes."""

    plugin: PluginInfo
    descriptor: Component
    example: Example
    folder: Path

    @cached_property
    def params(self) -> Params:
        """The parameters; raises CheckSkipped if some are required and no example gives them."""
        model = self.descriptor.params
        missing = [name for name, field in model.model_fields.items() if field.is_required()]
        if missing and not self.example:
            raise CheckSkipped(f"needs an example of its parameters ({', '.join(missing)})")
        try:
            return model.model_validate(dict(self.example))
        except ValidationError as error:
            problems = find_problems(error, dict(self.example), model)
            raise CheckFailure("; ".join(map(str, problems))) from None

    def build(self, ctx: Any) -> Any:
        """Return what the factory makes of the parameters and the context."""
        self._bind_nested()
        return load_object(self.descriptor.factory)(self.params, ctx)

    def _bind_nested(self) -> None:
        names = [nested.use for _, nested in find_nested(self.params)]
        if not names:
            return
        local = [self.plugin.local] if self.plugin.local else []
        resolver = Resolver(load_plugins(only=plugin_names(names), local=local))
        found = resolver.choose_nested(self.params)
        if found is None:
            raise CheckFailure("; ".join(map(str, resolver.problems)))
        bind_nested(self.params, {toml_path(*place): choice.build for place, choice in found.items()})
