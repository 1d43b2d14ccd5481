"""The table of folds that is redrawn while they train."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from icf.cli.options import make_table
from icf.formats import format_clock, format_score, format_seconds, format_speed, shorten_refs
from icf.pipeline.listener import FoldStatus
from icf.plan import Plan

OTHER_COLUMNS = 70
"""Characters that a row needs beside its progress bar."""

WORD_STYLES = {"waiting": "dim", "predicting": "cyan", "finished": "green", "failed": "bold red"}

Clock = Callable[[], float]
"""Seconds since some fixed moment; never goes back."""


@dataclass
class Pace:
    """Tells how long work will still take, from what has been done since it was first looked at."""

    started: float | None = None
    done_before: float = 0.0
    left: float | None = None

    def observe(self, now: float, done: float, total: float) -> None:
        """Take the work that is done at a moment, in any unit."""
        if self.started is None:
            self.started, self.done_before = now, done
        elif now - self.started >= 2 and done > self.done_before:
            self.left = max(total - done, 0.0) * (now - self.started) / (done - self.done_before)


def measure_done(status: FoldStatus) -> float:
    """Return how much of a fold is done, from 0 to 1."""
    if status.status in {"finished", "failed"}:
        return 1.0
    within = status.step / status.steps if status.steps else 0.0
    return min((status.epoch + within) / max(status.epochs, 1), 1.0)


class FoldBoard:
    """One row per fold and a line about all of them; safe to change while another thread draws it."""

    def __init__(self, plan: Plan, clock: Clock = time.monotonic) -> None:
        self._metric = plan.metrics[0].key
        self._metric_name = shorten_refs([metric.key for metric in plan.metrics])[self._metric]
        self._clock = clock
        self._started = clock()
        self._lock = Lock()
        self._folds: Sequence[FoldStatus] = ()
        self._paces: dict[int, Pace] = {}
        self._overall = Pace()

    def __bool__(self) -> bool:
        return bool(self._folds)

    def update(self, folds: Sequence[FoldStatus]) -> None:
        """Take the present state of all folds."""
        with self._lock:
            now = self._clock()
            self._folds = tuple(folds)
            for status in folds:
                if status.status == "training":
                    self._paces.setdefault(status.fold, Pace()).observe(now, measure_done(status), 1.0)
            if any(status.status == "training" for status in folds):
                self._overall.observe(now, sum(map(measure_done, folds)), len(folds))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            shown = self._choose(console.size.height - 6 if console.is_terminal else len(self._folds))
            yield self._make_table(shown, max(10, min(options.max_width - OTHER_COLUMNS, 40)))
            if hidden := len(self._folds) - len(shown):
                yield Text(f"... and {hidden} more folds", style="dim")
            yield self._describe_all()

    def _choose(self, room: int) -> list[FoldStatus]:
        """Keep the folds that fit on the screen, those at work first."""
        if len(self._folds) <= room:
            return list(self._folds)
        rank = {"training": 0, "predicting": 0, "failed": 1, "waiting": 2}
        ordered = sorted(self._folds, key=lambda status: rank.get(status.status, 3))
        return sorted(ordered[: max(room, 1)], key=lambda status: status.fold)

    def _make_table(self, folds: Sequence[FoldStatus], bar_width: int) -> Table:
        table = make_table("dim")
        for name in ("fold", "epoch"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("progress", width=bar_width, no_wrap=True)
        table.add_column("train", justify="right", no_wrap=True)
        table.add_column("val", justify="right", no_wrap=True)
        table.add_column(self._metric_name, justify="right", no_wrap=True, max_width=12)
        for name in ("best", "images/s", "left"):
            table.add_column(name, justify="right", no_wrap=True)
        for status in folds:
            table.add_row(*self._make_row(status))
        return table

    def _make_row(self, status: FoldStatus) -> Iterator[Text | ProgressBar]:
        training = status.status == "training"
        yield Text(str(status.fold))
        yield Text(f"{min(status.epoch + training, status.epochs)}/{status.epochs}")
        if training:
            yield ProgressBar(total=max(status.steps, 1), completed=status.step)
        else:
            yield Text(status.status, style=WORD_STYLES.get(status.status, ""))
        last = status.last
        score = last.metrics.get(self._metric) if last else None
        yield Text(format_score(last.train_loss, 3) if last else "")
        yield Text(format_score(last.val_loss, 3) if last else "")
        yield Text(format_score(score) if score is not None else "")
        yield Text(format_score(status.best) if status.best is not None else "", style="bold")
        speed = status.images_per_second or (last.images_per_second if last else None)
        yield Text(format_speed(speed) if training else "")
        pace = self._paces.get(status.fold)
        yield Text(format_clock(pace.left) if pace and training else "")

    def _describe_all(self) -> Text:
        finished = sum(status.status == "finished" for status in self._folds)
        elapsed = format_seconds(self._clock() - self._started)
        parts = [f"{finished} of {len(self._folds)} folds finished", f"{elapsed} elapsed"]
        if all(status.status == "waiting" for status in self._folds):
            parts.append("workers are starting")
        if self._overall.left is not None and finished < len(self._folds):
            parts.append(f"about {format_seconds(self._overall.left)} left")
        return Text(", ".join(parts), style="dim")
