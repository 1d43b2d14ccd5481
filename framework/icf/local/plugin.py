"""A file or folder with code that a person named: what stands in the plan, and goes to every worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from icf.errors import PluginError

HOOKS = "plugin.py"
"""The file of a folder that holds its hooks."""


class LocalPlugin(BaseModel):
    """Code that was named on the command line: one file, or all Python files of a folder.

    ``path`` is as it was named; ``files`` are texts by relative path. ``hash`` is the SHA-256 of the file's
    bytes. That of a folder is the SHA-256 of what ``sha256sum`` prints for its files, in the order of their names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    name: str
    hash: str
    files: dict[str, str]
    folder: bool = False

    @property
    def has_hooks(self) -> bool:
        """False for a folder without ``plugin.py``, whose modules are there for an adapter."""
        return not self.folder or HOOKS in self.files

    @property
    def title(self) -> str:
        """The own name of the file or folder, such as ``my_loss.py`` or ``my_team/``."""
        return f"{Path(self.path).name or self.name}/" if self.folder else Path(self.path).name

    @property
    def version(self) -> str:
        """Twelve digits of the hash: what a change of any file changes."""
        return self.hash[:12]

    @property
    def package(self) -> str:
        """The name under which the code is imported: another one for every content."""
        return f"icf_local_{self.name.replace('-', '_')}_{self.hash[:8]}"

    @property
    def module(self) -> str:
        """The module with the hooks."""
        return f"{self.package}.{Path(HOOKS).stem}" if self.folder else self.package

    @property
    def modules(self) -> dict[str, str]:
        """The files that can be imported, by dotted name; the folder's own ``__init__.py`` has an empty one."""
        if not self.folder:
            return dict.fromkeys([""], next(iter(self.files)))
        named = {_module_name(file): file for file in self.files}
        return {
            name: file for name, file in named.items() if all(map(str.isidentifier, name.split(".") if name else ()))
        }

    def locate(self, file: str) -> str:
        """Return the place of a file, for messages and tracebacks."""
        return str(Path(self.path, file)) if self.folder else self.path

    def resolve(self, path: str) -> str:
        """Return a factory string with the module's full name, where it names a function of this plugin.

        That is ``:function``, ``my_loss:function`` for the file ``my_loss.py``, and ``losses:function`` for
        the file ``losses.py`` of a folder.
        """
        module, colon, function = path.partition(":")
        if not colon:
            return path
        if module == "" or (not self.folder and module == Path(self.path).stem):
            return f"{self.module}:{function}"
        return f"{self.package}.{module}:{function}" if self.folder and module in self.modules else path


def _module_name(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".").removesuffix("__init__").removesuffix(".")


def match_local_plugins(wanted: Sequence[LocalPlugin], named: Sequence[LocalPlugin]) -> list[LocalPlugin]:
    """Return the plugins whose code is wanted, as a person named them; their content must be what the run used.

    Raises:
        PluginError: a file or folder was not named, or is another one now.
    """
    return [_match(plugin, named) for plugin in wanted]


def _match(wanted: LocalPlugin, named: Sequence[LocalPlugin]) -> LocalPlugin:
    noun = "folder" if wanted.folder else "file"
    same_name = [plugin for plugin in named if (plugin.name, plugin.folder) == (wanted.name, wanted.folder)]
    for plugin in same_name:
        if plugin.hash == wanted.hash:
            return plugin
    if not same_name:
        raise PluginError(
            f"the run needs the local plugin '{wanted.name}', and code in a run folder is never executed by itself;"
            f" name the {noun} again: --plugin {wanted.path}"
        )
    raise PluginError(
        f"--plugin {same_name[0].path}: not the {noun} that the run used: SHA-256 {same_name[0].version}... instead of"
        f" {wanted.version}...{_list_changes(wanted, same_name[0])}; the text it had is in plan.json,"
        " under local_plugins"
    )


def _list_changes(wanted: LocalPlugin, found: LocalPlugin) -> str:
    if not wanted.folder:
        return ""
    names = sorted(wanted.files.keys() | found.files.keys())
    changed = [name for name in names if wanted.files.get(name) != found.files.get(name)]
    return f" (changed: {', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''})" if changed else ""
