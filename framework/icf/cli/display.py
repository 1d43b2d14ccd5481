"""Draws a run: lines for a file, a live view for a terminal, a score or JSON for a script."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from icf.cli.fold_board import Clock, FoldBoard
from icf.cli.options import to_json
from icf.cli.plan_table import make_grid
from icf.cli.results import describe_score, print_results, result_as_json
from icf.events import EpochEnd
from icf.formats import format_count, format_path, format_score, format_seconds, format_speed, shorten_refs
from icf.pipeline.jobs import Placement
from icf.pipeline.listener import FoldStatus, Listener, RunResult
from icf.plan import Plan

SECONDS_BETWEEN_LINES = 10.0
"""How often a file or a log is told about the progress of a long stage."""


class Display(Listener):
    """A listener that owns what it draws on while a ``with`` block lasts."""

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class PlainDisplay(Display):
    """Writes lines that never change: for files, logs and pipes; warnings go to ``errors``."""

    def __init__(self, console: Console, errors: Console, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._errors = errors
        self._clock = clock
        self._last_line = clock()
        self._told: set[str] = set()
        self._metric = ""
        self._metric_name = ""
        encoding = console.encoding.lower()
        self._mark = "✓" if encoding.startswith("utf") else "+"

    def _print(self, text: str, style: str = "") -> None:
        _print_line(self._console, text, style)

    def _print_once(self, console: Console, text: str, style: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _print_line(console, text, style)

    def run_opened(self, plan: Plan, run_dir: Path, *, continued: bool) -> None:
        """Print where the run is."""
        keys = [metric.key for metric in plan.metrics]
        self._metric, self._metric_name = keys[0], shorten_refs(keys)[keys[0]]
        line = Text.assemble((f"{'run folder':<12}  ", "cyan"), format_path(run_dir))
        self._console.print(line, soft_wrap=True)
        if continued:
            self._print("continues: what is complete is not done again", "bold")
        for warning in plan.warnings:
            self.warn(warning)

    def stage_started(self, name: str) -> None:
        """Start to count the seconds of silence."""
        del name
        self._last_line = self._clock()

    def stage_progress(self, name: str, what: str, done: int, total: int) -> None:
        """Print a line now and then."""
        if done < total and self._clock() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = self._clock()
            self._print(f"  {name:<10}  {what} {done:,} of {total:,}")

    def stage_ended(self, name: str, seconds: float, *, skipped: bool, detail: str = "") -> None:
        """Print a line for the stage."""
        parts = [f"{self._mark} {name:<10}", f"{format_seconds(seconds):>12}"]
        if skipped:
            parts.append("done before, skipped")
        if detail:
            parts.append(detail)
        self._print("  ".join(parts), "green")

    def data_ready(self, facts: dict[str, Any], notes: Sequence[str], warnings: Sequence[str]) -> None:
        """Print what the data is, what must be known about it, and what looks wrong."""
        self._console.print(make_grid(list_facts(facts)))
        for note in notes:
            self._print_once(self._console, f"note: {note}", "bold magenta")
        for warning in warnings:
            self.warn(warning)

    def folds_placed(self, placement: Placement, folds: int, finished: Sequence[int]) -> None:
        """Print where folds run, and why there."""
        self._console.print(make_grid([("folds", describe_placement(placement, folds, finished))]))

    def prefetch_chosen(self, fold: int, choice: str) -> None:
        """Print what the first fold chose; others differ by chance only."""
        del fold
        if "batches" not in self._told:
            self._told.add("batches")
            self._console.print(make_grid([("batches", choice)]))

    def epoch_ended(self, event: EpochEnd, epochs: int) -> None:
        """Print a line for the epoch."""
        parts = [
            f"fold {event.fold}",
            f"epoch {event.epoch + 1}/{epochs}",
            f"train {format_score(event.train_loss, 3)}",
            f"val {format_score(event.val_loss, 3)}",
        ]
        if self._metric in event.metrics:
            parts.append(f"{self._metric_name} {format_score(event.metrics[self._metric], 3)}")
        self._print("  ".join([*parts, f"{format_speed(event.images_per_second)} images/s"]))

    def warn(self, text: str) -> None:
        """Print a warning, unless it was printed before."""
        self._print_once(self._errors, f"warning: {text}", "yellow")

    def run_ended(self, result: RunResult) -> None:
        """Print scores, files and times."""
        for warning in result.warnings:
            self.warn(warning)
        if result.skipped:
            self.warn(f"{format_count(result.skipped, 'image')} could not be read; the report lists what was skipped")
        print_results(self._console, result)


class LiveDisplay(PlainDisplay):
    """Redraws the stage at work, or the folds, below the lines that are final."""

    def __init__(self, console: Console, errors: Console, clock: Clock = time.monotonic) -> None:
        # Only the console that is redrawn can write above what it redraws; a terminal shows both streams anyway.
        super().__init__(console, console if errors.is_terminal else errors, clock)
        self._spinner = Spinner("dots")
        self._scene: RenderableType = Group()
        self._board: FoldBoard | None = None
        self._plan: Plan | None = None
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=False)

    def _draw(self) -> RenderableType:
        return self._scene

    def __enter__(self) -> LiveDisplay:
        self._scene = make_stage_line(self._spinner, "loading")
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(self._scene, FoldBoard):
            self._scene = Group()
        self._live.stop()

    def run_opened(self, plan: Plan, run_dir: Path, *, continued: bool) -> None:
        """Print where the run is."""
        self._plan = plan
        super().run_opened(plan, run_dir, continued=continued)

    def stage_started(self, name: str) -> None:
        """Show the stage with a sign that it is alive."""
        self._scene = make_stage_line(self._spinner, name)

    def stage_progress(self, name: str, what: str, done: int, total: int) -> None:
        """Show a bar."""
        self._scene = make_stage_line(self._spinner, name, what, done, total)

    def stage_ended(self, name: str, seconds: float, *, skipped: bool, detail: str = "") -> None:
        """Turn the stage into a line, and the table of folds into one that no longer changes."""
        self._scene = Group()
        if self._board:
            self._console.print(self._board)
        self._board = None
        super().stage_ended(name, seconds, skipped=skipped, detail=detail)

    def folds_placed(self, placement: Placement, folds: int, finished: Sequence[int]) -> None:
        """Open the table of folds."""
        super().folds_placed(placement, folds, finished)
        if self._plan is not None and len(finished) < folds:
            self._board = FoldBoard(self._plan, self._clock)

    def folds_changed(self, folds: Sequence[FoldStatus]) -> None:
        """Show the present state of the folds."""
        if self._board is not None:
            self._board.update(folds)
            self._scene = self._board


class QuietDisplay(Display):
    """Writes notes and warnings to ``errors``, and one line with the score at the end."""

    def __init__(self, output: Console, errors: Console) -> None:
        self._output = output
        self._errors = errors
        self._told: set[str] = set()

    def data_ready(self, facts: dict[str, Any], notes: Sequence[str], warnings: Sequence[str]) -> None:
        """Write notes and warnings."""
        del facts
        for note in notes:
            self._write_once(f"note: {note}")
        for warning in warnings:
            self.warn(warning)

    def warn(self, text: str) -> None:
        """Write a warning, unless it was written before."""
        self._write_once(f"warning: {text}")

    def run_ended(self, result: RunResult) -> None:
        """Write score and folder."""
        for warning in result.warnings:
            self.warn(warning)
        line = f"{describe_score(result.metrics)}  {format_path(result.run_dir)}"
        self._output.print(Text(line), soft_wrap=True)

    def _write_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._errors.print(Text(text, style="yellow"), soft_wrap=True)


class JsonDisplay(QuietDisplay):
    """Writes notes and warnings to ``errors``, and one JSON object at the end."""

    def run_ended(self, result: RunResult) -> None:
        """Write the result as JSON."""
        for warning in result.warnings:
            self.warn(warning)
        self._output.print(Text(to_json(result_as_json(result))), soft_wrap=True)


def _print_line(console: Console, text: str, style: str) -> None:
    """Print a line; in a file it is never broken, so that a log stays one event per line."""
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)


def make_stage_line(spinner: Spinner, name: str, what: str = "", done: int = 0, total: int = 0) -> Table:
    """Return a line with a moving sign, and with a bar where the amount of work is known."""
    line = Table.grid(padding=(0, 1, 0, 0))
    cells: list[RenderableType] = [spinner, Text(f"{name} {what}".rstrip(), style="cyan")]
    if total:
        cells += [ProgressBar(total=total, completed=done, width=24), Text(f"{done:,} of {total:,}")]
    line.add_row(*cells)
    return line


def list_facts(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Return label and value of the facts that there are."""
    shown = {label: f"{value:,}" if isinstance(value, int) else str(value) for label, value in facts.items()}
    return [(label, shown[label]) for label, value in facts.items() if value is not None]


def describe_placement(placement: Placement, folds: int, finished: Sequence[int]) -> str:
    """Say where folds run, how many at a time, and which are finished already."""
    if len(finished) == folds:
        return f"{folds}, all finished before"
    threads = format_count(placement.threads, "thread")
    if placement.fold_threads:
        threads += f" (the last fold {placement.fold_threads[-1]})"
    each = f"{placement.workers} workers of {threads}" if placement.workers > 1 else threads
    gpus = f", {placement.gpus:g} GPU each" if placement.gpus else ""
    text = (
        f"{folds} on {placement.device} with {placement.executor}, {placement.concurrent} at a time,"
        f" {each}{gpus} ({placement.reason})"
    )
    if finished:
        text += f"; finished before: {', '.join(map(str, finished))}"
    return text
