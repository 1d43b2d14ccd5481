"""Folds that failed: remembered in the run folder, so that they are tried again only when somebody asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icf.formats import format_count
from icf.pipeline.files import read_json, write_json
from icf.pipeline.jobs import Executor, Failure, FoldJob
from icf.pipeline.listener import Listener
from icf.pipeline.training.observers import Observers
from icf.pipeline.watch import run_folds


def try_folds(
    executor: Executor,
    jobs: Sequence[FoldJob],
    waiting: Sequence[FoldJob],
    observers: Observers,
    listener: Listener,
    *,
    retry: bool,
) -> dict[int, Failure]:
    """Run the waiting jobs, but those that failed earlier only to ``retry``; return all failures.

    Those that last are remembered.
    """
    failed = {} if retry else {job.fold: earlier for job in waiting if (earlier := read_failure(job))}
    trying = [job for job in waiting if job.fold not in failed]
    for job in trying:
        job.folder.failure.unlink(missing_ok=True)
    found = run_folds(executor, jobs, trying, observers, listener) if trying else {}
    for job in trying:
        if job.fold in found and not found[job.fold].passing:
            write_failure(job, found[job.fold])
    return failed | found


def write_failure(job: FoldJob, failure: Failure) -> None:
    """Note that a fold is given up until somebody asks to try it again."""
    write_json(job.folder.failure, {"key": job.key, "reason": failure.reason})


def read_failure(job: FoldJob) -> Failure | None:
    """Return why a fold of the same inputs was given up earlier; None if it was not."""
    try:
        found = read_json(job.folder.failure)
    except (OSError, ValueError):
        return None
    return Failure(found["reason"]) if found["key"] == job.key else None


def describe_failures(failed: Mapping[int, Failure], count: int) -> str:
    """Return lines that name each reason once, with its folds, and what is kept of ``count`` folds."""
    folds: dict[str, list[str]] = {}
    for fold, failure in sorted(failed.items()):
        folds.setdefault(failure.reason, []).append(str(fold))
    lines = [f"  fold{'s' * (len(them) > 1)} {', '.join(them)}: {reason}" for reason, them in folds.items()]
    kept = count - len(failed)
    return "\n".join([f"{len(failed)} of {count} folds failed", *lines, f"{format_count(kept, 'finished fold')} kept"])
