"""Speeds that were measured on this machine, kept in the cache folder: equal runs get equal choices from them."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

import icf
from icf import memory
from icf.memory import release_memory
from icf.pipeline.cache import cache_dir
from icf.pipeline.environment import read_processor
from icf.pipeline.files import digest, read_json, write_json
from icf.pipeline.training import kernels

ROUNDS = 4
"""Every candidate is timed so often, all in turn; the first time is for warming up."""

PATIENCE = 20.0
"""Seconds after which two rounds must be enough: steps are long, or the machine is busy."""


def recall_or_measure(
    subject: Sequence[object], names: Sequence[str], measure: Callable[[], Mapping[str, float]]
) -> dict[str, float]:
    """Return a number for each name; ``subject`` (JSON-able) is what they depend on besides machine and software."""
    path = cache_dir() / "tuning" / f"{digest(*subject, *_describe_machine(), names)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # not there, or damaged
        earlier = read_json(path)
        return {name: float(earlier[name]) for name in names}
    try:
        found = dict(measure())
    finally:
        release_memory()  # folds train next, in this process or in others
    with contextlib.suppress(OSError):  # what can't be remembered is measured again
        write_json(path, found)
    return found


def _describe_machine() -> list[object]:
    switches = [os.environ.get(name) for name in (kernels.SWITCH, memory.SWITCH)]
    return [read_processor(), icf.__version__, torch.__version__, switches]


@contextlib.contextmanager
def use_threads(threads: int) -> Iterator[None]:
    """Let torch compute with so many threads in the block, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def take_turns(candidates: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Call every candidate, which returns its speed, in turn, and return medians.

    Not the best speeds: other programs slow two threads that wait for each other far more than one, and are part of
    what the work will meet.
    """
    found: dict[str, list[float]] = {name: [] for name in candidates}
    started = time.monotonic()
    for done in range(ROUNDS):
        if done > 1 and time.monotonic() - started > PATIENCE:
            break
        for name, measure in candidates.items():
            found[name].append(measure())
    return {name: statistics.median(values[1:]) for name, values in found.items()}
