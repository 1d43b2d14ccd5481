"""Recipe + catalogue -> Plan: everything that a run needs to know, resolved and frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import icf
from icf.choice import Choice, Frozen, ObserverChoice, View
from icf.errors import PluginError, Problem, RecipeError
from icf.local import LocalPlugin, read_local_plugins
from icf.plugins import Catalogue, load_plugins, plugin_names
from icf.recipe import (
    COMPONENT_SECTIONS,
    TRANSFORM_LISTS,
    RawRecipe,
    Recipe,
    component_tables,
    find_idle_settings,
    named_refs,
    parse_recipe,
    plain,
    read_recipe,
)
from icf.resolver import Resolver
from icf.validation import find_problems, toml_path

__all__ = ["Choice", "ObserverChoice", "Plan", "load_plan", "make_plan"]

FORMAT = 1


class Plan(Frozen):
    """A run as it will be done.

    ``metrics`` begins with the one that chooses the best epoch; ``view_transforms`` are those of all test-time views.
    """

    format: int = FORMAT
    icf_version: str
    name: str
    recipe: Recipe
    dataset: Choice
    model: Choice
    loss: Choice
    optimizer: Choice
    scheduler: Choice
    sampler: Choice
    ensembler: Choice
    metrics: tuple[Choice, ...]
    shared_transforms: tuple[Choice, ...] = ()
    train_transforms: tuple[Choice, ...] = ()
    mixers: tuple[Choice, ...] = ()
    view_transforms: tuple[Choice, ...] = ()
    head_losses: tuple[Choice | None, ...] = ()
    observers: tuple[ObserverChoice, ...] = ()
    warnings: tuple[str, ...] = ()
    local_plugins: tuple[LocalPlugin, ...] = ()

    @property
    def identity(self) -> str:
        """Twelve hexadecimal digits that change with everything that can change the numbers."""
        # The version of a choice from a local plugin is the hash of its file or folder.
        payload = self.model_dump(mode="json", exclude={"name", "observers", "warnings", "local_plugins"})
        if any(choice.local_code for choice in self.choices()):
            payload["local_code"] = sorted(plugin.hash for plugin in self.local_plugins if plugin.folder)
        payload["recipe"] = _settings(payload["recipe"])
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def choices(self) -> tuple[Choice, ...]:
        """Return every component that the recipe chose, nested ones among them."""
        single = (getattr(self, kind) for kind in COMPONENT_SECTIONS.values())
        heads = (choice for choice in self.head_losses if choice is not None)
        transforms = (*self.shared_transforms, *self.train_transforms, *self.mixers, *self.view_transforms)
        return _flatten((*single, *self.metrics, *transforms, *heads))

    @property
    def views(self) -> tuple[View, ...]:
        """What networks see of an image at test time beside the plain one."""
        transforms = iter(self.view_transforms)
        return tuple(
            View(number, tuple(step if isinstance(step, str) else next(transforms) for step in steps))
            for number, steps in enumerate(self.recipe.inference.views, 1)
        )

    def find_local_plugins(self, choices: Collection[Choice]) -> tuple[LocalPlugin, ...]:
        """Return the local plugins whose code some of the choices execute."""
        used = _flatten(choices)
        names = plugin_names(choice.ref for choice in used)
        return _select(self.local_plugins, names, any(choice.local_code for choice in used))

    def filled_recipe(self) -> RawRecipe:
        """Return the recipe with every default and every parameter of its components filled in."""
        filled = self.recipe.model_dump(mode="json", exclude_none=True)
        for section, kind in COMPONENT_SECTIONS.items():
            filled[section] |= _as_table(getattr(self, kind))
        filled["metrics"] |= {
            "select": _as_table(self.metrics[0]),
            "report": [_as_table(choice) for choice in self.metrics[1:]],
        }
        filled["transforms"] |= {
            "shared": [_as_table(choice) for choice in self.shared_transforms],
            "train": [_as_table(choice) for choice in self.train_transforms],
            "mix": [_as_table(choice) for choice in self.mixers],
        }
        filled["inference"]["tta"] = [_as_view(view) for view in self.views]
        for head, choice in zip(filled["targets"]["heads"], self.head_losses, strict=True):
            if choice is not None:
                head["loss"] = _as_table(choice)
        return filled

    def to_json(self) -> str:
        """Return the plan as indented JSON, which ``from_json`` reads back exactly."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what ``to_json`` wrote; raises RecipeError for anything else."""
        title = "the plan can't be read"
        try:
            data = json.loads(text)
        except ValueError as error:
            raise RecipeError(title, [Problem("plan.json", f"is no JSON: {error}")]) from error
        found = data.get("format") if isinstance(data, dict) else None
        if found != FORMAT:
            message = f"found {found!r}; this version of icf reads format {FORMAT}"
            raise RecipeError(title, [Problem("format", message)])
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise RecipeError(title, find_problems(error, data, cls)) from error


def _select(local: Iterable[LocalPlugin], names: Collection[str], local_code: bool) -> tuple[LocalPlugin, ...]:
    """Return the plugins with one of the names, and with ``local_code`` every folder: an adapter may look there."""
    return tuple(
        plugin for plugin in local if (plugin.has_hooks and plugin.name in names) or (plugin.folder and local_code)
    )


