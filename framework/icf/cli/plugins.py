"""``icf list-plugins`` and ``icf describe``: what is installed, from where, and does it load."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

import icf
from icf.cli import records
from icf.cli.options import NoPlugin, PluginFiles, to_json
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

    With --json: {"format": 1, "icf": version, "plugins": [{"name", "distribution", "version", "module", "status",
    "reason", "events", "components": [{"kind", "name", "summary", "deprecated"}]}], "folders": [{"path", "version",
    "modules"}]}. A status is ok, failed, blocked, conflict or incompatible. "folders" are those that --plugin
    names and that have no hooks, but modules for an adapter. The JSON Schema is in docs/plugins/json.md.
    """
    local = read_local_plugins(plugin or ())
    folders = [item for item in local if not item.has_hooks]
    catalogue = load_plugins(blocked=no_plugin or (), local=local)
    if as_json:
        _print_json(
            records.PluginList(
                plugins=tuple(map(records.record_plugin, catalogue.plugins)),
                folders=tuple(map(records.record_folder, folders)),
            )
        )
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

    With --json, a component is {"format": 1, "icf": version, "components": [{"ref", "kind", "name", "summary",
    "deprecated", "factory", "distribution", "version", "parameters": [{"name", "type", "required", "default", "bounds",
    "description"}]}]}, and a plugin is as in list-plugins. The JSON Schema is in docs/plugins/json.md.
    """
    plugin_name, slash, _ = name.partition("/")
    catalogue = load_plugins(only=[plugin_name], local=read_local_plugins(plugin or ()))
    found = catalogue.plugin(plugin_name)
    if not slash:
        _describe_plugin(found, as_json)
        return
    entries = _entries_named(name, catalogue)
    if as_json:
        _print_json(records.ComponentList(components=tuple(map(records.record_component, entries))))
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
        _print_json(records.PluginList(plugins=(records.record_plugin(plugin),)))
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
    if descriptor.source:
        print(f"source: {descriptor.source}")
    if descriptor.reference:
        print(f"tested against: {descriptor.reference}")
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
        modules = ", ".join(records.list_modules(folder))
        rows.append(("-", f"{folder.title} {folder.version}", "ok", f"code for an adapter: {modules}"))
    return _table(("plugin", "distribution", "status", "offers"), rows)


def _offer(plugin: PluginInfo) -> str:
    parts = []
    for kind in KINDS:
        names = [item.name + " (deprecated)" * bool(item.deprecated) for item in plugin.components if item.kind == kind]
        if names:
            parts.append(f"{kind}: {', '.join(names)}")
    return "; ".join(parts + ["observer"] * bool(plugin.events))


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


def _print_json(content: records.Output) -> None:
    print(to_json(content.model_dump(mode="json")))
