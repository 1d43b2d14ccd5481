"""Plugins that are a file or a folder, named on the command line: read, hashed, and imported from their text."""

from __future__ import annotations

from icf.local.active import local_module, restore_local_plugins
from icf.local.importing import import_local_plugin
from icf.local.plugin import LocalPlugin, match_local_plugins
from icf.local.reading import read_local_plugins

__all__ = [
    "LocalPlugin",
    "import_local_plugin",
    "local_module",
    "match_local_plugins",
    "read_local_plugins",
    "restore_local_plugins",
]
