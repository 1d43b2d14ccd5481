"""Whole processes: how long they take from start to end, and how much memory they and their children hold."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROC = Path("/proc")
ICF = (sys.executable, "-c", "import sys; from icf.cli.main import main; sys.exit(main())")
"""The command ``icf``, of the interpreter that runs the benchmark."""

SAMPLE_SECONDS = 0.1


class ProcessError(Exception):
    """A program that was to be measured failed; the message holds the end of what it printed."""


@dataclass(frozen=True)
class Finished:
    """A process that ended well: its time, its peak memory in MB (0 if not asked for), and what it printed."""

    started: float
    seconds: float
    megabytes: float
    output: str

    def read_json(self) -> dict[str, Any]:
        """Return the JSON object that begins with the last line starting with a brace, to the end of the output."""
        start = max(match.start() for match in re.finditer(r"^\{", self.output, re.MULTILINE))
        found: dict[str, Any] = json.loads(self.output[start:])
        return found


def run_process(
    command: Sequence[str],
    threads: int,
    environment: Mapping[str, str] | None = None,
    *,
    watch_memory: bool = False,
    look: Callable[[int], None] | None = None,
) -> Finished:
    """Run a command to its end, with ``threads`` OpenMP threads; ``started`` is of time.monotonic().

    ``look`` is called with the number of the process, once a second.

    Raises:
        ProcessError: it ended with another code than 0.
    """
    surroundings = {**os.environ, **(environment or {}), "OMP_NUM_THREADS": str(threads)}
    surroundings.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        process = subprocess.Popen(list(command), cwd=ROOT, env=surroundings, stdout=output, stderr=errors)
        peak = _PeakMemory(process.pid) if watch_memory else None
        try:
            code = _wait(process, look)
        finally:
            process.kill()
            megabytes = peak.stop() if peak else 0.0
        seconds = time.monotonic() - started
        output.seek(0)
        errors.seek(0)
        printed = output.read()
        if code:
            tail = (printed + errors.read())[-3000:]
            raise ProcessError(f"{' '.join(command)} ended with code {code}:\n{tail}")
    return Finished(started, seconds, megabytes, printed)


def _wait(process: subprocess.Popen[bytes], look: Callable[[int], None] | None) -> int:
    while True:
        try:
            return process.wait(1.0 if look else None)
        except subprocess.TimeoutExpired:
            assert look is not None
            look(process.pid)


def run_module(
    module: str,
    *arguments: object,
    threads: int,
    environment: Mapping[str, str] | None = None,
    watch_memory: bool = False,
) -> Finished:
    """Run ``python -m module`` from the project's root."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return run_process(command, threads, environment, watch_memory=watch_memory)


class _PeakMemory:
    """Samples the memory of a process and its descendants from a thread; pages they share count once."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            family = {self._process} | list_descendants(self._process)
            self._peak = max(self._peak, sum(map(read_memory, family)))

    def stop(self) -> float:
        """Return the peak in MB."""
        self._stop.set()
        self._thread.join()
        return self._peak


def read_memory(process: int) -> float:
    """Return a process's proportional set size in MB: a page shared by n processes counts 1/n; 0 when it is gone."""
    try:
        text = (PROC / str(process) / "smaps_rollup").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def list_descendants(process: int) -> set[int]:
    """Return all processes that a process has started, directly or not."""
    parents: dict[int, int] = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text()
        except OSError:
            continue
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    found: set[int] = set()
    newest = {process}
    while newest:
        newest = {child for child, parent in parents.items() if parent in newest} - found
        found |= newest
    return found
