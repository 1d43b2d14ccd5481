"""One run at a time in a run folder: two would remove each other's checkpoints."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from collections.abc import Iterator

from filelock import FileLock, Timeout

from icf.errors import IcfError
from icf.pipeline.files import read_json, write_json
from icf.pipeline.folder import RunFolder


@contextlib.contextmanager
def hold(folder: RunFolder) -> Iterator[None]:
    """Keep other runs out of a folder for the time of the block.

    The lock is the system's: it ends with the process that holds it, however that ends.

    Raises:
        IcfError: another process is at work in the folder.
    """
    lock = FileLock(folder.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise IcfError(_describe_owner(folder)) from None
    try:
        started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(folder.owner, {"host": platform.node(), "process": os.getpid(), "started": started})
        yield
    finally:
        lock.release()


def _describe_owner(folder: RunFolder) -> str:
    try:
        owner = read_json(folder.owner)
        who = (
            f"process {owner['process']} on {owner['host']} has been at work in {folder.path} since {owner['started']}"
        )
    except (OSError, ValueError, TypeError, KeyError):
        who = f"another process is at work in {folder.path}"
    return f"{who}; wait for its end, stop it, or begin another run with --fresh"
