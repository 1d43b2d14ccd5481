"""Who may write a fold: the attempt that began last. An earlier one may live on, on a machine that was cut off."""

from __future__ import annotations

import secrets

from icf.errors import IcfError
from icf.pipeline.files import remove_temporaries, write_text
from icf.pipeline.folder import FoldFolder


class SupersededError(IcfError):
    """Another attempt has taken the fold over, so this one must write nothing more."""


def claim(folder: FoldFolder) -> str:
    """Take a fold over, and return the name of this attempt; what an earlier one left half written is removed."""
    name = secrets.token_hex(8)
    write_text(folder.attempt, name)
    remove_temporaries(folder.path)
    return name


def confirm(folder: FoldFolder, name: str) -> None:
    """Raise SupersededError unless the attempt is the last one that took the fold over.

    An attempt that loses the fold just after this still writes nothing wrong: it was ahead of its successor, which will
    come to the same bits.
    """
    try:
        found = folder.attempt.read_text(encoding="utf-8")
    except FileNotFoundError:
        found = "none"
    if found != name:
        raise SupersededError(f"{folder.path}: another process has taken over this fold; this one ends")
