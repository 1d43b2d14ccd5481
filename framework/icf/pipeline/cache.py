"""What a machine offers: cores, and a folder for what can be computed again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder for caches: $ICF_CACHE, else ~/.cache/icf."""
    return Path(os.environ.get("ICF_CACHE") or Path.home() / ".cache" / "icf")


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
