"""What a plan says of one component: which one, with which parameters, and who provides it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from icf.components import ModelInfo, TargetKind
from icf.errors import IcfError, PluginError, one_line
from icf.nested import bind_nested
from icf.params import Params
from icf.plugins import load_object


class Frozen(BaseModel):
    """Data that is written to the plan as JSON, and read back exactly."""

    # Infinity stays infinity in JSON; pydantic would write null, and the plan would not read back as it was.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), ser_json_inf_nan="constants")


class Choice(Frozen):
    """A component that the recipe chose: its filled parameters, what builds it and where it comes from.

    ``name`` is what the recipe calls it, as it may call a metric, and ``attribute`` what a metric scores.
    ``nested`` are components among the parameters, by their place in these, such as ``losses[0]``.
    """

    ref: str
    kind: str
    name: str | None = None
    attribute: str | None = None
    factory: str
    params_type: str
    params: dict[str, Any]
    distribution: str
    version: str
    inspect: str | None = None
    maximize: bool = True
    targets: tuple[TargetKind, ...] = ("classes",)
    local_code: bool = False
    nested: dict[str, Choice] = {}

    @property
    def key(self) -> str:
        """What it is called in tables and files: its name, or else its component's, with its attribute."""
        return self.name or (f"{self.ref} of {self.attribute}" if self.attribute else self.ref)

    def build(self, ctx: Any) -> Any:
        """Return what the factory makes of the parameters and the context.

        Raises PluginError, which names the component and its source, for whatever goes wrong in the plugin;
        an IcfError of the plugin's own passes unchanged.
        """
        return self._call(self.factory, ctx)

    def walk(self) -> Iterator[Choice]:
        """Yield this component and all nested ones."""
        yield self
        for choice in self.nested.values():
            yield from choice.walk()

    def resolve(self) -> None:
        """Import what the component needs; raises PluginError for a string that does not resolve."""
        for path in (self.params_type, self.factory, self.inspect):
            if path is not None:
                self._load(path)

    def inspect_model(self, ctx: Any) -> ModelInfo:
        """Return what a model says of itself before it is built; raises PluginError as ``build`` does."""
        if self.inspect is None:
            return ModelInfo()
        info = self._call(self.inspect, ctx)
        if not isinstance(info, ModelInfo):
            raise PluginError(f"{self.source}: {self.inspect} returned {type(info).__name__}, not ModelInfo")
        return info

    @property
    def source(self) -> str:
        """The component and where it comes from, such as ``loss 'poly/poly' (icf-poly 1.0)``."""
        return f"{self.kind} '{self.ref}' ({self.distribution} {self.version})"

    def _call(self, path: str, ctx: Any) -> Any:
        params_type: type[Params] = self._load(self.params_type)
        function = self._load(path)
        try:
            params = params_type.model_validate(self.params)
            bind_nested(params, {place: choice.build for place, choice in self.nested.items()})
            return function(params, ctx)
        except IcfError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self.source} failed: {one_line(error)}") from error

    def _load(self, path: str) -> Any:
        try:
            return load_object(path)
        except PluginError as error:
            raise PluginError(f"{self.source}: {error}") from error


@dataclass(frozen=True)
class View:
    """What of an image a network sees beside the plain one: ``steps``, flips by name and transforms, in order.

    ``number`` is its place among the views of the recipe, from 1.
    """

    number: int
    steps: tuple[str | Choice, ...]

    @property
    def key(self) -> str:
        """A name that no other view has, unless it is the same flips."""
        names = " + ".join(step if isinstance(step, str) else step.ref for step in self.steps)
        return names if all(isinstance(step, str) for step in self.steps) else f"{self.number}: {names}"

    @property
    def transforms(self) -> tuple[Choice, ...]:
        """The steps that are components."""
        return tuple(step for step in self.steps if isinstance(step, Choice))


class ObserverChoice(Frozen):
    """A plugin whose event hooks, functions of ``module``, are called during the run."""

    name: str
    module: str
    distribution: str
    version: str

    @property
    def source(self) -> str:
        """The plugin and where it comes from, such as ``observer 'tensorboard' (icf 0.1.0)``."""
        return f"observer '{self.name}' ({self.distribution} {self.version})"
