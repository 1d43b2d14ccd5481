"""Keeps a process's memory: glibc gives large buffers back to the kernel, and fresh pages cost more than arithmetic.

A tensor of 40 MB filled again and again takes 17 ms where its pages are given back every time, 15 of them page
faults; 4 ms where they are kept; and 1.2 ms in pages of 2 MB (one x86-64 core).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Iterator

SWITCH = "ICF_KEEP_MEMORY"
"""Environment variable; "0" leaves memory to the system's rules."""

HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
"""Asks torch to ask for pages of 2 MB, which it reads when it first allocates."""

# From malloc.h: option of mallopt, and the variable that sets it when a process starts.
OPTIONS = (
    (-4, "MALLOC_MMAP_MAX_", 0),  # no buffer gets a mapping of its own, which free() would undo
    (-1, "MALLOC_TRIM_THRESHOLD_", 2**31 - 1),  # the end of the heap stays
    (-2, "MALLOC_TOP_PAD_", 64 * 2**20),  # and grows in large steps
    (-8, "MALLOC_ARENA_MAX", 1),  # all threads share one heap: what one has kept, others fill again
)


def is_kept() -> bool:
    """Tell whether memory is to be kept: unless ICF_KEEP_MEMORY is 0."""
    return os.environ.get(SWITCH) != "0"


def keep_memory() -> None:
    """Let this process keep what it allocates, if its C library is glibc; to be called before torch is imported."""
    if not is_kept() or not sys.platform.startswith("linux"):
        return
    for name, text in HUGE_PAGES.items():
        os.environ.setdefault(name, text)
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    for option, name, value in OPTIONS:
        if name not in os.environ:  # a person's own choice
            library.mallopt(option, value)


def release_memory() -> None:
    """Give what is free back to the system, once, whatever is kept from then on."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
        if trim is not None:
            trim(0)


@contextlib.contextmanager
def collect_later() -> Iterator[None]:
    """Import in the block without Python's search for garbage, which takes an eighth of the time that torch does.

    What there is at its end, modules above all, is never searched: neither here, nor by folds, which would write to
    the pages that they share.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def memory_variables() -> dict[str, str]:
    """Return the environment variables that make a process keep memory from its start."""
    if not is_kept():
        return {}
    ours = {**{name: str(value) for _, name, value in OPTIONS}, **HUGE_PAGES}
    return {name: os.environ.get(name, value) for name, value in ours.items()}
