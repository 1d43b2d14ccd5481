"""Finds plugins, imports each on its own, and says what became of it."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from itertools import groupby
from types import ModuleType
from typing import Any

import pluggy
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import icf
from icf import hookspecs
from icf.catalogue import NAME, Catalogue, Entry, PluginInfo, Status, plugin_names
from icf.components import KINDS, Component
from icf.errors import PluginError, UsageError, did_you_mean, one_line, suggest
from icf.local import LocalPlugin, import_local_plugin
from icf.params import Params

__all__ = [
    "Catalogue",
    "Entry",
    "PluginInfo",
    "Status",
    "hook_name",
    "list_unknown_blocks",
    "load_object",
    "load_plugins",
    "plugin_names",
    "register_module",
]

BLOCK_VARIABLE = "ICF_DISABLE_PLUGINS"
"""Environment variable with the names of plugins that are not to be imported, separated by commas."""

EVENT_HOOKS = ("icf_run_start", "icf_fold_start", "icf_epoch_end", "icf_fold_end", "icf_run_end")

FACTORY = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


def load_object(path: str) -> Any:
    """Import ``package.module`` or ``package.module:name``; raise PluginError where it does not resolve."""
    module_name, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for attribute in attributes.split(".") if attributes else ():
            found = getattr(found, attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(f"'{path}' can't be imported: {one_line(error)}") from error
    return found


def load_plugins(
    *, only: Collection[str] | None = None, blocked: Collection[str] = (), local: Collection[LocalPlugin] = ()
) -> Catalogue:
    """Import the installed plugins, or ``only`` those named, and all ``local`` ones; return what they offer.

    A local folder without hooks offers nothing, and is not imported.
    Plugins in ``blocked`` or in the environment variable ICF_DISABLE_PLUGINS are never imported. A broken
    plugin is no error here: its status says what is wrong. Raises UsageError for a name in ``blocked``
    that is not installed.
    """
    points = _find_points()
    by_name = {name: list(same) for name, same in groupby(points, key=lambda point: point.name)}
    files = _by_name(plugin for plugin in local if plugin.has_hooks)
    names = by_name.keys() | files.keys()
    for name in blocked:
        if name not in names:
            raise UsageError(f"--no-plugin {name}: no plugin '{name}' is installed{did_you_mean(name, names)}")
    reasons = _block_reasons(blocked)
    plugins = [
        _load_files(files[name], by_name.get(name, ()), reasons.get(name))
        if name in files
        else _load(by_name[name], reasons.get(name))
        for name in sorted(names)
        if name in files or only is None or name in only
    ]
    return Catalogue(tuple(plugins), installed=tuple(sorted(names)))


def list_unknown_blocks() -> list[str]:
    """Return a line for each name in ICF_DISABLE_PLUGINS that no installed plugin has, and that so blocks nothing."""
    listed = _read_block_variable()
    names = {point.name for point in _find_points()} if listed else set()
    return [
        f"{BLOCK_VARIABLE} lists '{name}', but no plugin '{name}' is installed{suggest(name, names, most=1)}"
        for name in listed
        if name not in names
    ]


def _find_points() -> list[metadata.EntryPoint]:
    return sorted(metadata.entry_points(group=hookspecs.GROUP), key=lambda point: point.name)


def _by_name(local: Iterable[LocalPlugin]) -> dict[str, list[LocalPlugin]]:
    found: dict[str, list[LocalPlugin]] = {}
    for plugin in local:
        found.setdefault(plugin.name, []).append(plugin)
    return found


def _read_block_variable() -> list[str]:
    return [name.strip() for name in os.environ.get(BLOCK_VARIABLE, "").split(",") if name.strip()]


def _block_reasons(blocked: Collection[str]) -> dict[str, str]:
    reasons = dict.fromkeys(_read_block_variable(), f"listed in {BLOCK_VARIABLE}")
    return reasons | dict.fromkeys(blocked, "as requested")


def _load(points: list[metadata.EntryPoint], block_reason: str | None) -> PluginInfo:
    """Import and register one plugin; whatever it does wrong becomes its status."""
    points = sorted(points, key=lambda point: _describe(point).source)
    info = _describe(points[0])
    if block_reason is not None:
        return replace(info, status=Status.blocked, reason=block_reason)
    if len(points) > 1:
        sources = " and ".join(_describe(point).source for point in points)
        return replace(info, status=Status.conflict, reason=f"the name is claimed by {sources}")

    def load() -> ModuleType:
        _check_requirements(points[0])
        module: ModuleType = points[0].load()
        return module

    return _try_register(info, load)


def register_module(name: str, module: ModuleType) -> PluginInfo:
    """Return what a module of hooks offers as plugin ``name``, without any installed plugin."""
    return _try_register(PluginInfo(name, module.__name__, "no distribution", "none"), lambda: module)


def _load_files(
    files: Sequence[LocalPlugin], points: Collection[metadata.EntryPoint], block_reason: str | None
) -> PluginInfo:
    """Import and register a plugin that is a file or a folder, unless somebody else has its name."""
    file = files[0]
    info = PluginInfo(name=file.name, module=file.module, distribution=file.title, version=file.version, local=file)
    if block_reason is not None:
        return replace(info, status=Status.blocked, reason=block_reason)
    if len(files) + len(points) > 1:
        claims = [*(_describe(point).source for point in points), *(item.path for item in files)]
        return replace(info, status=Status.conflict, reason=f"the name is claimed by {' and '.join(claims)}")
    found = _try_register(info, lambda: import_local_plugin(file), file.resolve)
    if found.status is Status.ok and not (found.components or found.events):
        reason = "it has no hook: a function such as icf_losses, marked with @icf.hookimpl"
        if not file.folder:
            reason += "; if it is code for an adapter such as baseline/model, name its folder"
        return replace(found, status=Status.failed, reason=reason)
    return found


def _try_register(info: PluginInfo, load: Callable[[], ModuleType], resolve: Callable[[str], str] = str) -> PluginInfo:
    try:
        return _register(info, load(), resolve)
    except _RuleError as error:
        return replace(info, status=error.status, reason=str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything
        return replace(info, status=Status.failed, reason=one_line(error))


def _describe(point: metadata.EntryPoint) -> PluginInfo:
    source = point.dist
    return PluginInfo(
        name=point.name,
        module=point.value,
        distribution=source.name if source else "unknown distribution",
        version=source.version if source else "unknown",
    )


class _RuleError(Exception):
    """A plugin that breaks a rule."""

    def __init__(self, reason: str, status: Status = Status.failed) -> None:
        super().__init__(reason)
        self.status = status


def _register(info: PluginInfo, module: ModuleType, resolve: Callable[[str], str]) -> PluginInfo:
    _check_name(info.name, "plugin")
    _check_version(SpecifierSet(getattr(module, "icf_requires", None) or ""))
    # One manager per plugin: what a hook call returns is then known to be this plugin's own.
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    _check_marks(module, manager)
    manager.register(module, info.name)
    manager.check_pending()
    components = tuple(item for kind in KINDS for item in _collect(kind, manager, resolve))
    _check_repeats(components)
    events = tuple(hook for hook in EVENT_HOOKS if getattr(manager.hook, hook).get_hookimpls())
    return replace(info, components=components, events=events)


def hook_name(kind: str) -> str:
    """Return the hook of a kind of component, such as ``icf_losses``."""
    return f"icf_{kind}es" if kind.endswith("s") else f"icf_{kind}s"


def _collect(kind: str, manager: pluggy.PluginManager, resolve: Callable[[str], str]) -> Iterator[Component]:
    hook = getattr(manager.hook, hook_name(kind))
    results = hook()
    if len(results) != len(hook.get_hookimpls()):
        raise _RuleError(f"{hook_name(kind)} returned None; it must yield descriptors")
    for result in results:
        for item in result:
            yield _checked(_resolved(item, resolve), kind)


def _resolved(item: Any, resolve: Callable[[str], str]) -> Any:
    """Complete a descriptor's factory strings; what is no descriptor is left to the check."""
    if not isinstance(item, Component):
        return item
    paths = {name: getattr(item, name, None) for name in ("factory", "inspect")}
    resolved: dict[str, Any] = {name: resolve(path) for name, path in paths.items() if isinstance(path, str)}
    return item if resolved.items() <= paths.items() else replace(item, **resolved)


