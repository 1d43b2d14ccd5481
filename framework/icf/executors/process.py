"""Executor "process": folds side by side on this machine, each in a process of its own, without Ray."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from icf.executors.fork_server import start_process, start_server
from icf.pipeline.jobs import Failure, FoldJob, Placement
from icf.sections import Compute

POLL_SECONDS = 0.5
"""A time-out keeps Ctrl-C prompt."""


@dataclass
class _Attempt:
    """A process that trains a fold, and the end of the pipe through which it says how that went."""

    job: FoldJob
    failures: int
    process: BaseProcess
    answer: Connection


class ProcessExecutor:
    """As many folds at a time as there are threads for; a process that dies starts again after its last checkpoint."""

    def __init__(self, placement: Placement, compute: Compute) -> None:
        self._threads = placement.cpus
        self._max_failures = compute.max_failures
        self._waiting: deque[tuple[FoldJob, int]] = deque()
        self._running: list[_Attempt] = []
        self._failed: dict[int, Failure] = {}

    def run(self, jobs: Sequence[FoldJob]) -> Mapping[int, Failure]:
        """Run all jobs, in order."""
        start_server(jobs[0].plan)
        self._waiting.extend((job, 0) for job in jobs)
        try:
            while self._waiting or self._running:
                while self._waiting and self._has_room(self._waiting[0][0]):
                    self._running.append(_start(*self._waiting.popleft()))
                connection.wait([attempt.process.sentinel for attempt in self._running], timeout=POLL_SECONDS)
                for attempt in [attempt for attempt in self._running if not attempt.process.is_alive()]:
                    self._running.remove(attempt)
                    self._settle(attempt)
        finally:
            for attempt in self._running:
                attempt.process.kill()
                attempt.process.join()
        return self._failed

    def _has_room(self, job: FoldJob) -> bool:
        busy = sum(attempt.job.threads for attempt in self._running)
        return not busy or busy + job.threads <= self._threads

    def _settle(self, attempt: _Attempt) -> None:
        """Take note of how a process ended."""
        try:
            problem: Failure | None = attempt.answer.recv()
        except EOFError:  # it did not come to an answer
            if attempt.failures < self._max_failures:
                self._waiting.appendleft((attempt.job, attempt.failures + 1))
                return
            problem = Failure(_describe_death(attempt))
        if problem is not None:
            self._failed[attempt.job.fold] = problem


def _describe_death(attempt: _Attempt) -> str:
    exitcode = attempt.process.exitcode or 0
    how = f"ended with exit code {exitcode}"
    if exitcode < 0:
        how = f"was killed by {signal.Signals(-exitcode).name}"
    if exitcode == -signal.SIGKILL:
        how += " (by the system, if its memory is full)"
    return f"the fold's process {how}, {attempt.failures + 1} times; see {attempt.job.folder.log}"


def _start(job: FoldJob, failures: int) -> _Attempt:
    process, answer = start_process(f"icf-fold-{job.fold}", _train, job)
    return _Attempt(job, failures, process, answer)


def _train(job: FoldJob, answer: Connection) -> None:
    """Train a fold, and answer with what went wrong, or None."""
    _write_to_log(job)
    from icf.executors.inline import InlineExecutor

    answer.send(InlineExecutor().run([job]).get(job.fold))


def _write_to_log(job: FoldJob) -> None:
    """Send what libraries and plugins print to a file beside the fold's folder: the terminal shows all folds."""
    job.folder.log.parent.mkdir(parents=True, exist_ok=True)
    with job.folder.log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
