"""Hints for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return ``did you mean 'resnet18' or 'resnet10t'?``, or an empty string when nothing is near."""
    close = difflib.get_close_matches(name, sorted(allowed), n=4, cutoff=0.6)
    if not close:
        return ""
    return "; did you mean " + " or ".join(f"'{candidate}'" for candidate in close) + "?"