def _checked(item: Any, kind: str) -> Component:
    expected = KINDS[kind]
    if not isinstance(item, expected):
        owner = "icf" if isinstance(item, Component) else type(item).__module__
        raise _RuleError(f"{hook_name(kind)} yields {owner}.{type(item).__qualname__}, not icf.{expected.__name__}")
    _check_name(item.name, kind)
    for noun, text in (("summary", item.summary), ("deprecated", item.deprecated or "")):
        if not isinstance(text, str) or len(text.splitlines()) > 1:
            raise _RuleError(f"{kind} '{item.name}': {noun} is no string of one line")
    for factory in (item.factory, getattr(item, "inspect", None)):
        if factory is not None and not (isinstance(factory, str) and FACTORY.fullmatch(factory)):
            raise _RuleError(f"{kind} '{item.name}': {factory!r} is not 'package.module:function'")
    if not (inspect.isclass(item.params) and issubclass(item.params, Params)):
        raise _RuleError(f"{kind} '{item.name}': params is no subclass of icf.Params")
    if "<locals>" in item.params.__qualname__:
        raise _RuleError(f"{kind} '{item.name}': {item.params.__name__} is defined inside a function")
    return item


def _check_name(name: Any, noun: str) -> None:
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise _RuleError(
            f"{noun} name {name!r} is not made of lower-case letters, digits and single hyphens",
        )


