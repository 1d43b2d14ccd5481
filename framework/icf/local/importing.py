"""Imports the modules of local plugins from their texts, under names that nobody else has.

The files of a folder become a package, such as ``icf_local_my_team_0123abcd``. They import each other as if
the folder stood first on sys.path (``from loss import create_criterion``): such imports are rewritten to the
package's own modules. So two folders with modules of one name do not disturb each other, or anybody else.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

from icf.local.plugin import LocalPlugin


def import_local_plugin(plugin: LocalPlugin) -> ModuleType:
    """Return the module with the plugin's hooks, executed once in a process; whatever it raises is passed on."""
    register(plugin)
    return importlib.import_module(plugin.module)


def register(plugin: LocalPlugin) -> None:
    """Make the plugin's modules importable in this process; each is executed when it is first asked for."""
    _FINDER.add(plugin)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of all plugins that were registered."""

    def __init__(self) -> None:
        self._plugins: dict[str, tuple[LocalPlugin, dict[str, str]]] = {}

    def add(self, plugin: LocalPlugin) -> None:
        self._plugins[plugin.package] = (plugin, plugin.modules)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of a module of a registered plugin."""
        package, _, name = fullname.partition(".")
        if package not in self._plugins:
            return None
        plugin, modules = self._plugins[package]
        file = modules.get(name)
        holds_others = any(other.startswith(f"{name}." if name else "") for other in modules if other)
        if file is None and not holds_others:
            return None
        is_package = file is None or file.endswith("__init__.py") or (not name and plugin.folder)
        spec = ModuleSpec(fullname, _TextLoader(plugin, file, is_package), is_package=is_package)
        if file is not None:
            spec.origin, spec.has_location = plugin.locate(file), True
        return spec


class _TextLoader(importlib.abc.InspectLoader):
    """Executes the text of one file; a folder without ``__init__.py`` is a package without text."""

    def __init__(self, plugin: LocalPlugin, file: str | None, is_package: bool) -> None:
        self._plugin = plugin
        self._file = file
        self._is_package = is_package

    def is_package(self, _fullname: str) -> bool:
        """Tell whether there are modules below."""
        return self._is_package

    def get_source(self, _fullname: str) -> str:
        """Return the text, which is also what tracebacks show where the file is not at hand."""
        return self._plugin.files[self._file] if self._file is not None else ""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled text, in which the folder's own modules are imported by their full names."""
        place = self._plugin.locate(self._file or "")
        tree = ast.parse(self.get_source(fullname), place)
        if self._plugin.folder:
            tree = _ImportRewriter(self._plugin.package, _own_names(self._plugin)).visit(tree)
        return compile(tree, place, "exec", dont_inherit=True)


_FINDER = _Finder()


def _own_names(plugin: LocalPlugin) -> Callable[[str], bool]:
    """Return a test whether Python, started in the folder, would take a first name from there."""
    modules = plugin.modules
    regular = {name for name in modules if name and "." not in name} - set(sys.builtin_module_names)
    folders = {name.partition(".")[0] for name in modules if "." in name} - regular

    def is_own(name: str) -> bool:
        # A folder without __init__.py yields to every installed module: wandb's logs lie in a folder "wandb".
        return name in regular or (name in folders and not _is_installed(name))

    return is_own


def _is_installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


class _ImportRewriter(ast.NodeTransformer):
    """Puts the package's name before the names of its modules."""

    def __init__(self, package: str, is_own: Callable[[str], bool]) -> None:
        self._package = package
        self._is_own = is_own

    def _covers(self, name: str | None) -> bool:
        return name is not None and self._is_own(name.partition(".")[0])

    def visit_Import(self, node: ast.Import) -> ast.Import:
        """Rewrite ``import a``, ``import a.b`` and ``import a.b as c``."""
        names = [found for alias in node.names for found in self._rewrite(alias)]
        return ast.copy_location(ast.Import(names), node)

    def _rewrite(self, alias: ast.alias) -> list[ast.alias]:
        if not self._covers(alias.name):
            return [alias]
        full = f"{self._package}.{alias.name}"
        if alias.asname is not None:
            return [_copy(alias, full, alias.asname)]
        first = alias.name.partition(".")[0]
        own = _copy(alias, f"{self._package}.{first}", first)
        return [own] if first == alias.name else [_copy(alias, full, None), own]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        """Rewrite ``from a.b import c``."""
        if node.level == 0 and self._covers(node.module):
            node.module = f"{self._package}.{node.module}"
        return node


def _copy(alias: ast.alias, name: str, asname: str | None) -> ast.alias:
    return ast.copy_location(ast.alias(name, asname), alias)
