"""Does it pay to keep what could be computed again? By measured seconds, and by the room in memory."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import torch

WORTH = 0.9
"""The share of the time of computing each time that keeping may take to be worth its place."""


def judge_saving(computing: float, reading: float, passes: float, size: int) -> str:
    """Return why embeddings of ``size`` bytes do not pay; empty if they do.

    An embedding takes ``computing`` seconds, and ``reading`` seconds in each of ``passes`` that the ordinary way
    would compute it in.
    """
    if computing + passes * reading > WORTH * passes * computing:
        saved = f"{1000 * computing:.2g} ms to compute, {1000 * reading:.2g} ms to read, {passes:.3g} times"
        return f"embeddings would not pay ({saved} for each image)"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory / 2:
        return f"embeddings of {size / 1e9:,.1f} GB would not stay in memory ({memory / 1e9:,.1f} GB)"
    return ""


def measure_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the median time of some calls, after one that does not count, in seconds."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
