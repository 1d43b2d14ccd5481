"""Where a fold's time goes: seconds of its parts, added up over epochs and over restarts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, MutableMapping

PARTS = {
    "start": "building the network, opening the data",
    "batches": "waiting for batches: reading and augmenting",
    "steps": "forward, backward, optimizer",
    "validation": "validation after each epoch",
    "checkpoints": "saving weights and state",
    "prediction": "predicting with the best weights",
}
"""Part of a fold -> what it is, for people. A GPU's work is waited for at the end of an epoch, in "steps"."""


@contextlib.contextmanager
def count_seconds(seconds: MutableMapping[str, float], part: str) -> Iterator[None]:
    """Add the seconds that the block takes to a part of ``seconds``; it costs about a microsecond."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - started