def _check_requirements(point: metadata.EntryPoint) -> None:
    """Refuse a distribution for another icf before its code, which may use what there is not, is imported."""
    requires = point.dist.requires if point.dist is not None and point.dist.name != "icf" else None
    for text in requires or ():
        requirement = Requirement(text)
        if requirement.name == "icf" and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            _check_version(requirement.specifier)


def _check_version(required: SpecifierSet) -> None:
    if not required.contains(icf.__version__, prereleases=True):
        raise _RuleError(f"requires icf{required}, this is {icf.__version__}", Status.incompatible)


def _check_marks(module: ModuleType, manager: pluggy.PluginManager) -> None:
    """Refuse what would be left out without a word, and say of the rest what pluggy says at length."""
    hooks = vars(manager.hook)
    for name, function in vars(module).items():
        marks = manager.parse_hookimpl_opts(module, name)
        if marks is None:
            if name in hooks and inspect.isfunction(function):
                raise _RuleError(f"{name} is not marked with @icf.hookimpl")
            continue
        hook = marks["specname"] or name
        if hook in hooks:
            _check_arguments(hook, function, hooks[hook].spec.argnames)
        elif not marks["optionalhook"]:
            raise _RuleError(f"there is no hook '{hook}'{suggest(hook, hooks, most=1)}")


def _check_arguments(hook: str, function: Callable[..., Any], allowed: Sequence[str]) -> None:
    for argument in inspect.signature(function).parameters:
        if argument not in allowed:
            takes = f"takes {' and '.join(allowed)} alone" if allowed else "takes no argument"
            raise _RuleError(f"{hook} {takes}, and not '{argument}'")


def _check_repeats(components: Collection[Component]) -> None:
    counts = Counter((item.kind, item.name) for item in components)
    for (kind, name), count in counts.items():
        if count > 1:
            raise _RuleError(f"offers {count} components of kind {kind} named '{name}'", Status.conflict)
