"""What a person gets to see when a run is finished."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from icf.cli.options import make_table
from icf.cli.plan_table import make_grid
from icf.formats import format_interval, format_path, format_score, format_seconds, shorten_refs
from icf.pipeline.listener import RunResult


def print_results(console: Console, result: RunResult) -> None:
    """Print scores per fold and of all out-of-fold rows, files, notes and times."""
    names = list(result.metrics["oof"])
    console.print()
    while names:
        count = count_fitting(console, result.metrics, names)
        console.print(make_score_table(result.metrics, names[:count]))
        console.print()
        names = names[count:]
    console.print(Text("out of fold: all validation rows, scored at once", style="dim"))
    console.print(Text(f"[low, high]: {result.metrics['interval']}", style="dim"))
    console.print()
    for note in result.notes:
        console.print(Text(f"note: {note}", style="bold magenta"))
    for label, value in _list_files(result):
        console.print(Text.assemble((f"{label:<12}  ", "cyan"), value), soft_wrap=True)
    console.print(make_grid(_list_times(result)))


def count_fitting(console: Console, metrics: dict[str, Any], names: Sequence[str]) -> int:
    """Return how many of the metrics can stand side by side; at least one."""
    unlimited = console.options.update(max_width=10_000)
    for count in range(len(names), 1, -1):
        table = make_score_table(metrics, names[:count])
        if Measurement.get(console, unlimited, table).maximum <= console.width:
            return count
    return 1


def make_score_table(metrics: dict[str, Any], names: Sequence[str]) -> Table:
    """Return a table with one row per fold, one for all out-of-fold rows, and one for labelled test rows."""
    shown = shorten_refs(list(metrics["oof"]))
    table = make_table()
    table.add_column("", no_wrap=True)
    for column in ("rows", "best\nepoch", *(shown[name] for name in names)):
        table.add_column(column, justify="right", no_wrap=True)
    for fold in metrics["folds"]:
        scores = [format_score(fold["metrics"][name]) for name in names]
        epoch = f"{fold['best_epoch'] + 1}/{fold['epochs']}"
        table.add_row(f"fold {fold['fold']}", f"{fold['rows']:,}", epoch, *scores)
    _add_interval_rows(table, "out of fold", f"{metrics['rows']:,}", [metrics["oof"][name] for name in names])
    if "test" in metrics:
        _add_interval_rows(table, "test", "", [metrics["test"][name] for name in names])
    return table


def _add_interval_rows(table: Table, label: str, rows: str, scores: Sequence[dict[str, float]]) -> None:
    table.add_row(label, rows, "", *(format_score(score["value"]) for score in scores), style="bold")
    table.add_row("", "", "", *map(format_interval, scores), style="dim")


def describe_score(metrics: dict[str, Any]) -> str:
    """Return the out-of-fold score that selects, with its interval, on one line."""
    name = metrics["select"]
    score = metrics["oof"][name]
    short = shorten_refs(list(metrics["oof"]))[name]
    return f"{short} {format_score(score['value'])} {format_interval(score)}"


def _list_files(result: RunResult) -> list[tuple[str, str]]:
    files = [("run folder", result.run_dir), ("submission", result.submission), ("report", result.report)]
    return [(label, format_path(path)) for label, path in files if path is not None]


def _list_times(result: RunResult) -> list[tuple[str, str]]:
    stages = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in result.stages.items())
    total = format_seconds(result.seconds)
    return [("time", f"{total}: {stages}" if stages else total)]


def result_as_json(result: RunResult) -> dict[str, Any]:
    """Return what ``icf run --json`` writes."""
    return {
        "run_dir": str(result.run_dir),
        "metrics": result.metrics,
        "notes": list(result.notes),
        "warnings": list(result.warnings),
        "skipped": result.skipped,
        "submission": str(result.submission) if result.submission else None,
        "report": str(result.report) if result.report else None,
        "seconds": round(result.seconds, 3),
    }
