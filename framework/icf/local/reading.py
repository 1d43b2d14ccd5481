"""Reads the files and folders that a person named with --plugin; nothing is executed here."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from icf.errors import PluginError
from icf.local.plugin import LocalPlugin

LARGEST = 1_000_000
"""Bytes of a file; its text stands in the plan, and goes to every worker."""

LARGEST_FOLDER = 5_000_000
"""Bytes of all Python files of a folder."""

MOST_FILES = 500
MOST_ENTRIES = 200_000
"""Names in a folder and below it; the images of a data set may lie beside the code."""

LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "test", "tests"})


def read_local_plugins(paths: Iterable[Path]) -> tuple[LocalPlugin, ...]:
    """Read files and folders that a person named; what is named twice is read once.

    Of a folder, every ``.py`` file below it is read, but for hidden folders, tests, virtual environments and
    links to other folders.

    Raises:
        PluginError: no such file or folder, no Python in it, too large, no text, or a link out of the folder.
    """
    return tuple(_read(path) for path in dict.fromkeys(Path(path) for path in paths))


def _read(path: Path) -> LocalPlugin:
    if path.is_dir():
        return _read_folder(path)
    if path.suffix != ".py":
        raise PluginError(f"--plugin {path}: {_explain_name(path)}")
    content = _read_bytes(path, path)
    return LocalPlugin(
        path=str(path),
        name=_choose_name(path, path.stem),
        hash=hashlib.sha256(content).hexdigest(),
        files={path.name: _decode(path, path, content)},
    )


def _explain_name(path: Path) -> str:
    if path.exists():
        return "not a Python file; its name must end in .py"
    return "no such file or folder; it must be a folder, or a file whose name must end in .py"


def _read_folder(root: Path) -> LocalPlugin:
    name = _choose_name(root, Path(os.path.abspath(root)).name)
    files: dict[str, str] = {}
    digests, size = [], 0
    for path in _find_files(root):
        content = _read_bytes(root, path)
        size += len(content)
        if size > LARGEST_FOLDER or len(files) == MOST_FILES:
            limits = f"{LARGEST_FOLDER:,} bytes and {MOST_FILES} files are allowed"
            raise PluginError(f"--plugin {root}: too much Python in it: {limits}; name the folder of the code alone")
        key = path.relative_to(root).as_posix()
        files[key] = _decode(root, path, content)
        digests.append(f"{hashlib.sha256(content).hexdigest()}  {key}\n")
    if not files:
        raise PluginError(f"--plugin {root}: there is no .py file in this folder")
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return LocalPlugin(path=str(root), name=name, hash=digest, files=files, folder=True)


def _find_files(root: Path) -> list[Path]:
    home = root.resolve()
    found = []
    for count, entry in enumerate(_walk(root)):
        if count == MOST_ENTRIES:
            most = f"more than {MOST_ENTRIES:,} files and folders in it"
            raise PluginError(f"--plugin {root}: {most}; name the folder of the code alone")
        path = Path(entry.path)
        if entry.is_symlink():
            _check_link(root, path, home)
        if path.suffix == ".py" and path.is_file():
            found.append(path)
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".") and entry.name not in LEFT_OUT]
    except OSError as error:
        raise PluginError(f"--plugin {folder}: can't be read: {error.strerror}") from error
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False) and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
            yield from _walk(Path(entry.path))


def _check_link(root: Path, link: Path, home: Path) -> None:
    """Refuse a link that leads to Python elsewhere; one to a folder of data is merely not followed."""
    if link.is_dir():
        if any(link.glob("*.py")):
            raise PluginError(f"--plugin {root}: {link} is a link to a folder with Python files; put a copy there")
    elif link.suffix == ".py" and not link.resolve().is_relative_to(home):
        raise PluginError(f"--plugin {root}: {link} is a link to a file outside of the folder; put a copy there")


def _read_bytes(named: Path, path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(f"--plugin {_place(named, path)}can't be read: {error.strerror}") from error
    if len(content) > LARGEST:
        size = f"{len(content):,} bytes, but {LARGEST:,} are allowed"
        raise PluginError(f"--plugin {_place(named, path)}{size}; make it a package")
    return content


def _decode(named: Path, path: Path, content: bytes) -> str:
    try:
        return importlib.util.decode_source(content)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise PluginError(f"--plugin {_place(named, path)}no Python text: {error}") from error


def _place(named: Path, path: Path) -> str:
    return f"{named}: " if named == path else f"{named}: {path.relative_to(named)}: "


def _choose_name(path: Path, text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not name:
        noun = "folder" if path.is_dir() else "file"
        raise PluginError(f"--plugin {path}: the {noun}'s name is the plugin's name, and has neither letter nor digit")
    return name
