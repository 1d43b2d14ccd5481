"""Looks the components of a recipe up in a catalogue, and checks their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from icf.choice import Choice, ObserverChoice
from icf.errors import PluginError, Problem, one_line
from icf.nested import Place, fill_nested, find_nested
from icf.params import Params
from icf.plugins import Catalogue, Entry
from icf.recipe import ComponentTable
from icf.validation import find_problems, toml_path


class Resolver:
    """Looks names up in a catalogue and checks parameters, collecting what is wrong."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def choose(self, table: ComponentTable) -> Choice | None:
        """Return the component with its parameters; None if it can't be used, and a problem says why."""
        try:
            entry = self.catalogue.find(table.kind, table.ref)
        except PluginError as error:
            self.problems.append(Problem(toml_path(*table.path), str(error)))
            return None
        params_type = entry.descriptor.params
        try:
            params = params_type.model_validate(table.params)
        except ValidationError as error:
            found = find_problems(error, table.params, params_type, table.path)
            source = f"[{entry.ref}, {entry.plugin.source}]"
            self.problems += [Problem(problem.where, f"{problem.message} {source}") for problem in found]
            return None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a validator is a plugin's code, too
            message = f"{entry.kind} '{entry.ref}' ({entry.plugin.source}) can't read its parameters: {one_line(error)}"
            self.problems.append(Problem(toml_path(*table.path), message))
            return None
        if entry.descriptor.deprecated is not None:
            where = toml_path(*table.path)
            self.warnings.append(f"{where}: '{table.ref}' is deprecated: {entry.descriptor.deprecated}")
        nested = self.choose_nested(params, table.path)
        return None if nested is None else _make_choice(entry, params, table, nested)

    def choose_nested(self, params: Params, path: Place = ()) -> dict[Place, Choice] | None:
        """Return the components among parameters, by their place in these; None if one can't be used."""
        tables = {
            place: ComponentTable((*path, *place), item.kind, item.use, item.params)
            for place, item in find_nested(params)
        }
        found = {place: choice for place, table in tables.items() if (choice := self.choose(table)) is not None}
        return found if len(found) == len(tables) else None

    def observe(self, names: Any) -> tuple[ObserverChoice, ...]:
        """Return the observers; a problem says which can't be used."""
        observers = []
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if not isinstance(name, str):
                continue
            try:
                plugin = self.catalogue.observer(name)
            except PluginError as error:
                self.problems.append(Problem(toml_path("observers", index), str(error)))
            else:
                observers.append(
                    ObserverChoice(
                        name=name,
                        module=plugin.module,
                        distribution=plugin.distribution,
                        version=plugin.version,
                    )
                )
        return tuple(observers)


def _make_choice(entry: Entry, params: Params, table: ComponentTable, nested: Mapping[Place, Choice]) -> Choice:
    descriptor = entry.descriptor
    filled = params.model_dump(mode="json")
    for place, choice in nested.items():
        fill_nested(filled, place, choice.params)
    return Choice(
        ref=entry.ref,
        kind=entry.kind,
        name=table.name,
        attribute=table.attribute,
        factory=descriptor.factory,
        params_type=f"{type(params).__module__}:{type(params).__qualname__}",
        params=filled,
        distribution=entry.plugin.distribution,
        version=entry.plugin.version,
        inspect=getattr(descriptor, "inspect", None),
        maximize=getattr(descriptor, "maximize", True),
        targets=descriptor.targets,
        local_code=descriptor.local_code,
        nested={toml_path(*place): choice for place, choice in nested.items()},
    )
