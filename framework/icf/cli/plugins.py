"""``icf list-plugins`` and ``icf describe``: what is installed, from where, and does it load."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

import icf
from icf.cli.options import NoPlugin, PluginFiles
from icf.cli.parameters import Parameter, list_parameters
from icf.components import KINDS
from icf.errors import PluginError, did_you_mean
from icf.local import LocalPlugin, read_local_plugins
from icf.plugins import Catalogue, Entry, PluginInfo, Status, load_plugins

if TYPE_CHECKING:
    from rich.table import Table

WIDTH_OF_A_FILE = 240
"""Characters per line where the output is no terminal, so that a row is one line for grep."""

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, whose keys stay the same.")]


def list_plugins(
    as_json: AsJson = False,
    strict: Annotated[
        bool, typer.Option(help="Exit with 1 if a plugin is faulty; one that is blocked is not.")
    ] = False,
    no_plugin: NoPlugin = None,
    plugin: PluginFiles = None,
) -> None:
    """List the installed plugins, where they come from, whether they load and what they offer.

    With --json: {"icf": version, "plugins": [{"name", "distribution", "version", "module", "status",
    "reason", "components": [{"kind", "name", "summary", "deprecated"}]}], "folders": [{"path", "version",
    "modules"}]}. A status is ok, failed, blocked, conflict or incompatible. "folders" are those that --plugin
    names and that have no hooks, but modules for an adapter.
    """
    local = read_local_plugins(plugin or ())
    folders = [item for item in local if not item.has_hooks]
    catalogue = load_plugins(blocked=no_plugin or (), local=local)
    if as_json:
        plugins = [_plugin_as_json(item) for item in catalogue.plugins]
        _print_json({"plugins": plugins, "folders": [_folder_as_json(item) for item in folders]})
    else:
        _print_table(_plugin_table(catalogue.plugins, folders))
    for problem in catalogue.problems():
        print(problem.problem, file=sys.stderr)
    # A plugin that was left out on purpose is no fault.
    if strict and any(item.status is not Status.blocked for item in catalogue.problems()):
        raise typer.Exit(1)


def describe(
    name: Annotated[str, typer.Argument(metavar="PLUGIN[/COMPONENT]", help="For example loss/focal.")],
    as_json: AsJson = False,
    plugin: PluginFiles = None,
) -> None:
    """Describe a component and its parameters, or list the components of a plugin.

    With --json, a component is {"icf": version, "components": [{"ref", "kind", "summary", "deprecated",
    "factory", "distribution", "version", "parameters": [{"name", "type", "required", "default", "bounds",
    "description"}]}]}, and a plugin is as in list-plugins.
    """
    plugin_name, slash, _ = name.partition("/")
    catalogue = load_plugins(only=[plugin_name], local=read_local_plugins(plugin or ()))
    found = catalogue.plugin(plugin_name)
    if not slash:
        _describe_plugin(found, as_json)
        return
    entries = _entries_named(name, catalogue)
    if as_json:
        _print_json({"components": [_entry_as_json(entry) for entry in entries]})
        return
    for entry in entries:
        _describe_component(entry)


def _entries_named(ref: str, catalogue: Catalogue) -> list[Entry]:
    entries = [entry for entry in catalogue.entries() if entry.ref == ref]
    if not entries:
        offered = [entry.ref for entry in catalogue.entries()]
        raise PluginError(f"there is no component '{ref}'{did_you_mean(ref, offered)}")
    return entries


def _describe_plugin(plugin: PluginInfo, as_json: bool) -> None:
    if as_json:
        _print_json({"plugins": [_plugin_as_json(plugin)]})
        return
    print(f"{plugin.name}, from {plugin.source}, module {plugin.module}")
    if plugin.events:
        print(f'an observer: observers = ["{plugin.name}"]')
    if plugin.components:
        rows = [(item.kind, f"{plugin.name}/{item.name}", _summary(item)) for item in plugin.components]
        _print_table(_table(("kind", "component", "summary"), rows))


def _describe_component(entry: Entry) -> None:
    descriptor = entry.descriptor
    print(f"{entry.ref} ({entry.kind}), from {entry.plugin.source}, {descriptor.factory}")
    print(_summary(descriptor))
    parameters = list_parameters(descriptor.params)
    if parameters:
        _print_table(_table(("parameter", "type", "default", "bounds", "meaning"), map(_row, parameters)))
    else:
        print("no parameters")


def _row(parameter: Parameter) -> tuple[str, ...]:
    return (
        parameter.name,
        parameter.type,
        parameter.shown_default,
        parameter.bounds,
        parameter.description,
    )


def _summary(descriptor: icf.Component) -> str:
    deprecated = f" (deprecated: {descriptor.deprecated})" if descriptor.deprecated else ""
    return descriptor.summary + deprecated


def _plugin_table(plugins: Iterable[PluginInfo], folders: Iterable[LocalPlugin]) -> Table:
    rows = [(plugin.name, plugin.source, plugin.status.value, _offer(plugin)) for plugin in plugins]
    for folder in folders:
        # It has no name that a recipe could use.
        modules = ", ".join(_list_modules(folder))
        rows.append(("-", f"{folder.title} {folder.version}", "ok", f"code for an adapter: {modules}"))
    return _table(("plugin", "distribution", "status", "offers"), rows)


def _offer(plugin: PluginInfo) -> str:
    parts = []
    for kind in KINDS:
        names = [item.name + " (deprecated)" * bool(item.deprecated) for item in plugin.components if item.kind == kind]
        if names:
            parts.append(f"{kind}: {', '.join(names)}")
    return "; ".join(parts + ["observer"] * bool(plugin.events))


def _list_modules(folder: LocalPlugin) -> list[str]:
    return sorted(name for name in folder.modules if name)


def _table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, because a plugin's words are not rich's markup.
        table.add_row(*(Text(cell) for cell in row))
    return table


def _print_table(table: Table) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE).print(table)


def _print_json(content: dict[str, Any]) -> None:
    print(json.dumps({"icf": icf.__version__, **content}, indent=2, ensure_ascii=False))


def _plugin_as_json(plugin: PluginInfo) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "status": plugin.status.value,
        "reason": plugin.reason,
        "components": [
            {"kind": item.kind, "name": item.name, "summary": item.summary, "deprecated": item.deprecated}
            for item in plugin.components
        ],
    }


def _folder_as_json(folder: LocalPlugin) -> dict[str, Any]:
    return {"path": folder.path, "version": folder.version, "modules": _list_modules(folder)}


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    descriptor = entry.descriptor
    return {
        "ref": entry.ref,
        "kind": entry.kind,
        "summary": descriptor.summary,
        "deprecated": descriptor.deprecated,
        "factory": descriptor.factory,
        "distribution": entry.plugin.distribution,
        "version": entry.plugin.version,
        "parameters": [asdict(parameter) for parameter in list_parameters(descriptor.params)],
    }
