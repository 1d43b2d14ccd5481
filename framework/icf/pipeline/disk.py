"""Full disks: told as such, with the folder and the space that is wanted, whatever library found out."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from icf.errors import DiskFullError
from icf.formats import format_bytes

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space on the device; the quota is used up; the file is larger than is allowed."""

FULL_TEXT = re.compile(r"\(os error (\d+)\)")
"""How libraries written in Rust name the system's errors."""


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error says that a disk is full, or was raised because of one that does."""
    return any(_read_number(cause) in FULL for cause in _list_causes(error))


def describe_full_disk(path: Path, size: int) -> DiskFullError:
    """Return the error of a file of ``size`` bytes, 0 if unknown, for which there is no room."""
    folder = next(parent for parent in path.parents if parent.exists())
    needed = f"{path.name} needs {format_bytes(size)}, " if size else ""
    free = format_bytes(shutil.disk_usage(folder).free)
    return DiskFullError(
        f"no room for {path}: {needed}{free} are free in {folder} (a quota or a limit may allow less); what is finished"
        " is kept: make room, and type the same command to continue"
    )


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _read_number(error: BaseException) -> int | None:
    if isinstance(error, DiskFullError):
        return errno.ENOSPC
    if isinstance(error, OSError):
        return error.errno
    found = FULL_TEXT.search(str(error))
    return int(found[1]) if found else None