def _flatten(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    return tuple(item for choice in choices for item in choice.walk())


def _as_table(choice: Choice) -> dict[str, Any]:
    own = {key: value for key in ("name", "attribute") if (value := getattr(choice, key)) is not None}
    return {"use": choice.ref} | own | choice.params


def _as_view(view: View) -> Any:
    """Write a view as a recipe does: one step needs no array."""
    steps = [step if isinstance(step, str) else _as_table(step) for step in view.steps]
    return steps if len(steps) > 1 else steps[0]


IDLE_COMPUTE = {"executor", "max_concurrent_folds", "max_failures", "prefetch", "checkpoint_minutes", "storage"}
"""Keys of the section compute that can't change a result."""


def _settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """Drop from a recipe what the choices hold already, and what can't change a result."""
    settings = {key: value for key, value in recipe.items() if key not in {"problem", "observers", "metrics", "cache"}}
    for section in COMPONENT_SECTIONS:
        own_keys = Recipe.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
        settings[section] = {key: recipe[section][key] for key in own_keys if key != "use"}
    settings["targets"]["heads"] = [_without(head, {"loss"}) for head in recipe["targets"]["heads"]]
    settings["inference"] = recipe["inference"] | {"tta": [_name_steps(view) for view in recipe["inference"]["tta"]]}
    settings["transforms"] = _without(recipe["transforms"], TRANSFORM_LISTS)
    settings["compute"] = _without(recipe["compute"], IDLE_COMPUTE)
    return settings


def _name_steps(view: Any) -> list[str]:
    steps = view if isinstance(view, list) else [view]
    return [step["use"] if isinstance(step, dict) else step for step in steps]


def _without(table: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def load_plan(
    path: Path, overrides: Sequence[str] = (), blocked: Collection[str] = (), plugin_files: Iterable[Path] = ()
) -> Plan:
    """Read a recipe, import the plugins that it names and those in ``plugin_files``, and resolve it.

    ``plugin_files`` are files and folders. Raises RecipeError with everything that is wrong with the recipe, and
    PluginError for a file or folder that can't be used, or that is missing, and UsageError for a plugin in
    ``blocked`` that is not installed.
    """
    raw = read_recipe(path, overrides)
    local = read_local_plugins(plugin_files)
    catalogue = load_plugins(only=plugin_names(named_refs(raw)), blocked=blocked, local=local)
    for plugin in local:
        if plugin.has_hooks:
            catalogue.plugin(plugin.name)
    plan = make_plan(raw, catalogue, Path(path).stem, local)
    adapters = sorted({choice.ref for choice in plan.choices() if choice.local_code})
    if adapters and not any(plugin.folder for plugin in local):
        *others, last = adapters
        subject = f"{', '.join(others)} and {last} take their" if others else f"{last} takes its"
        raise PluginError(
            f"{subject} code from a folder that is named on the command line, never in a recipe: --plugin FOLDER"
        )
    return plan


def make_plan(raw: RawRecipe, catalogue: Catalogue, name: str, local: Sequence[LocalPlugin] = ()) -> Plan:
    """Resolve a recipe; raises RecipeError with the problems of all its sections and components at once.

    Of the ``local`` plugins, the plan keeps those that the recipe names, and folders if a component takes code from
    them.
    """
    recipe, problems = parse_recipe(raw)
    resolver = Resolver(catalogue)
    data = plain(raw)
    choices = {table.path: resolver.choose(table) for table in component_tables(data)}
    observers = resolver.observe(data.get("observers", []))
    problems += resolver.problems + _find_repeated_keys(choices)
    if recipe is None or problems:
        raise RecipeError(f"recipe '{name}' can't be used", problems)
    resolved = {path: choice for path, choice in choices.items() if choice is not None}
    single = {kind: resolved[(section,)] for section, kind in COMPONENT_SECTIONS.items()}
    chosen = _flatten(resolved.values())
    used = plugin_names([*(choice.ref for choice in chosen), *(item.name for item in observers)])
    kept = _select(local, used, any(choice.local_code for choice in chosen))
    unused = [_explain_unused(plugin) for plugin in local if plugin not in kept]
    return Plan(
        icf_version=icf.__version__,
        name=name,
        recipe=recipe,
        **single,
        metrics=_without_repeats([resolved["metrics", "select"], *_array(resolved, "metrics", "report")]),
        shared_transforms=_array(resolved, "transforms", "shared"),
        train_transforms=_array(resolved, "transforms", "train"),
        mixers=_array(resolved, "transforms", "mix"),
        view_transforms=tuple(choice for path, choice in resolved.items() if path[:2] == ("inference", "tta")),
        head_losses=tuple(
            resolved.get(("targets", "heads", place, "loss")) for place in range(len(recipe.targets.heads))
        ),
        observers=observers,
        warnings=(*resolver.warnings, *find_idle_settings(recipe), *unused),
        local_plugins=kept,
    )


def _explain_unused(plugin: LocalPlugin) -> str:
    if plugin.has_hooks:
        return f"--plugin {plugin.path}: the recipe names nothing of it"
    return f"--plugin {plugin.path}: no component of the recipe takes code from a folder, as baseline/model does"


def _array(choices: dict[tuple[str | int, ...], Choice], section: str, key: str) -> tuple[Choice, ...]:
    return tuple(choice for path, choice in choices.items() if len(path) == 3 and path[:2] == (section, key))


def _without_repeats(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    return tuple(choice for index, choice in enumerate(choices) if choice not in choices[:index])


def _find_repeated_keys(choices: Mapping[tuple[str | int, ...], Choice | None]) -> list[Problem]:
    """Return a problem for each metric whose key in tables and files another one has."""
    problems, taken = [], {"epoch": "a column of history.csv"}
    seen: list[Choice] = []
    for path, choice in choices.items():
        if choice is None or choice.kind != "metric" or choice in seen:
            continue
        if choice.key in taken:
            message = f"'{choice.key}' is taken by {taken[choice.key]}; give this metric a name of its own, such as"
            problems.append(Problem(toml_path(*path), f'{message} name = "{choice.ref.partition("/")[2]}-2"'))
        taken.setdefault(choice.key, toml_path(*path))
        seen.append(choice)
    return problems
