"""The command ``icf run`` as a process of its own, to be killed at chosen moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from training import DIGITS

MAIN = "import sys; from icf.cli.main import main; sys.exit(main())"


@contextmanager
def isolated(patch: pytest.MonkeyPatch, cache: Path) -> Iterator[None]:
    """Run what is in the block, Ray too, with a cache and a Ray session of its own, and one thread."""
    patch.setenv("ICF_CACHE", str(cache))
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.delenv("RAY_ADDRESS", raising=False)
    patch.delenv("ICF_RUNS", raising=False)
    # A socket's path must not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="icf-") as folder:
        patch.setenv("RAY_TMPDIR", folder)
        yield


@contextmanager
def start_run(
    runs: Path, *overrides: str, recipe: Path = DIGITS, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start ``icf run --quiet``; what is still alive at the end of the block is killed."""
    settings = [part for text in overrides for part in ("--set", text)]
    command = [sys.executable, "-c", MAIN, "run", str(recipe), "--quiet", "--runs", str(runs), *settings]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    process = subprocess.Popen(
        command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    """End a process as a power cut would: without a chance to clean up."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def finish(process: subprocess.Popen[str], timeout: float = 120) -> str:
    """Wait for a run that must succeed; return what it printed."""
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    return output


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 120) -> None:
    """Poll until the condition holds; the process must still be running then."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.01)


def find_run(runs: Path) -> Path:
    """Return the only run folder below ``runs``."""
    (found,) = runs.glob("*/*/plan.json")
    return found.parent


def count_epochs(fold: Path) -> int:
    """Return how many epochs of a fold are in its history."""
    history = fold / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0
