"""What ``icf list-plugins --json`` and ``icf describe --json`` write; docs/plugins/json.md is made of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

import icf
from icf.cli.parameters import list_parameters
from icf.components import Kind
from icf.plugins import Entry, PluginInfo

VERSION: Literal[1] = 1
"""Rises when a key vanishes or changes its meaning; new keys do not change it."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ComponentRecord(_Record):
    """A component that a plugin offers."""

    kind: Kind = Field(description="What it is")
    name: str = Field(description="Its name after the slash")
    summary: str = Field(description="What it is, in one line")
    deprecated: str | None = Field(description="What to use instead; null if it is not deprecated")


class PluginRecord(_Record):
    """An installed plugin."""

    name: str = Field(description="Name in recipes, before the slash")
    distribution: str = Field(description="The distribution that brings it; of a local plugin, the file")
    version: str = Field(description="The distribution's version; of a local plugin, 12 digits of its SHA-256")
    module: str = Field(description="The module with its hooks")
    status: Literal["ok", "failed", "blocked", "conflict", "incompatible"] = Field(description="What became of it")
    reason: str | None = Field(description="Why it can't be used; null if it can")
    events: tuple[str, ...] = Field(description="Event hooks that it implements: it is an observer if there are any")
    components: tuple[ComponentRecord, ...] = Field(description="What it offers")


class ParameterRecord(_Record):
    """A parameter of a component."""

    name: str = Field(description="Its key in a recipe")
    type: str = Field(description="Its type, in the words of a recipe")
    required: bool = Field(description="Whether a recipe must give it")
    default: Any = Field(description="Its default; null also if it is required")
    bounds: str = Field(description="What values are allowed; empty if all are")
    description: str = Field(description="What it means, with its unit")


class ComponentDescription(_Record):
    """A component with its parameters."""

    ref: str = Field(description="Its name in recipes, plugin/component")
    kind: Kind = Field(description="What it is")
    summary: str = Field(description="What it is, in one line")
    deprecated: str | None = Field(description="What to use instead; null if it is not deprecated")
    factory: str = Field(description="The function that makes it")
    distribution: str = Field(description="As in PluginRecord")
    version: str = Field(description="As in PluginRecord")
    parameters: tuple[ParameterRecord, ...] = Field(description="What a recipe may choose")


class PluginList(_Record):
    """``icf list-plugins --json`` and ``icf describe PLUGIN --json``."""

    version: Literal[1] = Field(description="Version of this format")
    icf: str = Field(description="Version of icf")
    plugins: tuple[PluginRecord, ...] = Field(description="By name")


class ComponentList(_Record):
    """``icf describe PLUGIN/COMPONENT --json``; several where a name is that of several kinds."""

    version: Literal[1] = Field(description="Version of this format")
    icf: str = Field(description="Version of icf")
    components: tuple[ComponentDescription, ...] = Field(description="The components of this name")


def record_plugins(plugins: tuple[PluginInfo, ...]) -> PluginList:
    """Return what is to be written of plugins."""
    return PluginList(version=VERSION, icf=icf.__version__, plugins=tuple(map(_record_plugin, plugins)))


def _record_plugin(plugin: PluginInfo) -> PluginRecord:
    return PluginRecord.model_validate(
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "module": plugin.module,
            "status": plugin.status.value,
            "reason": plugin.reason,
            "events": plugin.events,
            "components": [
                {"kind": item.kind, "name": item.name, "summary": item.summary, "deprecated": item.deprecated}
                for item in plugin.components
            ],
        }
    )


def record_components(entries: list[Entry]) -> ComponentList:
    """Return what is to be written of components."""
    return ComponentList(version=VERSION, icf=icf.__version__, components=tuple(map(_record_component, entries)))


def _record_component(entry: Entry) -> ComponentDescription:
    descriptor = entry.descriptor
    return ComponentDescription.model_validate(
        {
            "ref": entry.ref,
            "kind": entry.kind,
            "summary": descriptor.summary,
            "deprecated": descriptor.deprecated,
            "factory": descriptor.factory,
            "distribution": entry.plugin.distribution,
            "version": entry.plugin.version,
            "parameters": [asdict(parameter) for parameter in list_parameters(descriptor.params)],
        }
    )
