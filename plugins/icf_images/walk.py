"""Listing image files in an order that does not depend on the file system."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from icf.tables import Report


class Paths(Sequence[Path]):
    """Paths of names below a folder, each made when it is asked for: a million at once take half a gigabyte."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> Paths: ...

    def __getitem__(self, place: int | slice) -> Path | Paths:
        if isinstance(place, slice):
            return Paths(self._folder, self._names[place])
        return self._folder / self._names[place]


@dataclass
class Listing:
    """Image files below a folder, sorted by path, and how many files had another ending."""

    images: list[Path] = field(default_factory=list)
    others: int = 0


def list_images(folder: Path, extensions: Collection[str], report: Report) -> Listing:
    """List images in ``folder`` and all folders below it, except hidden ones (including ``._*``).

    Linked folders are followed once. A name that is not UTF-8 is added to ``report``.
    """
    listing = Listing()
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        visible = [] if real in seen else [name for name in names if not name.startswith(".")]
        seen.add(real)
        images = [name for name in visible if os.path.splitext(name)[1].lower() in extensions]
        listing.others += len(visible) - len(images)
        listing.images += [Path(parent, name) for name in images]
    listing.images.sort(key=lambda path: path.relative_to(folder).as_posix())
    for path in listing.images:
        if not _is_utf8(str(path)):
            report.add(ascii(str(path)), "the file's name is not UTF-8; rename it")
    return listing


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
