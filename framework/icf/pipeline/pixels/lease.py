"""Leases: a file that some living process has open for reading is not removed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, which itself does not remove a file that is mapped
    fcntl = None  # type: ignore[assignment]


def hold(path: Path) -> IO[bytes]:
    """Open a file, and keep it from being removed until the result is closed or the process ends.

    Raises:
        FileNotFoundError: it is not there.
    """
    while True:
        file = path.open("rb")
        _share(file)
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            file.close()
            raise
        file.close()  # removed and made again before it was locked


def use(path: Path) -> IO[bytes]:
    """Hold a file, and note that it was used: what was not used for longest is removed first.

    Raises:
        FileNotFoundError: it is not there.
    """
    file = hold(path)
    with contextlib.suppress(OSError):  # a folder that can only be read
        os.utime(path)
    return file


def remove_unused(path: Path) -> bool:
    """Remove a file unless a process holds it; tell whether it is gone."""
    try:
        with path.open("r+b") as file:
            if not _is_free(file):
                return False
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def is_used(path: Path) -> bool:
    """Tell whether a process holds a file."""
    try:
        with path.open("r+b") as file:
            return not _is_free(file)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _share(file: IO[bytes]) -> None:
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks: then nothing is ever removed from it
            fcntl.flock(file, fcntl.LOCK_SH)


def _is_free(file: IO[bytes]) -> bool:
    """Tell whether nobody shares the file; it can't be shared until it is closed."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
