"""Plugins that are one file, named on the command line: read, hashed, and imported from their text."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, ConfigDict

from icf.errors import PluginError

LARGEST = 1_000_000
"""Bytes of a file; its text stands in the plan, and goes to every worker."""


class LocalPlugin(BaseModel):
    """A file with hooks: ``path`` as it was named, ``hash`` the SHA-256 of its bytes, ``source`` its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    name: str
    hash: str
    source: str

    @property
    def file_name(self) -> str:
        """The file's own name, such as ``my_loss.py``."""
        return Path(self.path).name

    @property
    def version(self) -> str:
        """Twelve digits of the hash: what a change of the file changes."""
        return self.hash[:12]

    @property
    def module(self) -> str:
        """The name under which the file is imported: another one for every content."""
        return f"icf_local_{_identifier(Path(self.path).stem)}_{self.hash[:8]}"

    def resolve(self, path: str) -> str:
        """Return a factory string with this file's module, where it is ``:function`` or ``my_loss:function``."""
        module, colon, function = path.partition(":")
        own = colon and module in {"", Path(self.path).stem}
        return f"{self.module}:{function}" if own else path


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text)


def read_local_plugins(paths: Iterable[Path]) -> tuple[LocalPlugin, ...]:
    """Read files that a person named; one that is named twice is read once.

    Raises:
        PluginError: no such file, no ``.py`` file, too large, or no text.
    """
    return tuple(_read(path) for path in dict.fromkeys(Path(path) for path in paths))


def _read(path: Path) -> LocalPlugin:
    if path.suffix != ".py":
        raise PluginError(f"--plugin {path}: not a Python file; its name must end in .py")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"--plugin {path}: can't be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise PluginError(f"--plugin {path}: {len(content):,} bytes, but {LARGEST:,} are allowed; make it a package")
    try:
        source = importlib.util.decode_source(content)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise PluginError(f"--plugin {path}: no Python text: {error}") from error
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")
    if not name:
        raise PluginError(f"--plugin {path}: the file's name is the plugin's name, and has neither letter nor digit")
    return LocalPlugin(path=str(path), name=name, hash=hashlib.sha256(content).hexdigest(), source=source)


def import_local_plugin(plugin: LocalPlugin) -> ModuleType:
    """Execute the plugin's text as its module, once in a process; whatever it raises is passed on."""
    known = sys.modules.get(plugin.module)
    if known is not None:
        return known
    module = ModuleType(plugin.module)
    module.__file__ = plugin.path
    # It must be known while it is executed: pydantic looks up the types of Params there.
    sys.modules[plugin.module] = module
    try:
        exec(compile(plugin.source, plugin.path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[plugin.module]
        raise
    return module


def restore_local_plugins(plugins: Iterable[LocalPlugin]) -> None:
    """Make the plugins of a run importable in a process that works for it; raises PluginError."""
    for plugin in plugins:
        try:
            import_local_plugin(plugin)
        except (Exception, SystemExit) as error:
            raise PluginError(f"local plugin {plugin.path} can't be imported: {error}") from error


def match_local_plugins(wanted: Sequence[LocalPlugin], named: Sequence[LocalPlugin]) -> list[LocalPlugin]:
    """Return the files whose code is wanted, as a person named them; their content must be what the run used.

    Raises:
        PluginError: a file was not named, or is another one now.
    """
    by_name = {plugin.name: plugin for plugin in named}
    matched = []
    for plugin in wanted:
        found = by_name.get(plugin.name)
        if found is None:
            raise PluginError(
                f"the run needs the local plugin '{plugin.name}', and code in a run folder is never executed by itself;"
                f" name the file again: --plugin {plugin.path}"
            )
        if (found.hash, found.module) != (plugin.hash, plugin.module):
            raise PluginError(
                f"--plugin {found.path}: not the file that the run used: SHA-256 {found.version}... instead of"
                f" {plugin.version}...; the text it had is in plan.json, under local_plugins"
            )
        matched.append(found)
    return matched
