"""What was found among the installed plugins, and how to look it up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from icf.components import Component
from icf.errors import PluginError, did_you_mean
from icf.local.plugin import LocalPlugin

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""Names of plugins and components."""


class Status(StrEnum):
    """What became of an installed plugin."""

    ok = "ok"
    failed = "failed"
    blocked = "blocked"
    conflict = "conflict"
    incompatible = "incompatible"


_STATE = {
    Status.failed: "does not load",
    Status.blocked: "is blocked",
    Status.conflict: "is in conflict",
    Status.incompatible: "does not fit this version of icf",
}


@dataclass(frozen=True)
class PluginInfo:
    """An installed plugin: where it comes from, whether it works and what it offers.

    ``module`` is the entry point's value; ``events`` are the event hooks that it implements; ``local`` is the
    code of a plugin that was named on the command line.
    """

    name: str
    module: str
    distribution: str
    version: str
    status: Status = Status.ok
    reason: str | None = None
    components: tuple[Component, ...] = ()
    events: tuple[str, ...] = ()
    local: LocalPlugin | None = field(default=None, repr=False, hash=False)

    @property
    def source(self) -> str:
        """The distribution and its version, such as ``icf 0.1.0``."""
        return f"{self.distribution} {self.version}"

    @property
    def problem(self) -> str:
        """One line that says why the plugin can't be used; empty if it can."""
        if self.status is Status.ok:
            return ""
        return f"plugin '{self.name}' ({self.source}) {_STATE[self.status]}: {self.reason}"


@dataclass(frozen=True)
class Entry:
    """A component that a recipe can name, and the plugin that provides it."""

    ref: str
    kind: str
    descriptor: Component
    plugin: PluginInfo


@dataclass(frozen=True)
class Catalogue:
    """The plugins that were asked for. ``installed`` names every plugin there is."""

    plugins: tuple[PluginInfo, ...]
    installed: tuple[str, ...] = ()

    def entries(self, kind: str | None = None) -> tuple[Entry, ...]:
        """Return the components of one kind, or all of them, in the order of the plugins' names."""
        return tuple(
            Entry(f"{plugin.name}/{component.name}", component.kind, component, plugin)
            for plugin in self.plugins
            for component in plugin.components
            if kind is None or component.kind == kind
        )

    def find(self, kind: str, ref: str) -> Entry:
        """Return the component ``ref`` ("plugin/component") of a kind; raise PluginError if there is none."""
        name, slash, component = ref.partition("/")
        if not (slash and NAME.fullmatch(name) and NAME.fullmatch(component)):
            hint = self._name_in_full(kind, ref)
            raise PluginError(f"{ref!r} is not a name of the form 'plugin/component'{hint}")
        plugin = self.plugin(name)
        same_name = [entry for entry in self.entries() if entry.ref == ref]
        for entry in same_name:
            if entry.kind == kind:
                return entry
        if same_name:
            kinds = " and ".join(entry.kind for entry in same_name)
            raise PluginError(f"'{ref}' is of kind {kinds}, not {kind}")
        offered = [f"{name}/{item.name}" for item in plugin.components if item.kind == kind]
        hint = did_you_mean(ref, offered) or f", nor any other {kind}"
        raise PluginError(f"plugin '{name}' ({plugin.source}) has no {kind} '{component}'{hint}")

    def _name_in_full(self, kind: str, name: str) -> str:
        entries = self.entries(kind)
        for entry in entries:
            if entry.descriptor.name == name:
                return f"; did you mean '{entry.ref}'?"
        return did_you_mean(name, [entry.ref for entry in entries])

    def plugin(self, name: str) -> PluginInfo:
        """Return a plugin that works; raise PluginError that says why there is none of that name."""
        for plugin in self.plugins:
            if plugin.name == name:
                if plugin.status is not Status.ok:
                    raise PluginError(plugin.problem)
                return plugin
        if name in self.installed:
            raise PluginError(f"plugin '{name}' is installed, but was not asked for")
        raise PluginError(f"no plugin {name!r} is installed{did_you_mean(name, self.installed)}")

    def observer(self, name: str) -> PluginInfo:
        """Return a plugin that listens to events; raise PluginError if it listens to none."""
        plugin = self.plugin(name)
        if not plugin.events:
            observers = [item.name for item in self.plugins if item.events]
            raise PluginError(f"plugin '{name}' is no observer{did_you_mean(name, observers)}")
        return plugin

    def problems(self) -> tuple[PluginInfo, ...]:
        """Return the plugins that can't be used, each with its reason."""
        return tuple(plugin for plugin in self.plugins if plugin.status is not Status.ok)


def plugin_names(refs: Iterable[str]) -> frozenset[str]:
    """Return the plugins that names such as ``loss/focal`` or ``tensorboard`` belong to."""
    return frozenset(ref.partition("/")[0] for ref in refs)
