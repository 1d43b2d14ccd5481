"""Follows folds through the files they write, wherever they run, and tells observers and the listener."""

from __future__ import annotations

import contextlib
import csv
import json
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

from icf.events import EpochEnd, FoldEnd, FoldStart
from icf.pipeline.files import read_json
from icf.pipeline.jobs import Executor, Failure, FoldJob
from icf.pipeline.listener import FoldStatus, Listener
from icf.pipeline.mirror import FoldMirror, open_fold_mirror
from icf.pipeline.store import StoreError
from icf.pipeline.training.observers import Observers

FIXED = ("epoch", "train_loss", "val_loss", "learning_rate", "images_per_second")

POLL_SECONDS = 0.5
FOLLOW_SECONDS = 5.0
"""Between two looks at what folds on other machines have put into a store."""


def run_folds(
    executor: Executor,
    jobs: Sequence[FoldJob],
    waiting: Sequence[FoldJob],
    observers: Observers,
    listener: Listener,
) -> dict[int, Failure]:
    """Run the waiting jobs while following all of them; return fold -> failure for those that did not finish."""
    watch = FoldWatch(jobs, observers, listener)
    mirrors = [mirror for job in waiting if (mirror := open_fold_mirror(job))]
    with _polling(watch.poll, POLL_SECONDS), _polling(partial(_follow, mirrors), FOLLOW_SECONDS):
        failed = dict(executor.run(waiting))
    for mirror in mirrors:
        mirror.fetch_finished()
    watch.fail(failed)
    watch.poll()
    return failed


def _follow(mirrors: Sequence[FoldMirror]) -> None:
    for mirror in mirrors:
        with contextlib.suppress(StoreError):  # the next call may find it
            mirror.follow()


@contextlib.contextmanager
def _polling(poll: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call ``poll`` now and then from a thread, so that the inline executor is followed like the others."""
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(seconds):
            poll()

    thread = threading.Thread(target=follow, name="icf-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class FoldWatch:
    """Reads history and progress of all folds; each finished epoch is told once."""

    def __init__(self, jobs: Sequence[FoldJob], observers: Observers, listener: Listener) -> None:
        self._jobs = jobs
        self._observers = observers
        self._listener = listener
        self._told = {job.fold: len(self._read_epochs(job)) if _read_progress(job) else 0 for job in jobs}
        self._started: set[int] = set()
        self._prefetching: set[int] = set()
        self._warned: set[str] = set()
        self._failed: frozenset[int] = frozenset()
        self._ended = {job.fold for job in jobs if job.folder.metrics.exists() and self._is_done(job)}
        self._final: dict[int, FoldStatus] = {}
        """Of folds whose files will not change any more: hundreds of them may lie on a disk that is far away."""

    def fail(self, folds: Collection[int]) -> None:
        """Take note of folds that will not be finished."""
        self._failed = frozenset(folds)

    def poll(self) -> None:
        """Tell what happened since the last call."""
        self._listener.folds_changed([self._final.get(job.fold) or self._follow(job) for job in self._jobs])

    def _follow(self, job: FoldJob) -> FoldStatus:
        ended = job.fold in self._ended  # before its files are read
        status = self._look(job)
        if ended:
            self._final[job.fold] = status
        return status

    def _look(self, job: FoldJob) -> FoldStatus:
        progress = _read_progress(job)
        epochs = job.plan.recipe.train.epochs
        if progress is None and job.fold not in self._ended:
            return FoldStatus(job.fold, epochs=epochs)
        self._start(job)
        if progress and progress["prefetch"] and job.fold not in self._prefetching:
            self._prefetching.add(job.fold)
            self._listener.prefetch_chosen(job.fold, progress["prefetch"])
        for text in progress["warnings"] if progress else ():
            if text not in self._warned:
                self._warned.add(text)
                self._listener.warn(text)
        events = self._read_epochs(job)
        for event in events[self._told[job.fold] :]:
            self._observers.tell(event)
            self._listener.epoch_ended(event, epochs)
        self._told[job.fold] = max(self._told[job.fold], len(events))
        status = "failed" if job.fold in self._failed else "training"
        if self._is_done(job):
            status = "finished"
            self._end(job)
        elif status == "training" and progress and progress["epoch"] >= epochs:
            status = "predicting"
        now = progress or {"epoch": len(events), "step": 0, "steps": 0, "images_per_second": None}
        return FoldStatus(
            job.fold,
            status,
            epoch=now["epoch"],
            epochs=epochs,
            step=now["step"],
            steps=now["steps"],
            images_per_second=now["images_per_second"],
            last=events[-1] if events else None,
            best=_find_best(job, events),
        )

    def _start(self, job: FoldJob) -> None:
        if job.fold not in self._started and job.fold not in self._ended:
            self._started.add(job.fold)
            self._observers.tell(FoldStart(run_dir=job.run_dir, fold=job.fold))

    def _end(self, job: FoldJob) -> None:
        if job.fold in self._ended:
            return
        self._ended.add(job.fold)
        result = read_json(job.folder.metrics)
        self._observers.tell(
            FoldEnd(
                run_dir=job.run_dir,
                fold=job.fold,
                best_epoch=result["best_epoch"],
                metrics=result["metrics"],
                augmented=job.folder.augmented if job.folder.augmented.exists() else None,
            )
        )

    @staticmethod
    def _is_done(job: FoldJob) -> bool:
        return job.run_folder.is_done(f"fold-{job.fold}", job.key, job.products)

    @staticmethod
    def _read_epochs(job: FoldJob) -> list[EpochEnd]:
        try:
            with job.folder.history.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError:
            return []
        return [_to_event(job, row) for row in rows]


def _find_best(job: FoldJob, events: Sequence[EpochEnd]) -> float | None:
    metric = job.plan.metrics[0]
    scores = [event.metrics[metric.key] for event in events]
    if not scores:
        return None
    return max(scores) if metric.maximize else min(scores)


def _to_event(job: FoldJob, row: dict[str, str]) -> EpochEnd:
    return EpochEnd(
        run_dir=job.run_dir,
        fold=job.fold,
        epoch=int(row["epoch"]),
        train_loss=float(row["train_loss"]),
        val_loss=float(row["val_loss"]),
        learning_rate=float(row["learning_rate"]),
        images_per_second=float(row["images_per_second"]),
        metrics={name: float(value) for name, value in row.items() if name not in FIXED},
    )


def _read_progress(job: FoldJob) -> dict[str, Any] | None:
    """Return what the fold is doing; None before it starts, and while the files are those of other inputs."""
    try:
        value: dict[str, Any] = read_json(job.folder.progress)
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return value if value["key"] == job.key else None
