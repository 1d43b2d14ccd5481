"""What ``icf list-plugins --json`` and ``icf describe --json`` write; docs/plugins/json.md is made of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

import icf
from icf.cli.parameters import list_parameters
from icf.components import Component, Kind
from icf.local import LocalPlugin
from icf.plugins import Entry, PluginInfo, Status

FORMAT: Final = 1
"""Rises when a key vanishes or changes its meaning; new keys do not change it."""


class Record(BaseModel):
    """An object of the JSON."""

    model_config = ConfigDict(frozen=True)


class ComponentRecord(Record):
    """A component that a plugin offers."""

    kind: Kind = Field(description="What it is")
    name: str = Field(description="Its name, right of the slash in a recipe")
    summary: str = Field(description="What it is, in one line")
    deprecated: str | None = Field(description="What to use instead; null if it is not deprecated")


class PluginRecord(Record):
    """An installed plugin, or one that `--plugin` names."""

    name: str = Field(description="Its name, left of the slash in a recipe")
    distribution: str = Field(description="The distribution that brings it; of a local plugin, the file or folder")
    version: str = Field(description="The distribution's version; of a local plugin, 12 digits of its SHA-256")
    module: str = Field(description="The module with its hooks")
    status: Status = Field(description="What became of it")
    reason: str | None = Field(description="Why it can't be used; null if it can")
    events: tuple[str, ...] = Field(description="Event hooks that it implements: with any, it is an observer")
    components: tuple[ComponentRecord, ...] = Field(description="What it offers")


class FolderRecord(Record):
    """A folder without hooks that `--plugin` names: code for adapters."""

    path: str = Field(description="The folder as it was named")
    version: str = Field(description="12 digits of its SHA-256")
    modules: tuple[str, ...] = Field(description="Modules that an adapter can import")


class ParameterRecord(Record):
    """A parameter of a component."""

    name: str = Field(description="Its key in a recipe")
    type: str = Field(description="Its type, in the words of a recipe")
    required: bool = Field(description="Whether a recipe must give it")
    default: Any = Field(description="Its default; null also if it is required")
    bounds: str = Field(description="What values are allowed; empty if all are")
    description: str = Field(description="What it means, with its unit")


class ComponentDescription(ComponentRecord):
    """A component with its parameters."""

    ref: str = Field(description="Its name in recipes, plugin/component")
    factory: str = Field(description="The function that makes it")
    source: str | None = Field(description="Paper, book or program that defines it; null if none is named")
    reference: str | None = Field(description="What a test compares it with; null if nothing is named")
    distribution: str = Field(description="As in PluginRecord")
    version: str = Field(description="As in PluginRecord")
    parameters: tuple[ParameterRecord, ...] = Field(description="What a recipe may choose")


class Output(Record):
    """What every object begins with."""

    format: Literal[1] = Field(default=FORMAT, description="Version of this format")
    icf: str = Field(default=icf.__version__, description="Version of icf")


class PluginList(Output):
    """`icf list-plugins --json`, and `icf describe PLUGIN --json` with one plugin."""

    plugins: tuple[PluginRecord, ...] = Field(description="By name")
    folders: tuple[FolderRecord, ...] = Field(default=(), description="Folders that are no plugins")


class ComponentList(Output):
    """`icf describe PLUGIN/COMPONENT --json`."""

    components: tuple[ComponentDescription, ...] = Field(description="One, or several of different kinds")


def record_plugin(plugin: PluginInfo) -> PluginRecord:
    """Return what is to be written of a plugin."""
    return PluginRecord(
        name=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        module=plugin.module,
        status=plugin.status,
        reason=plugin.reason,
        events=plugin.events,
        components=tuple(ComponentRecord.model_validate(_list_facts(item)) for item in plugin.components),
    )


def record_folder(folder: LocalPlugin) -> FolderRecord:
    """Return what is to be written of a folder without hooks."""
    return FolderRecord(path=folder.path, version=folder.version, modules=tuple(list_modules(folder)))


def record_component(entry: Entry) -> ComponentDescription:
    """Return what is to be written of a component."""
    parameters = [asdict(parameter) for parameter in list_parameters(entry.descriptor.params)]
    return ComponentDescription.model_validate(
        {
            **_list_facts(entry.descriptor),
            "ref": entry.ref,
            "factory": entry.descriptor.factory,
            "source": entry.descriptor.source,
            "reference": entry.descriptor.reference,
            "distribution": entry.plugin.distribution,
            "version": entry.plugin.version,
            "parameters": parameters,
        }
    )


def list_modules(folder: LocalPlugin) -> list[str]:
    """Return the dotted names of a folder's modules."""
    return sorted(name for name in folder.modules if name)


def _list_facts(component: Component) -> dict[str, str | None]:
    return {name: getattr(component, name) for name in ("kind", "name", "summary", "deprecated")}
