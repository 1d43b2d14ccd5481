"""The local plugins of the run that this process works for, and the modules that adapters take from them."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable
from pathlib import PurePosixPath
from types import ModuleType

from icf.errors import PluginError, one_line
from icf.local.importing import import_local_plugin, register
from icf.local.plugin import LocalPlugin


class _Active:
    """Folders of code, of the run that was restored last."""

    folders: tuple[LocalPlugin, ...] = ()


def restore_local_plugins(plugins: Iterable[LocalPlugin]) -> None:
    """Make the plugins of a run importable in a process that works for it, in place of those of another run.

    Raises:
        PluginError: a plugin can't be imported. Folders without hooks are not imported here, but when
            ``local_module`` is asked for one of their modules.
    """
    plugins = tuple(plugins)
    _Active.folders = tuple(plugin for plugin in plugins if plugin.folder)
    for plugin in plugins:
        register(plugin)
        if not plugin.has_hooks:
            continue
        try:
            import_local_plugin(plugin)
        except (Exception, SystemExit) as error:
            raise PluginError(f"local plugin {plugin.path} can't be imported: {_explain(plugin, error)}") from error


def local_module(name: str) -> ModuleType:
    """Return a module, such as ``model`` or ``models.resnet``, of the folders that were named with --plugin.

    For adapters, in factories of components whose descriptor says ``local_code=True``. The module is executed
    when it is first asked for.

    Raises:
        PluginError: no folder was named, none or several have such a module, or it can't be imported; the
            text says so for people.
    """
    holders = [plugin for plugin in _Active.folders if name and name in plugin.modules]
    if not holders:
        raise PluginError(_explain_absence(name))
    if len(holders) > 1:
        places = " and ".join(plugin.locate(plugin.modules[name]) for plugin in holders)
        raise PluginError(f"which '{name}'? There are {places}; name only one of these folders with --plugin")
    [plugin] = holders
    try:
        return importlib.import_module(f"{plugin.package}.{name}")
    except (Exception, SystemExit) as error:
        place = plugin.locate(plugin.modules[name])
        raise PluginError(f"{place} can't be imported: {_explain(plugin, error)}") from error


def _explain_absence(name: str) -> str:
    file = f"{name.replace('.', '/')}.py"
    if not _Active.folders:
        return f"no folder with {file} was named; name it on the command line: --plugin FOLDER"
    for plugin in _Active.folders:
        for path in plugin.files:
            if path.endswith(f"/{file}"):
                below = plugin.locate(path.removesuffix(f"/{file}"))
                return f"there is no {file} in {plugin.path}, but one in {below}; name that folder: --plugin {below}"
    held = "; ".join(f"{plugin.path} has {_list_modules(plugin)}" for plugin in _Active.folders)
    return f"there is no {file} in the folders that were named with --plugin ({held})"


def _list_modules(plugin: LocalPlugin) -> str:
    names = sorted(file for name, file in plugin.modules.items() if name)
    return (", ".join(names[:10]) or "no module") + (", ..." if len(names) > 10 else "")


def _explain(plugin: LocalPlugin, error: BaseException) -> str:
    """Say what was raised, and by which line of the plugin."""
    places = {plugin.locate(file): file for file in plugin.files}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in places]
    # A syntax error says itself where it is.
    if not frames or isinstance(error, SyntaxError):
        return one_line(error)
    file = PurePosixPath(places[frames[-1].filename])
    return f"{one_line(error)} ({file}, line {frames[-1].lineno})"
