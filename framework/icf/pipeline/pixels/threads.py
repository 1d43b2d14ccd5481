"""Threads: decoders and hashes release the interpreter lock, so threads keep every core busy where items are long."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 16
"""Items per thread that may wait, or be done and not yet taken: a million at once would fill the memory."""

SHORT_SECONDS = 0.35e-3
"""What takes less is not worth a thread: two of them then take two to three times as long as one, since each waits for
the interpreter lock that the other holds. Measured for JPEG and PNG of 32 to 512 pixels a side."""

RUN = 64
"""Items that threads do before one is timed again, at first; twice as many after each that was long."""


def map_ordered(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield ``function(item)`` of all items in their order: in this thread while they are short, else in ``threads``.

    An item now and then is timed, so images may become larger in the course of a data set, or come from a slow disk.

    Raises:
        Exception: what the function raised, in the item's place; what was not begun by then is left out.
    """
    todo, run = iter(items), RUN
    for item in todo:
        started = time.perf_counter()
        result = function(item)
        is_short = time.perf_counter() - started < SHORT_SECONDS
        yield result
        if is_short:
            run = RUN
        else:
            yield from map_in_threads(function, islice(todo, run), threads)
            run *= 2


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield ``function(item)`` of all items in their order, computed in ``threads`` threads.

    Raises:
        Exception: what the function raised, in the item's place; what was not begun by then is left out.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
